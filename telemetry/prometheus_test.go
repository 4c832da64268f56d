package telemetry

import (
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/atmost-dev/atmost"
)

// emit calls every event at least once.
func emit(e atmost.Events) {
	e = atmost.Tee(e, atmost.Events{})
	id := atmost.ID{Scope: "tenant-7", Key: "key-7"}
	attempt := atmost.Attempt{ID: id, Operation: "pay", Number: 2, Payload: []byte(`"payload-7"`)}
	record := atmost.Record{ID: id, Operation: "pay", Attempt: 2}
	record.State = atmost.Unknown
	settled := record
	settled.State, settled.Result = atmost.Completed, []byte(`"result-7"`)

	e.Answered(atmost.Answered{Operation: "pay", Answer: "executed", Took: 2 * time.Second})
	e.Answered(atmost.Answered{Operation: "pay", Answer: "replayed", Took: time.Second / 4})
	e.Answered(atmost.Answered{Operation: "pay", Answer: "replayed", Took: time.Second / 4})
	e.Answered(atmost.Answered{Answer: "OPERATION_NOT_CONFIGURED"})
	e.Duplicate("pay", 90*time.Second)
	e.Claimed("pay", atmost.SpanID{}, time.Millisecond)
	for range 4 { // one runs
		e.Started("pay")
	}
	e.Ended(attempt, atmost.Outcome{State: atmost.Completed, Result: []byte(`"result-7"`)}, time.Second)
	e.Ended(attempt, atmost.Outcome{State: atmost.Failed, Result: []byte(`"result-7"`), UpstreamStatus: 402, Message: "the upstream answered 402"}, time.Second)
	e.Ended(attempt, atmost.Outcome{State: atmost.Unknown, Message: "no answer"}, time.Second)
	e.Finished("pay", atmost.SpanID{}, time.Millisecond)
	e.Dropped(attempt, atmost.Completed)
	e.Late("pay")
	e.Contradicted(id, "pay")
	e.Lapsed(record)
	e.Probed(id, "pay", atmost.Outcome{State: atmost.Unknown, Message: "the upstream answered 401"})
	e.Probed(id, "pay", atmost.Outcome{})
	e.Probed(id, "pay", settled.Outcome)
	e.Panicked("pay", "payload-7", []byte("goroutine 1"))
	e.Panicked("pay", divideByZero(), []byte("goroutine 2"))
	e.Settled(settled, nil)
	ada := atmost.Actor{Name: "ada", Reason: "ticket"}
	e.Settled(settled, &ada)
	for n, action := range []atmost.Action{atmost.AuditResolve, atmost.AuditErase, atmost.AuditForget} {
		e.Changed(atmost.AuditEntry{Number: uint64(n + 1), Actor: ada, Action: action, ID: id, Operation: "pay", Attempt: 2, After: atmost.Completed})
	}
	e.Changed(atmost.AuditEntry{Number: 4, Actor: ada, Action: atmost.AuditAdmit, ID: atmost.ID{Scope: id.Scope}})
	e.Changed(atmost.AuditEntry{Number: 5, Actor: ada, Action: atmost.AuditAdmitAll})
	e.Swept(3, 2)
	e.StoreFailed("finish", errors.New("disk on fire"))
	e.StoreFailed("finish", errors.New("disk on fire"))
	e.StoreFailed("claim", errors.New("disk on fire"))
	e.Abandoned(id, "pay", atmost.Unknown, true)
}

func divideByZero() (value any) {
	defer func() { value = recover() }()
	zero := 0
	return 1 / zero
}

// engine is at something.
type engine struct{}

func (engine) Pending() (accepted, unstored int) { return 7, 3 }
func (engine) Waiting() int                      { return 5 }
func (engine) Doubts() atmost.Doubts             { return atmost.Doubts{Count: 2, Oldest: time.Minute} }
func (engine) SweepLag() time.Duration           { return time.Second / 2 }

func TestPrometheus(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	emit(NewPrometheus(reg))
	RegisterEngine(reg, engine{})
	RegisterBuildInfo(reg, "v1.2.3", "abc", "go1.26")

	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	var got []string
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, "#") && !strings.Contains(line, "_bucket{") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		`atmost_abandoned_total{operation="pay"} 1`,
		`atmost_build_info{goversion="go1.26",revision="abc",version="v1.2.3"} 1`,
		`atmost_claim_duration_seconds_sum{operation="pay"} 0.001`,
		`atmost_claim_duration_seconds_count{operation="pay"} 1`,
		`atmost_contradictions_total{operation="pay"} 1`,
		`atmost_dropped_outcomes_total{operation="pay"} 1`,
		`atmost_duplicate_age_seconds_sum{operation="pay"} 90`,
		`atmost_duplicate_age_seconds_count{operation="pay"} 1`,
		`atmost_execution_duration_seconds_sum{operation="pay"} 3`,
		`atmost_execution_duration_seconds_count{operation="pay"} 3`,
		`atmost_executions_ended_total{operation="pay",outcome="completed"} 1`,
		`atmost_executions_ended_total{operation="pay",outcome="failed"} 1`,
		`atmost_executions_ended_total{operation="pay",outcome="not_executed"} 0`,
		`atmost_executions_ended_total{operation="pay",outcome="unknown"} 1`,
		`atmost_executions_running{operation="pay"} 1`,
		`atmost_executions_started_total{operation="pay"} 4`,
		`atmost_finish_duration_seconds_sum{operation="pay"} 0.001`,
		`atmost_finish_duration_seconds_count{operation="pay"} 1`,
		`atmost_lapsed_total 1`,
		`atmost_late_reports_total{operation="pay"} 1`,
		`atmost_panics_total 2`,
		`atmost_pending_executions 7`,
		`atmost_probes_total{outcome="completed"} 1`,
		`atmost_probes_total{outcome="failed"} 0`,
		`atmost_probes_total{outcome="not_executed"} 0`,
		`atmost_probes_total{outcome="unknown"} 2`,
		`atmost_request_duration_seconds_sum{operation="other"} 0`,
		`atmost_request_duration_seconds_count{operation="other"} 1`,
		`atmost_request_duration_seconds_sum{operation="pay"} 2.5`,
		`atmost_request_duration_seconds_count{operation="pay"} 3`,
		`atmost_requests_total{answer="OPERATION_NOT_CONFIGURED",operation="other"} 1`,
		`atmost_requests_total{answer="executed",operation="pay"} 1`,
		`atmost_requests_total{answer="replayed",operation="pay"} 2`,
		`atmost_settled_total{outcome="completed"} 2`,
		`atmost_settled_total{outcome="failed"} 0`,
		`atmost_settled_total{outcome="not_executed"} 0`,
		`atmost_store_failures_total{doing="admit"} 0`,
		`atmost_store_failures_total{doing="audit"} 0`,
		`atmost_store_failures_total{doing="claim"} 1`,
		`atmost_store_failures_total{doing="erase"} 0`,
		`atmost_store_failures_total{doing="finish"} 2`,
		`atmost_store_failures_total{doing="forget"} 0`,
		`atmost_store_failures_total{doing="list"} 0`,
		`atmost_store_failures_total{doing="look up"} 0`,
		`atmost_store_failures_total{doing="renew"} 0`,
		`atmost_store_failures_total{doing="resolve"} 0`,
		`atmost_store_failures_total{doing="sweep"} 0`,
		`atmost_store_failures_total{doing="watch"} 0`,
		`atmost_sweep_lag_seconds 0.5`,
		`atmost_swept_keys_total 2`,
		`atmost_swept_results_total 3`,
		`atmost_unknown_oldest_seconds 60`,
		`atmost_unknown_records 2`,
		`atmost_unstored_outcomes 3`,
		`atmost_waiting_requests 5`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(w.Body.String(), "-7") {
		t.Error("a key, a scope, a payload or a result is in the metrics")
	}
}

// The buckets reach as far as the longest time-out.
func TestBuckets(t *testing.T) {
	if got := time.Duration(slices.Max(slow()) * float64(time.Second)); got < atmost.MaxTimeout {
		t.Errorf("an execution may take %v, the buckets end at %v", atmost.MaxTimeout, got)
	}
}

// A request that is traced is an example of how long such things take: its trace is told to scrapers that understand it.
func TestExemplars(t *testing.T) {
	reg := prometheus.NewRegistry()
	e := NewPrometheus(reg)
	trace := atmost.Trace{Parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	e.Answered(atmost.Answered{Operation: "pay", Answer: "executed", Took: 2 * time.Second, Trace: trace.Span()})
	e.Claimed("pay", trace.Span(), 2*time.Second)
	e.Ended(atmost.Attempt{Operation: "pay", Trace: trace}, atmost.Outcome{State: atmost.Completed}, 2*time.Second)
	e.Finished("pay", trace.Span(), 2*time.Second)
	e.Claimed("other", atmost.SpanID{}, 2*time.Second)
	e.Claimed("pay", atmost.SpanID{1, 23: 1}, 2*time.Second) // so soon no other example is made of the same
	e.Claimed("pay", trace.Span(), 2*time.Millisecond)       // but one of how long others take

	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, r)
	var got []string
	for line := range strings.Lines(w.Body.String()) {
		if series, exemplar, has := strings.Cut(line, " # "); has {
			name, _, _ := strings.Cut(series, "_bucket{")
			trace, _, _ := strings.Cut(exemplar, " ")
			got = append(got, name+" "+trace)
		}
	}
	if strings.Count(w.Body.String(), " # ") != 5 || !strings.Contains(w.Body.String(), `atmost_claim_duration_seconds_count{operation="pay"} 3`) {
		t.Errorf("the examples are %q, of\n%s", got, w.Body)
	}
	got = slices.Compact(got)
	const id = ` {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"}`
	want := []string{
		"atmost_claim_duration_seconds" + id, "atmost_execution_duration_seconds" + id, "atmost_finish_duration_seconds" + id,
		"atmost_request_duration_seconds" + id,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestHotPath pins what counting costs on the way of every request.
func TestHotPath(t *testing.T) {
	e := NewPrometheus(prometheus.NewRegistry())
	emit(e)
	answered := atmost.Answered{Operation: "pay", Answer: "replayed", Took: time.Millisecond}
	if n := testing.AllocsPerRun(100, func() { e.Answered(answered) }); n > 1 {
		t.Errorf("%v allocations for an answer", n)
	}
	if n := testing.AllocsPerRun(100, func() { e.Claimed("pay", atmost.SpanID{}, time.Millisecond) }); n > 1 {
		t.Errorf("%v allocations for a claim", n)
	}
}
