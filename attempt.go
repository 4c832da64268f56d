package atmost

import (
	"context"
	"errors"
	"time"
)

// once is one call of Once, but for its type of result.
type once struct {
	claimer  Claimer
	call     ClaimCall
	classify func(error) Executed
}

func newOnce(c Claimer, call Call) once {
	o := once{claimer: c}
	var options OnceOptions
	if with, ok := c.(*optioned); ok {
		o.claimer, options = with.Claimer, with.options
	}
	defaultTo(&options.Lease, DefaultOnceLease)
	o.classify = options.Classify
	o.call = ClaimCall{Call: call, Lease: options.Lease, Token: NewToken()}
	o.call.Wait, o.call.WaitSet = MaxWait, true
	return o
}

// do claims and has f perform the attempt, or returns the result that there is.
func (o *once) do(ctx context.Context, f func(context.Context, Attempt) ([]byte, error)) ([]byte, error) {
	c, sent, err := o.claim(ctx)
	switch {
	case err != nil:
		return nil, replayed(c.Record, err)
	case !c.Won:
		return c.Record.Result, nil
	}
	return o.perform(ctx, c.Lease, sent, f)
}

// claim claims until it has an answer that counts: the lease, or a result. One that was lost is asked for again, with the same
// token, for as long as a lease would last; if there is none in the end, the lease that there may be is given back. sent is the
// moment before the claim was last sent.
func (o *once) claim(ctx context.Context) (c Claimed, sent time.Time, err error) {
	sent = time.Now()
	var (
		last     uint32 // attempt that is known to have had no effect
		patience = sent.Add(o.call.Lease)
		lost     = false // an answer was
		pause    = minPause
	)
	for ; ctx.Err() == nil; sent = time.Now() {
		c, err = o.claimer.Claim(ctx, o.call)
		switch {
		case c.Won, err == nil && c.Record.State == Completed:
			return c, sent, nil
		case err == nil: // another's attempt is under way
			pause, patience = minPause, time.Now().Add(o.call.Lease)
		case CodeOf(err) == CodeExecutionNotStarted && c.Record.Attempt > last: // there was another's attempt
			last, patience = c.Record.Attempt, time.Now().Add(o.call.Lease)
			continue
		case !unheard(err) || time.Now().After(patience):
			// What is unknown may be this claim, of which a claimer that asks again by itself lost the answer.
			if lost || unheard(err) || CodeOf(err) == CodeOutcomeUnknown {
				o.giveBack(ctx)
			}
			if refusalOf(err) == nil {
				err = inDoubt("the service gave no answer", err)
			}
			return c, sent, err
		default:
			lost, pause = true, min(2*pause, maxPause)
		}
		sleep(ctx, pause)
	}
	if lost {
		o.giveBack(ctx)
	}
	return c, sent, inDoubt("it was not known in time what becomes of the operation", errors.Join(ctx.Err(), err))
}

// unheard reports whether err says that nobody knows if the service did what it was asked to.
func unheard(err error) bool {
	code := CodeOf(err)
	return code == CodeStoreUnavailable || code == CodeInternal
}

const (
	// giveBackTime is how long a caller whose context is over is kept for the sake of the others.
	giveBackTime = time.Second
	// panicTime is how long a panic is held up until it is reported. If it is not, the lease lapses.
	panicTime = 5 * time.Second
)

// giveBack reports that nothing was executed under the token, if there is a lease: else it would be waited for, and the outcome
// be unknown.
func (o *once) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTime)
	defer cancel()
	f := Failure{Code: failureCode, Message: "the claim was withdrawn before anything was executed", Executed: ExecutedNo}
	_, _ = o.claimer.Fail(ctx, o.call.ID, o.call.Token, f) // the caller is told that nothing is known
}

// perform has f make the attempt, and reports how that ended. The reports do not depend on ctx, which may have ended since.
func (o *once) perform(ctx context.Context, l Lease, sent time.Time, f func(context.Context, Attempt) ([]byte, error)) ([]byte, error) {
	h := Hold(ctx, o.claimer, o.call, l, sent)
	lasting := detached(ctx)
	if h.Context().Err() != nil {
		return nil, o.failed(lasting, h, NotExecutedBecause(errors.Join(errTooLate, ctx.Err())))
	}
	ended := false
	defer func() {
		if !ended { // a panic, or runtime.Goexit, which goes on
			ctx, cancel := context.WithTimeout(lasting, panicTime)
			defer cancel()
			_, _ = h.Fail(ctx, panicked)
		}
	}()
	result, err := f(h.Context(), Attempt{
		ID: o.call.ID, Operation: o.call.Operation, Payload: o.call.Payload, Number: l.Attempt, Fence: l.Fence, Trace: o.call.Trace,
	})
	ended = true
	if err != nil {
		return nil, o.failed(lasting, h, err)
	}
	return o.complete(lasting, h, result)
}

var (
	errTooLate = errors.New("there was no time left to begin")
	panicked   = Failure{Code: "panic", Message: "the function did not return; it may have been executed", Executed: ExecutedUnknown}
)
