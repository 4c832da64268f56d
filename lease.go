package atmost

// Leases are how clients perform operations themselves: they claim a key, renew their lease while they work, and report how it
// ended. Who holds the lease of an attempt is who knows its token; a lease needs no engine to live on, so it outlasts this one.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Limits of the time that a client's lease is asked for.
const (
	MinLease = time.Second
	MaxLease = time.Hour
)

// ClaimCall is a client's request for the right to perform an operation itself.
type ClaimCall struct {
	// Call says what for. Its Wait is for an attempt that is under way; its Trace is remembered and not passed on.
	Call
	// Lease is how long the right is to last, MinLease to MaxLease.
	Lease time.Duration
	// Token is the lease's to be, drawn by the client for this attempt (NewToken). Then a claim whose answer was lost can be repeated,
	// and gets the same lease. Once that attempt has ended, no claim with its token starts another, as long as it is the newest. The engine
	// draws one if it is zero.
	Token Token
}

// Lease is the right to make one attempt, and to say how it ended.
type Lease struct {
	// Token is its secret.
	Token Token
	// Attempt counts the attempts for the key, from 1; Fence is higher than that of every earlier one.
	Attempt uint32
	Fence   int64
	// ExpiresIn is how long it lasts at least, counted from before it was asked for. What is not reported by then is unknown.
	ExpiresIn time.Duration
}

// Claimed is the answer to a claim.
type Claimed struct {
	// Answer is about the attempt that is claimed, or about the one that keeps it from being.
	Answer
	// Won tells that the right is the caller's, by the Lease.
	Won   bool
	Lease Lease
}

// Failure is a client's report of an attempt that did not complete.
type Failure struct {
	// Code and Message say why, and are replayed as they are. Code has 1 to MaxKeyLength bytes.
	Code, Message string
	// Executed tells what is known of the attempt's effect: ExecutedYes makes the failure final, ExecutedNo permits another
	// attempt, ExecutedUnknown leaves the outcome unknown.
	Executed Executed
}

// Claim gives the caller the right to make the next attempt at call's operation, or answers from the record that is there, as
// Execute does. A nil error means that the claim is Won, or that the record is Completed or Processing.
//
// Operations that the service executes cannot be claimed (CodeOperationNotClaimable), nor such as it does not know
// (CodeOperationNotConfigured) unless Options.Unlisted allows that. Either is about new attempts only: a key that has a record
// is answered from it whatever the configuration says now, because its outcome was promised, and its lease may be the caller's.
// But where nothing was executed, an operation of the service's is refused: no repetition of the claim would win.
//
// MaxPending bounds the claims under way, not the leases held: those are the store's, and outlast the engine.
//
// A claim under the caller's own Token is the caller's to repeat, with that token, until its fate is known: it never is given
// back for it. One under a token that the engine drew and could not tell in time, because the store did not confirm it or ctx
// ended, is given back: nothing was executed under it.
func (e *Engine) Claim(ctx context.Context, call ClaimCall) (Claimed, error) {
	defer e.calls.leave()
	if _, open := e.calls.enter(); !open {
		return Claimed{}, errClosed
	}
	begin := e.began()
	c, err := e.claim(ctx, call)
	if c.Record.Token.Matches(call.Token) {
		err = spent(err)
	}
	if c.Replayed {
		e.replays.add(call.ID)
	}
	err = e.explained(err, &call.Call, &c.Record)
	label := answerLabel(c.Answer, err)
	if c.Won {
		label = "claimed"
	}
	e.answered(call.Operation, label, since(begin), call.Trace)
	return c, err
}

// spent is err, by which a claim with the last attempt's token was answered. Where any other claim would start another attempt, it says
// why this one does not.
func spent(err error) error {
	e := refusalOf(err)
	if e == nil || e.Code != CodeExecutionNotStarted {
		return err
	}
	told := *e
	told.Message += "; the token of this claim was that attempt's, and another attempt takes a new token"
	return &told
}

func (e *Engine) claim(ctx context.Context, call ClaimCall) (Claimed, error) {
	if err := errors.Join(call.ID.Validate(), validLease(call.Lease)); err != nil {
		return Claimed{}, refusalOf(err)
	}
	op, refusal := e.claimable(call.Operation)
	if refusal == nil {
		refusal = e.admit(op)
	}
	if refusal != nil {
		return e.claimRefused(ctx, call, op, refusal)
	}
	c := &clientClaim{claiming{secret: call.Token == Token{}}}
	c.claimant = c
	token := call.Token
	if c.secret {
		token = NewToken()
	}
	if err := c.prepare(e, op, call.Call, token, call.Lease); err != nil {
		e.release(op)
		return Claimed{}, err
	}
	step, err := c.acquire(ctx)
	switch {
	case err != nil:
		return Claimed{Answer: Answer{Record: step.Record}}, err
	case c.claim.Won(step.Record):
		won, err := leased(step, c.answered-c.sent)
		if c.secret && (err != nil || ctx.Err() != nil) { // the caller will never know the token
			e.work.Go(c.giveBack)
			return Claimed{}, errUnconfirmed
		}
		return won, err
	}
	a, err := e.told(ctx, call.Call, op, step.Record)
	return Claimed{Answer: a}, err
}

// clientClaim is a claim made for a client. The lease is the client's, so the place among the pending is free at once.
type clientClaim struct{ claiming }

func (c *clientClaim) won(Step) { c.engine.release(c.op) }

func (c *clientClaim) unused(Step) {
	c.giveBack()
	c.engine.release(c.op)
}

func validLease(lease time.Duration) error {
	if lease < MinLease || lease > MaxLease {
		return &Error{Code: CodeInvalidRequest, Message: fmt.Sprintf("the lease is not between %v and %v", MinLease, MaxLease)}
	}
	return nil
}

// claimable returns the operation called name, or what there is for all that are not listed, and tells why clients cannot claim
// it, if they cannot.
func (e *Engine) claimable(name string) (*operation, *Error) {
	op := e.operation(name)
	if op == nil && validName(name) == "" {
		op = e.unlisted.Load()
	}
	switch {
	case op == nil:
		return nil, &Error{Code: CodeOperationNotConfigured, Message: "the service's configuration has no such operation"}
	case op.Executor != nil:
		return op, &Error{Code: CodeOperationNotClaimable, Message: "this operation is executed by the service; ask it to execute"}
	}
	return op, nil
}

// claimRefused answers a claim that may not start an attempt: from its record if that has an answer, else with refusal.
func (e *Engine) claimRefused(ctx context.Context, call ClaimCall, op *operation, refusal *Error) (Claimed, error) {
	r, err := e.recorded(ctx, call.Call, refusal)
	if err != nil {
		return Claimed{Answer: Answer{Record: r}}, err
	}
	if r.State == Processing && r.Token.Matches(call.Token) {
		// The lease is the caller's. Renewed for no time, it is as it was, and the store tells what is left of it.
		step, sent, _, err := e.confirm(ctx, "renew", call.ID, &Renew{Token: call.Token})
		if err == nil {
			return leased(step, e.clock.Elapsed()-sent)
		}
		if refusalOf(err) == nil {
			return Claimed{}, e.refused("renew", err)
		}
		r = step.Record // it has just ended
	}
	a, err := e.told(ctx, call.Call, op, r)
	return Claimed{Answer: a}, err
}

// leased answers a claim that the store took so long to answer, unless the lease has hardly any time left.
func leased(step Step, took time.Duration) (Claimed, error) {
	lease := leaseOf(step, took)
	if lease.ExpiresIn == 0 {
		return Claimed{}, errUnconfirmed
	}
	return Claimed{Answer: Answer{Record: step.Record}, Won: true, Lease: lease}, nil
}

// giveBack reports that nothing was executed under a token that nobody was told.
func (c *claiming) giveBack() {
	e, begin := c.engine, time.Now()
	step, refusal, judged := e.insist(e.base, c.call.ID, &Finish{Token: c.claim.Token, Outcome: unconfirmed})
	if judged {
		e.judged(c.call.ID, c.op.name, step, refusal, time.Since(begin))
		e.hub.settle(step.Record)
	}
}

// leaseOf returns the lease that a step found or made, which took so long.
func leaseOf(step Step, took time.Duration) Lease {
	r := step.Record
	left := leaseLasts(r.Deadline.Sub(step.Now)) - took
	return Lease{Token: r.Token, Attempt: r.Attempt, Fence: r.Fence, ExpiresIn: max(left, 0)}
}

// Renew asks for lease from now on, MinLease to MaxLease, for the attempt that holds token, and returns the lease as it is then,
// durably: with more time, never with less. Once its time is over it is lost (CodeLeaseLost).
func (e *Engine) Renew(ctx context.Context, id ID, token Token, lease time.Duration) (Lease, error) {
	defer e.calls.leave()
	if _, open := e.calls.enter(); !open {
		return Lease{}, errClosed
	}
	begin := e.began()
	if err := errors.Join(id.Validate(), validLease(lease)); err != nil {
		return Lease{}, refusalOf(err)
	}
	step, sent, _, err := e.confirm(ctx, "renew", id, &Renew{Token: token, Lease: lease})
	if err != nil {
		err = e.refusedWith(unreported, "renew", err)
		e.answered(step.Record.Operation, string(CodeOf(err)), since(begin), Trace{})
		return Lease{}, err
	}
	e.answered(step.Record.Operation, "renewed", since(begin), Trace{})
	return leaseOf(step, e.clock.Elapsed()-sent), nil
}

// Complete reports that the attempt that holds token had its effect, with a result to be replayed: one JSON value, not modified
// any more; nil counts as null. It is accepted also when the lease is over, as long as the outcome is not known otherwise, and
// again when it is repeated. The Answer is what every later request for the key gets, and so is its error.
//
// A result that is no JSON is CodeInvalidRequest. Another outcome under the same token is CodeAlreadyFinished; a token that is not
// the newest attempt's is CodeLeaseLost, and remembered as a contradiction if that attempt had been taken for not executed.
func (e *Engine) Complete(ctx context.Context, id ID, token Token, result []byte) (Answer, error) {
	if result != nil && !validJSON(result) {
		return Answer{}, errResult
	}
	a, err := e.report(ctx, id, token, Outcome{State: Completed, Result: result})
	if err == nil {
		err = a.Record.Err()
	}
	return a, err
}

var errResult = &Error{Code: CodeInvalidRequest, Message: "the result is not one JSON value in UTF-8"}

// validJSON reports whether b is one JSON value in UTF-8, so that it can be replayed as a part of any other.
func validJSON(b []byte) bool { return utf8.Valid(b) && json.Valid(b) }

// Fail reports that the attempt that holds token did not complete, by the same rules as Complete. A nil error means that the
// report was accepted; the Answer's record says what follows from it. By the operation's policy an attempt of which nothing
// is known may be taken for not executed; and where somebody has settled the outcome already, not knowing it changes nothing.
func (e *Engine) Fail(ctx context.Context, id ID, token Token, f Failure) (Answer, error) {
	o, err := f.Outcome()
	if err != nil {
		return Answer{}, err
	}
	return e.report(ctx, id, token, o)
}

// Outcome is what is stored of the failure. A final one keeps code and message as its result, in a JSON object. The error is an *Error
// with CodeInvalidRequest.
func (f Failure) Outcome() (Outcome, error) {
	if f.Code == "" || len(f.Code) > MaxKeyLength {
		return Outcome{}, &Error{Code: CodeInvalidRequest, Message: fmt.Sprintf("the error's code does not have 1 to %d bytes", MaxKeyLength)}
	}
	switch f.Executed {
	case ExecutedNo:
		return Outcome{State: NotExecuted, Message: f.Message}, nil
	case ExecutedUnknown:
		return Outcome{State: Unknown, Message: f.Message}, nil
	case ExecutedYes:
		var result bytes.Buffer
		e := json.NewEncoder(&result)
		e.SetEscapeHTML(false)
		_ = e.Encode(struct { // two strings can always be encoded
			Code    string `json:"code"`
			Message string `json:"message"`
		}{f.Code, f.Message})
		return Outcome{State: Failed, Message: f.Message, Result: bytes.TrimSuffix(result.Bytes(), []byte("\n"))}, nil
	}
	return Outcome{}, &Error{Code: CodeInvalidRequest, Message: "the failure does not tell whether the operation was executed: yes, no or unknown"}
}

// unreported is the message when the fate of a client's report remains unknown.
const unreported = "the store did not confirm this; send it again, with the same token"

// report has the store judge a client's report, and tells whoever waits for it.
func (e *Engine) report(ctx context.Context, id ID, token Token, o Outcome) (Answer, error) {
	defer e.calls.leave()
	if _, open := e.calls.enter(); !open {
		return Answer{}, errClosed
	}
	begin := e.began()
	if err := id.Validate(); err != nil {
		return Answer{}, err
	}
	step, _, repeated, err := e.confirm(ctx, "finish", id, &Finish{Token: token, Outcome: o.whole()})
	took, operation := since(begin), step.Record.Operation
	if refusal := refusalOf(err); err == nil || refusal != nil {
		e.judged(id, e.label(operation), step, refusal, took)
	}
	if err != nil {
		err = e.refusedWith(unreported, "finish", err)
		e.answered(operation, string(CodeOf(err)), took, Trace{})
		return Answer{Record: step.Record}, err
	}
	e.hub.settle(step.Record)
	e.answered(operation, "reported", took, Trace{})
	return Answer{Record: step.Record, Replayed: !step.Changed && !repeated}, nil
}

// confirm has the store judge a client's event, whoever is gone meanwhile. While its fate is unknown it is repeated, for as long as
// the engine's patience lasts. sent is the moment before it was last sent.
func (e *Engine) confirm(ctx context.Context, doing string, id ID, event Event) (step Step, sent time.Duration, repeated bool, err error) {
	ctx = detached(ctx)
	sent = e.clock.Elapsed()
	begin := sent
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		step, err = e.store.Apply(ctx, id, event)
		if !errors.Is(err, ErrAmbiguous) || sent+pause > begin+e.claimPatience {
			return step, sent, repeated, err
		}
		e.events.StoreFailed(doing, err)
		if !e.pause(pause) {
			return step, sent, repeated, err
		}
		repeated, sent = true, e.clock.Elapsed()
	}
}
