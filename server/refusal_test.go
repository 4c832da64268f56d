package server_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/fingerprint"
)

func notNow(status int, code string) facts {
	return facts{Status: status, Code: code, Executed: "unknown", Retry: "same-key", After: "1"}
}

// Overload is refused before the claim, for all operations together and for each; what is stored is still answered.
func TestOverload(t *testing.T) {
	for name, limit := range map[string]func(*config, *atmost.Operation){
		"service":   func(c *config, _ *atmost.Operation) { c.maxPending = 1 },
		"operation": func(_ *config, o *atmost.Operation) { o.Concurrency, o.MaxPending = 1, 1 },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate()
			o, c := atmost.Operation{Executor: g}, config{}
			limit(&c, &o)
			c.operations = map[string]atmost.Operation{"charge": o}
			s := start(t, c)
			s.stored("done", completed("1"))
			running := later(func() answer { return s.execute("running", charge) })
			<-g.started
			s.check(s.execute("new", charge), notNow(429, "OVERLOADED"))
			s.check(s.execute("done", charge), isReplayed("1"))
			s.check(s.execute("running", charge), isProcessing("1"))
			s.check(s.execute("done", refund), isMismatch("OPERATION_MISMATCH"))
			s.check(s.status("new"), facts{Status: 404, Code: "KEY_NOT_FOUND", Executed: "unknown", Retry: "same-key"})
			g.outcome <- completed("1")
			s.check(<-running, isExecuted("1"))
		})
	}
}

// stored makes a record of charge that nobody asked for.
func (s *service) stored(key string, o atmost.Outcome) {
	s.Helper()
	print, _, err := fingerprint.Of(fingerprint.Current, "charge", []byte(`{"amount":1250}`))
	if err != nil {
		s.Fatal(err)
	}
	id, token := atmost.ID{Key: key}, atmost.NewToken()
	policy := atmost.Policy{ResultRetention: atmost.DefaultResultRetention, KeyRetention: atmost.DefaultKeyRetention}
	for _, event := range []atmost.Event{
		&atmost.Claim{Operation: "charge", Fingerprint: print, Token: token, Lease: time.Minute, Policy: policy},
		&atmost.Finish{Token: token, Outcome: o},
	} {
		if _, err := s.store.Apply(s.Context(), id, event); err != nil {
			s.Fatal(err)
		}
	}
}

// A service that is closing executes nothing new, and answers what is stored; one that has closed answers nothing.
func TestShuttingDown(t *testing.T) {
	var hold chan struct{}
	executor := does(func(_ context.Context, a atmost.Attempt) atmost.Outcome {
		switch a.ID.Key {
		case "nothing":
			return atmost.Outcome{State: atmost.NotExecuted, Message: "refused"}
		case "running":
			<-hold
		}
		return completed("1")
	})
	inBubble(t, one(executor), func(s *service, _ *pipes, _ <-chan struct{}) {
		hold = make(chan struct{}) // of the bubble
		s.check(s.execute("k", charge), isExecuted("1"))
		s.execute("nothing", charge)
		running := later(func() answer { return s.execute("running", charge) })
		synctest.Wait()
		closed := later(func() bool { s.engine.Close(context.WithoutCancel(t.Context())); return true })
		synctest.Wait() // it waits for what is running
		s.check(s.execute("new", charge), notNow(503, "SHUTTING_DOWN"))
		s.check(s.execute("nothing", charge), notNow(503, "SHUTTING_DOWN"))
		s.check(s.execute("k", charge), isReplayed("1"))
		s.check(s.execute("running", charge), isProcessing("1"))
		s.check(s.execute("k", `{"operation":"charge","payload":0}`), isMismatch("PAYLOAD_MISMATCH"))
		s.check(s.status("new"), facts{Status: 404, Code: "KEY_NOT_FOUND", Executed: "unknown", Retry: "same-key"})
		close(hold)
		s.check(<-running, isExecuted("1"))
		<-closed
		for _, a := range []answer{s.execute("new", charge), s.execute("k", charge), s.status("k"), s.status("new")} {
			s.check(a, notNow(503, "SHUTTING_DOWN"))
		}
	})
}

// Whoever waits for an execution that is given up is told that it is under way: after the claim nothing else is known.
func TestDrainTimeOut(t *testing.T) {
	g := newGate()
	s := start(t, one(g))
	first := later(func() answer { return s.execute("k", charge) })
	<-g.started
	patienceIsOver, cancel := context.WithCancel(t.Context())
	cancel()
	s.engine.Close(patienceIsOver)
	s.check(<-first, isProcessing("1"))
	if r, err := s.store.Lookup(t.Context(), atmost.ID{Key: "k"}); err != nil || r.State != atmost.Unknown {
		t.Errorf("the record is %v, %v", r.State, err)
	}
}

func TestStoreUnavailable(t *testing.T) {
	s := start(t, one(answers(completed("1"))))
	s.check(s.execute("k", charge), isExecuted("1"))
	down := func() error { return errors.New("disk on fire") }
	s.store.fail.Store(&down)
	const body = `{"error":{"code":"STORE_UNAVAILABLE","message":"the store cannot be used at the moment; this request executed nothing"}}`
	for _, a := range []answer{s.execute("k", charge), s.execute("new", charge), s.status("k"), s.execute("new", refund)} {
		s.check(a, notNow(503, "STORE_UNAVAILABLE"))
		s.checkBody(a, body)
		s.logs(a, "disk on fire")
	}
	s.store.fail.Store(nil)
	s.check(s.execute("k", charge), isReplayed("1"))
	s.check(s.execute("new", charge), isExecuted("1"))
}

// logs checks that the log names a's request, with cause, and neither a's key nor its payload.
func (s *service) logs(a answer, cause string) {
	s.Helper()
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, "request_id="+a.header.Get("Request-Id")) {
			if !strings.Contains(line, cause) || !strings.Contains(line, "/v1/idempotency/") || strings.Contains(line, "1250") || strings.Contains(line, "=k ") {
				s.Errorf("the log has the line %s", line)
			}
			return
		}
	}
	s.Errorf("the log does not have the request: %s", s.log.String())
}

func TestInternal(t *testing.T) {
	s := start(t, one(answers(completed("1"))))
	s.store.panics.Store(true)
	for _, a := range []answer{s.execute("k", charge, "Prefer", "wait=1"), s.status("k", "Prefer", "wait=1")} {
		s.check(a, notNow(500, "INTERNAL"))
		s.checkBody(a, `{"error":{"code":"INTERNAL","message":"an unexpected error; it was logged with the id that the header Request-Id names"}}`)
		s.logs(a, "a secret cause")
	}
	s.store.panics.Store(false)
	s.check(s.execute("k", charge), isExecuted("1"))
}

// A guarded store refuses new keys, as it may have forgotten them.
func TestGuardedStore(t *testing.T) {
	s := start(t, one(answers(completed("1"))))
	guarded := func() error {
		return &atmost.Error{Code: atmost.CodeOutcomeUnknown, Message: "this key may have been forgotten"}
	}
	s.store.fail.Store(&guarded)
	want := facts{Status: 409, Code: "OUTCOME_UNKNOWN", Executed: "unknown", Retry: "poll"}
	for _, a := range []answer{s.execute("k", charge), s.status("k")} {
		s.check(a, want)
		s.checkBody(a, `{"error":{"code":"OUTCOME_UNKNOWN","message":"this key may have been forgotten"}}`)
	}
}
