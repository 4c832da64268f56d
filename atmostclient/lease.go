package atmostclient

import (
	"context"
	"time"

	"github.com/atmost-dev/atmost"
)

// The lease calls promise what those of atmost.Engine do. An answer that was lost is asked for again, with the same token.

// Claim gives the caller the right to make the next attempt at call's operation, or answers from the record that is there. A nil
// error means that the claim is Won, or that the record is Completed or Processing. Call's Wait is for an attempt that is under way.
func (c *Client) Claim(ctx context.Context, call atmost.ClaimCall) (atmost.Claimed, error) {
	if call.Token == (atmost.Token{}) {
		call.Token = atmost.NewToken()
	}
	body, err := claimBody(call)
	if err != nil {
		return atmost.Claimed{}, err
	}
	if !call.WaitSet {
		call.Wait = atmost.MaxWait // the service's configuration counts, and may say that
	}
	begin := time.Now()
	a, err := c.ask(ctx, exchange{path: "claim", id: call.ID, body: body, trace: call.Trace, wait: call.Wait, waits: call.WaitSet})
	claimed := atmost.Claimed{Answer: a.answer(call.ID), Won: a.body.Lease != nil}
	if l := a.body.Lease; l != nil {
		claimed.Record.Fence = l.Fence
		claimed.Lease = atmost.Lease{Token: call.Token, Attempt: l.Attempt, Fence: l.Fence, ExpiresIn: a.lasts(begin, l.ExpiresIn)}
	}
	return claimed, err
}

// Renew asks for lease from now on for the attempt that holds token. The Lease that it returns has no Fence.
func (c *Client) Renew(ctx context.Context, id atmost.ID, token atmost.Token, lease time.Duration) (atmost.Lease, error) {
	begin := time.Now()
	a, err := c.ask(ctx, exchange{path: "renew", id: id, body: renewBody(token, lease)})
	if err != nil {
		return atmost.Lease{}, err
	}
	return atmost.Lease{Token: token, Attempt: a.attempt, ExpiresIn: a.lasts(begin, a.body.ExpiresIn)}, nil
}

// Complete reports that the attempt that holds token had its effect, with a result to be replayed: one JSON value; nil counts as
// null.
func (c *Client) Complete(ctx context.Context, id atmost.ID, token atmost.Token, result []byte) (atmost.Answer, error) {
	body, err := completeBody(token, result)
	if err != nil {
		return atmost.Answer{}, err
	}
	a, err := c.ask(ctx, exchange{path: "complete", id: id, body: body})
	return a.answer(id), err
}

// Fail reports that the attempt that holds token did not complete. A nil error means that the report was accepted; the
// Answer's record tells by its State what follows from it.
func (c *Client) Fail(ctx context.Context, id atmost.ID, token atmost.Token, f atmost.Failure) (atmost.Answer, error) {
	a, err := c.ask(ctx, exchange{path: "fail", id: id, body: failBody(token, f)})
	answer := a.answer(id)
	if err == nil {
		answer.Record.Message = "it was settled otherwise"
		if answer.Record.State == reported[f.Executed] {
			answer.Record.Message = f.Message
		}
	}
	return answer, err
}

// reported is the state that a failure leads to when nobody has settled it before.
var reported = map[atmost.Executed]atmost.State{
	atmost.ExecutedYes: atmost.Failed, atmost.ExecutedNo: atmost.NotExecuted, atmost.ExecutedUnknown: atmost.Unknown,
}
