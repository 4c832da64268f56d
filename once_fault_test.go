package atmost_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/storetest"
)

func TestTheLeaseIsRenewedWhileItRuns(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		for _, lease := range []time.Duration{0, atmost.MinLease} { // the first is the default
			key, length := "k"+lease.String(), lease
			if lease == 0 {
				length = atmost.DefaultOnceLease
			}
			c := atmost.WithOnceOptions(j.claimer, atmost.OnceOptions{Lease: lease})
			result, err := atmost.Once(j.Context(), c, workCall(key), func(ctx context.Context, _ atmost.Attempt) (string, error) {
				if r := j.lookup(key); r.Deadline.Sub(r.CreatedAt) != length {
					j.Errorf("the lease is for %v", r.Deadline.Sub(r.CreatedAt))
				}
				for range 20 {
					pass(length / 2)
					if r := j.lookup(key); r.State != atmost.Processing || ctx.Err() != nil {
						j.Fatalf("it is %v, %v", r.State, context.Cause(ctx))
					}
				}
				return "done", nil
			})
			j.got(result, err, "done")
		}
	})
}

// TestARenewalThatFailsIsRepeated, as long as there is a lease to renew.
func TestARenewalThatFailsIsRepeated(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		result, err := j.once(func(ctx context.Context, _ atmost.Attempt) (string, error) {
			j.store.SetDown(true)
			pass(atmost.DefaultOnceLease * 9 / 10)
			j.store.SetDown(false)
			pass(atmost.DefaultOnceLease)
			return "done", ctx.Err()
		})
		j.got(result, err, "done")
	})
}

// TestTheLeaseOutlastsTheContext: a function may take its time to end after its context has, and nobody else runs meanwhile.
func TestTheLeaseOutlastsTheContext(t *testing.T) {
	inEachMode(t, atmost.Operation{OnUnknown: atmost.RetryUnknown}, func(j *job) {
		ctx, end := context.WithCancel(j.Context())
		result, err := j.onceIn(ctx, func(ctx context.Context, _ atmost.Attempt) (string, error) {
			end()
			pass(3 * atmost.DefaultOnceLease)
			if r := j.lookup("k"); r.State != atmost.Processing || ctx.Err() == nil {
				j.Errorf("it is %v, and its context: %v", r.State, ctx.Err())
			}
			return "done", nil
		})
		j.got(result, err, "done")
	})
}

func TestTheFunctionLearnsThatItsLeaseIsLost(t *testing.T) {
	for name, lose := range map[string]func(j *job){
		"because it is over":           func(j *job) { j.clock.jump(time.Hour) },
		"because it cannot be renewed": func(j *job) { j.store.SetDown(true) },
	} {
		t.Run(name, func(t *testing.T) {
			inEachMode(t, atmost.Operation{}, func(j *job) {
				result, err := j.once(func(ctx context.Context, _ atmost.Attempt) (string, error) {
					lose(j)
					begin := time.Now()
					<-ctx.Done()
					if took := time.Since(begin); took > atmost.DefaultOnceLease || atmost.CodeOf(context.Cause(ctx)) != atmost.CodeLeaseLost {
						j.Errorf("%v, after %v", context.Cause(ctx), took)
					}
					j.store.SetDown(false)
					return "done after all", nil
				})
				j.got(result, err, "done after all") // nobody knew better: a late report is information
			})
		})
	}
}

// TestAnEffectThatCannotBeStored is unknown, whatever is the reason.
func TestAnEffectThatCannotBeStored(t *testing.T) {
	for name, before := range map[string]func(j *job){
		"the store is down": func(j *job) { j.store.SetDown(true) },
		"another attempt runs": func(j *job) {
			j.settle(atmost.NotExecuted)
			j.claims(work("k", stranger))
		},
	} {
		for _, outcome := range []fn{
			returns("done", nil), returns("", errors.New("time-out")), returns("", atmost.NotExecutedBecause(errors.New("refused"))),
		} {
			t.Run(name, func(t *testing.T) {
				inEachMode(t, atmost.Operation{}, func(j *job) {
					result, err := j.once(func(ctx context.Context, a atmost.Attempt) (string, error) {
						before(j)
						return outcome(ctx, a)
					})
					j.refused(result, err, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown)
					j.store.SetDown(false)
					j.ran(1)
				})
			})
		}
	}
}

// settle has a person say how the attempt for "k" ended, once its lease is over.
func (j *job) settle(state atmost.State) {
	j.Helper()
	j.clock.jump(time.Hour)
	if _, err := j.store.Apply(j.Context(), atmost.ID{Key: "k"}, &atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: state, Result: []byte(`"found"`), Message: "found"}}); err != nil {
		j.Fatal(err)
	}
}

// TestSomebodySettledItFirst: what is stored counts, and a report that contradicts it is in doubt.
func TestSomebodySettledItFirst(t *testing.T) {
	done, timeout, refused := returns("done", nil), returns("", errors.New("time-out")), returns("", atmost.NotExecutedBecause(errors.New("refused")))
	for _, tc := range []struct {
		name     string
		settled  atmost.State
		f        fn
		result   string
		code     atmost.Code
		executed atmost.Executed
	}{
		{"and was right", atmost.Completed, done, "found", "", ""},
		{"and was wrong", atmost.Failed, done, "", atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown},
		{"and was wrong about the effect", atmost.Failed, refused, "", atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown},
		{"knowing more: failed", atmost.Failed, timeout, "", atmost.CodeExecutionFailed, atmost.ExecutedYes},
		{"knowing more: not executed", atmost.NotExecuted, timeout, "", atmost.CodeExecutionNotStarted, atmost.ExecutedNo},
		{"knowing more: completed", atmost.Completed, timeout, "", atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inEachMode(t, atmost.Operation{}, func(j *job) {
				result, err := j.once(func(ctx context.Context, a atmost.Attempt) (string, error) {
					j.settle(tc.settled)
					return tc.f(ctx, a)
				})
				if tc.code == "" {
					j.got(result, err, tc.result)
					return
				}
				j.refused(result, err, tc.code, tc.executed)
				if e := (*atmost.Error)(nil); errors.As(err, &e) && e.Code != atmost.CodeOutcomeUnknown && e.Message == "time-out" {
					j.Errorf("the function's word is taken for the settlement's: %v", err)
				}
			})
		})
	}
}

func TestLostAnswersOfTheStoreAreAskedForAgain(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.AmbiguousDone, storetest.AmbiguousLost, storetest.Unavailable} {
		for name, of := range map[string]func(atmost.Event) bool{"claim": storetest.Of[*atmost.Claim], "report": storetest.Of[*atmost.Finish]} {
			t.Run(name, func(t *testing.T) {
				inEachMode(t, atmost.Operation{}, func(j *job) {
					j.store.Next(fault, of)
					j.ambiguous(12, of) // the engine loses patience, Once does not
					result, err := j.once(returns("done", nil))
					j.got(result, err, "done")
					j.ran(1)
				})
			})
		}
	}
}

// TestAClaimThatCouldNotBeUsedIsGivenBack, so that nobody waits for it.
func TestAClaimThatCouldNotBeUsedIsGivenBack(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		held := j.store.Next(storetest.AnswerBlocked, storetest.Of[*atmost.Claim])
		ctx, cancel := context.WithCancel(j.Context())
		p := j.startIn(ctx, returns("never", nil))
		<-held.Hit()
		cancel()
		synctest.Wait()
		held.Release()
		result, err := p.wait()
		j.refused(result, err, atmost.CodeOf(err), atmost.ExecutedOf(err))
		synctest.Wait()
		if r := j.lookup("k"); r.State != atmost.NotExecuted {
			j.Errorf("it is %v", r.State)
		}
		j.ran(0)
	})
}

// TestAnOutageEndsTheCall instead of keeping it for ever.
func TestAnOutageEndsTheCall(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		j.store.SetDown(true)
		begin := time.Now()
		result, err := j.once(returns("never", nil))
		j.refused(result, err, atmost.CodeStoreUnavailable, atmost.ExecutedUnknown)
		if took := time.Since(begin); took < atmost.DefaultOnceLease || took > 5*time.Minute {
			j.Errorf("it took %v", took)
		}
		j.store.SetDown(false)
		j.ran(0)
	})
}
