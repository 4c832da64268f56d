package atmost

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atmost-dev/atmost/fingerprint"
)

// Options configures an Engine. Zero values mean the defaults named.
type Options struct {
	// Operations are the operations by name; SetOperations replaces them.
	Operations map[string]Operation
	// MaxPending bounds the executions accepted and not yet finished, over all operations. Default 4096.
	MaxPending int
	// ClaimPatience is how long a request waits for a claim whose fate the store does not know. Default 5 s.
	ClaimPatience time.Duration
	// Housekeeping is the interval at which expired records are swept and unknown ones probed. Default 1 s.
	Housekeeping time.Duration
	// Clock tells how much time has passed. Default SystemClock.
	Clock Clock
	// Events are told what happens.
	Events Events
}

const (
	// leaseSlack is how much longer than the operation's time-out a lease lasts.
	leaseSlack = 15 * time.Second
	// leaseMargin is how much of the slack must be left when the upstream is called.
	leaseMargin = 5 * time.Second
	// callerGrace is how much longer than the operation's time-out the request that started it waits.
	callerGrace = 5 * time.Second
)

// Engine applies the rules: it executes each operation at most once per ID, and answers every request for it from the
// record. Its methods may be called from any number of goroutines.
type Engine struct {
	store         Store
	clock         Clock
	events        Events
	hub           *hub
	claimPatience time.Duration
	housekeeping  time.Duration
	maxPending    int64

	operations atomic.Pointer[map[string]*operation]
	pending    atomic.Int64 // admitted and not yet released
	draining   atomic.Bool
	idle       chan struct{} // has an element when pending may have reached 0 while draining

	mu      sync.Mutex
	running map[*execution]struct{} // what Close abandons
	closed  bool                    // nothing is spawned any more

	base  context.Context // ends when executions must
	stop  context.CancelFunc
	work  sync.WaitGroup // every goroutine of the engine
	close sync.Once
}

// New starts an engine over store, which stays the caller's to close once Close has returned. It first has the store
// prove that its claims exclude each other.
func New(ctx context.Context, store Store, o Options) (*Engine, error) {
	defaultTo(&o.MaxPending, 4096)
	defaultTo(&o.ClaimPatience, 5*time.Second)
	defaultTo(&o.Housekeeping, time.Second)
	if o.MaxPending < 1 || o.ClaimPatience < 0 || o.Housekeeping < 0 {
		return nil, errors.New("atmost: negative option")
	}
	if o.Clock == nil {
		o.Clock = SystemClock()
	}
	e := &Engine{
		store: store, clock: o.Clock, events: o.Events.fill(), hub: newHub(),
		claimPatience: o.ClaimPatience, housekeeping: o.Housekeeping, maxPending: int64(o.MaxPending),
		idle: make(chan struct{}, 1), running: make(map[*execution]struct{}),
	}
	if err := e.SetOperations(o.Operations); err != nil {
		return nil, err
	}
	if err := prove(ctx, store); err != nil {
		return nil, err
	}
	e.base, e.stop = context.WithCancel(context.WithoutCancel(ctx))
	e.work.Go(e.sweep)
	e.work.Go(e.renew)
	e.work.Go(e.probe)
	return e, nil
}

// SetOperations replaces the operations, all or, on an error, none. Attempts under way end as they began.
func (e *Engine) SetOperations(operations map[string]Operation) error {
	m := make(map[string]*operation, len(operations))
	for name, o := range operations {
		op, err := newOperation(name, o)
		if err != nil {
			return err
		}
		m[name] = op
	}
	e.operations.Store(&m)
	return nil
}

// Pending returns how many executions are accepted and not yet finished.
func (e *Engine) Pending() int { return int(e.pending.Load()) }

// Call is a request to execute an operation.
type Call struct {
	ID        ID
	Operation string
	// Payload is one JSON value, not modified until the execution has ended.
	Payload []byte
	// Wait is how long the caller waits for the outcome, if WaitSet, at most MaxWait; otherwise the operation's configuration counts.
	Wait    time.Duration
	WaitSet bool
	Trace   Trace
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
	begin := e.clock.Elapsed()
	op := (*e.operations.Load())[call.Operation]
	a, err := e.execute(ctx, call, op)
	label := ""
	if op != nil {
		label = op.name
	}
	e.events.Answered(Answered{Operation: label, Answer: answerLabel(a, err), Took: e.clock.Elapsed() - begin})
	return a, err
}

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
	if refusal := e.admit(op); refusal != nil {
		return e.existing(ctx, call, op, refusal)
	}
	x, err := newExecution(e, op, call)
	if err != nil {
		e.release(op)
		return Answer{}, err
	}
	r, err := x.acquire(ctx)
	switch {
	case err != nil:
		return Answer{Record: r}, err
	case x.claim.Won(r):
		return x.wait(ctx)
	}
	return e.told(ctx, call, op, r)
}

// admit reserves room for one execution of op, to be given back by release, or tells why there is none. It comes before
// anything is looked up.
func (e *Engine) admit(op *operation) *Error {
	if op == nil || op.Executor == nil {
		return &Error{Code: CodeOperationNotConfigured, Message: "the service cannot execute this operation: its configuration has no such operation, or no url for it"}
	}
	total, own := e.pending.Add(1), op.pending.Add(1)
	var refusal *Error
	switch {
	case e.draining.Load():
		refusal = &Error{Code: CodeShuttingDown, Message: "this instance is shutting down; this request executed nothing"}
	case total > e.maxPending:
		refusal = &Error{Code: CodeOverloaded, Message: "too many executions are under way; this request executed nothing"}
	case own > int64(op.MaxPending):
		refusal = &Error{Code: CodeOverloaded, Message: "too many executions of this operation are under way; this request executed nothing"}
	default:
		return nil
	}
	e.release(op)
	return refusal
}

func (e *Engine) release(op *operation) {
	op.pending.Add(-1)
	if e.pending.Add(-1) == 0 && e.draining.Load() {
		select {
		case e.idle <- struct{}{}:
		default:
		}
	}
}

// existing answers a request that may not claim: from its record if that has an answer, else with refusal.
func (e *Engine) existing(ctx context.Context, call Call, op *operation, refusal *Error) (Answer, error) {
	r, err := e.store.Lookup(ctx, call.ID)
	if err != nil {
		return Answer{}, e.refused("look up", err)
	}
	if r.State == Absent {
		return Answer{}, refusal
	}
	print, err := fingerprintOf(r.Fingerprint.Algorithm, call)
	if err != nil {
		return Answer{Record: r}, err
	}
	if err := sameRequest(r, call.Operation, print); err != nil {
		return Answer{Record: r}, err
	}
	if r.State == NotExecuted && refusal.Code != CodeOperationNotConfigured {
		return Answer{Record: r}, refusal
	}
	return e.told(ctx, call, op, r)
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
	now := e.await(ctx, r, patience)
	if err := sameRequest(now, r.Operation, r.Fingerprint); err != nil {
		return Answer{Record: now}, err // forgotten and claimed anew while this request waited
	}
	return Answer{Record: now, Replayed: now.State.Final()}, now.Err()
}

// await returns r once it is no longer Processing, or as it is when patience or ctx ends first.
func (e *Engine) await(ctx context.Context, r Record, patience time.Duration) Record {
	if r.State != Processing || patience <= 0 {
		return r
	}
	w := e.hub.join(r.ID)
	defer e.hub.leave(r.ID, w)
	if now, err := e.store.Lookup(ctx, r.ID); err == nil && now.State != Processing && now.State != Absent {
		return now
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.done:
		return w.record
	case <-timer.C:
	case <-ctx.Done():
	}
	return r
}

// Status returns the record of id, waiting up to wait, at most MaxWait, while it is Processing. It executes nothing.
// An absent key is an *Error with CodeKeyNotFound.
func (e *Engine) Status(ctx context.Context, id ID, wait time.Duration) (Record, error) {
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
	return e.await(ctx, r, min(wait, MaxWait)), nil
}

// refused makes the API's error of a store's.
func (e *Engine) refused(doing string, err error) error {
	var refusal *Error
	if errors.As(err, &refusal) {
		return refusal
	}
	e.events.StoreFailed(doing, err)
	return &Error{Code: CodeStoreUnavailable, Message: "the store cannot be used at the moment; this request executed nothing", Err: err}
}

// fingerprintOf fingerprints call as algorithm wants it: that of the record it is compared with, if there is one.
func fingerprintOf(algorithm fingerprint.Algorithm, call Call) (fingerprint.Fingerprint, error) {
	print, err := fingerprint.Of(algorithm, call.Operation, call.Payload)
	switch {
	case err == nil:
		return print, nil
	case errors.Is(err, fingerprint.ErrUnknownAlgorithm):
		return print, &Error{Code: CodeStoreUnavailable, Message: "this key was stored by a newer version of the service", Err: err}
	}
	return print, &Error{Code: CodeInvalidRequest, Message: "the payload is not one JSON value", Err: err}
}
