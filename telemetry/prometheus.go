// Package telemetry tells the outside world what an Engine does: as metrics, as traces, and as log lines. None of them ever names
// a key or a scope, or shows a payload or a result; spans and log lines name a key by its digest.
package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atmost-dev/atmost"
)

// other is the operation label of what was asked for operations that the configuration does not have.
const other = "other"

// NewPrometheus returns events that count in metrics, which it registers with reg. It panics when they are there already.
func NewPrometheus(reg prometheus.Registerer) atmost.Events {
	m := newMetrics(reg)
	return atmost.Events{
		Answered: func(v atmost.Answered) {
			c := m.answers.of([2]string{label(v.Operation), v.Answer})
			c.count.Inc()
			c.took.observe(v.Took, v.Trace)
		},
		Duplicate: func(operation string, age time.Duration) { m.of(operation).age.Observe(age.Seconds()) },
		Claimed: func(operation string, trace atmost.SpanID, took time.Duration) {
			m.of(operation).claim.observe(took, trace)
		},
		Started: func(operation string) {
			c := m.of(operation)
			c.started.Inc()
			c.running.Inc()
		},
		Ended: func(a atmost.Attempt, o atmost.Outcome, took time.Duration) {
			c := m.of(a.Operation)
			c.ended[o.State].Inc() // an engine makes Unknown of what is no end
			c.running.Dec()
			c.execute.observe(took, a.Trace.Span())
		},
		Finished: func(operation string, trace atmost.SpanID, took time.Duration) {
			m.of(operation).finish.observe(took, trace)
		},
		Dropped:      func(a atmost.Attempt, _ atmost.State) { m.of(a.Operation).dropped.Inc() },
		Late:         func(operation string) { m.of(operation).late.Inc() },
		Contradicted: func(_ atmost.ID, operation string) { m.of(operation).contradicted.Inc() },
		Lapsed:       func(atmost.Record) { m.lapsed.Inc() },
		Probed:       func(_ atmost.ID, _ string, o atmost.Outcome) { m.probes.WithLabelValues(found(o).String()).Inc() },
		Panicked:     func(string, any, []byte) { m.panics.Inc() },
		Settled:      func(r atmost.Record, _ *atmost.Actor) { m.settled.WithLabelValues(r.State.String()).Inc() },
		Swept: func(dropped, forgotten int) {
			m.dropped.Add(float64(dropped))
			m.forgotten.Add(float64(forgotten))
		},
		StoreFailed: func(doing string, _ error) { m.storeFailures.WithLabelValues(doing).Inc() },
		Abandoned:   func(_ atmost.ID, operation string, _ atmost.State, _ bool) { m.of(operation).abandoned.Inc() },
	}
}

// found is what a probe's answer counts as.
func found(o atmost.Outcome) atmost.State {
	if o.State.Final() || o.State == atmost.NotExecuted {
		return o.State
	}
	return atmost.Unknown
}

// Engine is what of an *atmost.Engine is read when metrics are scraped.
type Engine interface {
	Pending() (accepted, unstored int)
	Waiting() int
	Doubts() atmost.Doubts
	SweepLag() time.Duration
}

// RegisterEngine registers gauges of what e is at, and of what it knows of the store.
func RegisterEngine(reg prometheus.Registerer, e Engine) {
	f := factory{reg, nil}
	f.value("pending_executions", "Executions accepted and not yet finished.", func() float64 {
		accepted, _ := e.Pending()
		return float64(accepted)
	})
	f.value("unstored_outcomes", "Executions that have ended, but whose outcome the store does not take.", func() float64 {
		_, unstored := e.Pending()
		return float64(unstored)
	})
	f.value("waiting_requests", "Requests that wait for another's attempt.", func() float64 { return float64(e.Waiting()) })
	f.value("unknown_records", "Keys whose outcome is unknown, of all instances.", func() float64 { return float64(e.Doubts().Count) })
	f.value("unknown_oldest_seconds", "For how long the one has been unknown that has been for longest.",
		func() float64 { return e.Doubts().Oldest.Seconds() })
	f.value("sweep_lag_seconds", "Time since the last sweep that left nothing to do.", func() float64 { return e.SweepLag().Seconds() })
}

// RegisterBuildInfo registers a gauge that is always 1 and tells by its labels which program this is.
func RegisterBuildInfo(reg prometheus.Registerer, version, revision, goVersion string) {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the labels tell which program this is.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": goVersion},
	})
	g.Set(1)
	reg.MustRegister(g)
}

func label(operation string) string {
	if operation == "" {
		return other
	}
	return operation
}

// cache makes each value once, and finds it again without hashing labels.
type cache[K comparable, V any] struct {
	made sync.Map // of K to V
	make func(K) V
}

func (c *cache[K, V]) of(key K) V {
	if v, ok := c.made.Load(key); ok {
		return v.(V)
	}
	v, _ := c.made.LoadOrStore(key, c.make(key))
	return v.(V)
}
