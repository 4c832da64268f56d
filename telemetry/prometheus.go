// Package telemetry tells the outside world what an Engine does: as metrics, and as log lines. Neither ever names a key
// or a scope, or shows a payload or a result; a log line names a key by its digest.
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
			c.took.Observe(v.Took.Seconds())
		},
		Claimed: func(operation string, took time.Duration) { m.of(operation).claim.Observe(took.Seconds()) },
		Started: func(operation string) { m.of(operation).started.Inc() },
		Ended: func(a atmost.Attempt, o atmost.Outcome, took time.Duration) {
			c := m.of(a.Operation)
			c.ended[o.State].Inc() // an engine makes Unknown of what is no end
			c.execute.Observe(took.Seconds())
		},
		Finished:     func(operation string, took time.Duration) { m.of(operation).finish.Observe(took.Seconds()) },
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

// RegisterPending registers gauges of the executions accepted and not yet finished, and of those among them whose outcome
// is known, but not stored yet.
func RegisterPending(reg prometheus.Registerer, pending func() (accepted, unstored int)) {
	gauge := func(name, help string, value func() int) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help},
			func() float64 { return float64(value()) }))
	}
	gauge("pending_executions", "Executions accepted and not yet finished.", func() int {
		accepted, _ := pending()
		return accepted
	})
	gauge("unstored_outcomes", "Executions that have ended, but whose outcome the store does not take.", func() int {
		_, unstored := pending()
		return unstored
	})
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
