package atmost

import (
	"context"
	"errors"
	"time"

	"github.com/atmost-dev/atmost/fingerprint"
)

// Call is a request to execute an operation.
type Call struct {
	ID        ID
	Operation string
	// Payload is one JSON value, not modified until the execution has ended.
	Payload []byte
	// Document is what Payload stands for where that is a digest, nil for Payload itself. It is not compared: if it is JSON, it is
	// what Error.Differs is about. It is not modified either, and not sent to a remote service.
	Document []byte
	// Wait is how long the caller waits for the outcome, if WaitSet, at most MaxWait; otherwise the operation's configuration counts.
	Wait    time.Duration
	WaitSet bool
	// Trace is the request's trace context. The upstream gets it, unless the executor has a span of its own.
	Trace Trace
	// Request is handed to the operation's Executor as it is: what that needs beside the payload. It is neither compared nor stored, so
	// the payload has to tell all that makes a difference.
	Request any
}

// Answer is what is known about an ID.
type Answer struct {
	// Record is how the record stands, Absent when none was read.
	Record Record
	// Replayed tells that the outcome was there before the request, or is another request's.
	Replayed bool
}

// Execute executes call's operation, at most once for its ID, or answers from the record that is there. It returns when
// there is an answer to give, which is durable, or when the caller's time to wait has ended: then the record is Processing. The
// execution does not depend on ctx: it goes on when the caller is gone.
//
// A nil error means that the record is Completed or Processing. Any other outcome and every refusal is an *Error; the Answer is
// valid beside it.
func (e *Engine) Execute(ctx context.Context, call Call) (Answer, error) {
	defer e.calls.leave()
	if _, open := e.calls.enter(); !open {
		return Answer{}, errClosed
	}
	begin := e.began()
	a, err := e.execute(ctx, call, e.operation(call.Operation))
	err = e.explained(err, &call, &a.Record)
	if a.Replayed {
		e.replays.add(call.ID)
	}
	e.answered(call.Operation, answerLabel(a, err), since(begin), call.Trace)
	return a, err
}

// began is when a request began, the zero time if nobody is told how long it took.
func (e *Engine) began() time.Time {
	if !e.observed {
		return time.Time{}
	}
	return time.Now()
}

// since is how long ago a request began, 0 if nobody is told.
func since(begin time.Time) time.Duration {
	if begin.IsZero() {
		return 0
	}
	return time.Since(begin)
}

// answered tells that a request has its answer, after took.
func (e *Engine) answered(operation, answer string, took time.Duration, trace Trace) {
	if e.observed {
		e.events.Answered(Answered{Operation: e.label(operation), Answer: answer, Took: took, Trace: trace.Span()})
	}
}

// label is what observers are told instead of an operation's name, which a client may have made up.
func (e *Engine) label(operation string) string {
	if op := e.operation(operation); op != nil {
		return op.name
	}
	return ""
}

// errClosed is the answer of an engine that was closed, and must not use the store any more.
var errClosed = &Error{Code: CodeShuttingDown, Message: "this instance has shut down; this request executed nothing"}

func answerLabel(a Answer, err error) string {
	switch {
	case err != nil:
		return string(CodeOf(err))
	case a.Record.State == Processing:
		return "processing"
	case a.Replayed:
		return "replayed"
	}
	return "executed"
}

func (e *Engine) execute(ctx context.Context, call Call, op *operation) (Answer, error) {
	if err := call.ID.Validate(); err != nil {
		return Answer{}, err
	}
	refusal := executable(op)
	if refusal == nil {
		refusal = e.admit(op)
	}
	if refusal != nil {
		r, err := e.recorded(ctx, call, refusal)
		if err != nil {
			return Answer{Record: r}, err
		}
		return e.told(ctx, call, op, r)
	}
	x, err := newExecution(ctx, e, op, call)
	if err != nil {
		e.release(op)
		return Answer{}, err
	}
	step, err := x.acquire(ctx)
	switch {
	case err != nil:
		return Answer{Record: step.Record}, err
	case x.claim.Won(step.Record):
		return x.wait(ctx)
	}
	return e.told(ctx, call, op, step.Record)
}

// executable tells why the service cannot execute op, if it cannot.
func executable(op *operation) *Error {
	if op == nil || op.Executor == nil {
		return &Error{Code: CodeOperationNotConfigured, Message: "the service cannot execute this operation: its configuration has no such operation, or no url for it"}
	}
	return nil
}

// recorded returns the record of a request that may not claim, if that has an answer, else refusal.
func (e *Engine) recorded(ctx context.Context, call Call, refusal *Error) (Record, error) {
	r, err := e.store.Lookup(ctx, call.ID)
	if err != nil {
		return Record{}, e.refused("look up", err)
	}
	if r.State == Absent {
		return Record{}, refusal
	}
	print, _, err := fingerprintOf(r.Fingerprint.Algorithm, call.Operation, call.Payload)
	if err != nil {
		return r, err
	}
	if err := sameRequest(r, call.Operation, print); err != nil {
		return r, err
	}
	if r.State == NotExecuted && refusal.Code != CodeOperationNotConfigured {
		return r, refusal
	}
	return r, nil
}

// told answers from a record that another request claimed for the same operation and payload.
func (e *Engine) told(ctx context.Context, call Call, op *operation, r Record) (Answer, error) {
	patience := min(call.Wait, MaxWait)
	if !call.WaitSet {
		patience = 0
		if op != nil {
			patience = op.DuplicateWait
		}
	}
	now := e.await(ctx, r, patience, func(r Record) bool { return r.State != Processing })
	if err := sameRequest(now, r.Operation, r.Fingerprint); err != nil {
		return Answer{Record: now}, err // forgotten and claimed anew while this request waited
	}
	return Answer{Record: now, Replayed: now.State.Final()}, now.Err()
}

// await returns r once it is settled, or as it was last seen when patience, ctx or the engine ends first.
func (e *Engine) await(ctx context.Context, r Record, patience time.Duration, settled func(Record) bool) Record {
	if settled(r) || patience <= 0 {
		return r
	}
	e.waiting.Add(1)
	defer e.waiting.Add(-1)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		now, more := e.awaitNews(ctx, r, timer.C, settled)
		if !more || settled(now) {
			return now
		}
		r = now
	}
}

// awaitNews returns what became of r next, and whether there may be more.
func (e *Engine) awaitNews(ctx context.Context, r Record, end <-chan time.Time, settled func(Record) bool) (Record, bool) {
	w := e.hub.join(r)
	defer e.hub.leave(r.ID, w)
	if now, err := e.store.Lookup(ctx, r.ID); err == nil && now.State != Absent && settled(now) {
		return now, false
	}
	select {
	case <-w.done:
		if w.record.State != Absent {
			return w.record, true
		}
	case <-end:
	case <-ctx.Done():
	case <-e.base.Done():
	}
	return r, false
}

// Status returns the record of id, waiting up to wait, at most MaxWait, while it is Processing or Unknown. It executes
// nothing. An absent key is an *Error with CodeKeyNotFound.
func (e *Engine) Status(ctx context.Context, id ID, wait time.Duration) (Record, error) {
	defer e.calls.leave()
	if _, open := e.calls.enter(); !open {
		return Record{}, errClosed
	}
	if err := id.Validate(); err != nil {
		return Record{}, err
	}
	r, err := e.store.Lookup(ctx, id)
	if err != nil {
		return Record{}, e.refused("look up", err)
	}
	if r.State == Absent {
		return Record{}, &Error{Code: CodeKeyNotFound, Message: "nothing is stored for this key"}
	}
	return e.await(ctx, r, min(wait, MaxWait), func(r Record) bool { return r.State.Final() || r.State == NotExecuted }), nil
}

// refused makes the API's error of a store's.
func (e *Engine) refused(doing string, err error) error {
	return e.refusedWith("the store cannot be used at the moment; this request executed nothing", doing, err)
}

// refusedWith is refused with other words for a store that failed.
func (e *Engine) refusedWith(message, doing string, err error) error {
	if refusal := refusalOf(err); refusal != nil {
		return refusal
	}
	e.events.StoreFailed(doing, err)
	return &Error{Code: CodeStoreUnavailable, Message: message, Err: err}
}

// fingerprintOf fingerprints a request as algorithm wants it: that of the record it is compared with, if there is one.
func fingerprintOf(algorithm fingerprint.Algorithm, operation string, payload []byte) (fingerprint.Fingerprint, fingerprint.Canonical, error) {
	print, form, err := fingerprint.Of(algorithm, operation, payload)
	switch {
	case err == nil:
		return print, form, nil
	case errors.Is(err, fingerprint.ErrUnknownAlgorithm):
		return print, form, &Error{Code: CodeStoreUnavailable, Message: "this key was stored by a newer version of the service", Err: err}
	}
	return print, form, &Error{Code: CodeInvalidRequest, Message: "the payload is not one JSON value", Err: err}
}
