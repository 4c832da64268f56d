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
			c := m.ends.of(end{label(a.Operation), o.State})
			c.count.Inc()
			c.took.Observe(took.Seconds())
		},
		Finished:     func(operation string, took time.Duration) { m.of(operation).finish.Observe(took.Seconds()) },
		Late:         func(operation string) { m.of(operation).late.Inc() },
		Contradicted: func(_ atmost.ID, operation string) { m.of(operation).contradicted.Inc() },
		Lapsed:       func(atmost.Record) { m.lapsed.Inc() },
		Settled:      func(r atmost.Record) { m.settled.WithLabelValues(r.State.String()).Inc() },
		Swept: func(dropped, forgotten int) {
			m.dropped.Add(float64(dropped))
			m.forgotten.Add(float64(forgotten))
		},
		StoreFailed: func(doing string, _ error) { m.storeFailures.WithLabelValues(doing).Inc() },
		Abandoned:   func(_ atmost.ID, operation string, _ bool) { m.of(operation).abandoned.Inc() },
	}
}

// RegisterPending registers a gauge of the executions accepted and not yet finished.
func RegisterPending(reg prometheus.Registerer, pending func() int) {
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "pending_executions", Help: "Executions accepted and not yet finished.",
	}, func() float64 { return float64(pending()) }))
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
