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
	e.Claimed("pay", time.Millisecond)
	e.Started("pay")
	e.Ended(attempt, atmost.Outcome{State: atmost.Completed, Result: []byte(`"result-7"`)}, time.Second)
	e.Ended(attempt, atmost.Outcome{State: atmost.Failed, Result: []byte(`"result-7"`), UpstreamStatus: 402, Message: "the upstream answered 402"}, time.Second)
	e.Ended(attempt, atmost.Outcome{State: atmost.Unknown, Message: "no answer"}, time.Second)
	e.Finished("pay", time.Millisecond)
	e.Late("pay")
	e.Contradicted(id, "pay")
	e.Lapsed(record)
	e.Probed(id, "pay", atmost.Outcome{State: atmost.Unknown, Message: "the upstream answered 401"})
	e.Probed(id, "pay", atmost.Outcome{})
	e.Probed(id, "pay", settled.Outcome)
	e.Panicked("pay", "payload-7", []byte("goroutine 1"))
	e.Panicked("pay", divideByZero(), []byte("goroutine 2"))
	e.Settled(settled, nil)
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

func TestPrometheus(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	emit(NewPrometheus(reg))
	RegisterPending(reg, func() (int, int) { return 7, 3 })
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
		`atmost_execution_duration_seconds_sum{operation="pay"} 3`,
		`atmost_execution_duration_seconds_count{operation="pay"} 3`,
		`atmost_executions_ended_total{operation="pay",outcome="completed"} 1`,
		`atmost_executions_ended_total{operation="pay",outcome="failed"} 1`,
		`atmost_executions_ended_total{operation="pay",outcome="not_executed"} 0`,
		`atmost_executions_ended_total{operation="pay",outcome="unknown"} 1`,
		`atmost_executions_started_total{operation="pay"} 1`,
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
		`atmost_settled_total{outcome="completed"} 1`,
		`atmost_settled_total{outcome="failed"} 0`,
		`atmost_settled_total{outcome="not_executed"} 0`,
		`atmost_store_failures_total{doing="claim"} 1`,
		`atmost_store_failures_total{doing="finish"} 2`,
		`atmost_store_failures_total{doing="list"} 0`,
		`atmost_store_failures_total{doing="look up"} 0`,
		`atmost_store_failures_total{doing="renew"} 0`,
		`atmost_store_failures_total{doing="resolve"} 0`,
		`atmost_store_failures_total{doing="sweep"} 0`,
		`atmost_store_failures_total{doing="watch"} 0`,
		`atmost_swept_keys_total 2`,
		`atmost_swept_results_total 3`,
		`atmost_unstored_outcomes 3`,
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

// TestHotPath pins what counting costs on the way of every request.
func TestHotPath(t *testing.T) {
	e := NewPrometheus(prometheus.NewRegistry())
	emit(e)
	answered := atmost.Answered{Operation: "pay", Answer: "replayed", Took: time.Millisecond}
	if n := testing.AllocsPerRun(100, func() { e.Answered(answered) }); n > 1 {
		t.Errorf("%v allocations for an answer", n)
	}
	if n := testing.AllocsPerRun(100, func() { e.Claimed("pay", time.Millisecond) }); n > 1 {
		t.Errorf("%v allocations for a claim", n)
	}
}
