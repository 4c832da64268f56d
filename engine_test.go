package atmost_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/fingerprint"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubbleClock tells a synctest bubble's virtual time, and can be moved beyond it, as if the process had been paused.
type bubbleClock struct {
	mu    sync.Mutex
	start time.Time
	ahead time.Duration
}

func (c *bubbleClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *bubbleClock) Elapsed() time.Duration { return c.Now().Sub(c.start) }

func (c *bubbleClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// target is an operation's executor, and the ledger of its effects. By default it completes with a number that no other
// execution got.
type target struct {
	mu      sync.Mutex
	effects map[atmost.ID]int
	do      func(ctx context.Context, a atmost.Attempt) atmost.Outcome
	probe   func(id atmost.ID, attempt uint32) atmost.Outcome
}

func (u *target) Execute(ctx context.Context, a atmost.Attempt) atmost.Outcome {
	u.mu.Lock()
	if u.effects == nil {
		u.effects = map[atmost.ID]int{}
	}
	u.effects[a.ID]++
	n := len(u.effects)*1000 + u.effects[a.ID]
	u.mu.Unlock()
	if u.do != nil {
		return u.do(ctx, a)
	}
	return completed(n)
}

func (u *target) Probe(_ context.Context, id atmost.ID, attempt uint32) atmost.Outcome {
	return u.probe(id, attempt)
}

func (u *target) count(key string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.effects[atmost.ID{Key: key}]
}

func completed(result any) atmost.Outcome {
	b, _ := json.Marshal(result)
	return atmost.Outcome{State: atmost.Completed, Result: b, UpstreamStatus: 200}
}

// bench is an engine over a memory store that can fail, in virtual time.
type bench struct {
	*testing.T
	*atmost.Engine
	store  *storetest.FaultyStore
	keyed  *keyedStore // around it
	clock  *bubbleClock
	target *target
	events *tally
}

// tally counts what an engine tells.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what]++
}

func (c *tally) get(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[what]
}

func (c *tally) events() atmost.Events {
	return atmost.Events{
		Answered:     func(a atmost.Answered) { c.add("answered " + a.Answer) },
		Ended:        func(_ atmost.Attempt, o atmost.Outcome, _ time.Duration) { c.add("ended " + o.State.String()) },
		Finished:     func(string, atmost.SpanID, time.Duration) { c.add("finished") },
		Dropped:      func(_ atmost.Attempt, s atmost.State) { c.add("dropped " + s.String()) },
		Late:         func(string) { c.add("late") },
		Contradicted: func(atmost.ID, string) { c.add("contradicted") },
		Lapsed:       func(r atmost.Record) { c.add("lapsed " + r.State.String()) },
		Probed:       func(_ atmost.ID, _ string, o atmost.Outcome) { c.add("probed " + o.State.String()) },
		Panicked:     func(string, any, []byte) { c.add("panicked") },
		Settled:      func(r atmost.Record, _ *atmost.Actor) { c.add("settled " + r.State.String()) },
		Changed: func(e atmost.AuditEntry) {
			c.add(fmt.Sprint("changed ", e.Action, " ", e.Number, " by ", e.Actor.Name))
		},
		StoreFailed: func(doing string, _ error) { c.add("store failed to " + doing) },
		Abandoned: func(_ atmost.ID, _ string, o atmost.State, stored bool) {
			c.add(fmt.Sprint("abandoned ", o, " ", stored))
		},
	}
}

// inBubble runs test with an engine of two operations, in virtual time: "op", which the target executes, and "work", which is the
// same but that clients perform it. What is left of op's zero values are the engine's defaults.
func inBubble(t *testing.T, op atmost.Operation, o atmost.Options, test func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, clock: &bubbleClock{start: time.Now()}, target: &target{}, events: &tally{counts: map[string]int{}}}
		b.store = storetest.Faulty(&patientStore{memstore.New(memstore.Options{Clock: b.clock})})
		if op.OnUnknown == atmost.ProbeUnknown {
			op.Prober = b.target
		}
		work := op
		op.Executor = b.target
		o.Operations = map[string]atmost.Operation{"op": op, "work": work}
		o.Clock, o.Events = b.clock, b.events.events()
		var err error
		b.keyed = &keyedStore{Store: b.store}
		if b.Engine, err = atmost.New(t.Context(), b.keyed, o); err != nil {
			t.Fatal(err)
		}
		defer func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			b.Close(ctx)
		}()
		test(b)
	})
}

// patientStore refuses reports from those who would give up on them, or who have not got what they say was claimed.
type patientStore struct{ atmost.Store }

func (s *patientStore) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	if _, report := event.(*atmost.Finish); report && ctx.Done() != nil && id.Validate() == nil { // else it is the self-test
		return atmost.Step{}, errors.New("test: the report could be cancelled")
	}
	if f, report := event.(*atmost.Finish); report && f.Claimed != nil && (f.Claimed.ID != id || !f.Claimed.Token.Matches(f.Token)) {
		return atmost.Step{}, errors.New("test: the report comes with another's claim")
	}
	return s.Store.Apply(ctx, id, event)
}

func call(key string) atmost.Call {
	return atmost.Call{ID: atmost.ID{Key: key}, Operation: "op", Payload: []byte(`{"amount":1}`)}
}

func waiting(c atmost.Call, d time.Duration) atmost.Call {
	c.Wait, c.WaitSet = d, true
	return c
}

// says fails the test unless an answer is of the code ("" for none) and state given.
func (b *bench) says(a atmost.Answer, err error, code atmost.Code, state atmost.State) {
	b.Helper()
	if atmost.CodeOf(err) != code || a.Record.State != state {
		b.Fatalf("answered %v, %v; want %v, %q", a.Record.State, err, state, code)
	}
}

func (b *bench) execute(c atmost.Call) (atmost.Answer, error) {
	return b.Execute(b.Context(), c)
}

// start executes in the background; the answer is read with its own method.
func (b *bench) start(c atmost.Call) *pendingAnswer {
	p := &pendingAnswer{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.answer, p.err = b.execute(c)
	}()
	return p
}

type pendingAnswer struct {
	done   chan struct{}
	answer atmost.Answer
	err    error
}

func (p *pendingAnswer) wait() (atmost.Answer, error) {
	<-p.done
	return p.answer, p.err
}

// hold makes the target wait in the middle of each execution: entered tells that it has begun, and leaving is up to the
// test.
func (b *bench) hold(o atmost.Outcome) (entered chan atmost.Attempt, leave chan struct{}) {
	entered, leave = make(chan atmost.Attempt, 1000), make(chan struct{})
	b.target.do = func(ctx context.Context, a atmost.Attempt) atmost.Outcome {
		entered <- a
		select {
		case <-leave:
			return o
		case <-ctx.Done():
			return atmost.Outcome{State: atmost.Unknown, Message: "no answer in time"}
		}
	}
	return entered, leave
}

func TestFirstExecutionAndReplay(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		first, err := b.execute(call("k"))
		b.says(first, err, "", atmost.Completed)
		if first.Replayed || first.Record.Attempt != 1 || string(first.Record.Result) != "1001" {
			b.Errorf("the first answer is %+v", first)
		}
		again, err := b.execute(call("k"))
		b.says(again, err, "", atmost.Completed)
		if !again.Replayed || string(again.Record.Result) != string(first.Record.Result) {
			b.Errorf("the second answer is %+v", again)
		}
		if b.target.count("k") != 1 || b.events.get("answered executed") != 1 || b.events.get("answered replayed") != 1 {
			b.Errorf("%d effects; told %v", b.target.count("k"), b.events.counts)
		}
	})
}

func TestTheExecutorSeesTheAttempt(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		var seen []atmost.Attempt
		b.target.do = func(_ context.Context, a atmost.Attempt) atmost.Outcome {
			seen = append(seen, a)
			return atmost.Outcome{State: atmost.NotExecuted}
		}
		c := call("k")
		c.ID.Scope = "tenant"
		c.Payload = []byte(` {"b": 1.10, "a":2} `)
		c.Trace = atmost.Trace{Parent: "p", State: "s"}
		for range 2 {
			a, err := b.execute(c)
			b.says(a, err, atmost.CodeExecutionNotStarted, atmost.NotExecuted)
		}
		for i, a := range seen {
			if a.ID != c.ID || a.Operation != "op" || string(a.Payload) != string(c.Payload) || a.Trace != c.Trace || a.Number != uint32(i+1) {
				b.Errorf("attempt %d is %+v", i+1, a)
			}
		}
		if len(seen) != 2 || seen[1].Fence <= seen[0].Fence {
			b.Errorf("%d attempts, fences %+v", len(seen), seen)
		}
	})
}

func TestDuplicatesExecuteOnce(t *testing.T) {
	inBubble(t, atmost.Operation{DuplicateWait: time.Minute}, atmost.Options{}, func(b *bench) {
		entered, leave := b.hold(completed("done"))
		var all []*pendingAnswer
		for range 150 {
			all = append(all, b.start(call("k")))
		}
		<-entered
		synctest.Wait() // every duplicate waits
		close(leave)
		replayed := 0
		for _, p := range all {
			a, err := p.wait()
			b.says(a, err, "", atmost.Completed)
			if a.Replayed {
				replayed++
			}
		}
		if n := b.target.count("k"); n != 1 || replayed != 149 {
			b.Errorf("%d effects, %d replays", n, replayed)
		}
	})
}

func TestDuplicateWaits(t *testing.T) {
	for _, tc := range []struct {
		name       string
		configured time.Duration
		call       atmost.Call
		answered   time.Duration
		state      atmost.State
	}{
		{"by default not at all", 0, call("k"), 0, atmost.Processing},
		{"as configured, in vain", 3 * time.Second, call("k"), 3 * time.Second, atmost.Processing},
		{"as configured", 10 * time.Second, call("k"), 5 * time.Second, atmost.Completed},
		{"longer than configured", time.Second, waiting(call("k"), 10*time.Second), 5 * time.Second, atmost.Completed},
		{"less than configured", 10 * time.Second, waiting(call("k"), 0), 0, atmost.Processing},
		{"as long as it takes", 0, waiting(call("k"), time.Hour), 5 * time.Second, atmost.Completed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, atmost.Operation{DuplicateWait: tc.configured}, atmost.Options{}, func(b *bench) {
				entered, leave := b.hold(completed("done"))
				first := b.start(call("k"))
				<-entered
				begin := time.Now()
				time.AfterFunc(5*time.Second, func() { close(leave) })
				a, err := b.execute(tc.call)
				b.says(a, err, "", tc.state)
				if took := time.Since(begin); took != tc.answered {
					b.Errorf("answered after %v, want %v", took, tc.answered)
				}
				a, err = first.wait()
				b.says(a, err, "", atmost.Completed)
			})
		})
	}
}

func TestNobodyWaitsForLongerThanMaxWait(t *testing.T) {
	inBubble(t, atmost.Operation{Timeout: time.Hour}, atmost.Options{}, func(b *bench) {
		b.hold(completed("done"))
		begin := time.Now()
		for n := range 3 {
			var err error
			if n < 2 { // the one who starts it, and a duplicate
				_, err = b.execute(waiting(call("k"), time.Hour))
			} else {
				_, err = b.Status(b.Context(), atmost.ID{Key: "k"}, time.Hour)
			}
			if took := time.Since(begin); err != nil || took != time.Duration(n+1)*atmost.MaxWait {
				b.Errorf("answered %v in %v altogether", err, took)
			}
		}
		ended, cancel := context.WithCancel(b.Context())
		cancel()
		b.Close(ended)
	})
}

func TestConcurrencyBoundsAcrossAReload(t *testing.T) {
	inBubble(t, atmost.Operation{Concurrency: 1}, atmost.Options{}, func(b *bench) {
		entered, leave := b.hold(completed("done"))
		first := b.start(call("a"))
		<-entered
		if err := b.SetOperations(map[string]atmost.Operation{"op": {Executor: b.target, Concurrency: 1}}); err != nil {
			b.Fatal(err)
		}
		second := b.start(call("b"))
		synctest.Wait()
		if len(entered) != 0 {
			b.Error("two attempts are under way at once")
		}
		close(leave)
		first.wait()
		second.wait()
	})
}

func TestTheFirstCallerWaits(t *testing.T) {
	for _, tc := range []struct {
		name     string
		call     atmost.Call
		answered time.Duration
		code     atmost.Code
		state    atmost.State
	}{
		{"until the time-out", call("k"), 10 * time.Second, atmost.CodeOutcomeUnknown, atmost.Unknown},
		{"less", waiting(call("k"), time.Second), time.Second, "", atmost.Processing},
		{"not at all", waiting(call("k"), 0), 0, "", atmost.Processing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, atmost.Operation{Timeout: 10 * time.Second}, atmost.Options{}, func(b *bench) {
				b.hold(completed("done"))
				begin := time.Now()
				a, err := b.execute(tc.call)
				b.says(a, err, tc.code, tc.state)
				if took := time.Since(begin); took != tc.answered {
					b.Errorf("answered after %v, want %v", took, tc.answered)
				}
			})
		})
	}
}

func TestAClientThatHangsUpCancelsNothing(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		entered, leave := b.hold(completed("done"))
		ctx, cancel := context.WithCancel(b.Context())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			a, err := b.Execute(ctx, call("k"))
			b.says(a, err, "", atmost.Processing)
		}()
		<-entered
		cancel()
		<-gone
		close(leave)
		a, err := b.execute(waiting(call("k"), time.Minute))
		b.says(a, err, "", atmost.Completed)
		if b.target.count("k") != 1 {
			b.Error("it ran again")
		}
	})
}

func TestMismatchesAreRefusedAtAnyTime(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		entered, leave := b.hold(completed("done"))
		first := b.start(call("k"))
		<-entered
		for _, moment := range []string{"while it runs", "after it ended"} {
			payload, operation, same := call("k"), call("k"), call("k")
			payload.Payload = []byte(`{"amount":1.0}`)
			operation.Operation = "another"
			same.Payload = []byte("{ \"amo\\u0075nt\" : 1 }")
			if _, err := b.execute(payload); atmost.CodeOf(err) != atmost.CodePayloadMismatch {
				b.Errorf("another payload %s: %v", moment, err)
			}
			if _, err := b.execute(operation); atmost.CodeOf(err) != atmost.CodeOperationMismatch {
				b.Errorf("another operation %s: %v", moment, err)
			}
			if _, err := b.execute(same); err != nil {
				b.Errorf("the same payload in other spelling %s: %v", moment, err)
			}
			if moment == "while it runs" {
				close(leave)
				a, err := first.wait()
				b.says(a, err, "", atmost.Completed)
			}
		}
		if b.target.count("k") != 1 {
			b.Error("it ran again")
		}
	})
}

func TestOutcomesAndTheirReplays(t *testing.T) {
	for _, tc := range []struct {
		outcome   atmost.Outcome
		code      atmost.Code
		state     atmost.State
		runsAgain bool
	}{
		{failure, atmost.CodeExecutionFailed, atmost.Failed, false},
		{noEffect, atmost.CodeExecutionNotStarted, atmost.NotExecuted, true},
		{atmost.Outcome{State: atmost.Failed}, atmost.CodeExecutionFailed, atmost.Failed, false},
		{doubt, atmost.CodeOutcomeUnknown, atmost.Unknown, false},
		{atmost.Outcome{State: atmost.Completed, NotKept: atmost.TooLarge}, atmost.CodeResultNotKept, atmost.Completed, false},
		{atmost.Outcome{}, atmost.CodeOutcomeUnknown, atmost.Unknown, false},
		{atmost.Outcome{State: atmost.Processing}, atmost.CodeOutcomeUnknown, atmost.Unknown, false},
	} {
		t.Run(tc.outcome.State.String()+" "+string(tc.code), func(t *testing.T) {
			inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
				b.target.do = func(context.Context, atmost.Attempt) atmost.Outcome { return tc.outcome }
				first, err := b.execute(call("k"))
				b.says(first, err, tc.code, tc.state)
				again, err2 := b.execute(call("k"))
				b.says(again, err2, tc.code, tc.state)
				if err.Error() != err2.Error() {
					b.Errorf("%v, then %v", err, err2)
				}
				if ran := b.target.count("k") == 2; ran != tc.runsAgain {
					b.Errorf("ran %d times", b.target.count("k"))
				}
			})
		})
	}
}

func TestNoResultIsNull(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		b.target.do = func(context.Context, atmost.Attempt) atmost.Outcome { return atmost.Outcome{State: atmost.Completed} }
		a, err := b.execute(call("k"))
		b.says(a, err, "", atmost.Completed)
		if string(a.Record.Result) != "null" {
			b.Errorf("the result is %q", a.Record.Result)
		}
	})
}

func TestAPanicIsUnknown(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		b.target.do = func(context.Context, atmost.Attempt) atmost.Outcome { panic("boom") }
		a, err := b.execute(call("k"))
		b.says(a, err, atmost.CodeOutcomeUnknown, atmost.Unknown)
	})
}

func TestRetryPolicyRunsAgainAndSaysSo(t *testing.T) {
	inBubble(t, atmost.Operation{OnUnknown: atmost.RetryUnknown}, atmost.Options{}, func(b *bench) {
		b.target.do = func(context.Context, atmost.Attempt) atmost.Outcome { return doubt }
		a, err := b.execute(call("k"))
		b.says(a, err, atmost.CodeExecutionNotStarted, atmost.NotExecuted)
		if !a.Record.Presumed() {
			b.Error("it is told as a fact that nothing was executed")
		}
		b.target.do = nil
		a, err = b.execute(call("k"))
		b.says(a, err, "", atmost.Completed)
	})
}

func TestOverloadIsRefusedBeforeTheClaim(t *testing.T) {
	for name, limits := range map[string]struct {
		op atmost.Operation
		o  atmost.Options
	}{
		"over all":       {atmost.Operation{}, atmost.Options{MaxPending: 2}},
		"of one":         {atmost.Operation{Concurrency: 1, MaxPending: 2}, atmost.Options{}},
		"by concurrency": {atmost.Operation{Concurrency: 2, MaxPending: 2}, atmost.Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, limits.op, limits.o, func(b *bench) {
				a, err := b.execute(call("before"))
				b.says(a, err, "", atmost.Completed)
				b.target.do = func(context.Context, atmost.Attempt) atmost.Outcome { return noEffect }
				a, err = b.execute(call("not"))
				b.says(a, err, atmost.CodeExecutionNotStarted, atmost.NotExecuted)
				_, leave := b.hold(completed("done"))
				first, second := b.start(call("a")), b.start(call("b"))
				synctest.Wait()
				a, err = b.execute(call("c"))
				b.says(a, err, atmost.CodeOverloaded, atmost.Absent)
				if _, err := b.Status(b.Context(), atmost.ID{Key: "c"}, 0); atmost.CodeOf(err) != atmost.CodeKeyNotFound {
					b.Errorf("the refused key is known: %v", err)
				}
				a, err = b.execute(call("before"))
				b.says(a, err, "", atmost.Completed)
				a, err = b.execute(call("a"))
				b.says(a, err, "", atmost.Processing)
				a, err = b.execute(call("not"))
				b.says(a, err, atmost.CodeOverloaded, atmost.NotExecuted)
				other := call("a")
				other.Payload = []byte("0")
				if _, err := b.execute(other); atmost.CodeOf(err) != atmost.CodePayloadMismatch {
					b.Errorf("another payload under overload: %v", err)
				}
				close(leave)
				first.wait()
				second.wait()
				synctest.Wait()
				a, err = b.execute(call("c"))
				b.says(a, err, "", atmost.Completed)
				if n, _ := b.Pending(); n != 0 {
					b.Errorf("%d pending", n)
				}
			})
		})
	}
}

func TestConcurrencyBoundsTheAttemptsUnderWay(t *testing.T) {
	inBubble(t, atmost.Operation{Concurrency: 2}, atmost.Options{}, func(b *bench) {
		entered, leave := b.hold(completed("done"))
		var all []*pendingAnswer
		for i := range 5 {
			all = append(all, b.start(call(fmt.Sprint("k", i))))
		}
		synctest.Wait()
		if len(entered) != 2 {
			b.Errorf("%d attempts under way", len(entered))
		}
		close(leave)
		for _, p := range all {
			a, err := p.wait()
			b.says(a, err, "", atmost.Completed)
		}
	})
}

func TestAnAttemptThatGetsNoTurnIsNotExecuted(t *testing.T) {
	inBubble(t, atmost.Operation{Concurrency: 1, Timeout: time.Minute}, atmost.Options{}, func(b *bench) {
		entered, leave := b.hold(completed("done"))
		first := b.start(call("a"))
		<-entered
		a, err := b.execute(call("b"))
		b.says(a, err, atmost.CodeExecutionNotStarted, atmost.NotExecuted)
		close(leave)
		first.wait()
		if b.target.count("b") != 0 {
			b.Error("it ran")
		}
	})
}

func TestOperationsThatAreNotConfigured(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		c := call("k")
		c.Operation = "unheard.of"
		a, err := b.execute(c)
		b.says(a, err, atmost.CodeOperationNotConfigured, atmost.Absent)

		first, err := b.execute(call("k"))
		b.says(first, err, "", atmost.Completed)
		if err := b.SetOperations(nil); err != nil {
			b.Fatal(err)
		}
		again, err := b.execute(call("k"))
		b.says(again, err, "", atmost.Completed)
		if a, err := b.execute(call("new")); atmost.CodeOf(err) != atmost.CodeOperationNotConfigured {
			b.Errorf("%+v, %v", a, err)
		}
	})
}

func TestSetOperationsIsAllOrNothing(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		err := b.SetOperations(map[string]atmost.Operation{"new": {Executor: b.target}, "bad": {Timeout: -1}})
		if err == nil {
			b.Fatal("a negative time-out was accepted")
		}
		a, err := b.execute(call("k"))
		b.says(a, err, "", atmost.Completed)
	})
}

func TestARecordOfAnotherReleaseIsNotJudged(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		claim := claimOf(token, atmost.Policy{ResultRetention: time.Hour, KeyRetention: time.Hour})
		claim.Fingerprint = fingerprint.Fingerprint{Algorithm: "json9"}
		if _, err := b.store.Apply(b.Context(), atmost.ID{Key: "k"}, claim); err != nil {
			b.Fatal(err)
		}
		_, err := b.execute(call("k"))
		if atmost.CodeOf(err) != atmost.CodeStoreUnavailable || b.target.count("k") != 0 {
			b.Errorf("%v; %d effects", err, b.target.count("k"))
		}
		if err := b.SetOperations(nil); err != nil {
			b.Fatal(err)
		}
		if _, err := b.execute(call("k")); atmost.CodeOf(err) != atmost.CodeStoreUnavailable {
			b.Errorf("where nothing may be claimed: %v", err)
		}
	})
}

func TestBadInputNeverReachesTheStore(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		b.store.SetDown(true)
		defer b.store.SetDown(false)
		for _, tc := range []struct {
			id      atmost.ID
			payload string
			code    atmost.Code
		}{
			{atmost.ID{}, "1", atmost.CodeInvalidKey},
			{atmost.ID{Key: "a b"}, "1", atmost.CodeInvalidKey},
			{atmost.ID{Key: "k", Scope: "é"}, "1", atmost.CodeInvalidRequest},
			{atmost.ID{Key: "k"}, "{", atmost.CodeInvalidRequest},
			{atmost.ID{Key: "k"}, `{"a":1,"a":2}`, atmost.CodeInvalidRequest},
		} {
			_, err := b.execute(atmost.Call{ID: tc.id, Operation: "op", Payload: []byte(tc.payload)})
			if atmost.CodeOf(err) != tc.code {
				b.Errorf("%+v: %v", tc, err)
			}
		}
	})
}

func TestStatus(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		if _, err := b.Status(b.Context(), atmost.ID{Key: "k"}, 0); atmost.CodeOf(err) != atmost.CodeKeyNotFound {
			b.Errorf("an absent key: %v", err)
		}
		if _, err := b.Status(b.Context(), atmost.ID{}, 0); atmost.CodeOf(err) != atmost.CodeInvalidKey {
			b.Errorf("no key: %v", err)
		}
		entered, leave := b.hold(completed("done"))
		first := b.start(call("k"))
		<-entered
		begin := time.Now()
		if r, err := b.Status(b.Context(), atmost.ID{Key: "k"}, 2*time.Second); err != nil || r.State != atmost.Processing || time.Since(begin) != 2*time.Second {
			b.Errorf("%v, %v after %v", r.State, err, time.Since(begin))
		}
		time.AfterFunc(time.Second, func() { close(leave) })
		if r, err := b.Status(b.Context(), atmost.ID{Key: "k"}, time.Minute); err != nil || r.State != atmost.Completed || string(r.Result) != `"done"` {
			b.Errorf("%+v, %v", r, err)
		}
		first.wait()
	})
}

func TestNewRefusesBadOptionsAndStores(t *testing.T) {
	store := memstore.New(memstore.Options{})
	for _, o := range []atmost.Options{
		{MaxPending: -1},
		{Housekeeping: atmost.MaxHousekeeping + 1},
		{Operations: map[string]atmost.Operation{"": {}}},
		{Operations: map[string]atmost.Operation{"no header carries this": {}}},
		{Operations: map[string]atmost.Operation{"op": {Timeout: 2 * time.Hour}}},
		{Operations: map[string]atmost.Operation{"op": {Concurrency: -1}}},
		{Operations: map[string]atmost.Operation{"op": {Concurrency: 5, MaxPending: 4}}},
		{Operations: map[string]atmost.Operation{"op": {DuplicateWait: 2 * time.Minute}}},
		{Operations: map[string]atmost.Operation{"op": {OnUnknown: atmost.ProbeUnknown, Executor: &target{}}}},
		{Operations: map[string]atmost.Operation{"op": {OnUnknown: atmost.ProbeUnknown}}},
		{Unlisted: &atmost.Operation{OnUnknown: atmost.ProbeUnknown, Prober: &target{}}},
		{Unlisted: &atmost.Operation{Executor: &target{}}},
		{Unlisted: &atmost.Operation{Timeout: -1}},
		{Operations: map[string]atmost.Operation{"op": {ResultRetention: time.Millisecond}}},
		{Operations: map[string]atmost.Operation{"op": {ResultRetention: time.Hour, KeyRetention: time.Minute}}},
	} {
		if _, err := atmost.New(t.Context(), store, o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
	if _, err := atmost.New(t.Context(), &lenientStore{Store: store}, atmost.Options{}); err == nil {
		t.Error("a store in which every claim wins was accepted")
	}
	faulty := storetest.Faulty(store)
	faulty.SetDown(true)
	if _, err := atmost.New(t.Context(), faulty, atmost.Options{}); !errors.Is(err, storetest.ErrInjected) {
		t.Errorf("a store that cannot be reached: %v", err)
	}
}

// lenientStore lets every claim win.
type lenientStore struct{ atmost.Store }

func (s *lenientStore) Apply(_ context.Context, id atmost.ID, e atmost.Event) (atmost.Step, error) {
	return atmost.Transition(atmost.Record{ID: id}, e, atmost.Instant{})
}
