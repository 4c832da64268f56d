package atmost

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atmost-dev/atmost/fingerprint"
)

// Options configures an Engine. Zero values mean the defaults named.
type Options struct {
	// Operations are the operations by name; SetOperations replaces them.
	Operations map[string]Operation
	// Unlisted, if not nil, is how clients perform operations that Operations does not have; SetUnlisted replaces it.
	Unlisted *Operation
	// MaxPending bounds the executions accepted and not yet finished, over all operations. Default DefaultMaxPending.
	MaxPending int
	// ClaimPatience is how long a request waits for a claim, or a report, whose fate the store does not know, beginning with the first
	// try. Default DefaultClaimPatience.
	ClaimPatience time.Duration
	// Housekeeping is the interval at which leases are renewed, expired records swept and unknown ones probed: at most
	// MaxHousekeeping. Default 1 s.
	Housekeeping time.Duration
	// Clock tells how much time has passed. Default SystemClock.
	Clock Clock
	// Events are told what happens.
	Events Events
}

// Defaults of Options.
const (
	DefaultMaxPending    = 4096
	DefaultClaimPatience = 5 * time.Second
)

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
	observed      bool // somebody is told how requests were answered, and how long that took
	hub           *hub
	claimPatience time.Duration
	housekeeping  time.Duration
	maxPending    int64
	paths         *fingerprint.Paths // nil: the store has no secret

	operations atomic.Pointer[map[string]*operation]
	unlisted   atomic.Pointer[operation] // nil: there are none
	calls      *gate                     // requests being answered
	pending    *gate                     // executions accepted and not yet finished
	unstored   atomic.Int64              // of them, those whose outcome the store did not take yet
	waiting    atomic.Int64              // requests that wait for another's attempt
	swept      atomic.Int64              // by the clock, when the last sweep began that left nothing to do
	doubts     atomic.Pointer[Doubts]
	replays    tally

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
	defaultTo(&o.ClaimPatience, DefaultClaimPatience)
	defaultTo(&o.Housekeeping, time.Second)
	if o.MaxPending < 1 || o.ClaimPatience < 0 || o.Housekeeping < 0 || o.Housekeeping > MaxHousekeeping {
		return nil, errors.New("atmost: an option is negative, or Housekeeping over MaxHousekeeping")
	}
	if o.Clock == nil {
		o.Clock = SystemClock()
	}
	e := &Engine{
		store: store, clock: o.Clock, events: o.Events.fill(), observed: o.Events.Answered != nil || o.Events.Finished != nil, hub: newHub(),
		claimPatience: o.ClaimPatience, housekeeping: o.Housekeeping, maxPending: int64(o.MaxPending),
		calls: newGate(), pending: newGate(), running: make(map[*execution]struct{}), probing: make(map[ID]*doubt),
	}
	if err := errors.Join(e.SetOperations(o.Operations), e.SetUnlisted(o.Unlisted)); err != nil {
		return nil, err
	}
	if err := prove(ctx, store, o.Clock); err != nil {
		return nil, err
	}
	if keyed, ok := store.(Keyed); ok {
		e.paths = fingerprint.NewPaths(keyed.Secret())
	}
	e.swept.Store(int64(e.clock.Elapsed()))
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
		if wrong := validName(name); wrong != "" {
			return fmt.Errorf("operation %q: its name %s", name, wrong)
		}
		op, err := newOperation(name, o)
		if err != nil {
			return err
		}
		if before := e.listed(name); before != nil {
			op.succeed(before)
		}
		m[name] = op
	}
	e.operations.Store(&m)
	return nil
}

// SetUnlisted replaces what clients may do that is not among the operations: they claim and perform it as o says, which
// has no Executor and asks no Prober; nil allows nothing. It is not called concurrently with itself.
func (e *Engine) SetUnlisted(o *Operation) error {
	if o == nil {
		e.unlisted.Store(nil)
		return nil
	}
	if o.Executor != nil || o.OnUnknown == ProbeUnknown {
		return errors.New("operations that are not listed are performed by clients, and nobody can be asked about them")
	}
	op, err := newOperation("", *o)
	if err != nil {
		return err
	}
	if before := e.unlisted.Load(); before != nil {
		op.succeed(before)
	}
	e.unlisted.Store(op)
	return nil
}

// operation returns the operation called name, or the one whose family that belongs to, nil if there is none.
func (e *Engine) operation(name string) *operation {
	if op := e.listed(name); op != nil {
		return op
	}
	head, _, _ := strings.Cut(name, ":")
	if op := e.listed(head); op != nil && op.Family {
		return op
	}
	return nil
}

func (e *Engine) listed(name string) *operation {
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

// Waiting returns how many requests wait for another's attempt.
func (e *Engine) Waiting() int { return int(e.waiting.Load()) }

// SweepLag returns how late the sweeping of the store may be: the time since the last sweep began that left nothing to do. What had
// to be swept before then has been, as far as the store tells; what it puts off by itself comes on top. It is less than two intervals
// of housekeeping, unless sweeps fail, hang, or do not keep up.
func (e *Engine) SweepLag() time.Duration { return e.clock.Elapsed() - time.Duration(e.swept.Load()) }

// admit reserves room for one execution or claim of op, to be given back by release, or tells why there is none. It comes
// before anything is looked up.
func (e *Engine) admit(op *operation) *Error {
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
