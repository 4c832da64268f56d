package atmost

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Attempt is one execution of an operation, as its executor sees it.
type Attempt struct {
	ID        ID
	Operation string
	// Payload is the request's, byte for byte. It is shared, never to be modified.
	Payload []byte
	// Number counts the attempts for the key, from 1.
	Number uint32
	// Fence is higher than that of every earlier attempt for the key.
	Fence int64
	// Trace is the caller's trace context, to be passed on.
	Trace Trace
	// Request is the Call's.
	Request any
}

// Executor performs an operation.
type Executor interface {
	// Execute makes one attempt, once, and tells how it ended. It returns soon after ctx ends, which the operation's time-out
	// brings about, never the caller that is waiting: of the caller's context it has the values. What it does not know it reports
	// as Unknown. A panic counts as Unknown.
	Execute(ctx context.Context, a Attempt) Outcome
}

// Prober finds out how an attempt ended whose outcome is unknown.
type Prober interface {
	// Probe asks once. State Unknown says that it still is not known. It changes nothing and may be called at any time.
	Probe(ctx context.Context, id ID, attempt uint32) Outcome
}

// Operation is how one kind of action is executed. Zero values mean the defaults named.
type Operation struct {
	// Executor performs it. Without one the service cannot execute the operation: clients claim it, and perform it themselves.
	Executor Executor
	// Timeout bounds one attempt. Default 30 s.
	Timeout time.Duration
	// Concurrency bounds the attempts under way at a time. Default 64.
	Concurrency int
	// MaxPending bounds the requests accepted and not yet finished, those that wait for their turn included.
	// Default 16 times Concurrency.
	MaxPending int
	// DuplicateWait is how long a duplicate waits for the execution it finds under way. Default 0.
	DuplicateWait time.Duration
	// OnUnknown says what follows when nobody knows how an attempt ended.
	OnUnknown OnUnknown
	// Prober is asked when OnUnknown is ProbeUnknown.
	Prober Prober
	// ProbeSettle is how long after the end of the lease a probe's "not executed" starts to count: until then the
	// attempt may still be on its way. Default Timeout.
	ProbeSettle time.Duration
	// ResultRetention is how long a result is replayed. Default 24 h.
	ResultRetention time.Duration
	// KeyRetention is how long a key is remembered after its outcome, at least ResultRetention. Default 720 h.
	KeyRetention time.Duration
	// Family makes it stand for all whose names begin with its own and a colon, and that are not there themselves: a key that was first
	// used for one of them goes on under its rules, instead of never.
	Family bool
}

// Defaults of an Operation.
const (
	DefaultTimeout         = 30 * time.Second
	DefaultConcurrency     = 64
	DefaultResultRetention = 24 * time.Hour
	DefaultKeyRetention    = 720 * time.Hour

	pendingPerSlot = 16
)

// Limits of an Operation's durations.
const (
	MaxTimeout   = time.Hour
	MinRetention = time.Second
	MaxRetention = 100 * 365 * 24 * time.Hour
	// MaxWait bounds how long one request may wait for an execution that it did not start.
	MaxWait = time.Minute
)

// operation is an Operation with its defaults filled in, and what the engine counts for it.
type operation struct {
	Operation
	name    string
	slots   chan struct{} // holds one element for each attempt under way
	fresh   chan struct{} // likewise for each first probe of a record
	probes  chan struct{} // and for each later one
	pending *atomic.Int64
}

// WithDefaults returns o with its defaults filled in.
func (o Operation) WithDefaults() Operation {
	defaultTo(&o.Timeout, DefaultTimeout)
	defaultTo(&o.Concurrency, DefaultConcurrency)
	defaultTo(&o.MaxPending, pendingPerSlot*o.Concurrency)
	defaultTo(&o.ProbeSettle, o.Timeout)
	defaultTo(&o.ResultRetention, DefaultResultRetention)
	defaultTo(&o.KeyRetention, max(DefaultKeyRetention, o.ResultRetention))
	return o
}

// newOperation fills in the defaults and checks the whole but for its name.
func newOperation(name string, o Operation) (*operation, error) {
	o = o.WithDefaults()
	switch {
	case o.Timeout < time.Millisecond || o.Timeout > MaxTimeout:
		return nil, fmt.Errorf("operation %q: timeout %v is not between 1ms and %v", name, o.Timeout, MaxTimeout)
	case o.Concurrency < 1:
		return nil, fmt.Errorf("operation %q: concurrency %d is not positive", name, o.Concurrency)
	case o.MaxPending < o.Concurrency:
		return nil, fmt.Errorf("operation %q: max_pending %d is less than concurrency %d", name, o.MaxPending, o.Concurrency)
	case o.DuplicateWait < 0 || o.DuplicateWait > MaxWait:
		return nil, fmt.Errorf("operation %q: duplicate_wait %v is not between 0s and %v", name, o.DuplicateWait, MaxWait)
	case o.ProbeSettle < 0:
		return nil, fmt.Errorf("operation %q: probe_settle %v is negative", name, o.ProbeSettle)
	case o.OnUnknown == ProbeUnknown && o.Prober == nil:
		return nil, fmt.Errorf("operation %q: on_unknown is probe, but there is nothing to probe with", name)
	case o.ResultRetention < MinRetention || o.ResultRetention > MaxRetention:
		return nil, fmt.Errorf("operation %q: result_retention %v is not between %v and %v", name, o.ResultRetention, MinRetention, MaxRetention)
	case o.KeyRetention < o.ResultRetention || o.KeyRetention > MaxRetention:
		return nil, fmt.Errorf("operation %q: key_retention %v is not between result_retention %v and %v", name, o.KeyRetention, o.ResultRetention, MaxRetention)
	}
	return &operation{
		Operation: o, name: name,
		slots: make(chan struct{}, o.Concurrency), fresh: make(chan struct{}, probesAtOnce), probes: make(chan struct{}, probesAtOnce), pending: new(atomic.Int64),
	}, nil
}

// succeed takes over what is counted for the operation that had o's name before.
func (o *operation) succeed(before *operation) {
	o.pending, o.fresh, o.probes = before.pending, before.fresh, before.probes
	if o.Concurrency == before.Concurrency {
		o.slots = before.slots
	}
}

func defaultTo[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

func (o *operation) policy() Policy {
	by := ByService
	if o.Executor == nil {
		by = ByClient
	}
	return Policy{OnUnknown: o.OnUnknown, ExecutedBy: by, ResultRetention: o.ResultRetention, KeyRetention: o.KeyRetention}
}
