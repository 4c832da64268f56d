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

// TestTheLeaseOutlastsTheCaller: while the function runs, nobody takes it for ended because the caller is gone.
func TestTheLeaseOutlastsTheCaller(t *testing.T) {
	inEachMode(t, atmost.Operation{OnUnknown: atmost.RetryUnknown}, func(j *job) {
		ctx, cancel := context.WithCancel(j.Context())
		result, err := j.onceIn(ctx, func(ctx context.Context, _ atmost.Attempt) (string, error) {
			cancel()
			for range 20 {
				pass(atmost.DefaultOnceLease / 2)
				if r := j.lookup("k"); r.State != atmost.Processing {
					j.Fatalf("it is %v", r.State)
				}
			}
			return "done", nil
		})
		j.got(result, err, "done")
		j.ran(1)
	})
}

// silentClaimer loses the answers of those calls that it is told to, after they were done.
type silentClaimer struct {
	atmost.Claimer
	claims, reports bool
}

var errSilent = errors.New("no answer")

func (c *silentClaimer) Claim(ctx context.Context, call atmost.ClaimCall) (atmost.Claimed, error) {
	claimed, err := c.Claimer.Claim(ctx, call)
	if c.claims {
		return atmost.Claimed{}, errSilent
	}
	return claimed, err
}

func (c *silentClaimer) Complete(ctx context.Context, _ atmost.ID, _ atmost.Token, _ []byte) (atmost.Answer, error) {
	return atmost.Answer{}, c.wait(ctx)
}

func (c *silentClaimer) Fail(ctx context.Context, id atmost.ID, token atmost.Token, f atmost.Failure) (atmost.Answer, error) {
	if c.reports {
		return atmost.Answer{}, c.wait(ctx)
	}
	return c.Claimer.Fail(ctx, id, token, f)
}

// wait takes as long as a client that asks again and again by itself.
func (c *silentClaimer) wait(ctx context.Context) error {
	select {
	case <-time.After(2 * time.Minute):
	case <-ctx.Done():
	}
	return errSilent
}

// TestAnErrorIsAnError of this package, also where the service gave no answer at all, and what was claimed is given back.
func TestAnErrorIsAnError(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		c := &silentClaimer{Claimer: j.claimer, claims: true}
		j.claimer = c
		result, err := j.once(returns("never", nil))
		j.refused(result, err, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown)
		if !errors.Is(err, errSilent) {
			j.Errorf("the reason is not in %v", err)
		}
		j.ran(0)
		j.claimer = c.Claimer
		result, err = j.once(returns("done", nil))
		j.got(result, err, "done")
	})
}

// unknownClaimer answers the first claim as one does that asked again by itself until the lease, of which it lost the answer, was over.
type unknownClaimer struct {
	atmost.Claimer
	lapse func()
}

func (c *unknownClaimer) Claim(ctx context.Context, call atmost.ClaimCall) (atmost.Claimed, error) {
	if c.lapse != nil {
		_, _ = c.Claimer.Claim(ctx, call)
		c.lapse()
		c.lapse = nil
	}
	return c.Claimer.Claim(ctx, call)
}

func TestAClaimThatOnlyTheClaimerLostIsGivenBack(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		j.claimer = &unknownClaimer{Claimer: j.claimer, lapse: func() { j.clock.jump(time.Hour) }}
		result, err := j.once(returns("never", nil))
		j.refused(result, err, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown)
		j.ran(0)
		result, err = j.once(returns("done", nil))
		j.got(result, err, "done")
	})
}

// TestReportsEnd about when a lease would, and a panic is not held up for long.
func TestReportsEnd(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		j.claimer = &silentClaimer{Claimer: j.claimer, reports: true}
		begin := time.Now()
		result, err := j.once(returns("done", nil))
		j.refused(result, err, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown)
		if took := time.Since(begin); took > atmost.DefaultOnceLease+time.Second {
			j.Errorf("it took %v", took)
		}
		defer func() {
			if took := time.Since(begin); recover() == nil || took > 10*time.Second {
				j.Errorf("the panic surfaced after %v", took)
			}
		}()
		begin = time.Now()
		_, _ = atmost.Once(j.Context(), j.claimer, workCall("panics"), func(context.Context, atmost.Attempt) (string, error) { panic("!") })
	})
}
