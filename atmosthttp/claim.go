package atmosthttp

import (
	"context"
	"errors"
	"time"

	"github.com/atmost-dev/atmost"
)

const (
	// leaseTime is how long a lease lasts that nobody renews any more, because the process died: then the outcome is unknown.
	leaseTime = 30 * time.Second
	// claimPatience bounds a claim, and how long one without a verdict is tried to be given back.
	claimPatience = 5 * time.Second
)

// claimed is the answer to a claim, and what was asked.
type claimed struct {
	atmost.Claimed
	call atmost.ClaimCall
	sent time.Time // not after it was
}

// claim claims a key, within seconds if the claimer does not answer. It does not depend on ctx, the request's, but for the time that a
// duplicate waits: a client that hangs up must not leave a lease behind that nobody knows of.
func (m *middleware) claim(ctx context.Context, k Keyed) (claimed, error) {
	c := claimed{call: atmost.ClaimCall{
		Call:  atmost.Call{ID: k.ID, Operation: m.options.Operation, Payload: k.Payload, Document: k.Body, WaitSet: true},
		Lease: leaseTime, Token: atmost.NewToken(),
	}}
	err := c.ask(context.WithoutCancel(ctx), m.claimer, claimPatience)
	if err == nil && c.Record.State == atmost.Processing && !c.Won { // another's, so there is an answer; a better one may be worth a wait
		c.call.WaitSet = false
		err = c.ask(ctx, m.claimer, atmost.MaxWait+claimPatience)
	}
	if err == nil || atmost.CodeOf(err).Retry() == atmost.RetryNo {
		return c, err
	}
	if a, withdrawn := c.giveBack(ctx, m.claimer); withdrawn {
		return claimed{Claimed: atmost.Claimed{Answer: a}}, a.Record.Err()
	}
	if coded := (*atmost.Error)(nil); !errors.As(err, &coded) {
		err = &atmost.Error{Code: atmost.CodeStoreUnavailable, Message: "where the keys are kept did not answer in time; ask again with the same key", Err: err}
	}
	return c, err
}

// ask claims once, within a bound.
func (c *claimed) ask(ctx context.Context, by atmost.Claimer, bound time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	c.sent = time.Now()
	c.Claimed, err = by.Claim(ctx, c.call)
	return err
}

// giveBack reports that nothing was executed under a claim that may have been made without anybody being told. It changes nothing if it was
// not, and tells whether it was.
func (c *claimed) giveBack(ctx context.Context, to atmost.Claimer) (atmost.Answer, bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimPatience)
	defer cancel()
	a, err := to.Fail(ctx, c.call.ID, c.call.Token, atmost.Failure{
		Code: "WITHDRAWN", Message: "the claim was withdrawn before the handler began", Executed: atmost.ExecutedNo,
	})
	return a, err == nil
}
