package server_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
)

func TestExecuteAndReplay(t *testing.T) {
	s := start(t, one(answers(completed(`{"id":"ch_1"}`))))
	const body = `{"status":"completed","result":{"id":"ch_1"}}`
	first := s.execute("k", charge)
	s.check(first, isExecuted("1"))
	s.checkBody(first, body)
	for range 2 {
		again := s.execute("k", charge)
		s.check(again, isReplayed("1"))
		s.checkBody(again, body)
	}
	if got := first.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
}

func TestRequestIDsDiffer(t *testing.T) {
	s := start(t, one(answers(completed(`1`))))
	if a, b := s.execute("k", charge), s.execute("k", charge); a.header.Get("Request-Id") == b.header.Get("Request-Id") {
		t.Errorf("two requests have the id %s", a.header.Get("Request-Id"))
	}
}

func TestResultIsVerbatim(t *testing.T) {
	for _, result := range []string{
		`null`, `""`, `0`, ` { "b" : 1.10 ,` + "\n\t" + `"a":[ 9007199254740993, 1e400, -0.0 ] } `, `{"a":1,"a":2}`, `"\u00e9é\/\u003c<"`,
	} {
		for _, state := range []atmost.State{atmost.Completed, atmost.Failed} {
			s := start(t, one(answers(atmost.Outcome{State: state, Result: []byte(result), UpstreamStatus: 299, Message: "m"})))
			want := `{"status":"completed","result":` + result + `}`
			if state == atmost.Failed {
				want = `{"error":{"code":"EXECUTION_FAILED","message":"m","details":{"upstream_status":299,"result":` + result + `}}}`
			}
			s.checkBody(s.execute("k", charge), want)
			s.checkBody(s.execute("k", charge), want)
		}
	}
}

func TestAttemptIsWhatWasAsked(t *testing.T) {
	var got atmost.Attempt
	s := start(t, one(does(func(_ context.Context, a atmost.Attempt) atmost.Outcome {
		got = a
		return completed("1")
	})))
	const payload = "{ \"n\" : 1.10,\n \"s\":\"\\u00e9\" }"
	s.check(s.execute("k", `{ "payload" :`+payload+` , "operation":"\u0063harge" }`,
		"Idempotency-Scope", "tenant", "Traceparent", "00-1-2-01", "Tracestate", "a=1", "Tracestate", "b=2"), isExecuted("1"))
	want := atmost.Attempt{
		ID: atmost.ID{Scope: "tenant", Key: "k"}, Operation: "charge", Payload: []byte(payload), Number: 1, Fence: s.clock.Now().UnixMicro(),
		Trace: atmost.Trace{Parent: "00-1-2-01", State: "a=1,b=2"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the executor was given (-want +got):\n%s", diff)
	}
}

func TestFailedIsFinal(t *testing.T) {
	for details, outcome := range map[string]atmost.Outcome{
		`,"details":{"upstream_status":402,"result":{"a": 1}}`: {UpstreamStatus: 402, Result: []byte(`{"a": 1}`)},
		`,"details":{"upstream_status":404}`:                   {UpstreamStatus: 404},
		`,"details":{"upstream_status":400}`:                   {UpstreamStatus: 400, NotKept: atmost.TooLarge},
		`,"details":{"result":null}`:                           {Result: []byte("null")},
		``:                                                     {},
	} {
		outcome.State, outcome.Message = atmost.Failed, "it said \"no\""
		s := start(t, one(answers(outcome)))
		want := facts{Status: 424, Code: "EXECUTION_FAILED", Executed: "yes", Retry: "no", Attempt: "1", Replayed: "false", Expires: expires}
		body := `{"error":{"code":"EXECUTION_FAILED","message":"it said \"no\""` + details + `}}`
		first := s.execute("k", charge)
		s.check(first, want)
		s.checkBody(first, body)
		want.Replayed = "true"
		again := s.execute("k", charge)
		s.check(again, want)
		s.checkBody(again, body)
	}
}

func TestUnknownIsHeld(t *testing.T) {
	panics := does(func(context.Context, atmost.Attempt) atmost.Outcome { panic("secret") })
	silent := answers(atmost.Outcome{State: atmost.Unknown, Message: "no answer"})
	gateway := answers(atmost.Outcome{State: atmost.Unknown, Message: "504", UpstreamStatus: 504})
	want := facts{Status: 409, Code: "OUTCOME_UNKNOWN", Executed: "unknown", Retry: "poll", Attempt: "1"}
	for body, executor := range map[string]atmost.Executor{
		`its executor panicked; it may have been executed"}}`: panics,
		`no answer"}}`: silent,
		`504","details":{"upstream_status":504}}}`: gateway,
	} {
		s := start(t, one(executor))
		for range 2 {
			a := s.execute("k", charge)
			s.check(a, want)
			s.checkBody(a, `{"error":{"code":"OUTCOME_UNKNOWN","message":"the outcome is unknown: `+body)
		}
	}
}

// prober never finds out.
type prober struct{}

func (prober) Probe(context.Context, atmost.ID, uint32) atmost.Outcome {
	return atmost.Outcome{State: atmost.Unknown}
}

func TestUnknownIsProbed(t *testing.T) {
	s := start(t, oneOf(atmost.Operation{
		Executor: answers(atmost.Outcome{State: atmost.Unknown, Message: "no answer"}), OnUnknown: atmost.ProbeUnknown, Prober: prober{},
	}))
	for range 2 {
		s.check(s.execute("k", charge), facts{
			Status: 409, Code: "OUTCOME_UNKNOWN", Executed: "unknown", Retry: "poll", After: "5", Attempt: "1",
		})
	}
}

func TestNotExecutedRunsAgain(t *testing.T) {
	nothing := atmost.Outcome{State: atmost.NotExecuted, Message: "connection refused"}
	s := start(t, one(answers(nothing, nothing, completed("3"))))
	want := facts{Status: 503, Code: "EXECUTION_NOT_STARTED", Executed: "no", Retry: "same-key", After: "1", Attempt: "1"}
	first := s.execute("k", charge)
	s.check(first, want)
	s.checkBody(first, `{"error":{"code":"EXECUTION_NOT_STARTED","message":"connection refused"}}`)
	want.Attempt = "2"
	s.check(s.execute("k", charge), want)
	s.check(s.execute("k", charge), isExecuted("3"))
	s.check(s.execute("k", charge), isReplayed("3"))
}

func TestPresumedNotExecutedIsHonest(t *testing.T) {
	s := start(t, oneOf(atmost.Operation{
		Executor: answers(atmost.Outcome{State: atmost.Unknown, Message: "no answer"}, completed("2")), OnUnknown: atmost.RetryUnknown,
	}))
	s.check(s.execute("k", charge), facts{
		Status: 503, Code: "EXECUTION_NOT_STARTED", Executed: "unknown", Retry: "same-key", After: "1", Attempt: "1",
	})
	s.check(s.execute("k", charge), isExecuted("2"))
}

func TestScopesAreApart(t *testing.T) {
	s := start(t, one(does(func(_ context.Context, a atmost.Attempt) atmost.Outcome {
		return completed(`"` + a.ID.Scope + `"`)
	})))
	for _, scope := range []string{"a", "b"} {
		a := s.execute("k", charge, "Idempotency-Scope", scope)
		s.check(a, isExecuted("1"))
		s.checkBody(a, `{"status":"completed","result":"`+scope+`"}`)
	}
	s.check(s.execute("k", charge), isExecuted("1"))
	s.check(s.execute("k", charge, "Idempotency-Scope", `"a"`), isReplayed("1"))
}
