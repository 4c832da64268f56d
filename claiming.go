package atmost

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/atmost-dev/atmost/fingerprint"
)

// claiming is a claim on its way into the store. It holds a place among the pending, which is given back when the claim turns
// out not to have won, and is else the winner's.
type claiming struct {
	engine   *Engine
	op       *operation
	call     Call
	claim    Claim
	claimant claimant
	form     fingerprint.Canonical // of the payload, for the paths

	sent     time.Duration // by the engine's clock, before the claim was last sent
	answered time.Duration // likewise, after that was answered
	leaseEnd atomic.Int64  // by the engine's clock: no later than the store's deadline, 0 before the first claim was sent

	// secret tells that nobody but the engine knows the token. So what it claimed too late to be of use is free to be given back,
	// and has to be, as nobody will ever execute it. A claim under a client's token is the client's to repeat: for all the
	// engine knows, an earlier answer reached it, and it executes.
	secret bool
}

// claimant is whom a claim is made for. When either is called, the claim's place among the pending becomes the claimant's.
type claimant interface {
	// won is called when the claim has won, before acquire returns.
	won(Step)
	// unused is called when a claim under a secret token was made too late, or may have been made and never will be known to; maybe
	// after acquire has returned.
	unused(Step)
}

// The pauses between tries to reach a store that fails.
const (
	minPause = 10 * time.Millisecond
	maxPause = time.Second
)

func (c *claiming) prepare(e *Engine, op *operation, call Call, token Token, lease time.Duration) error {
	print, form, err := fingerprintOf(fingerprint.Current, call.Operation, call.Payload)
	if err != nil {
		return err
	}
	c.engine, c.op, c.call, c.form = e, op, call, form
	c.claim = Claim{Operation: call.Operation, Fingerprint: print, Token: token, Lease: lease, Policy: op.policy(), Trace: call.Trace.Span()}
	if e.paths != nil {
		c.claim.Paths = c.paths
	}
	return nil
}

// acquire claims, and returns how the record stands then.
func (c *claiming) acquire(ctx context.Context) (Step, error) {
	e := c.engine
	step, err := c.apply(ctx)
	began := c.sent
	if c.otherAlgorithm(step.Record) {
		if c.claim.Fingerprint, _, err = fingerprintOf(step.Record.Fingerprint.Algorithm, c.call.Operation, c.call.Payload); err == nil {
			step, err = c.apply(ctx)
		}
	}
	switch {
	case errors.Is(err, ErrAmbiguous):
		return c.acquireLater(ctx, began)
	case err != nil:
		e.release(c.op)
		return step, e.refused("claim", err)
	case !c.claim.Won(step.Record):
		e.release(c.op)
		e.events.Duplicate(c.op.name, step.Now.Sub(step.Record.CreatedAt))
		return step, nil
	}
	c.form = fingerprint.Canonical{} // the attempt may take long
	c.claimant.won(step)
	return step, nil
}

func (c *claiming) otherAlgorithm(r Record) bool {
	return r.State != Absent && r.Operation == c.call.Operation && r.Fingerprint.Algorithm != c.claim.Fingerprint.Algorithm
}

// apply sends the claim. The lease counts from before it was first sent, as repeating a claim moves no deadline.
func (c *claiming) apply(ctx context.Context) (Step, error) {
	e := c.engine
	c.sent = e.clock.Elapsed()
	c.leaseEnd.CompareAndSwap(0, int64(c.sent+leaseLasts(c.claim.Lease)))
	step, err := e.store.Apply(ctx, c.call.ID, &c.claim)
	c.answered = e.clock.Elapsed()
	e.events.Claimed(c.op.name, c.claim.Trace, c.answered-c.sent)
	return step, err
}

// acquireLater settles a claim of which the store does not know whether it was made. The request, which began to claim at began, waits
// no longer than the engine's patience. A claim under a secret token goes on being settled after that, and is given back unused if it was made;
// one under a client's token is not sent again by who does not wait for it.
func (c *claiming) acquireLater(ctx context.Context, began time.Duration) (Step, error) {
	e := c.engine
	type answer struct {
		step Step
		err  error
	}
	answers := make(chan answer, 1)
	var decided atomic.Bool // whoever sets it decides whether the claim is of use
	e.work.Go(func() {
		step, err := c.settleClaim(context.WithoutCancel(ctx), func() bool { return c.secret || !decided.Load() })
		first := decided.CompareAndSwap(false, true)
		switch won := err == nil && c.claim.Won(step.Record); {
		case first && won:
			c.claimant.won(step)
			answers <- answer{step, nil}
		case c.secret && (err != nil && refusalOf(err) == nil || step.Record.Token.Matches(c.claim.Token)):
			// Made, but too late; or the engine ended before that was known.
			answers <- answer{Step{}, errUnconfirmed}
			c.claimant.unused(step)
		default:
			e.release(c.op)
			answers <- answer{step, err}
		}
	})
	patience := time.NewTimer(began + e.claimPatience - e.clock.Elapsed())
	defer patience.Stop()
	var a answer
	select {
	case a = <-answers:
	case <-patience.C:
		if decided.CompareAndSwap(false, true) {
			return Step{}, errUnconfirmed
		}
		a = <-answers // which follows at once
	}
	if a.err != nil {
		return a.step, e.refused("claim", a.err)
	}
	return a.step, nil
}

var errUnconfirmed = &Error{Code: CodeStoreUnavailable, Message: "the store did not confirm the claim in time; this request executed nothing"}

// unconfirmed is the outcome of a claim that was made too late to be of use.
var unconfirmed = Outcome{State: NotExecuted, Message: errUnconfirmed.Message}

// settleClaim repeats the claim until its fate is known, or the engine ends, or nobody wants to know any more.
func (c *claiming) settleClaim(ctx context.Context, wanted func() bool) (Step, error) {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		step, err := c.apply(ctx)
		if err == nil || refusalOf(err) != nil {
			return step, err
		}
		c.engine.events.StoreFailed("claim", err)
		if !c.engine.pause(pause) || !wanted() {
			return step, err
		}
	}
}
