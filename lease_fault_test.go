package atmost_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/store/storetest"
)

// slowly runs f, whose next event is answered by the store so much later.
func (b *bench) slowly(d time.Duration, f func()) {
	answer := b.store.Next(storetest.AnswerBlocked, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-answer.Hit()
	pass(d)
	answer.Release()
	<-done
}

// ambiguous makes the next n events of a kind ambiguous, and lost.
func (b *bench) ambiguous(n int, of func(atmost.Event) bool) {
	for range n {
		b.store.Next(storetest.AmbiguousLost, of)
	}
}

func TestAnUnavailableStoreLeasesNothing(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		l := b.claims(work("k", atmost.Token{}))
		b.store.SetDown(true)
		b.loses(work("new", atmost.Token{}), atmost.CodeStoreUnavailable, atmost.Absent)
		b.renews("k", l.Token, leaseTime, atmost.CodeStoreUnavailable)
		b.completes("k", l.Token, "1", atmost.CodeStoreUnavailable, atmost.Absent)
		b.fails("k", l.Token, atmost.ExecutedNo, atmost.CodeStoreUnavailable, atmost.Absent)
		b.store.SetDown(false)
		b.told("store failed to renew", 1)
		b.told("store failed to finish", 2)
		b.completes("k", l.Token, "1", "", atmost.Completed)
	})
}

func TestAnAmbiguousLeaseIsSettled(t *testing.T) {
	for name, fault := range map[string]storetest.Fault{"made": storetest.AmbiguousDone, "lost": storetest.AmbiguousLost} {
		for _, drawn := range []atmost.Token{{}, token} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
					pass(time.Second)
					b.store.Next(fault, storetest.Of[*atmost.Claim])
					b.ambiguous(1, storetest.Of[*atmost.Claim]) // the next try, after which there is a pause
					begin := time.Now()
					l := b.claims(work("k", drawn))
					left := leaseTime // from the try that made it
					if name == "made" {
						left -= time.Since(begin)
					}
					if l.Attempt != 1 || l.ExpiresIn != lasts(left) {
						b.Errorf("the lease is %+v, want %v", l, lasts(left))
					}
					if n, _ := b.Pending(); n != 0 {
						b.Errorf("%d pending", n)
					}
					b.completes("k", l.Token, "1", "", atmost.Completed)
				})
			})
		}
	}
}

// TestNobodyWalksAwayFromAnAmbiguousLease whose token nobody else knows: it is given back, so that another client may claim.
func TestNobodyWalksAwayFromAnAmbiguousLease(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{ClaimPatience: 2 * time.Second}, func(b *bench) {
		b.store.Next(storetest.AmbiguousDone, storetest.Of[*atmost.Claim])
		again := b.store.Next(storetest.Blocked, storetest.Of[*atmost.Claim])
		begin := time.Now()
		b.loses(work("k", atmost.Token{}), atmost.CodeStoreUnavailable, atmost.Absent)
		if took := time.Since(begin); took != 2*time.Second {
			b.Errorf("answered after %v", took)
		}
		if n, _ := b.Pending(); n != 1 {
			b.Errorf("%d pending while it is not settled", n)
		}
		waiter := make(chan error)
		go func() {
			_, err := b.Claim(b.Context(), patient(work("k", stranger), time.Minute))
			waiter <- err
		}()
		synctest.Wait()
		again.Release()
		if err := <-waiter; atmost.CodeOf(err) != atmost.CodeExecutionNotStarted {
			b.Errorf("who waited was told %v", err)
		}
		if n, _ := b.Pending(); n != 0 {
			b.Errorf("%d pending", n)
		}
		if l := b.claims(work("k", atmost.Token{})); l.Attempt != 2 {
			b.Errorf("attempt %d", l.Attempt)
		}
	})
}

// TestAClientsAmbiguousClaimIsItsOwn: it may have the lease from an earlier answer, and be at work. So it is not given back, nor
// made behind its back; repeated, it gets the lease.
func TestAClientsAmbiguousClaimIsItsOwn(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{ClaimPatience: 2 * time.Second}, func(b *bench) {
		b.store.Next(storetest.AmbiguousDone, storetest.Of[*atmost.Claim])
		again := b.store.Next(storetest.Blocked, storetest.Of[*atmost.Claim])
		b.loses(work("made", token), atmost.CodeStoreUnavailable, atmost.Absent)
		again.Release()
		pass(time.Minute)
		if r := b.lookup("made"); r.State != atmost.Processing {
			b.Errorf("it is %v", r.State)
		}
		if l := b.claims(work("made", token)); l.Attempt != 1 || l.ExpiresIn > lasts(leaseTime-time.Minute) {
			b.Errorf("the lease is %+v", l)
		}

		b.ambiguous(9, storetest.Of[*atmost.Claim]) // as many as there are in 2 s, and one
		b.loses(work("lost", token), atmost.CodeStoreUnavailable, atmost.Absent)
		pass(time.Minute)
		if r := b.lookup("lost"); r.State != atmost.Absent {
			b.Errorf("nobody wanted it, and it is %v", r.State)
		}
		if n, _ := b.Pending(); n != 0 {
			b.Errorf("%d pending", n)
		}
	})
}

// TestALeaseThatNobodyWasTold is given back: its caller was gone before the answer, or the answer came when it was over.
func TestALeaseThatNobodyWasTold(t *testing.T) {
	for name, late := range map[string]func(*bench, context.CancelFunc){
		"the caller is gone": func(_ *bench, hangUp context.CancelFunc) { hangUp() },
		"no time is left":    func(b *bench, _ context.CancelFunc) { b.clock.jump(leaseTime) },
		"hardly any is":      func(b *bench, _ context.CancelFunc) { b.clock.jump(lasts(leaseTime)) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
				ctx, hangUp := context.WithCancel(b.Context())
				defer hangUp()
				for key, own := range map[string]atmost.Token{"drawn": {}, "own": token} {
					answer := b.store.Next(storetest.AnswerBlocked, storetest.Of[*atmost.Claim])
					told := make(chan atmost.Claimed)
					go func() {
						c, err := b.Claim(ctx, work(key, own))
						if c.Won != (err == nil) || err != nil && atmost.CodeOf(err) != atmost.CodeStoreUnavailable {
							b.Errorf("%s: %+v, %v", key, c, err)
						}
						told <- c
					}()
					<-answer.Hit()
					late(b, hangUp)
					answer.Release()
					c := <-told
					synctest.Wait()
					want := atmost.NotExecuted
					if key == "own" { // it may have come from an earlier answer
						want = atmost.Processing
						if name == "no time is left" {
							want = atmost.Unknown
						}
					}
					if r := b.lookup(key); r.State != want || c.Won && key == "drawn" {
						b.Errorf("%s: it is %v, and the claim %+v", key, r.State, c)
					}
				}
			})
		})
	}
}

func TestAnAmbiguousReportIsRepeated(t *testing.T) {
	for name, fault := range map[string]storetest.Fault{"made": storetest.AmbiguousDone, "lost": storetest.AmbiguousLost} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
				l := b.claims(work("k", atmost.Token{}))
				b.store.Next(fault, storetest.Of[*atmost.Renew])
				pass(leaseTime / 2)
				if renewed := b.renews("k", l.Token, leaseTime, ""); renewed.ExpiresIn > lasts(leaseTime) || renewed.ExpiresIn < lasts(leaseTime)-time.Second {
					b.Errorf("renewed %+v", renewed)
				}
				b.store.Next(fault, storetest.Of[*atmost.Finish])
				if a := b.completes("k", l.Token, "1", "", atmost.Completed); a.Replayed {
					b.Error("the report takes its own first try for another's")
				}
			})
		})
	}
}

// TestAReportWhoseFateStaysUnknown is repeated within the engine's patience, and then by the client.
func TestAReportWhoseFateStaysUnknown(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{ClaimPatience: 2 * time.Second}, func(b *bench) {
		l := b.claims(work("k", atmost.Token{}))
		for _, report := range []func(){
			func() { b.renews("k", l.Token, leaseTime, atmost.CodeStoreUnavailable) },
			func() { b.completes("k", l.Token, "1", atmost.CodeStoreUnavailable, atmost.Absent) },
		} {
			b.ambiguous(8, nil)
			begin := time.Now()
			report()
			if took := time.Since(begin); took <= time.Second || took > 2*time.Second {
				b.Errorf("answered after %v", took)
			}
		}
		if r := b.lookup("k"); r.State != atmost.Processing {
			b.Errorf("it is %v", r.State)
		}
		b.completes("k", l.Token, "1", "", atmost.Completed)
	})
}

// TestAReportIsStoredThoughItsCallerIsGone: it is information.
func TestAReportIsStoredThoughItsCallerIsGone(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		l := b.claims(work("k", atmost.Token{}))
		ctx, hangUp := context.WithCancel(b.Context())
		hangUp()
		b.store.Next(storetest.AmbiguousLost, storetest.Of[*atmost.Finish])
		a, err := b.Complete(ctx, atmost.ID{Key: "k"}, l.Token, []byte("1"))
		b.says(a, err, "", atmost.Completed)
	})
}

// TestOverloadOfClaims: the bounds count the claims under way, not the leases held; what is stored is answered, and who holds a lease
// is told so.
func TestOverloadOfClaims(t *testing.T) {
	for name, limits := range map[string]struct {
		op atmost.Operation
		o  atmost.Options
	}{
		"over all": {atmost.Operation{}, atmost.Options{MaxPending: 1}},
		"of one":   {atmost.Operation{Concurrency: 1, MaxPending: 1}, atmost.Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, limits.op, limits.o, func(b *bench) {
				held := b.claims(work("held", token))
				done := b.claims(work("done", atmost.Token{}))
				b.completes("done", done.Token, "1", "", atmost.Completed)
				nothing := b.claims(work("nothing", atmost.Token{}))
				b.fails("nothing", nothing.Token, atmost.ExecutedNo, "", atmost.NotExecuted)

				slow := b.store.Next(storetest.Blocked, storetest.Of[*atmost.Claim])
				claimed := make(chan error)
				go func() {
					_, err := b.Claim(b.Context(), work("slow", atmost.Token{}))
					claimed <- err
				}()
				<-slow.Hit()
				b.loses(work("new", atmost.Token{}), atmost.CodeOverloaded, atmost.Absent)
				b.loses(work("nothing", atmost.Token{}), atmost.CodeOverloaded, atmost.NotExecuted)
				b.loses(work("done", atmost.Token{}), "", atmost.Completed)
				b.loses(work("held", atmost.Token{}), "", atmost.Processing)
				longer := work("held", token)
				longer.Lease = atmost.MaxLease
				if again := b.claims(longer); again != held {
					b.Errorf("the lease was %+v, and is %+v", held, again)
				}
				b.renews("held", token, leaseTime, "")
				b.store.Next(storetest.Unavailable, storetest.Of[*atmost.Renew])
				b.loses(work("held", token), atmost.CodeStoreUnavailable, atmost.Absent)

				looked := b.store.Next(storetest.Blocked, storetest.Of[*atmost.Renew]) // and meanwhile it ends
				lapsed := make(chan error)
				go func() {
					_, err := b.Claim(b.Context(), work("held", token))
					lapsed <- err
				}()
				<-looked.Hit()
				b.completes("held", token, "1", "", atmost.Completed)
				looked.Release()
				if err := <-lapsed; err != nil {
					b.Errorf("a claim whose attempt ended meanwhile: %v", err)
				}

				slow.Release()
				if err := <-claimed; err != nil {
					b.Error(err)
				}
				b.claims(work("new", atmost.Token{}))
			})
		})
	}
}

// TestLeasesWhileTheEngineCloses: nothing new is claimed, what is held can be renewed and reported until the end.
func TestLeasesWhileTheEngineCloses(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		held := b.claims(work("held", token))
		entered, leave := b.hold(completed("done"))
		running := b.start(call("running"))
		<-entered
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			b.Close(b.Context())
		}()
		synctest.Wait()
		b.loses(work("new", atmost.Token{}), atmost.CodeShuttingDown, atmost.Absent)
		if again := b.claims(work("held", token)); again != held {
			b.Errorf("the lease was %+v, and is %+v", held, again)
		}
		b.renews("held", token, leaseTime, "")
		b.completes("held", token, "1", "", atmost.Completed)
		close(leave)
		running.wait()
		<-closed
		b.store.SetDown(true) // nobody notices
		b.loses(work("held", token), atmost.CodeShuttingDown, atmost.Absent)
		b.renews("held", token, leaseTime, atmost.CodeShuttingDown)
		b.completes("held", token, "1", atmost.CodeShuttingDown, atmost.Absent)
		b.fails("held", token, atmost.ExecutedNo, atmost.CodeShuttingDown, atmost.Absent)
		b.store.SetDown(false)
	})
}

// TestAnEndWhileAClaimIsAmbiguous: its token was told to nobody, so the engine says at least once that nothing was executed.
func TestAnEndWhileAClaimIsAmbiguous(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		b.store.Next(storetest.AmbiguousDone, storetest.Of[*atmost.Claim])
		b.ambiguous(20, storetest.Of[*atmost.Claim])
		claimed := make(chan error)
		go func() {
			_, err := b.Claim(b.Context(), work("k", atmost.Token{}))
			claimed <- err
		}()
		pass(time.Second)
		ended, cancel := context.WithCancel(b.Context())
		cancel()
		b.Close(ended)
		if err := <-claimed; atmost.CodeOf(err) != atmost.CodeStoreUnavailable {
			b.Error(err)
		}
		if r := b.lookup("k"); r.State != atmost.NotExecuted {
			b.Errorf("it is %v", r.State)
		}
	})
}

func TestAGuardedStoreLeasesNothingNew(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		guarded := &guardedStore{Store: memstore.New(memstore.Options{Clock: b.clock})}
		e, err := atmost.New(b.Context(), guarded, atmost.Options{Clock: b.clock, Operations: map[string]atmost.Operation{"work": {}}})
		if err != nil {
			b.Fatal(err)
		}
		defer e.Close(b.Context())
		b.Engine.Close(b.Context())
		b.Engine = e
		held := b.claims(work("held", atmost.Token{}))
		guarded.on = true
		b.loses(work("new", atmost.Token{}), atmost.CodeOutcomeUnknown, atmost.Absent)
		b.renews("held", held.Token, leaseTime, "")
		b.completes("held", held.Token, "1", "", atmost.Completed)
		b.renews("new", held.Token, leaseTime, atmost.CodeLeaseLost)
	})
}

// guardedStore refuses the claims of absent keys while it is on.
type guardedStore struct {
	atmost.Store
	on bool
}

func (s *guardedStore) Apply(ctx context.Context, id atmost.ID, e atmost.Event) (atmost.Step, error) {
	r, err := s.Lookup(ctx, id)
	if _, claim := e.(*atmost.Claim); s.on && claim && err == nil && r.State == atmost.Absent {
		return atmost.Step{}, &atmost.Error{Code: atmost.CodeOutcomeUnknown, Message: "this key may have been forgotten"}
	}
	return s.Store.Apply(ctx, id, e)
}

// TestLeasesOutliveTheService: what clients hold is theirs after a restart, what the service executed is in doubt.
func TestLeasesOutliveTheService(t *testing.T) {
	clock, dir := storetest.NewClock(), t.TempDir()
	open := func(executor atmost.Executor) (*atmost.Engine, func()) {
		store, err := pebblestore.Open(dir, pebblestore.Options{Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		e, err := atmost.New(t.Context(), store, atmost.Options{
			Clock: clock, Operations: map[string]atmost.Operation{"op": {Executor: executor}, "work": {}, "again": {OnUnknown: atmost.RetryUnknown}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return e, func() {
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			e.Close(ended)
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	state := func(e *atmost.Engine, key string, want atmost.State) {
		t.Helper()
		if r, err := e.Status(t.Context(), atmost.ID{Key: key}, 0); err != nil || r.State != want {
			t.Errorf("%s is %v, %v; want %v", key, r.State, err, want)
		}
	}

	started := make(chan struct{})
	e, end := open(executorFunc(func(ctx context.Context, _ atmost.Attempt) atmost.Outcome {
		close(started)
		<-ctx.Done()
		return doubt
	}))
	for _, c := range []atmost.ClaimCall{work("held", token), work("dead", newToken), work("dead-again", newToken)} {
		if c.ID.Key == "dead-again" {
			c.Operation = "again"
		}
		if got, err := e.Claim(t.Context(), c); err != nil || !got.Won {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if _, err := e.Execute(t.Context(), waiting(call("service"), 0)); err != nil {
		t.Fatal(err)
	}
	<-started
	end()

	e, end = open(nil)
	state(e, "held", atmost.Processing)
	state(e, "service", atmost.Unknown)
	clock.Advance(leaseTime / 2)
	got, err := e.Claim(t.Context(), work("held", token))
	if err != nil || !got.Won || got.Lease.ExpiresIn > lasts(leaseTime/2) || got.Lease.ExpiresIn < lasts(leaseTime/2)-time.Second {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := e.Renew(t.Context(), atmost.ID{Key: "held"}, token, leaseTime); err != nil {
		t.Error(err)
	}
	end()

	clock.Advance(leaseTime * 3 / 4) // the lease that was renewed is not over, those of the dead are
	e, end = open(nil)
	defer end()
	state(e, "held", atmost.Processing)
	state(e, "dead", atmost.Unknown)
	state(e, "dead-again", atmost.NotExecuted)
	if a, err := e.Complete(t.Context(), atmost.ID{Key: "held"}, token, []byte(`"done"`)); err != nil || a.Record.State != atmost.Completed {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := e.Complete(t.Context(), atmost.ID{Key: "dead"}, newToken, []byte(`"late"`)); err != nil || a.Record.State != atmost.Completed {
		t.Errorf("%+v, %v", a, err)
	}
}

type executorFunc func(context.Context, atmost.Attempt) atmost.Outcome

func (f executorFunc) Execute(ctx context.Context, a atmost.Attempt) atmost.Outcome { return f(ctx, a) }
