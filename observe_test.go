package atmost_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
)

// What an observer is told, beyond what the tests of each behaviour ask for.

// hooked is a store that a test can get in between.
type hooked struct {
	atmost.Store
	hook atomic.Pointer[func(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error)]
}

func (s *hooked) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	if hook := s.hook.Load(); hook != nil && id.Validate() == nil { // else it is the self-test
		return (*hook)(ctx, id, event)
	}
	return s.Store.Apply(ctx, id, event)
}

func (s *hooked) set(hook func(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error)) {
	s.hook.Store(&hook)
}

// observed runs test with an engine over a hooked store, in virtual time.
func observed(t *testing.T, events atmost.Events, executor func(ctx context.Context, a atmost.Attempt) atmost.Outcome, test func(t *testing.T, e *atmost.Engine, s *hooked)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		clock := &bubbleClock{start: time.Now()}
		s := &hooked{Store: memstore.New(memstore.Options{Clock: clock})}
		op := atmost.Operation{Executor: &target{do: executor}, OnUnknown: atmost.RetryUnknown}
		e, err := atmost.New(t.Context(), s, atmost.Options{
			Operations: map[string]atmost.Operation{"op": op, "work": {}}, Clock: clock, Events: events,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close(context.Background())
		test(t, e, s)
	})
}

func completes(context.Context, atmost.Attempt) atmost.Outcome { return completed(1) }

type contextKey struct{}

// The values of a request's context reach all that is done for it, also when the request is gone.
func TestValuesReachTheExecutorAndTheStore(t *testing.T) {
	var (
		mu   sync.Mutex
		seen = map[string]any{}
	)
	saw := func(who string, ctx context.Context) {
		mu.Lock()
		defer mu.Unlock()
		seen[who] = ctx.Value(contextKey{})
	}
	executes := func(ctx context.Context, _ atmost.Attempt) atmost.Outcome {
		saw("executor", ctx)
		if _, limited := ctx.Deadline(); !limited || ctx.Err() != nil {
			t.Errorf("the executor's context is %v", ctx)
		}
		return completed(1)
	}
	observed(t, atmost.Events{}, executes, func(t *testing.T, e *atmost.Engine, s *hooked) {
		s.set(func(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
			switch event.(type) {
			case *atmost.Claim:
				saw("claim", ctx)
			case *atmost.Finish:
				saw("finish", ctx)
			}
			return s.Store.Apply(ctx, id, event)
		})
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), contextKey{}, "mine"))
		cancel()
		if _, err := e.Execute(ctx, call("k")); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if diff := cmp.Diff(map[string]any{"claim": "mine", "executor": "mine", "finish": "mine"}, seen); diff != "" {
			t.Error(diff)
		}
	})
}

// What the events of one request tell of its trace, the record tells, too.
func TestTheTraceIsRemembered(t *testing.T) {
	var (
		mu   sync.Mutex
		told = map[string]atmost.SpanID{}
	)
	tell := func(what string, id atmost.SpanID) {
		mu.Lock()
		defer mu.Unlock()
		told[what] = id
	}
	events := atmost.Events{
		Answered: func(a atmost.Answered) { tell(a.Answer, a.Trace) },
		Claimed:  func(_ string, id atmost.SpanID, _ time.Duration) { tell("claim", id) },
		Finished: func(_ string, id atmost.SpanID, _ time.Duration) { tell("finish", id) },
	}
	observed(t, events, completes, func(t *testing.T, e *atmost.Engine, s *hooked) {
		first, lease := call("k"), work("w", atmost.Token{})
		first.Trace.Parent, lease.Trace.Parent = parent, parent
		if _, err := e.Execute(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Claim(t.Context(), lease); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		mu.Lock()
		want := map[string]atmost.SpanID{"claim": parentSpan, "finish": parentSpan, "executed": parentSpan, "claimed": parentSpan}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Error(diff)
		}
		mu.Unlock()
		for _, key := range []string{"k", "w"} {
			if r, err := s.Lookup(t.Context(), atmost.ID{Key: key}); err != nil || r.Trace != parentSpan {
				t.Errorf("%s remembers %x, %v", key, r.Trace, err)
			}
		}
		if _, err := e.Execute(t.Context(), call("k")); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if told["replayed"] != (atmost.SpanID{}) || told["claim"] != (atmost.SpanID{}) {
			t.Error("a request without a trace is told to have one")
		}
	})
}

// A duplicate's age counts from the first request, whatever the attempt.
func TestDuplicatesAge(t *testing.T) {
	var (
		mu   sync.Mutex
		ages []string
	)
	events := atmost.Events{Duplicate: func(operation string, age time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		ages = append(ages, operation+" "+age.String())
	}}
	reached := false
	executes := func(context.Context, atmost.Attempt) atmost.Outcome {
		if !reached {
			reached = true
			return atmost.Outcome{State: atmost.NotExecuted}
		}
		pass(10 * time.Second)
		return completed(1)
	}
	observed(t, events, executes, func(t *testing.T, e *atmost.Engine, _ *hooked) {
		send := func(c atmost.Call, code atmost.Code) {
			t.Helper()
			if _, err := e.Execute(t.Context(), c); atmost.CodeOf(err) != code {
				t.Errorf("answered %v, want %q", err, code)
			}
		}
		other := call("k")
		other.Payload = []byte("2")
		send(call("k"), atmost.CodeExecutionNotStarted)
		pass(time.Second)
		send(waiting(call("k"), 0), "") // the second attempt
		pass(time.Second)
		send(call("k"), "") // finds it processing
		send(other, atmost.CodePayloadMismatch)
		pass(time.Minute)
		send(call("k"), "") // a replay
		lease := work("w", atmost.Token{})
		for range 2 {
			if _, err := e.Claim(t.Context(), lease); err != nil {
				t.Error(err)
			}
			pass(3 * time.Second)
		}
		mu.Lock()
		defer mu.Unlock()
		if diff := cmp.Diff([]string{"op 2s", "op 1m2s", "work 3s"}, ages); diff != "" {
			t.Error(diff)
		}
	})
}

// How long a request took is told also to who asks for one kind of event alone, and a lease is so much shorter.
func TestWhatItTookIsTold(t *testing.T) {
	var took []time.Duration
	for name, test := range map[string]struct {
		events atmost.Events
		want   []time.Duration
	}{
		"answered": {
			atmost.Events{Answered: func(a atmost.Answered) { took = append(took, a.Took) }},
			[]time.Duration{time.Second, time.Second, time.Second},
		},
		"claimed": {
			atmost.Events{Claimed: func(_ string, _ atmost.SpanID, d time.Duration) { took = append(took, d) }},
			[]time.Duration{time.Second},
		},
		"finished": {
			atmost.Events{Finished: func(_ string, _ atmost.SpanID, d time.Duration) { took = append(took, d) }},
			[]time.Duration{time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			took = nil
			observed(t, test.events, nil, func(t *testing.T, e *atmost.Engine, s *hooked) {
				s.set(func(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
					pass(time.Second)
					return s.Store.Apply(ctx, id, event)
				})
				c, err := e.Claim(t.Context(), work("w", atmost.Token{}))
				if left := leaseTime - leaseTime/100 - time.Second; err != nil || c.Lease.ExpiresIn != left {
					t.Fatalf("a lease for %v, not %v; %v", c.Lease.ExpiresIn, left, err)
				}
				if _, err := e.Renew(t.Context(), c.Record.ID, c.Lease.Token, time.Minute); err != nil {
					t.Fatal(err)
				}
				if _, err := e.Complete(t.Context(), c.Record.ID, c.Lease.Token, nil); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, took); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// An outcome that the store has no attempt for is not lost without a word.
func TestADroppedOutcomeIsTold(t *testing.T) {
	gone := func(id atmost.ID) atmost.Record { return atmost.Record{ID: id} }
	another := func(id atmost.ID) atmost.Record {
		r := atmost.Record{ID: id, Operation: "op", Attempt: 1, Fence: 1 << 60, Token: stranger, Deadline: 1 << 60}
		r.State = atmost.Processing
		return r
	}
	for name, tc := range map[string]struct {
		outcome atmost.Outcome
		there   func(id atmost.ID) atmost.Record // instead of what was claimed
		dropped bool
	}{
		"completed, gone":            {completed(1), gone, true},
		"failed, gone":               {atmost.Outcome{State: atmost.Failed}, gone, true},
		"unknown, gone":              {atmost.Outcome{State: atmost.Unknown}, gone, true},
		"not executed, gone":         {atmost.Outcome{State: atmost.NotExecuted}, gone, false},
		"completed, claimed anew":    {completed(1), another, true},
		"unknown, claimed anew":      {atmost.Outcome{State: atmost.Unknown}, another, true},
		"not executed, claimed anew": {atmost.Outcome{State: atmost.NotExecuted}, another, false},
	} {
		t.Run(name, func(t *testing.T) {
			told := make(chan atmost.Attempt, 2)
			events := atmost.Events{Dropped: func(a atmost.Attempt, s atmost.State) {
				if s != tc.outcome.State {
					t.Errorf("told of %v", s)
				}
				told <- a
			}}
			executes := func(context.Context, atmost.Attempt) atmost.Outcome { return tc.outcome }
			observed(t, events, executes, func(t *testing.T, e *atmost.Engine, s *hooked) {
				s.set(func(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
					if _, report := event.(*atmost.Finish); report {
						return atmost.Transition(tc.there(id), event, atmost.Instant{Now: 1, Expiry: 1})
					}
					return s.Store.Apply(ctx, id, event)
				})
				a, err := e.Execute(t.Context(), call("k"))
				if a.Record.State == atmost.Completed || err == nil && a.Record.State != atmost.Processing {
					t.Errorf("answered %v, %v", a.Record.State, err)
				}
				synctest.Wait()
				select {
				case a := <-told:
					if !tc.dropped || a.ID.Key != "k" || a.Operation != "op" || a.Number != 1 {
						t.Errorf("told of %+v", a)
					}
				default:
					if tc.dropped {
						t.Error("nobody was told")
					}
				}
			})
		})
	}
}

// An attempt that was given up and claimed anew is remembered: what it reports then is no news of a loss, but perhaps a contradiction.
func TestAReportOfAnEarlierAttemptIsNotDropped(t *testing.T) {
	for name, fault := range map[string]bool{"answered": false, "answer lost": true} {
		t.Run(name, func(t *testing.T) {
			var dropped, contradicted atomic.Int32
			events := atmost.Events{
				Dropped:      func(atmost.Attempt, atmost.State) { dropped.Add(1) },
				Contradicted: func(atmost.ID, string) { contradicted.Add(1) },
			}
			var attempts atomic.Int32
			var begun, end chan struct{}
			executes := func(context.Context, atmost.Attempt) atmost.Outcome {
				if attempts.Add(1) == 1 {
					close(begun)
					<-end
				}
				return completed(1)
			}
			observed(t, events, executes, func(t *testing.T, e *atmost.Engine, s *hooked) {
				begun, end = make(chan struct{}), make(chan struct{})
				var reports atomic.Int32
				s.set(func(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
					switch event.(type) {
					case *atmost.Renew: // so the lease lapses, and the policy has the next request run again
						return atmost.Step{}, context.DeadlineExceeded
					case *atmost.Finish:
						step, err := s.Store.Apply(ctx, id, event)
						if attempts.Load() == 2 && reports.Add(1) == 2 && fault {
							return atmost.Step{}, atmost.ErrAmbiguous
						}
						return step, err
					}
					return s.Store.Apply(ctx, id, event)
				})
				go e.Execute(context.WithoutCancel(t.Context()), call("k")) //nolint:errcheck // it is answered when the test ends
				<-begun
				pass(time.Minute)
				if a, err := e.Execute(t.Context(), call("k")); err != nil || a.Record.Attempt != 2 {
					t.Errorf("answered attempt %d, %v", a.Record.Attempt, err)
				}
				close(end)
				pass(time.Second)
				if dropped.Load() != 0 || !fault && contradicted.Load() != 1 {
					t.Errorf("told %d times of a loss, %d times of a contradiction", dropped.Load(), contradicted.Load())
				}
			})
		})
	}
}

func TestWaiting(t *testing.T) {
	var end chan struct{}
	executes := func(context.Context, atmost.Attempt) atmost.Outcome {
		<-end
		return completed(1)
	}
	observed(t, atmost.Events{}, executes, func(t *testing.T, e *atmost.Engine, _ *hooked) {
		end = make(chan struct{})
		var all sync.WaitGroup
		send := func(wait time.Duration) {
			all.Go(func() {
				if _, err := e.Execute(t.Context(), waiting(call("k"), wait)); err != nil {
					t.Error(err)
				}
			})
		}
		send(time.Minute) // executes
		synctest.Wait()
		send(time.Minute)
		send(time.Minute)
		send(0)
		synctest.Wait()
		if n := e.Waiting(); n != 2 {
			t.Errorf("%d requests wait", n)
		}
		close(end)
		all.Wait()
		if n := e.Waiting(); n != 0 {
			t.Errorf("%d requests wait for nothing", n)
		}
	})
}

// sweeping is a store whose sweeps a test decides on.
type sweeping struct {
	atmost.Store
	sweep func() (atmost.Swept, error)
}

func (s sweeping) Sweep(context.Context, int) (atmost.Swept, error) { return s.sweep() }

func TestSweepLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			mu    sync.Mutex
			sweep func() (atmost.Swept, error)
		)
		next := func(f func() (atmost.Swept, error)) {
			mu.Lock()
			defer mu.Unlock()
			sweep = f
		}
		next(func() (atmost.Swept, error) { return atmost.Swept{}, nil })
		clock := &bubbleClock{start: time.Now()}
		clock.jump(time.Hour) // the engine is not the first thing in the process
		e, err := atmost.New(t.Context(), sweeping{memstore.New(memstore.Options{}), func() (atmost.Swept, error) {
			mu.Lock()
			f := sweep
			mu.Unlock()
			return f()
		}}, atmost.Options{Clock: clock, Housekeeping: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close(context.Background())
		wants := func(what string, want time.Duration) {
			t.Helper()
			synctest.Wait()
			if lag := e.SweepLag(); lag != want {
				t.Errorf("%s: the lag is %v, not %v", what, lag, want)
			}
		}
		pass(500 * time.Millisecond)
		wants("before the first sweep", 500*time.Millisecond)
		pass(10 * time.Second)
		wants("idle", 500*time.Millisecond)
		next(func() (atmost.Swept, error) { return atmost.Swept{}, context.DeadlineExceeded })
		pass(10 * time.Second)
		wants("failing", 10500*time.Millisecond)
		next(func() (atmost.Swept, error) {
			pass(time.Second)
			return atmost.Swept{More: true}, nil
		})
		pass(10 * time.Second)
		wants("too slow", 20500*time.Millisecond)
		next(func() (atmost.Swept, error) {
			pass(time.Second)
			return atmost.Swept{}, nil
		})
		pass(1500 * time.Millisecond) // one sweep that is not the last ends after half a second, the last a second later
		wants("slow", time.Second)
		next(func() (atmost.Swept, error) { return atmost.Swept{}, nil })
	})
}
