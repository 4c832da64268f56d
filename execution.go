package atmost

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atmost-dev/atmost/fingerprint"
)

// execution is one attempt made by this engine: from its claim, through the executor's call, to a durable outcome. It holds a
// place among the pending until then.
type execution struct {
	engine *Engine
	op     *operation
	call   Call
	claim  Claim

	leaseEnd atomic.Int64 // by the engine's clock: no later than the store's deadline, 0 before the first claim was sent
	phase    atomic.Uint32
	claimed  Record

	once   sync.Once
	done   chan struct{}
	record Record // valid once done is closed: as it stands, durably
}

// The phases of an execution. It leaves the first only once: whoever changes it decides whether the executor is called.
const (
	queued     uint32 = iota
	dispatched        // the executor is called
	withdrawn         // it never will be
)

// The pauses between tries to reach a store that fails.
const (
	minPause = 10 * time.Millisecond
	maxPause = time.Second
)

func newExecution(e *Engine, op *operation, call Call) (*execution, error) {
	print, err := fingerprintOf(fingerprint.Current, call)
	if err != nil {
		return nil, err
	}
	x := &execution{engine: e, op: op, call: call, done: make(chan struct{})}
	x.claim = Claim{
		Operation: call.Operation, Fingerprint: print,
		Token: NewToken(), Lease: leaseFor(op.Timeout), Policy: op.policy(),
	}
	return x, nil
}

// acquire claims, and starts the attempt if the claim won. The place among the pending is the attempt's then, and given
// back otherwise.
func (x *execution) acquire(ctx context.Context) (Record, error) {
	e := x.engine
	step, err := x.apply(ctx)
	if x.otherAlgorithm(step.Record) {
		if x.claim.Fingerprint, err = fingerprintOf(step.Record.Fingerprint.Algorithm, x.call); err == nil {
			step, err = x.apply(ctx)
		}
	}
	switch {
	case errors.Is(err, ErrAmbiguous):
		return x.acquireLater(ctx)
	case err != nil:
		e.release(x.op)
		return step.Record, e.refused("claim", err)
	case !x.claim.Won(step.Record):
		e.release(x.op)
		return step.Record, nil
	}
	x.start(step.Record)
	return step.Record, nil
}

func (x *execution) otherAlgorithm(r Record) bool {
	return r.State != Absent && r.Operation == x.call.Operation && r.Fingerprint.Algorithm != x.claim.Fingerprint.Algorithm
}

// apply sends the claim. The lease counts from before it was first sent, as repeating a claim moves no deadline.
func (x *execution) apply(ctx context.Context) (Step, error) {
	e := x.engine
	sent := e.clock.Elapsed()
	x.leaseEnd.CompareAndSwap(0, int64(sent+leaseLasts(x.claim.Lease)))
	step, err := e.store.Apply(ctx, x.call.ID, &x.claim)
	e.events.Claimed(x.op.name, e.clock.Elapsed()-sent)
	return step, err
}

// acquireLater settles a claim of which the store does not know whether it was made. That goes on until it is known, but
// the request waits no longer than the engine's patience: from then on the claim, if it was made, is given back unused.
func (x *execution) acquireLater(ctx context.Context) (Record, error) {
	e := x.engine
	type answer struct {
		record Record
		err    error
	}
	answers := make(chan answer, 1)
	var decided atomic.Bool // whoever sets it decides whether the attempt starts
	e.work.Go(func() {
		step, err := x.settleClaim(context.WithoutCancel(ctx))
		first := decided.CompareAndSwap(false, true)
		switch won := err == nil && x.claim.Won(step.Record); {
		case first && won:
			x.start(step.Record)
			answers <- answer{step.Record, nil}
		case step.Record.Token.Matches(x.claim.Token): // made, but too late
			answers <- answer{Record{}, errUnconfirmed}
			x.enlist(step.Record)
			x.finish(Outcome{State: NotExecuted, Message: errUnconfirmed.Message})
		default:
			x.leave()
			answers <- answer{step.Record, err}
		}
	})
	patience := time.NewTimer(e.claimPatience)
	defer patience.Stop()
	var a answer
	select {
	case a = <-answers:
	case <-patience.C:
		if decided.CompareAndSwap(false, true) {
			return Record{}, errUnconfirmed
		}
		a = <-answers // which follows at once
	}
	if a.err != nil {
		return a.record, e.refused("claim", a.err)
	}
	return a.record, nil
}

var errUnconfirmed = &Error{Code: CodeStoreUnavailable, Message: "the store did not confirm the claim in time; this request executed nothing"}

// settleClaim repeats the claim until its fate is known, or the engine ends.
func (x *execution) settleClaim(ctx context.Context) (Step, error) {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		step, err := x.apply(ctx)
		if err == nil || refusalOf(err) != nil {
			return step, err
		}
		x.engine.events.StoreFailed("claim", err)
		if !x.engine.pause(pause) {
			return step, err
		}
	}
}

// start runs the attempt under the lease that r tells of.
func (x *execution) start(r Record) {
	if !x.enlist(r) {
		x.finish(shutDown)
		return
	}
	x.engine.work.Go(func() { x.finish(x.perform()) })
}

// shutDown is the outcome of an attempt that Close was faster than.
var shutDown = Outcome{State: NotExecuted, Message: "the service was shut down before it was executed"}

// enlist makes the attempt known to renewal and to Close, unless that has already looked.
func (x *execution) enlist(r Record) bool {
	x.claimed = r
	x.engine.mu.Lock()
	defer x.engine.mu.Unlock()
	if !x.engine.ending {
		x.engine.running[x] = struct{}{}
	}
	return !x.engine.ending
}

// leave gives the place among the pending back.
func (x *execution) leave() {
	x.engine.mu.Lock()
	delete(x.engine.running, x)
	x.engine.mu.Unlock()
	x.engine.release(x.op)
}

// perform waits for its turn, checks that the lease still lasts, and has the executor make the attempt.
func (x *execution) perform() Outcome {
	e := x.engine
	if !x.takeSlot() {
		return Outcome{State: NotExecuted, Message: "too many attempts of this operation were under way"}
	}
	defer func() { <-x.op.slots }()

	begin := e.clock.Elapsed()
	if begin+x.op.Timeout+leaseMargin > time.Duration(x.leaseEnd.Load()) {
		return Outcome{State: NotExecuted, Message: "too much time went by between the claim and the attempt"}
	}
	if !x.phase.CompareAndSwap(queued, dispatched) {
		return shutDown
	}
	attempt := Attempt{
		ID: x.call.ID, Operation: x.call.Operation, Payload: x.call.Payload,
		Number: x.claimed.Attempt, Fence: x.claimed.Fence, Trace: x.call.Trace,
	}
	e.events.Started(x.op.name)
	outcome := x.execute(attempt)
	e.events.Ended(attempt, outcome, e.clock.Elapsed()-begin)
	return outcome
}

// takeSlot waits for the attempt's turn, for up to turnPatience or until the engine ends.
func (x *execution) takeSlot() bool {
	select {
	case x.op.slots <- struct{}{}:
		return true
	default:
	}
	turn := time.NewTimer(turnPatience)
	defer turn.Stop()
	select {
	case x.op.slots <- struct{}{}:
		return true
	case <-turn.C:
	case <-x.engine.base.Done():
	}
	return false
}

// execute calls the executor. A panic, or an outcome that is none, is unknown.
func (x *execution) execute(a Attempt) (o Outcome) {
	ctx, cancel := context.WithTimeout(x.engine.base, x.op.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			x.engine.events.Panicked(x.op.name, p, debug.Stack())
			o = Outcome{State: Unknown, Message: "its executor panicked; it may have been executed"}
		}
	}()
	o = x.op.Executor.Execute(ctx, a)
	if o.State < Completed || o.State > Unknown {
		return Outcome{State: Unknown, Message: "its executor told no outcome; it may have been executed"}
	}
	return o
}

// finish reports the outcome until the store has it, or, once the engine ends, has been asked once more. Then the attempt
// leaves its place to another, and all who wait for it are answered.
func (x *execution) finish(o Outcome) {
	e, begin := x.engine, x.engine.clock.Elapsed()
	event := &Finish{Token: x.claim.Token, Outcome: o.whole(), Claimed: &x.claimed}
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		step, err := e.store.Apply(context.WithoutCancel(e.base), x.call.ID, event)
		if refusal := refusalOf(err); err == nil || refusal != nil {
			x.finished(step, refusal, e.clock.Elapsed()-begin)
			return
		}
		e.events.StoreFailed("finish", err)
		if pause == minPause { // the first try
			e.unstored.Add(1)
			defer e.unstored.Add(-1)
		}
		if !e.pause(pause) {
			x.leave()
			x.settle(x.claimed)
			return
		}
	}
}

// finished goes on from a report that the store has judged.
func (x *execution) finished(step Step, refusal *Error, took time.Duration) {
	e := x.engine
	if refusal == nil {
		e.events.Finished(x.op.name, took)
	}
	if step.Late {
		e.events.Late(x.op.name)
	}
	if step.Contradiction {
		e.events.Contradicted(x.call.ID, x.op.name)
	}
	x.leave()
	x.settle(step.Record)
}

// settle answers the request that started the attempt, if it still waits, and all duplicates that do.
func (x *execution) settle(r Record) {
	x.once.Do(func() {
		x.record = r
		close(x.done)
	})
	x.engine.hub.settle(r)
}

// wait answers the request that started the attempt.
func (x *execution) wait(ctx context.Context) (Answer, error) {
	patience := x.op.Timeout + callerGrace
	if x.call.WaitSet {
		patience = min(x.call.Wait, MaxWait)
	}
	if patience <= 0 {
		return Answer{Record: x.claimed}, nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-x.done:
		return Answer{Record: x.record}, x.record.Err()
	case <-timer.C:
	case <-ctx.Done():
	}
	return Answer{Record: x.claimed}, nil
}

// renew asks for more time if a third of the lease is over.
func (x *execution) renew(ctx context.Context) {
	e := x.engine
	sent := e.clock.Elapsed()
	if left := time.Duration(x.leaseEnd.Load()) - sent; left > x.claim.Lease*2/3 {
		return
	}
	_, err := e.store.Apply(ctx, x.call.ID, &Renew{Token: x.claim.Token, Lease: x.claim.Lease})
	switch {
	case err == nil:
		x.leaseEnd.Store(int64(sent + leaseLasts(x.claim.Lease)))
	case refusalOf(err) == nil: // a lost lease shows when the attempt is finished
		e.events.StoreFailed("renew", err)
	}
}

// abandon gives the attempt up because the engine ends. One that has not begun never will; of any other nobody knows how it
// will end, and nobody is told that it has.
func (x *execution) abandon(ctx context.Context) {
	outcome := shutDown
	if !x.phase.CompareAndSwap(queued, withdrawn) {
		outcome = Outcome{State: Unknown, Message: "the service was shut down while it ran; it may have been executed"}
	}
	_, err := x.engine.store.Apply(ctx, x.call.ID, &Finish{Token: x.claim.Token, Outcome: outcome})
	x.settle(x.claimed)
	x.engine.hub.release(x.claimed)
	x.engine.events.Abandoned(x.call.ID, x.op.name, outcome.State, err == nil)
}
