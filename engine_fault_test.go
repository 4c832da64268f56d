package atmost_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/storetest"
)

// pass lets virtual time pass.
func pass(d time.Duration) { <-time.After(d) }

func (b *bench) lookup(key string) atmost.Record {
	b.Helper()
	r, err := b.store.Lookup(b.Context(), atmost.ID{Key: key})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

func TestAnUnavailableStoreExecutesNothing(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		b.store.SetDown(true)
		a, err := b.execute(call("k"))
		b.says(a, err, atmost.CodeStoreUnavailable, atmost.Absent)
		if _, err := b.Status(b.Context(), atmost.ID{Key: "k"}, 0); atmost.CodeOf(err) != atmost.CodeStoreUnavailable {
			b.Errorf("status: %v", err)
		}
		b.store.SetDown(false)
		if b.target.count("k") != 0 {
			b.Error("it ran")
		}
		a, err = b.execute(call("k"))
		b.says(a, err, "", atmost.Completed)
	})
}

func TestAnAmbiguousClaimIsSettled(t *testing.T) {
	for name, fault := range map[string]storetest.Fault{"made": storetest.AmbiguousDone, "lost": storetest.AmbiguousLost} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
				b.store.Next(fault, storetest.Of[*atmost.Claim])
				a, err := b.execute(call("k"))
				b.says(a, err, "", atmost.Completed)
				if b.target.count("k") != 1 || a.Record.Attempt != 1 {
					b.Errorf("%d effects, attempt %d", b.target.count("k"), a.Record.Attempt)
				}
			})
		})
	}
}

func TestAnAmbiguousClaimThatLoses(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		a, err := b.execute(call("k"))
		b.says(a, err, "", atmost.Completed)
		b.store.Next(storetest.AmbiguousLost, storetest.Of[*atmost.Claim])
		a, err = b.execute(call("k"))
		b.says(a, err, "", atmost.Completed)
		if !a.Replayed || b.target.count("k") != 1 {
			b.Errorf("replayed %v, %d effects", a.Replayed, b.target.count("k"))
		}
	})
}

// lateStore takes its time to say that it does not know.
type lateStore struct {
	atmost.Store
	takes time.Duration
}

func (s lateStore) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	if _, claim := event.(*atmost.Claim); claim && id.Validate() == nil { // else it is the self-test
		<-time.After(s.takes)
		return atmost.Step{}, atmost.ErrAmbiguous
	}
	return s.Store.Apply(ctx, id, event)
}

// TestAClaimWhoseFateIsUnknownAtTheEnd: an engine that ends before it knows says once that nothing was executed.
func TestAClaimWhoseFateIsUnknownAtTheEnd(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{ClaimPatience: time.Second}, func(b *bench) {
		b.store.Next(storetest.AmbiguousDone, storetest.Of[*atmost.Claim])
		for range 20 {
			b.store.Next(storetest.Unavailable, storetest.Of[*atmost.Claim])
		}
		a, err := b.execute(call("k"))
		b.says(a, err, atmost.CodeStoreUnavailable, atmost.Absent)
		at, cancel := context.WithCancel(b.Context())
		cancel()
		b.Close(at)
		if r := b.lookup("k"); r.State != atmost.NotExecuted || b.target.count("k") != 0 {
			b.Errorf("the claim was left %v, with %d effects", r.State, b.target.count("k"))
		}
	})
}

// TestPatienceBeginsWithTheFirstTry: what the store took for it is not waited for a second time.
func TestPatienceBeginsWithTheFirstTry(t *testing.T) {
	for takes, want := range map[time.Duration]time.Duration{3 * time.Second: 5 * time.Second, 7 * time.Second: 7 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			engine, err := atmost.New(t.Context(), lateStore{memstore.New(memstore.Options{}), takes}, atmost.Options{
				Operations: map[string]atmost.Operation{"op": {Executor: &target{}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			_, err = engine.Execute(t.Context(), call("k"))
			if took := time.Since(begin); atmost.CodeOf(err) != atmost.CodeStoreUnavailable || took != want {
				t.Errorf("a claim that takes %v: %v, after %v, want %v", takes, err, took, want)
			}
			at, cancel := context.WithCancel(t.Context())
			cancel()
			engine.Close(at)
		})
	}
}

// TestNobodyWalksAwayFromAnAmbiguousClaim: the request gets its answer, and the claim that turns out to have been made is
// given back, so that it neither runs unseen nor holds the key.
func TestNobodyWalksAwayFromAnAmbiguousClaim(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{ClaimPatience: 2 * time.Second}, func(b *bench) {
		b.store.Next(storetest.AmbiguousDone, storetest.Of[*atmost.Claim])
		again := b.store.Next(storetest.Blocked, storetest.Of[*atmost.Claim])
		begin := time.Now()
		p := b.start(call("k"))
		a, err := p.wait()
		b.says(a, err, atmost.CodeStoreUnavailable, atmost.Absent)
		if took := time.Since(begin); took != 2*time.Second {
			b.Errorf("answered after %v", took)
		}
		if r := b.lookup("k"); r.State != atmost.Processing {
			b.Errorf("before it is settled the record is %v", r.State)
		}
		again.Release()
		synctest.Wait()
		if r := b.lookup("k"); r.State != atmost.NotExecuted || b.target.count("k") != 0 {
			b.Errorf("the claim was left %v, with %d effects", r.State, b.target.count("k"))
		}
		if n, _ := b.Pending(); n != 0 {
			b.Errorf("%d pending", n)
		}
		a, err = b.execute(call("k"))
		b.says(a, err, "", atmost.Completed)
	})
}

func TestAnAmbiguousClaimThatLapsedIsGivenBack(t *testing.T) {
	inBubble(t, atmost.Operation{Timeout: time.Second}, atmost.Options{ClaimPatience: time.Hour}, func(b *bench) {
		b.store.Next(storetest.AmbiguousDone, storetest.Of[*atmost.Claim])
		again := b.store.Next(storetest.Blocked, storetest.Of[*atmost.Claim])
		p := b.start(call("k"))
		pass(time.Minute) // longer than the lease
		again.Release()
		a, err := p.wait()
		b.says(a, err, atmost.CodeStoreUnavailable, atmost.Absent)
		synctest.Wait()
		if r := b.lookup("k"); r.State != atmost.NotExecuted || b.target.count("k") != 0 {
			b.Errorf("the claim was left %v, with %d effects", r.State, b.target.count("k"))
		}
	})
}

func TestAClaimThatArrivesLateIsGivenBack(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		later := b.store.Next(storetest.AmbiguousLater, storetest.Of[*atmost.Claim])
		lost := b.store.Next(storetest.AmbiguousLost, storetest.Of[*atmost.Claim])
		p := b.start(call("k"))
		<-later.Hit()
		<-lost.Hit()
		later.Release()
		a, err := p.wait()
		b.says(a, err, "", atmost.Completed)
		if b.target.count("k") != 1 || a.Record.Attempt != 1 {
			b.Errorf("%d effects in attempt %d", b.target.count("k"), a.Record.Attempt)
		}
	})
}

// TestAPauseBetweenClaimAndDispatch: a process that stood still past its lease, with all its timers, does not call the upstream
// when it goes on.
func TestAPauseBetweenClaimAndDispatch(t *testing.T) {
	for _, tc := range []struct {
		pause time.Duration
		runs  int
	}{{9 * time.Second, 1}, {11 * time.Second, 0}, {time.Hour, 0}} {
		t.Run(tc.pause.String(), func(t *testing.T) {
			inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
				claim := b.store.Next(storetest.AnswerBlocked, storetest.Of[*atmost.Claim])
				p := b.start(call("k"))
				<-claim.Hit()
				b.clock.jump(tc.pause)
				claim.Release()
				a, err := p.wait()
				if tc.runs == 1 {
					b.says(a, err, "", atmost.Completed)
				} else {
					b.says(a, err, atmost.CodeExecutionNotStarted, atmost.NotExecuted)
				}
				if b.target.count("k") != tc.runs {
					b.Errorf("ran %d times", b.target.count("k"))
				}
			})
		})
	}
}

// TestNothingIsAnsweredBeforeItIsDurable: while the outcome cannot be stored, nobody is told of it.
func TestNothingIsAnsweredBeforeItIsDurable(t *testing.T) {
	inBubble(t, atmost.Operation{Timeout: time.Minute}, atmost.Options{}, func(b *bench) {
		entered, leave := b.hold(completed("done"))
		first := b.start(waiting(call("k"), 2*time.Second))
		<-entered
		b.store.SetDown(true)
		close(leave)
		a, err := first.wait()
		b.says(a, err, "", atmost.Processing)
		synctest.Wait()
		if accepted, unstored := b.Pending(); accepted != 1 || unstored != 1 {
			b.Errorf("%d accepted, %d unstored", accepted, unstored)
		}
		b.store.SetDown(false)
		a, err = b.execute(call("k"))
		b.says(a, err, "", atmost.Processing)
		a, err = b.execute(waiting(call("k"), 5*time.Second))
		b.says(a, err, "", atmost.Completed)
		if b.target.count("k") != 1 || b.events.get("store failed to finish") == 0 {
			b.Errorf("%d effects; told %v", b.target.count("k"), b.events.counts)
		}
	})
}

func TestAnAmbiguousFinishIsRepeated(t *testing.T) {
	for name, fault := range map[string]storetest.Fault{"made": storetest.AmbiguousDone, "lost": storetest.AmbiguousLost} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
				b.store.Next(fault, storetest.Of[*atmost.Finish])
				a, err := b.execute(call("k"))
				b.says(a, err, "", atmost.Completed)
				if r := b.lookup("k"); r.State != atmost.Completed || b.target.count("k") != 1 {
					b.Errorf("%v, %d effects", r.State, b.target.count("k"))
				}
			})
		})
	}
}

// TestALeaseIsRenewedWhileItsAttemptRuns: also when an executor does not end with its context.
func TestALeaseIsRenewedWhileItsAttemptRuns(t *testing.T) {
	inBubble(t, atmost.Operation{Timeout: 5 * time.Second}, atmost.Options{}, func(b *bench) {
		b.target.do = func(context.Context, atmost.Attempt) atmost.Outcome {
			pass(5 * time.Minute)
			return completed("done")
		}
		p := b.start(waiting(call("k"), 0))
		p.wait()
		for range 10 {
			pass(29 * time.Second)
			if r := b.lookup("k"); r.State != atmost.Processing {
				b.Fatalf("while it runs it is %v", r.State)
			}
		}
		pass(time.Minute)
		if r := b.lookup("k"); r.State != atmost.Completed || b.events.get("late") != 0 {
			b.Errorf("in the end it is %v; told %v", r.State, b.events.counts)
		}
	})
}

// TestALapsedLeaseIsUnknownUntilItsReport: renewals fail, the lease lapses in the middle of the attempt, duplicates are told the truth,
// and the late report settles it.
func TestALapsedLeaseIsUnknownUntilItsReport(t *testing.T) {
	inBubble(t, atmost.Operation{Timeout: time.Hour}, atmost.Options{}, func(b *bench) {
		entered, leave := b.hold(completed("done"))
		first := b.start(call("k"))
		<-entered
		duplicate := b.start(waiting(call("k"), time.Minute))
		synctest.Wait()
		b.clock.jump(2 * time.Hour) // the renewal comes too late
		a, err := duplicate.wait()
		b.says(a, err, atmost.CodeOutcomeUnknown, atmost.Unknown)
		if b.events.get("lapsed unknown") != 1 {
			b.Errorf("told %v", b.events.counts)
		}
		close(leave)
		a, err = first.wait()
		b.says(a, err, "", atmost.Completed)
		a, err = b.execute(call("k"))
		b.says(a, err, "", atmost.Completed)
		if b.events.get("late") != 1 || b.target.count("k") != 1 {
			b.Errorf("told %v, %d effects", b.events.counts, b.target.count("k"))
		}
	})
}

// TestADoubleRunIsSeen: under the retry policy a second attempt runs beside the first, and the first one's report gives it
// away.
func TestADoubleRunIsSeen(t *testing.T) {
	inBubble(t, atmost.Operation{Timeout: time.Hour, OnUnknown: atmost.RetryUnknown}, atmost.Options{}, func(b *bench) {
		entered, leave := b.hold(completed("first"))
		first := b.start(call("k"))
		<-entered
		b.clock.jump(2 * time.Hour)
		b.target.mu.Lock()
		b.target.do = func(context.Context, atmost.Attempt) atmost.Outcome { return completed("second") }
		b.target.mu.Unlock()
		a, err := b.execute(call("k"))
		b.says(a, err, "", atmost.Completed)
		close(leave)
		a, err = first.wait()
		b.says(a, err, "", atmost.Completed)
		if string(a.Record.Result) != `"second"` || b.events.get("contradicted") != 1 {
			b.Errorf("answered %s; told %v", a.Record.Result, b.events.counts)
		}
	})
}

// TestTheFirstCallerIsToldOfItsOwnRequest: a key that was settled, forgotten and claimed for another payload while its attempt ran
// has an outcome, but not that caller's.
func TestTheFirstCallerIsToldOfItsOwnRequest(t *testing.T) {
	inBubble(t, atmost.Operation{Timeout: time.Hour}, atmost.Options{}, func(b *bench) {
		entered, leave := b.hold(completed("first"))
		first := b.start(call("k"))
		<-entered
		b.clock.jump(2 * time.Hour)
		r, err := b.Status(b.Context(), atmost.ID{Key: "k"}, 0)
		if err != nil {
			b.Fatal(err)
		}
		by := atmost.Actor{Name: "ann", Reason: "looked it up"}
		if _, err := b.Resolve(b.Context(), r.ID, atmost.Resolve{Attempt: r.Attempt, Outcome: atmost.Outcome{State: atmost.NotExecuted}, By: &by}); err != nil {
			b.Fatal(err)
		}
		if _, err := b.Forget(b.Context(), r.ID, atmost.Forget{By: by}); err != nil {
			b.Fatal(err)
		}
		b.target.mu.Lock()
		b.target.do = func(context.Context, atmost.Attempt) atmost.Outcome { return completed("second") }
		b.target.mu.Unlock()
		other := call("k")
		other.Payload = []byte(`{"amount":2}`)
		a, err := b.execute(other)
		b.says(a, err, "", atmost.Completed)
		close(leave)
		a, err = first.wait()
		b.says(a, err, atmost.CodeOutcomeUnknown, atmost.Absent)
	})
}

func TestCloseWaitsForTheAttemptsUnderWay(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		before, err := b.execute(call("before"))
		b.says(before, err, "", atmost.Completed)
		entered, leave := b.hold(completed("done"))
		first := b.start(call("k"))
		<-entered
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			b.Close(b.Context())
		}()
		synctest.Wait()
		a, err := b.execute(call("new"))
		b.says(a, err, atmost.CodeShuttingDown, atmost.Absent)
		a, err = b.execute(call("before"))
		b.says(a, err, "", atmost.Completed)
		close(leave)
		<-closed
		a, err = first.wait()
		b.says(a, err, "", atmost.Completed)
	})
}

func TestCloseAbandonsWhatDoesNotEnd(t *testing.T) {
	for _, stored := range []bool{true, false} {
		inBubble(t, atmost.Operation{Timeout: time.Hour}, atmost.Options{}, func(b *bench) {
			entered, _ := b.hold(completed("done"))
			first := b.start(call("k"))
			<-entered
			duplicate := b.start(waiting(call("k"), time.Minute))
			synctest.Wait()
			b.store.SetDown(!stored)
			ctx, cancel := context.WithTimeout(b.Context(), 3*time.Second)
			defer cancel()
			begin := time.Now()
			b.Close(ctx)
			if took := time.Since(begin); took != 3*time.Second {
				b.Errorf("closed after %v", took)
			}
			for _, p := range []*pendingAnswer{first, duplicate} {
				a, err := p.wait()
				b.says(a, err, "", atmost.Processing)
			}
			b.store.SetDown(false)
			want, event := atmost.Unknown, "abandoned unknown true"
			if !stored {
				want, event = atmost.Processing, "abandoned unknown false"
			}
			if r := b.lookup("k"); r.State != want || b.events.get(event) != 1 {
				b.Errorf("stored as %v; told %v", r.State, b.events.counts)
			}
		})
	}
}

// TestAClaimThatWinsAfterTheEnd: Close's time is over while a claim is still under way. What it wins is given back, and Close
// waits for that: afterwards the store is not used any more.
func TestAClaimThatWinsAfterTheEnd(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		claim := b.store.Next(storetest.Blocked, storetest.Of[*atmost.Claim])
		first := b.start(call("k"))
		<-claim.Hit()
		ended, cancel := context.WithCancel(b.Context())
		cancel()
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			b.Close(ended)
		}()
		synctest.Wait()
		select {
		case <-closed:
			b.Error("closed while a request uses the store")
		default:
		}
		claim.Release()
		a, err := first.wait()
		b.says(a, err, atmost.CodeExecutionNotStarted, atmost.NotExecuted)
		<-closed
		if b.target.count("k") != 0 {
			b.Error("it ran")
		}
		b.store.SetDown(true) // nobody notices
		a, err = b.execute(call("k"))
		b.says(a, err, atmost.CodeShuttingDown, atmost.Absent)
		if _, err := b.Status(b.Context(), atmost.ID{Key: "k"}, 0); atmost.CodeOf(err) != atmost.CodeShuttingDown {
			b.Errorf("status: %v", err)
		}
		b.store.SetDown(false)
	})
}

// TestWhatIsAbandonedDoesNotBegin: an attempt that waits for its turn when Close gives it up never gets it, even if the one before
// it ends just then.
func TestWhatIsAbandonedDoesNotBegin(t *testing.T) {
	inBubble(t, atmost.Operation{Concurrency: 1, Timeout: time.Hour}, atmost.Options{}, func(b *bench) {
		entered, leave := b.hold(completed("done"))
		first := b.start(call("first"))
		<-entered
		second := b.start(call("second"))
		synctest.Wait()
		var blocked [2]*storetest.Injection
		for i := range blocked { // both are abandoned at once, in either order
			blocked[i] = b.store.Next(storetest.AnswerBlocked, storetest.Of[*atmost.Finish])
		}
		ended, cancel := context.WithCancel(b.Context())
		cancel()
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			b.Close(ended)
		}()
		<-blocked[0].Hit()
		<-blocked[1].Hit()
		close(leave)
		synctest.Wait()
		blocked[0].Release()
		blocked[1].Release()
		<-closed
		first.wait()
		second.wait()
		if b.target.count("second") != 0 {
			b.Error("it ran")
		}
		if r := b.lookup("second"); r.State != atmost.NotExecuted || b.events.get("abandoned not_executed true") != 1 {
			b.Errorf("it is stored as %v; told %v", r.State, b.events.counts)
		}
	})
}

// TestNoOldNews: a duplicate that waits for attempt 2 is not told how attempt 1 ended.
func TestNoOldNews(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		b.target.do = func(context.Context, atmost.Attempt) atmost.Outcome { return noEffect }
		finish := b.store.Next(storetest.AnswerBlocked, storetest.Of[*atmost.Finish])
		first := b.start(call("k"))
		<-finish.Hit()
		entered, leave := b.hold(completed("done"))
		second := b.start(waiting(call("k"), time.Minute))
		<-entered
		third := b.start(waiting(call("k"), time.Minute))
		synctest.Wait()
		finish.Release()
		a, err := first.wait()
		b.says(a, err, atmost.CodeExecutionNotStarted, atmost.NotExecuted)
		synctest.Wait()
		close(leave)
		for _, p := range []*pendingAnswer{second, third} {
			a, err := p.wait()
			b.says(a, err, "", atmost.Completed)
		}
	})
}

// TestALateReportWakesNobodyElse: the duplicates of attempt 2 go on waiting when attempt 1 reports.
func TestALateReportWakesNobodyElse(t *testing.T) {
	inBubble(t, atmost.Operation{Timeout: time.Hour, OnUnknown: atmost.RetryUnknown}, atmost.Options{}, func(b *bench) {
		entered, leave := b.hold(completed("first"))
		first := b.start(call("k"))
		<-entered
		b.clock.jump(2 * time.Hour)
		entered2, leave2 := b.hold(completed("second"))
		second := b.start(waiting(call("k"), time.Minute))
		<-entered2
		duplicate := b.start(waiting(call("k"), time.Minute))
		synctest.Wait()
		close(leave)
		a, err := first.wait()
		b.says(a, err, "", atmost.Processing) // what it was to do is under way again
		synctest.Wait()
		close(leave2)
		for _, p := range []*pendingAnswer{second, duplicate} {
			a, err := p.wait()
			b.says(a, err, "", atmost.Completed)
			if string(a.Record.Result) != `"second"` {
				b.Errorf("answered %s", a.Record.Result)
			}
		}
	})
}

// TestTheLeaseOfAnAmbiguousClaimCountsFromItsFirstTry: repeating the claim moved no deadline.
func TestTheLeaseOfAnAmbiguousClaimCountsFromItsFirstTry(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{ClaimPatience: time.Minute}, func(b *bench) {
		b.store.Next(storetest.AmbiguousDone, storetest.Of[*atmost.Claim])
		again := b.store.Next(storetest.Blocked, storetest.Of[*atmost.Claim])
		p := b.start(call("k"))
		pass(20*time.Second + 500*time.Millisecond) // more than the lease has to spare, and no moment at which leases are renewed
		again.Release()
		a, err := p.wait()
		b.says(a, err, atmost.CodeExecutionNotStarted, atmost.NotExecuted)
		if b.target.count("k") != 0 {
			b.Error("it ran")
		}
	})
}

func TestProbesSettleWhatIsUnknown(t *testing.T) {
	for _, o := range []atmost.Outcome{outcomeA, failure, noEffect} {
		t.Run(o.State.String(), func(t *testing.T) {
			op := atmost.Operation{OnUnknown: atmost.ProbeUnknown, Timeout: 10 * time.Second, ProbeSettle: 30 * time.Second}
			inBubble(t, op, atmost.Options{}, func(b *bench) {
				b.target.do = func(context.Context, atmost.Attempt) atmost.Outcome { return doubt }
				b.target.probe = func(id atmost.ID, attempt uint32) atmost.Outcome {
					if id.Key != "k" || attempt != 1 {
						b.Errorf("probed for %v, attempt %d", id, attempt)
					}
					return o
				}
				a, err := b.execute(call("k"))
				b.says(a, err, atmost.CodeOutcomeUnknown, atmost.Unknown)
				waiter := b.start(waiting(call("k"), time.Minute))
				waiter.wait() // an unknown record is no reason to wait, but for who asks for its status
				watcher := make(chan atmost.Record)
				go func() {
					r, _ := b.Status(b.Context(), atmost.ID{Key: "k"}, time.Minute)
					watcher <- r
				}()

				pass(25 * time.Second)
				want := o.State
				if o.State == atmost.NotExecuted {
					want = atmost.Unknown // the attempt may still be on its way
				}
				if r := b.lookup("k"); r.State != want {
					b.Errorf("after 25 s: %v", r.State)
				}
				pass(15 * time.Second) // past probe_settle
				if r := b.lookup("k"); r.State != o.State || r.SettledBy != atmost.ByResolve {
					b.Errorf("after 40 s: %v", r.State)
				}
				if r := <-watcher; r.State != o.State {
					b.Errorf("who waited for its status was told %v", r.State)
				}
				if b.events.get("settled "+o.State.String()) != 1 {
					b.Errorf("told %v", b.events.counts)
				}
			})
		})
	}
}

func TestProbesAskLessAndLess(t *testing.T) {
	inBubble(t, atmost.Operation{OnUnknown: atmost.ProbeUnknown}, atmost.Options{}, func(b *bench) {
		b.target.do = func(context.Context, atmost.Attempt) atmost.Outcome { return doubt }
		var asked []time.Time
		b.target.probe = func(atmost.ID, uint32) atmost.Outcome {
			asked = append(asked, time.Now())
			return doubt
		}
		if _, err := b.execute(call("k")); err == nil {
			b.Fatal("it is not in doubt")
		}
		pass(time.Hour)
		synctest.Wait()
		for i := 2; i < len(asked); i++ {
			before, after := asked[i-1].Sub(asked[i-2]), asked[i].Sub(asked[i-1])
			if after < before || after > 5*time.Minute+time.Second {
				b.Errorf("%v, then %v between two probes", before, after)
			}
		}
		if len(asked) < 15 || len(asked) > 30 {
			b.Errorf("asked %d times in an hour", len(asked))
		}
		if r := b.lookup("k"); r.State != atmost.Unknown {
			b.Errorf("it is %v", r.State)
		}
	})
}

// TestAProbeDoesNotSettleWhatMovedOn: the attempt reports while the probe is under way.
func TestAProbeDoesNotSettleWhatMovedOn(t *testing.T) {
	inBubble(t, atmost.Operation{OnUnknown: atmost.ProbeUnknown, Timeout: time.Hour}, atmost.Options{}, func(b *bench) {
		entered, leave := b.hold(outcomeA)
		asked, answer := make(chan struct{}), make(chan struct{})
		b.target.probe = func(atmost.ID, uint32) atmost.Outcome {
			close(asked)
			<-answer
			return failure
		}
		first := b.start(call("k"))
		<-entered
		b.clock.jump(2 * time.Hour)
		<-asked
		close(leave)
		a, err := first.wait()
		b.says(a, err, "", atmost.Completed)
		close(answer)
		synctest.Wait()
		if r := b.lookup("k"); r.State != atmost.Completed || b.events.get("settled failed") != 0 {
			b.Errorf("%v; told %v", r.State, b.events.counts)
		}
	})
}

// unknowns stores records whose outcome is unknown.
func (b *bench) unknowns(prefix string, n int, policy atmost.OnUnknown) {
	b.Helper()
	for i := range n {
		id, token := atmost.ID{Key: fmt.Sprintf("%s%05d", prefix, i)}, atmost.NewToken()
		claim := &atmost.Claim{Operation: "op", Token: token, Lease: time.Hour, Policy: atmost.Policy{OnUnknown: policy, ResultRetention: time.Hour}}
		for _, e := range []atmost.Event{claim, &atmost.Finish{Token: token, Outcome: doubt}} {
			if _, err := b.store.Apply(context.WithoutCancel(b.Context()), id, e); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// TestProbesComeRound: neither records that nobody may ask about, nor such as are asked about in vain and slowly, keep the others
// from being asked about; nor does a store that cannot list for a while, or a prober that panics.
func TestProbesComeRound(t *testing.T) {
	o := atmost.Options{Housekeeping: atmost.MaxHousekeeping} // so that little time in bubbles is spent on it
	inBubble(t, atmost.Operation{OnUnknown: atmost.ProbeUnknown}, o, func(b *bench) {
		b.target.probe = func(id atmost.ID, _ uint32) atmost.Outcome {
			switch id.Key[0] {
			case 'b':
				pass(10 * time.Second)
				return doubt
			case 'c':
				panic("boom")
			}
			return outcomeA
		}
		b.unknowns("a", 2100, atmost.HoldUnknown)
		b.unknowns("b", 100, atmost.ProbeUnknown)
		b.unknowns("c", 1, atmost.ProbeUnknown)
		b.unknowns("d", 1, atmost.ProbeUnknown)
		pass(7 * time.Second)
		b.store.SetDown(true)
		pass(7 * time.Second)
		b.store.SetDown(false)
		pass(5 * time.Minute)
		if r := b.lookup("d00000"); r.State != atmost.Completed {
			b.Errorf("five minutes later it is %v", r.State)
		}
		if b.events.get("panicked") == 0 || b.events.get("probed unknown") < 100 {
			b.Errorf("told %v", b.events.counts)
		}
	})
}

func TestRetentionAnswers(t *testing.T) {
	op := atmost.Operation{ResultRetention: time.Hour, KeyRetention: 2 * time.Hour}
	inBubble(t, op, atmost.Options{}, func(b *bench) {
		first, err := b.execute(call("k"))
		b.says(first, err, "", atmost.Completed)
		pass(time.Hour) // the sweeper runs all the while
		a, err := b.execute(call("k"))
		b.says(a, err, atmost.CodeResultNotKept, atmost.Completed)
		other := call("k")
		other.Payload = []byte("0")
		if _, err := b.execute(other); atmost.CodeOf(err) != atmost.CodePayloadMismatch {
			b.Errorf("another payload after its result's retention: %v", err)
		}
		pass(time.Hour)
		a, err = b.execute(call("k"))
		b.says(a, err, "", atmost.Completed)
		if b.target.count("k") != 2 || a.Record.Fence <= first.Record.Fence {
			b.Errorf("%d effects, fences %d and %d", b.target.count("k"), first.Record.Fence, a.Record.Fence)
		}
	})
}

// TestTheOutcomeBetweenLookingAndWaiting: a duplicate is told "processing", and the outcome becomes durable before it begins to wait.
func TestTheOutcomeBetweenLookingAndWaiting(t *testing.T) {
	inBubble(t, atmost.Operation{ResultRetention: time.Second, KeyRetention: time.Second}, atmost.Options{}, func(b *bench) {
		for _, tc := range []struct {
			key  string
			code atmost.Code
		}{{"same", ""}, {"anew", atmost.CodePayloadMismatch}} {
			entered, leave := b.hold(completed("done"))
			first := b.start(call(tc.key))
			<-entered
			told := b.store.Next(storetest.AnswerBlocked, storetest.Of[*atmost.Claim])
			begin := time.Now()
			duplicate := b.start(waiting(call(tc.key), time.Minute))
			<-told.Hit()
			close(leave)
			a, err := first.wait()
			b.says(a, err, "", atmost.Completed)
			if tc.key == "anew" { // the key is forgotten, and used for something else
				pass(2 * time.Second)
				other := with(call(tc.key), `{"amount":2}`)
				a, err := b.execute(other)
				b.says(a, err, "", atmost.Completed)
			}
			told.Release()
			a, err = duplicate.wait()
			b.says(a, err, tc.code, atmost.Completed)
			if tc.code != "" {
				b.differs(err, "/amount")
			}
			if took := time.Since(begin); took > 2*time.Second {
				b.Errorf("%s: answered after %v", tc.key, took)
			}
		}
	})
}

// TestAnAnswerMakesRoom: whoever was answered finds the place of its execution free.
func TestAnAnswerMakesRoom(t *testing.T) {
	inBubble(t, atmost.Operation{Concurrency: 1, MaxPending: 1}, atmost.Options{}, func(b *bench) {
		for i := range 500 {
			a, err := b.execute(call(fmt.Sprint("k", i)))
			b.says(a, err, "", atmost.Completed)
		}
	})
}

// TestAFullStoreAnswersWhatItHas, also right after a start.
func TestAFullStoreAnswersWhatItHas(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		a, err := b.execute(call("k"))
		b.says(a, err, "", atmost.Completed)
		e, err := atmost.New(b.Context(), &fullStore{b.store}, atmost.Options{
			Clock: b.clock, Operations: map[string]atmost.Operation{"op": {Executor: b.target}},
		})
		if err != nil {
			b.Fatal(err)
		}
		defer e.Close(b.Context())
		a, err = e.Execute(b.Context(), call("k"))
		b.says(a, err, "", atmost.Completed)
		a, err = e.Execute(b.Context(), call("new"))
		b.says(a, err, atmost.CodeStoreUnavailable, atmost.Absent)
	})
}

// fullStore has no room for new attempts.
type fullStore struct{ atmost.Store }

func (s *fullStore) Apply(ctx context.Context, id atmost.ID, e atmost.Event) (atmost.Step, error) {
	r, err := s.Lookup(ctx, id)
	if _, claim := e.(*atmost.Claim); claim && err == nil && r.State == atmost.Absent {
		return atmost.Step{}, fmt.Errorf("test: %w", atmost.ErrFull)
	}
	return s.Store.Apply(ctx, id, e)
}

// sharedStore is a store that other engines change too.
type sharedStore struct {
	*memstore.Store
	asked atomic.Int64
}

func (s *sharedStore) Settled(ctx context.Context, ids []atmost.ID) ([]atmost.Record, error) {
	s.asked.Add(1)
	var settled []atmost.Record
	for _, id := range ids {
		if r, err := s.Lookup(ctx, id); err == nil && r.State != atmost.Processing && r.State != atmost.Absent {
			settled = append(settled, r)
		}
	}
	return settled, nil
}

// TestWaitingForAnotherEngine: duplicates in one engine get what another one did, and all of them together cost one
// question each interval, and none while nobody waits.
func TestWaitingForAnotherEngine(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		shared := &sharedStore{Store: memstore.New(memstore.Options{Clock: b.clock})}
		o := atmost.Options{Clock: b.clock, Operations: map[string]atmost.Operation{"op": {Executor: b.target}}}
		var engines [2]*atmost.Engine
		for i := range engines {
			var err error
			if engines[i], err = atmost.New(b.Context(), shared, o); err != nil {
				b.Fatal(err)
			}
			defer engines[i].Close(b.Context())
		}
		entered, leave := b.hold(completed("done"))
		b.Engine.Close(b.Context())
		b.Engine = engines[0]
		const keys = 50
		for i := range keys {
			b.start(call(fmt.Sprint("k", i)))
			<-entered
		}
		b.Engine = engines[1]
		var waiters []*pendingAnswer
		for i := range keys {
			waiters = append(waiters, b.start(waiting(call(fmt.Sprint("k", i)), time.Minute)))
		}
		pass(time.Second)
		if n := shared.asked.Load(); n < 19 || n > 21 {
			b.Errorf("asked %d times in a second", n)
		}
		begin := time.Now()
		close(leave)
		for _, p := range waiters {
			a, err := p.wait()
			b.says(a, err, "", atmost.Completed)
		}
		if took := time.Since(begin); took > 100*time.Millisecond {
			b.Errorf("told after %v", took)
		}
		n := shared.asked.Load()
		pass(time.Second)
		if shared.asked.Load() > n+1 {
			b.Errorf("asked %d times for nothing", shared.asked.Load()-n)
		}
	})
}
