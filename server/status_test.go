package server_test

import (
	"context"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
)

const (
	created = `"operation":"charge","attempt":1,"created_at":"2026-11-23T12:00:00Z","updated_at":"2026-11-23T12:00:00Z"`
	kept    = created + `,"expires_at":"2026-11-24T12:00:00Z"`
)

func TestStatus(t *testing.T) {
	for name, c := range map[string]struct {
		outcome atmost.Outcome
		want    facts
		body    string
	}{
		"completed": {
			completed(` {"n": 1.10}`), isReplayed("1"),
			`{"status":"completed",` + kept + `,"result": {"n": 1.10}}`,
		},
		"completed, too large": {
			atmost.Outcome{State: atmost.Completed, NotKept: atmost.TooLarge},
			facts{Code: "RESULT_NOT_KEPT", Executed: "yes", Retry: "no", Replayed: "true", Expires: expires},
			`{"status":"completed",` + kept + `,"error":{"code":"RESULT_NOT_KEPT","message":"the operation was executed; its result was too large to keep","details":{"reason":"too_large","outcome":"completed"}}}`,
		},
		"failed": {
			atmost.Outcome{State: atmost.Failed, Message: "no", UpstreamStatus: 402, Result: []byte("[1, 2]")},
			facts{Code: "EXECUTION_FAILED", Executed: "yes", Retry: "no", Replayed: "true", Expires: expires},
			`{"status":"failed",` + kept + `,"error":{"code":"EXECUTION_FAILED","message":"no","details":{"upstream_status":402,"result":[1, 2]}}}`,
		},
		"not executed": {
			atmost.Outcome{State: atmost.NotExecuted, Message: "refused"},
			facts{Code: "EXECUTION_NOT_STARTED", Executed: "no", Retry: "same-key", After: "1"},
			`{"status":"not_executed",` + created + `,"error":{"code":"EXECUTION_NOT_STARTED","message":"refused"}}`,
		},
		"unknown": {
			atmost.Outcome{State: atmost.Unknown, Message: "lost", UpstreamStatus: 504},
			facts{Code: "OUTCOME_UNKNOWN", Executed: "unknown", Retry: "poll"},
			`{"status":"unknown",` + created + `,"error":{"code":"OUTCOME_UNKNOWN","message":"the outcome is unknown: lost","details":{"upstream_status":504}}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, one(answers(c.outcome)))
			s.execute("k", charge)
			c.want.Status, c.want.Attempt = 200, "1"
			a := s.status("k")
			s.check(a, c.want)
			s.checkBody(a, c.body)
		})
	}
}

func TestStatusOfTombstone(t *testing.T) {
	s := start(t, one(answers(atmost.Outcome{State: atmost.Failed, Message: "no", Result: []byte("1")})))
	s.execute("k", charge)
	s.clock.Advance(24 * time.Hour)
	a := s.status("k")
	s.check(a, facts{Status: 200, Code: "RESULT_NOT_KEPT", Executed: "yes", Retry: "no", Attempt: "1", Replayed: "true", Expires: expires})
	s.checkBody(a, `{"status":"failed",`+kept+`,"error":{"code":"RESULT_NOT_KEPT","message":"the operation was executed; its result is no longer kept","details":{"reason":"expired","outcome":"failed"}}}`)
}

func TestStatusTellsMicroseconds(t *testing.T) {
	g := newGate()
	s := start(t, one(g))
	s.clock.Advance(1500 * time.Microsecond)
	first := later(func() answer { return s.execute("k", charge) })
	<-g.started
	s.clock.Advance(time.Second - time.Microsecond)
	g.outcome <- completed("1")
	<-first
	s.checkBody(s.status("k"), `{"status":"completed","operation":"charge","attempt":1,"created_at":"2026-11-23T12:00:00.0015Z",`+
		`"updated_at":"2026-11-23T12:00:01.001499Z","expires_at":"2026-11-24T12:00:01.001499Z","result":1}`)
}

func TestStatusOfAbsentKey(t *testing.T) {
	s := start(t, one(answers(completed("1"))))
	s.execute("k", charge, "Idempotency-Scope", "a")
	want := facts{Status: 404, Code: "KEY_NOT_FOUND", Executed: "unknown", Retry: "same-key"}
	a := s.status("k")
	s.check(a, want)
	s.checkBody(a, `{"error":{"code":"KEY_NOT_FOUND","message":"nothing is stored for this key"}}`)
	s.check(s.status("k", "Idempotency-Scope", "b"), want)
	s.check(s.status(`"k"`, "Idempotency-Scope", "a"), isReplayed("1"))
}

func TestStatusWhileProcessing(t *testing.T) {
	g := newGate()
	c := one(g)
	c.looked = make(chan struct{}, 10)
	s := start(t, c)
	first := later(func() answer { return s.execute("k", charge) })
	<-g.started
	processing := isProcessing("1")
	processing.Status = 200
	for _, headers := range [][]string{nil, {"Prefer", "wait=soon"}} {
		a := s.status("k", headers...)
		s.check(a, processing)
		s.checkBody(a, `{"status":"processing",`+created+`}`)
		<-c.looked
	}

	waiting := later(func() answer { return s.status("k", "Prefer", "wait=60") })
	<-c.looked
	<-c.looked // it waits
	g.outcome <- completed("1")
	want := isReplayed("1")
	want.Applied = "wait=60"
	a := <-waiting
	s.check(a, want)
	s.checkBody(a, `{"status":"completed",`+kept+`,"result":1}`)
	s.check(<-first, isExecuted("1"))
}

func TestStatusExecutesNothing(t *testing.T) {
	s := start(t, one(does(func(context.Context, atmost.Attempt) atmost.Outcome {
		return atmost.Outcome{State: atmost.NotExecuted, Message: "refused"}
	})))
	s.execute("k", charge)
	first := s.status("k")
	s.checkBody(s.status("k", "Prefer", "wait=60"), first.body)
	s.check(s.execute("k", charge), facts{Status: 503, Code: "EXECUTION_NOT_STARTED", Executed: "no", Retry: "same-key", After: "1", Attempt: "2"})
}
