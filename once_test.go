package atmost_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
)

// claimers are the ways to reach the service, which Once must not be able to tell apart.
var claimers = map[string]func(b *bench) atmost.Claimer{
	"embedded": func(b *bench) atmost.Claimer { return b.Engine },
	"remote":   func(b *bench) atmost.Claimer { return b.remote() },
}

// job is Once, as one test uses it.
type job struct {
	*bench
	claimer atmost.Claimer
	runs    atomic.Int64
}

// inEachMode runs test with every claimer, in virtual time.
func inEachMode(t *testing.T, op atmost.Operation, test func(j *job)) {
	for name, claimer := range claimers {
		t.Run(name, func(t *testing.T) {
			inBubble(t, op, atmost.Options{}, func(b *bench) { test(&job{bench: b, claimer: claimer(b)}) })
		})
	}
}

func workCall(key string) atmost.Call {
	c := call(key)
	c.Operation = "work"
	return c
}

// fn is what Once is given.
type fn = func(context.Context, atmost.Attempt) (string, error)

// once runs f for the key "k", and counts that.
func (j *job) once(f fn) (string, error) { return j.onceIn(j.Context(), f) }

func (j *job) onceIn(ctx context.Context, f fn) (string, error) {
	return atmost.Once(ctx, j.claimer, workCall("k"), func(ctx context.Context, a atmost.Attempt) (string, error) {
		j.runs.Add(1)
		return f(ctx, a)
	})
}

func returns(result string, err error) fn {
	return func(context.Context, atmost.Attempt) (string, error) { return result, err }
}

// pendingOnce is a call of Once that runs in the background.
type pendingOnce struct {
	done   chan struct{}
	result string
	err    error
}

func (j *job) start(f fn) *pendingOnce { return j.startIn(j.Context(), f) }

func (j *job) startIn(ctx context.Context, f fn) *pendingOnce {
	p := &pendingOnce{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.result, p.err = j.onceIn(ctx, f)
	}()
	return p
}

func (p *pendingOnce) wait() (string, error) {
	<-p.done
	return p.result, p.err
}

// held is a function that tells of its attempt and returns when the test says so, whatever becomes of its context.
func held(result string, err error) (f fn, entered chan context.Context, leave chan struct{}) {
	entered, leave = make(chan context.Context, 1), make(chan struct{})
	return func(ctx context.Context, _ atmost.Attempt) (string, error) {
		entered <- ctx
		<-leave
		return result, err
	}, entered, leave
}

// got fails the test unless Once returned result.
func (j *job) got(result string, err error, want string) {
	j.Helper()
	if err != nil || result != want {
		j.Fatalf("%q, %v; want %q", result, err, want)
	}
}

// refused fails the test unless err is of the code and says so of the effect.
func (j *job) refused(result string, err error, code atmost.Code, executed atmost.Executed) {
	j.Helper()
	var e *atmost.Error
	if !errors.As(err, &e) || e.Code != code || e.Executed() != executed || atmost.ExecutedOf(err) != executed || result != "" {
		j.Fatalf("%q, %v, executed: %v; want %q, executed: %v", result, err, atmost.ExecutedOf(err), code, executed)
	}
}

func (j *job) ran(n int64) {
	j.Helper()
	if got := j.runs.Load(); got != n {
		j.Errorf("it ran %d times, not %d", got, n)
	}
}

func TestOnce(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		c := workCall("k")
		c.ID.Scope = "tenant"
		var seen []atmost.Attempt
		for range 3 {
			n, err := atmost.Once(j.Context(), j.claimer, c, func(_ context.Context, a atmost.Attempt) (int, error) {
				seen = append(seen, a)
				return len(seen), nil
			})
			if err != nil || n != 1 {
				j.Fatalf("%d, %v", n, err)
			}
		}
		want := atmost.Attempt{ID: c.ID, Operation: "work", Payload: c.Payload, Number: 1}
		if len(seen) != 1 || seen[0].Fence == 0 {
			j.Fatalf("it ran as %+v", seen)
		}
		seen[0].Fence = 0
		if diff := cmp.Diff(want, seen[0]); diff != "" {
			j.Error(diff)
		}
	})
}

// TestTheFirstResultIsDecodedToo: nothing that JSON loses is there at first and gone later.
func TestTheFirstResultIsDecodedToo(t *testing.T) {
	type charge struct {
		Amount any
		secret string
	}
	inEachMode(t, atmost.Operation{}, func(j *job) {
		for range 2 {
			got, err := atmost.Once(j.Context(), j.claimer, workCall("k"), func(context.Context, atmost.Attempt) (*charge, error) {
				return &charge{Amount: 7, secret: "x"}, nil
			})
			if want := (charge{Amount: 7.0}); err != nil || *got != want {
				j.Errorf("%+v, %v", got, err)
			}
		}
	})
}

// TestATypeThatEncodesItself does so by the methods that decode it, which a pointer to it has.
func TestATypeThatEncodesItself(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		for range 2 {
			got, err := atmost.Once(j.Context(), j.claimer, workCall("k"), func(context.Context, atmost.Attempt) (big.Int, error) {
				return *big.NewInt(7), nil
			})
			if err != nil || got.Int64() != 7 {
				j.Errorf("%v, %v", &got, err)
			}
		}
	})
}

func TestOthersGetTheSameResult(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		f, entered, leave := held("done", nil)
		first := j.start(f)
		<-entered
		all := []*pendingOnce{first}
		for range 20 {
			all = append(all, j.start(f))
		}
		pass(3 * atmost.MaxWait) // longer than one claim waits, and than the lease lasts
		close(leave)
		for _, p := range all {
			result, err := p.wait()
			j.got(result, err, "done")
		}
		j.ran(1)
	})
}

func TestOthersWaitNoLongerThanTheyWant(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		f, entered, leave := held("done", nil)
		first := j.start(f)
		<-entered
		begin := time.Now()
		ctx, cancel := context.WithTimeout(j.Context(), 90*time.Second)
		defer cancel()
		result, err := j.onceIn(ctx, f)
		j.refused(result, err, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown)
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took > 91*time.Second {
			j.Errorf("%v, after %v", err, took)
		}
		close(leave)
		result, err = first.wait()
		j.got(result, err, "done")
		j.ran(1)
	})
}

func TestAnErrorLeavesItUnknown(t *testing.T) {
	timeout := fmt.Errorf("POST /charges: %w", context.DeadlineExceeded)
	inEachMode(t, atmost.Operation{}, func(j *job) {
		result, err := j.once(returns("", timeout))
		j.refused(result, err, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown)
		if !errors.Is(err, context.DeadlineExceeded) {
			j.Errorf("the cause is lost: %v", err)
		}
		result, err = j.once(returns("again", nil))
		j.refused(result, err, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown)
		if !strings.Contains(err.Error(), timeout.Error()) {
			j.Errorf("the next caller is told %v", err)
		}
		j.ran(1)
	})
}

func TestAPanicLeavesItUnknown(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("oh") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			inEachMode(t, atmost.Operation{}, func(j *job) {
				left := make(chan any)
				go func() {
					defer func() { left <- recover() }()
					_, _ = j.once(func(context.Context, atmost.Attempt) (string, error) {
						end()
						return "", nil
					})
					left <- "Once returned"
				}()
				if p := <-left; p != map[string]any{"panic": "oh", "Goexit": nil}[name] {
					j.Errorf("it ended with %v", p)
				}
				if r := j.lookup("k"); r.State != atmost.Unknown {
					j.Errorf("it is %v", r.State)
				}
				result, err := j.once(returns("again", nil))
				j.refused(result, err, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown)
				j.ran(1)
			})
		})
	}
}

func TestAFinalFailureIsReplayed(t *testing.T) {
	plain := errors.New("no such card")
	for _, tc := range []struct {
		err           error
		code, message string
	}{
		{plain, "error", "no such card"},
		{atmost.Failure{Code: "card_declined", Message: "no <money>"}, "card_declined", "no <money>"},
		{fmt.Errorf("charge: %w", atmost.Failure{Code: strings.Repeat("x", 300), Message: "no"}), strings.Repeat("x", 255), "charge: no"},
		{errors.New(""), "error", "no reason was given"},
		{errors.New(strings.Repeat("é", 600) + "\xff"), "error", strings.Repeat("é", 500)},
	} {
		inEachMode(t, atmost.Operation{}, func(j *job) {
			var told []string
			for range 3 {
				result, err := j.once(returns("", fmt.Errorf("%w", atmost.FailedBecause(tc.err))))
				j.refused(result, err, atmost.CodeExecutionFailed, atmost.ExecutedYes)
				var f atmost.Failure
				if want := (atmost.Failure{Code: tc.code, Message: tc.message, Executed: atmost.ExecutedYes}); !errors.As(err, &f) || f != want {
					j.Errorf("%+v, want %+v", f, want)
				}
				told = append(told, err.Error())
			}
			if told[0] != told[1] || told[1] != told[2] {
				j.Errorf("%q", told)
			}
			j.ran(1)
		})
	}
}

func TestWhatHadNoEffectRunsAgain(t *testing.T) {
	refused := errors.New("connection refused")
	inEachMode(t, atmost.Operation{}, func(j *job) {
		var attempts []atmost.Attempt
		result, err := j.once(func(_ context.Context, a atmost.Attempt) (string, error) {
			attempts = append(attempts, a)
			return "", atmost.NotExecutedBecause(refused)
		})
		j.refused(result, err, atmost.CodeExecutionNotStarted, atmost.ExecutedNo)
		if !errors.Is(err, refused) {
			j.Errorf("the cause is lost: %v", err)
		}
		result, err = j.once(func(_ context.Context, a atmost.Attempt) (string, error) {
			attempts = append(attempts, a)
			return "done", nil
		})
		j.got(result, err, "done")
		if attempts[1].Number != 2 || attempts[1].Fence <= attempts[0].Fence {
			j.Errorf("%+v", attempts)
		}
	})
}

// TestWhoWaitsTakesOver: each in turn, when all before had no effect.
func TestWhoWaitsTakesOver(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		const callers = 5
		f := func(_ context.Context, a atmost.Attempt) (string, error) {
			pass(20 * time.Second)
			if a.Number < callers-1 {
				return "", atmost.NotExecutedBecause(errors.New("not yet"))
			}
			return "done", nil
		}
		var all []*pendingOnce
		for range callers {
			all = append(all, j.start(f))
		}
		done := 0
		for _, p := range all {
			result, err := p.wait()
			if err != nil {
				j.refused(result, err, atmost.CodeExecutionNotStarted, atmost.ExecutedNo)
				continue
			}
			j.got(result, err, "done")
			done++
		}
		if done != 2 {
			j.Errorf("%d have the result", done)
		}
		j.ran(callers - 1)
	})
}

func TestAClassifierCountsForAllCalls(t *testing.T) {
	declined, refused, odd := errors.New("declined"), errors.New("refused"), errors.New("odd")
	classify := func(err error) atmost.Executed {
		switch {
		case errors.Is(err, declined):
			return atmost.ExecutedYes
		case errors.Is(err, refused):
			return atmost.ExecutedNo
		}
		return "perhaps"
	}
	for _, tc := range []struct {
		err      error
		code     atmost.Code
		executed atmost.Executed
	}{
		{declined, atmost.CodeExecutionFailed, atmost.ExecutedYes},
		{refused, atmost.CodeExecutionNotStarted, atmost.ExecutedNo},
		{odd, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown},
		{atmost.FailedBecause(refused), atmost.CodeExecutionFailed, atmost.ExecutedYes},
		{atmost.NotExecutedBecause(declined), atmost.CodeExecutionNotStarted, atmost.ExecutedNo},
	} {
		inEachMode(t, atmost.Operation{}, func(j *job) {
			j.claimer = atmost.WithOnceOptions(j.claimer, atmost.OnceOptions{Classify: classify})
			result, err := j.once(returns("", tc.err))
			j.refused(result, err, tc.code, tc.executed)
			if r := j.lookup("k"); r.State == atmost.Processing {
				j.Error("it was not reported")
			}
		})
	}
}

// TestAVerdictOfAnotherCallIsNone: of what a function did itself, an inner call's error says nothing.
func TestAVerdictOfAnotherCallIsNone(t *testing.T) {
	twice := func(err error) error {
		return atmost.NotExecutedBecause(fmt.Errorf("again: %w", atmost.FailedBecause(err)))
	}
	for _, verdict := range []func(error) error{atmost.FailedBecause, atmost.NotExecutedBecause, twice} {
		inEachMode(t, atmost.Operation{}, func(j *job) {
			result, err := j.once(func(ctx context.Context, _ atmost.Attempt) (string, error) {
				return atmost.Once(ctx, j.claimer, workCall("inner"), returns("", verdict(errors.New("inner"))))
			})
			j.refused(result, err, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown)
		})
	}
}

func TestAnOperationThatMayBeRepeated(t *testing.T) {
	inEachMode(t, atmost.Operation{OnUnknown: atmost.RetryUnknown}, func(j *job) {
		result, err := j.once(returns("", errors.New("time-out")))
		j.refused(result, err, atmost.CodeExecutionNotStarted, atmost.ExecutedUnknown)
		result, err = j.once(returns("done", nil))
		j.got(result, err, "done")
	})
}

func TestAKeyIsNotReusedSilently(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		result, err := j.once(returns("done", nil))
		j.got(result, err, "done")
		other := workCall("k")
		other.Payload = []byte(`{"amount":2}`)
		result, err = atmost.Once(j.Context(), j.claimer, other, returns("other", nil))
		j.refused(result, err, atmost.CodePayloadMismatch, atmost.ExecutedUnknown)
		j.differs(err, "/amount")
	})
}

func TestResultsThatCannotBeKept(t *testing.T) {
	inEachMode(t, atmost.Operation{ResultRetention: time.Hour}, func(j *job) {
		_, err := atmost.Once(j.Context(), j.claimer, workCall("k"), func(context.Context, atmost.Attempt) (chan int, error) {
			j.Error("it ran")
			return nil, nil
		})
		j.refused("", err, atmost.CodeInvalidRequest, atmost.ExecutedNo)

		lax := atmost.WithOnceOptions(j.claimer, atmost.OnceOptions{Classify: func(error) atmost.Executed { return atmost.ExecutedNo }})
		_, err = atmost.Once(j.Context(), lax, workCall("nan"), func(context.Context, atmost.Attempt) (float64, error) { return math.NaN(), nil })
		j.refused("", err, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown)

		result, err := j.once(returns("done", nil))
		j.got(result, err, "done")
		_, err = atmost.Once(j.Context(), j.claimer, workCall("k"), func(context.Context, atmost.Attempt) (int, error) { return 1, nil })
		j.refused("", err, atmost.CodeInternal, atmost.ExecutedYes)

		pass(time.Hour)
		result, err = j.once(returns("again", nil))
		j.refused(result, err, atmost.CodeResultNotKept, atmost.ExecutedYes)
		j.ran(1)
	})
}

// TestAResultThatTheServiceDoesNotTake leaves nobody waiting for the end of the lease.
func TestAResultThatTheServiceDoesNotTake(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		j := &job{bench: b, claimer: claimers["remote"](b)}
		result, err := j.once(returns(strings.Repeat("x", 2<<20), nil))
		j.refused(result, err, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown)
		if r := j.lookup("k"); r.State != atmost.Unknown {
			j.Errorf("it is %v", r.State)
		}
	})
}

// TestACallThatIsOverDoesNotBegin, and leaves no claim behind.
func TestACallThatIsOverDoesNotBegin(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		ctx, cancel := context.WithCancel(j.Context())
		cancel()
		result, err := j.onceIn(ctx, returns("done", nil))
		j.refused(result, err, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown)
		j.ran(0)
		result, err = j.once(returns("done", nil))
		j.got(result, err, "done")
	})
}

func TestACallThatEndsLetsTheFunctionKnow(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		ctx, cancel := context.WithCancel(j.Context())
		result, err := j.onceIn(ctx, func(ctx context.Context, _ atmost.Attempt) (string, error) {
			cancel()
			synctest.Wait()
			return "done", ctx.Err()
		})
		j.refused(result, err, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown)
		if r := j.lookup("k"); r.State != atmost.Unknown {
			j.Errorf("it is %v: the report was not made", r.State)
		}
	})
}

// TestOptionsAddUp: what is set later counts, what is not stays.
func TestOptionsAddUp(t *testing.T) {
	inEachMode(t, atmost.Operation{}, func(j *job) {
		c := atmost.WithOnceOptions(j.claimer, atmost.OnceOptions{
			Lease: time.Minute, Classify: func(error) atmost.Executed { return atmost.ExecutedYes },
		})
		j.claimer = atmost.WithOnceOptions(c, atmost.OnceOptions{Lease: time.Hour})
		result, err := j.once(func(context.Context, atmost.Attempt) (string, error) {
			if r := j.lookup("k"); r.Deadline.Sub(r.CreatedAt) != time.Hour {
				j.Errorf("the lease is for %v", r.Deadline.Sub(r.CreatedAt))
			}
			return "", errors.New("declined")
		})
		j.refused(result, err, atmost.CodeExecutionFailed, atmost.ExecutedYes)
	})
}

type (
	linked struct {
		Next  *linked
		Value any
		Skip  chan int `json:"-"`
	}
	holder[T any] struct{ Items map[string][]*T }
)

// keeps reports whether Once runs a function with a result of type T.
func keeps[T any](j *job, key string) bool {
	ran := false
	_, err := atmost.Once(j.Context(), j.claimer, workCall(key), func(context.Context, atmost.Attempt) (value T, _ error) {
		ran = true
		return value, nil
	})
	if ran != (err == nil) || err != nil && (atmost.CodeOf(err) != atmost.CodeInvalidRequest || atmost.ExecutedOf(err) != atmost.ExecutedNo) {
		j.Errorf("%s: ran: %v, %v", key, ran, err)
	}
	return ran
}

// TestTypesAreLookedInto before anything is run.
func TestTypesAreLookedInto(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		j := &job{bench: b, claimer: b.Engine}
		for key, kept := range map[string]bool{
			"any": keeps[any](j, "any"), "linked": keeps[linked](j, "linked"), "pointer": keeps[*linked](j, "pointer"),
			"time": keeps[time.Time](j, "time"), "big": keeps[*big.Int](j, "big"), "map": keeps[map[int][]byte](j, "map"),
			"generic": keeps[holder[string]](j, "generic"), "array": keeps[[2]bool](j, "array"),
		} {
			if !kept {
				t.Errorf("%s cannot be kept", key)
			}
		}
		for key, kept := range map[string]bool{
			"chan": keeps[struct{ C chan int }](j, "chan"), "in pointer": keeps[*struct{ C chan int }](j, "in-pointer"),
			"in slice": keeps[[]struct{ C func() }](j, "in-slice"), "interface": keeps[fmt.Stringer](j, "interface"),
			"in generic": keeps[holder[chan int]](j, "in-generic"), "key": keeps[map[[2]int]int](j, "key"), "complex": keeps[complex128](j, "complex"),
		} {
			if kept {
				t.Errorf("%s can be kept", key)
			}
		}
	})
}
