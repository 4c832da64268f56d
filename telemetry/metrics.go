package telemetry

import (
	"sort"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atmost-dev/atmost"
)

const namespace = "atmost"

// metrics holds the metrics of one registry. What an event needs on the way of a request is found by one look-up.
type metrics struct {
	answers    cache[[2]string, counted] // by operation and answer
	operations cache[string, *perOperation]

	lapsed, dropped, forgotten, panics prometheus.Counter
	settled, probes, storeFailures     *prometheus.CounterVec
}

// counted is something that is counted, and takes time.
type counted struct {
	count prometheus.Counter
	took  *timer
}

type perOperation struct {
	started, late, contradicted, abandoned, dropped prometheus.Counter
	running                                         prometheus.Gauge
	ended                                           map[atmost.State]prometheus.Counter
	claim, execute, finish                          *timer
	age                                             prometheus.Observer
}

// An alert on an increase does not see the first event of a series that did not exist before. So what can be named
// beforehand begins at 0: here what needs no operation, and for each operation when it is first asked for.
var (
	ends  = []atmost.State{atmost.Completed, atmost.Failed, atmost.NotExecuted, atmost.Unknown}
	tasks = []string{"claim", "finish", "look up", "renew", "list", "sweep", "resolve", "erase", "forget", "audit", "watch", "admit"} // of the store
)

func (m *metrics) of(operation string) *perOperation { return m.operations.of(label(operation)) }

func newMetrics(reg prometheus.Registerer) *metrics {
	f := factory{reg, nil}
	m := &metrics{
		lapsed:        f.counter("lapsed_total", "Leases that ended without a report.").WithLabelValues(),
		dropped:       f.counter("swept_results_total", "Results whose retention ended.").WithLabelValues(),
		forgotten:     f.counter("swept_keys_total", "Keys whose retention ended.").WithLabelValues(),
		panics:        f.counter("panics_total", "Panics of executors and probers.").WithLabelValues(),
		probes:        f.counter("probes_total", "Probes of unknown outcomes, by what they found.", "outcome"),
		settled:       f.counter("settled_total", "Unknown outcomes that a probe or a person settled, by what they said.", "outcome"),
		storeFailures: f.counter("store_failures_total", "What the store did not do.", "doing"),
	}
	for _, doing := range tasks {
		m.storeFailures.WithLabelValues(doing)
	}
	for _, state := range ends {
		m.probes.WithLabelValues(state.String())
		if state != atmost.Unknown {
			m.settled.WithLabelValues(state.String())
		}
	}
	requests := f.counter("requests_total", "Requests to execute or about a lease, by their answer.", "operation", "answer")
	requestTook := f.histogram("request_duration_seconds", "Time from request to answer.", slow(), "operation")
	m.answers.make = func(k [2]string) counted {
		return counted{requests.WithLabelValues(k[0], k[1]), newTimer(requestTook.WithLabelValues(k[0]), slow())}
	}
	m.operations.make = f.perOperation()
	return m
}

// perOperation registers what each operation has of its own, and returns what makes it for one.
func (f factory) perOperation() func(operation string) *perOperation {
	ended := f.counter("executions_ended_total", "Attempts that ended, by outcome.", "operation", "outcome")
	executeTook := f.histogram("execution_duration_seconds", "Time that the upstream took.", slow(), "operation")
	started := f.counter("executions_started_total", "Attempts that began.", "operation")
	running := f.gauge("executions_running", "Attempts that the upstream is at.", "operation")
	late := f.counter("late_reports_total", "Attempts that reported after they had been given up for unknown.", "operation")
	contradicted := f.counter("contradictions_total", "Two accounts of one attempt that differ: the operation may have run twice.", "operation")
	abandoned := f.counter("abandoned_total", "Attempts that the end of the process interrupted.", "operation")
	dropped := f.counter("dropped_outcomes_total", "Outcomes that could not be stored, as the store had lost their attempt: the operation may run again.", "operation")
	claim := f.histogram("claim_duration_seconds", "Time that the store took to answer a claim.", quick(), "operation")
	finish := f.histogram("finish_duration_seconds", "Time from an attempt's end until its outcome was durable.", quick(), "operation")
	age := f.histogram("duplicate_age_seconds", "How long after the first request with its key a duplicate came.", ages(), "operation")
	return func(operation string) *perOperation {
		byState := make(map[atmost.State]prometheus.Counter, len(ends))
		for _, state := range ends {
			byState[state] = ended.WithLabelValues(operation, state.String())
		}
		return &perOperation{
			ended: byState, execute: newTimer(executeTook.WithLabelValues(operation), slow()), age: age.WithLabelValues(operation),
			started: started.WithLabelValues(operation), running: running.WithLabelValues(operation),
			late: late.WithLabelValues(operation), contradicted: contradicted.WithLabelValues(operation),
			abandoned: abandoned.WithLabelValues(operation), dropped: dropped.WithLabelValues(operation),
			claim: newTimer(claim.WithLabelValues(operation), quick()), finish: newTimer(finish.WithLabelValues(operation), quick()),
		}
	}
}

// timer is a histogram of times that remembers a trace in each bucket, as an example.
type timer struct {
	prometheus.Observer
	buckets  []float64
	exampled []atomic.Int64 // by bucket, when it last got an example; in nanoseconds
}

// exampleEvery is how long a bucket's example stays: making one costs more than all else that is counted for a request.
const exampleEvery = time.Second

func newTimer(o prometheus.Observer, buckets []float64) *timer {
	return &timer{o, buckets, make([]atomic.Int64, len(buckets)+1)}
}

func (t *timer) observe(took time.Duration, trace atmost.SpanID) {
	if trace != (atmost.SpanID{}) {
		bucket, now := &t.exampled[sort.SearchFloat64s(t.buckets, took.Seconds())], time.Now().UnixNano()
		if last := bucket.Load(); now-last >= int64(exampleEvery) && bucket.CompareAndSwap(last, now) {
			t.Observer.(prometheus.ExemplarObserver).ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": trace.TraceID()})
			return
		}
	}
	t.Observe(took.Seconds())
}

// slow are buckets for what waits for an upstream, up to the longest time-out; quick for what waits for a disk; ages for how long
// clients take until they ask again, from a retry at once to a queue that was found again after weeks; in seconds.
func slow() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800, 3600}
}

func quick() []float64 {
	return []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}
}

func ages() []float64 {
	const hour = 3600
	return []float64{.01, .1, 1, 10, 60, 600, hour, 6 * hour, 24 * hour, 7 * 24 * hour, 30 * 24 * hour}
}

// factory registers metrics. All that it makes have its labels beside their own.
type factory struct {
	reg    prometheus.Registerer
	labels prometheus.Labels
}

func (f factory) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: f.labels}, labels)
	f.reg.MustRegister(v)
	return v
}

func (f factory) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: f.labels}, labels)
	f.reg.MustRegister(v)
	return v
}

func (f factory) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets, ConstLabels: f.labels}, labels)
	f.reg.MustRegister(v)
	return v
}

// value registers a gauge that is read when metrics are scraped.
func (f factory) value(name, help string, read func() float64) {
	f.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: f.labels}, read))
}
