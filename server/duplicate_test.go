package server_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
)

// later has f's answer sent.
func later[T any](f func() T) <-chan T {
	c := make(chan T, 1)
	go func() { c <- f() }()
	return c
}

func TestDuplicateIsToldAtOnce(t *testing.T) {
	g := newGate()
	s := start(t, one(g))
	first := later(func() answer { return s.execute("k", charge) })
	<-g.started
	a := s.execute("k", charge)
	s.check(a, isProcessing("1"))
	s.checkBody(a, `{"status":"processing"}`)
	g.outcome <- completed("1")
	s.check(<-first, isExecuted("1"))
	s.check(s.execute("k", charge), isReplayed("1"))
	if n := g.ran.Load(); n != 1 {
		t.Errorf("%d executions", n)
	}
}

// A duplicate that waits is answered when the outcome is durable, long before its time is over.
func TestDuplicateWaits(t *testing.T) {
	executed := isReplayed("1")
	failed := facts{Status: 424, Code: "EXECUTION_FAILED", Executed: "yes", Retry: "no", Attempt: "1", Replayed: "true", Expires: expires}
	unknown := facts{Status: 409, Code: "OUTCOME_UNKNOWN", Executed: "unknown", Retry: "poll", Attempt: "1"}
	notStarted := facts{Status: 503, Code: "EXECUTION_NOT_STARTED", Executed: "no", Retry: "same-key", After: "1", Attempt: "1"}
	for name, c := range map[string]struct {
		duplicateWait time.Duration
		headers       []string
		outcome       atmost.Outcome
		want          facts
		applied       string
	}{
		"prefer":             {headers: []string{"Prefer", "wait=60"}, outcome: completed("1"), want: executed, applied: "wait=60"},
		"prefer, async":      {headers: []string{"Prefer", "respond-async, wait=60"}, outcome: completed("1"), want: executed, applied: "respond-async, wait=60"},
		"duplicate_wait":     {duplicateWait: time.Minute, outcome: completed("1"), want: executed},
		"failed":             {duplicateWait: time.Minute, outcome: atmost.Outcome{State: atmost.Failed, Message: "no"}, want: failed},
		"unknown":            {duplicateWait: time.Minute, outcome: atmost.Outcome{State: atmost.Unknown, Message: "lost"}, want: unknown},
		"not executed":       {duplicateWait: time.Minute, outcome: atmost.Outcome{State: atmost.NotExecuted, Message: "refused"}, want: notStarted},
		"nonsense preferred": {duplicateWait: time.Minute, headers: []string{"Prefer", "wait=soon"}, outcome: completed("1"), want: executed},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate()
			config := oneOf(atmost.Operation{Executor: g, DuplicateWait: c.duplicateWait})
			config.looked = make(chan struct{})
			s := start(t, config)
			first := later(func() answer { return s.execute("k", charge) })
			<-g.started
			second := later(func() answer { return s.execute("k", charge, c.headers...) })
			<-config.looked // it looks once it waits
			select {
			case a := <-second:
				t.Fatalf("the duplicate did not wait: %d %s", a.status, a.body)
			default:
			}
			g.outcome <- c.outcome
			c.want.Applied = c.applied
			a := <-second
			s.check(a, c.want)
			s.checkBody(<-first, a.body)
		})
	}
}

func TestPreferredNotToWait(t *testing.T) {
	g := newGate()
	s := start(t, oneOf(atmost.Operation{Executor: g, DuplicateWait: time.Minute}))
	want := isProcessing("1")
	for key, c := range map[string]struct{ prefer, applied string }{
		"a": {"respond-async", "respond-async"},
		"b": {"wait=0", "wait=0"},
		"c": {`foo; x="a,b", WAIT = "0" ; y, wait=60`, "wait=0"}, // the first counts
	} {
		want.Applied = c.applied
		first := later(func() answer { return s.execute(key, charge, "Prefer", c.prefer) })
		<-g.started
		s.check(<-first, want)
		s.check(s.execute(key, charge, "Prefer", c.prefer), want)
		g.outcome <- completed("1")
	}
}

// Preferences that make no sense, or are for others, do not exist: a duplicate is told at once.
func TestPreferenceIsIgnored(t *testing.T) {
	g := newGate()
	s := start(t, one(g))
	first := later(func() answer { return s.execute("k", charge, "Prefer", "wait=never") })
	<-g.started
	for _, prefer := range []string{"", "wait", "wait=", "wait=-1", "wait=1.5", "wait=1s", "wait=ten, wait=10", "return=minimal", "handling=lenient; wait=9", "=", ";;,,\"", "x=\"wait=5", "respond-async=1"} {
		s.check(s.execute("k", charge, "Prefer", prefer), isProcessing("1"))
	}
	g.outcome <- completed("1")
	s.check(<-first, isExecuted("1"))
}

func TestManyDuplicates(t *testing.T) {
	g := newGate()
	s := start(t, one(g))
	const impatient, patient = 75, 75
	var all sync.WaitGroup
	answers := make(chan answer, impatient+patient)
	told := make(chan struct{}, impatient)
	for i := range impatient + patient {
		all.Go(func() {
			if i%2 == 0 {
				answers <- s.execute("k", charge, "Prefer", "wait=60")
				return
			}
			a := s.execute("k", charge)
			answers <- a
			if a.status == 202 {
				told <- struct{}{}
			}
		})
	}
	<-g.started
	for range impatient - 1 { // one may be the first, and have to wait
		<-told
	}
	g.outcome <- completed(`{"n":1}`)
	all.Wait()
	close(answers)
	executed, byStatus := 0, map[int]int{}
	for a := range answers {
		byStatus[a.status]++
		switch a.status {
		case 200:
			s.checkBody(a, `{"status":"completed","result":{"n":1}}`)
			if a.header.Get("Idempotency-Replayed") == "false" {
				executed++
			}
		case 202:
			s.checkBody(a, `{"status":"processing"}`)
		}
	}
	if g.ran.Load() != 1 || executed != 1 || byStatus[200]+byStatus[202] != impatient+patient || byStatus[200] < patient {
		t.Errorf("%d executions, %d answers of the first, by status %v", g.ran.Load(), executed, byStatus)
	}
}

func TestClientHangsUp(t *testing.T) {
	g := newGate()
	c := one(g)
	c.served = make(chan struct{}, 10)
	s := start(t, c)
	ctx, hangUp := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := s.exchange(s.request("POST", "/v1/idempotency/execute", "k", charge, nil).WithContext(ctx))
		gone <- err
	}()
	<-g.started
	hangUp()
	if err := <-gone; err == nil {
		t.Fatal("the client has an answer")
	}
	<-c.served // the service has seen that the client is gone
	g.outcome <- completed("1")
	s.check(s.status("k", "Prefer", "wait=60"), facts{
		Status: 200, Executed: "yes", Retry: "no", Attempt: "1", Replayed: "true", Expires: expires, Applied: "wait=60",
	})
	s.check(s.execute("k", charge), isReplayed("1"))
	if n := g.ran.Load(); n != 1 {
		t.Errorf("%d executions", n)
	}
}
