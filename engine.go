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
	// MaxPending bounds the executions accepted and not yet finished, over all operations. Default DefaultMaxPending.
	MaxPending int
	// ClaimPatience is how long a request waits for a claim whose fate the store does not know. Default 5 s.
	ClaimPatience time.Duration
	// Housekeeping is the interval at which leases are renewed, expired records swept and unknown ones probed: at most
	// MaxHousekeeping. Default 1 s.
	Housekeeping time.Duration
	// Clock tells how much time has passed. Default SystemClock.
	Clock Clock
	// Events are told what happens.
	Events Events
}

// DefaultMaxPending is the default of Options.MaxPending.
const DefaultMaxPending = 4096

// MaxHousekeeping is the longest interval that still renews every lease in time.
const MaxHousekeeping = leaseMargin

const (
	// leaseSlack is how much longer than the operation's time-out a lease lasts, beside a fiftieth of that: a store's clock
	// may run fast by a hundredth.
	leaseSlack = 15 * time.Second
	// leaseMargin is how much of the slack must be left when the upstream is called.
	leaseMargin = 5 * time.Second
	// turnPatience is how long an attempt waits for its turn.
	turnPatience = leaseSlack - leaseMargin
	// callerGrace is how much longer than the operation's time-out the request that started it waits.
	callerGrace = 5 * time.Second
)

// leaseFor is how long the lease of an attempt lasts, by the store's clock.
func leaseFor(timeout time.Duration) time.Duration { return timeout + timeout/50 + leaseSlack }

// leaseLasts is how long a lease lasts at least by any other clock.
func leaseLasts(lease time.Duration) time.Duration { return lease - lease/slew }

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
	calls      *gate        // requests being answered
	pending    *gate        // executions accepted and not yet finished
	unstored   atomic.Int64 // of them, those whose outcome the store did not take yet

	mu      sync.Mutex
	running map[*execution]struct{} // what is renewed, and what Close abandons
	ending  bool                    // nothing joins running any more
	probing map[ID]*doubt           // see probe.go

	base  context.Context // ends when executions must
	stop  context.CancelFunc
	work  sync.WaitGroup // every goroutine of the engine
	close sync.Once
}

// New starts an engine over store, which stays the caller's to close once Close has returned. It first has the store
// prove that its claims exclude each other.
func New(ctx context.Context, store Store, o Options) (*Engine, error) {
	defaultTo(&o.MaxPending, DefaultMaxPending)
	defaultTo(&o.ClaimPatience, 5*time.Second)
	defaultTo(&o.Housekeeping, time.Second)
	if o.MaxPending < 1 || o.ClaimPatience < 0 || o.Housekeeping < 0 || o.Housekeeping > MaxHousekeeping {
		return nil, errors.New("atmost: an option is negative, or Housekeeping over MaxHousekeeping")
	}
	if o.Clock == nil {
		o.Clock = SystemClock()
	}
	e := &Engine{
		store: store, clock: o.Clock, events: o.Events.fill(), hub: newHub(),
		claimPatience: o.ClaimPatience, housekeeping: o.Housekeeping, maxPending: int64(o.MaxPending),
		calls: newGate(), pending: newGate(), running: make(map[*execution]struct{}), probing: make(map[ID]*doubt),
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
	if shared, ok := store.(Watcher); ok {
		e.work.Go(func() { e.watch(shared) })
	}
	return e, nil
}

// SetOperations replaces the operations, all or, on an error, none. Attempts under way end as they began, and count
// towards the bounds of the operation that now has their name, unless its Concurrency is another. It is not called
// concurrently with itself.
func (e *Engine) SetOperations(operations map[string]Operation) error {
	m := make(map[string]*operation, len(operations))
	for name, o := range operations {
		op, err := newOperation(name, o)
		if err != nil {
			return err
		}
		if before := e.operation(name); before != nil {
			op.succeed(before)
		}
		m[name] = op
	}
	e.operations.Store(&m)
	return nil
}

// operation returns the operation called name, nil if there is none.
func (e *Engine) operation(name string) *operation {
	if m := e.operations.Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

// Pending returns how many executions are accepted and not yet finished, and of how many of them the outcome is known,
// but the store does not take it yet.
func (e *Engine) Pending() (accepted, unstored int) {
	return int(e.pending.inside.Load()), int(e.unstored.Load())
}

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
	defer e.calls.leave()
	if _, open := e.calls.enter(); !open {
		return Answer{}, errClosed
	}
	begin := e.clock.Elapsed()
	op := e.operation(call.Operation)
	a, err := e.execute(ctx, call, op)
	label := ""
	if op != nil {
		label = op.name
	}
	e.events.Answered(Answered{Operation: label, Answer: answerLabel(a, err), Took: e.clock.Elapsed() - begin})
	return a, err
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
	total, open := e.pending.enter()
	own := op.pending.Add(1)
	var refusal *Error
	switch {
	case !open:
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
	e.pending.leave()
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

// Close ends the engine: it claims nothing more, and waits for the attempts under way until ctx ends; those that are
// left are given up, stored as unknown unless they had not begun, and whoever waits for them is told that they are
// processing. It returns once nothing of the engine uses the store any more: every request has been answered and every
// goroutine has ended. Executors are expected to return soon after their context has.
func (e *Engine) Close(ctx context.Context) {
	e.close.Do(func() {
		e.pending.close(ctx)
		e.mu.Lock()
		e.ending = true
		e.mu.Unlock()
		e.each(func(x *execution) { x.abandon(context.WithoutCancel(ctx)) })
		e.stop()
		e.calls.close(context.Background())
		e.work.Wait()
	})
}
