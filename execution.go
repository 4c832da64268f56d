package atmost

import (
	"context"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// execution is one attempt made by this engine: from its claim, through the executor's call, to a durable outcome. It holds the
// claim's place among the pending until then.
type execution struct {
	claiming
	values context.Context // of the request that started it; it never ends

	phase   atomic.Uint32
	claimed Record

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

func newExecution(ctx context.Context, e *Engine, op *operation, call Call) (*execution, error) {
	x := &execution{values: context.WithoutCancel(ctx), done: make(chan struct{})}
	if err := x.prepare(e, op, call, NewToken(), leaseFor(op.Timeout)); err != nil {
		return nil, err
	}
	x.claimant, x.secret = x, true
	return x, nil
}

func (x *execution) won(s Step) { x.start(s.Record) }

func (x *execution) unused(s Step) {
	x.enlist(s.Record)
	x.finish(unconfirmed)
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

	if e.clock.Elapsed()+x.op.Timeout+leaseMargin > time.Duration(x.leaseEnd.Load()) {
		return Outcome{State: NotExecuted, Message: "too much time went by between the claim and the attempt"}
	}
	if !x.phase.CompareAndSwap(queued, dispatched) {
		return shutDown
	}
	attempt := x.attempt()
	e.events.Started(x.op.name)
	begin := time.Now()
	outcome := x.execute(attempt)
	e.events.Ended(attempt, outcome, time.Since(begin))
	return outcome
}

func (x *execution) attempt() Attempt {
	return Attempt{
		ID: x.call.ID, Operation: x.call.Operation, Payload: x.call.Payload,
		Number: x.claimed.Attempt, Fence: x.claimed.Fence, Trace: x.call.Trace,
		Request: x.call.Request,
	}
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
	ctx, cancel := context.WithTimeout(x.values, x.op.Timeout)
	defer cancel()
	defer context.AfterFunc(x.engine.base, cancel)()
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
	e, begin := x.engine, time.Now()
	event := &Finish{Token: x.claim.Token, Outcome: o.whole()}
	if x.claim.Won(x.claimed) {
		event.Claimed = &x.claimed
	}
	step, refusal, judged := e.insist(x.values, x.call.ID, event)
	x.leave()
	if !judged {
		x.settle(x.claimed)
		return
	}
	e.judged(x.call.ID, x.op.name, step, refusal, time.Since(begin))
	if refusal != nil && x.dropped(event.Outcome.State, step) {
		e.events.Dropped(x.attempt(), event.Outcome.State)
	}
	x.settle(step.Record)
}

// dropped reports whether the refusal of the outcome means that the store has lost the attempt, and with it what may have happened.
// A record that remembers the attempt knows that it was given up, and has a contradiction where that was wrong.
func (x *execution) dropped(outcome State, s Step) bool {
	known := s.Record.Token.Matches(x.claim.Token) || slices.ContainsFunc(s.Record.Past, func(p Past) bool { return p.Token.Matches(x.claim.Token) })
	return x.claim.Won(x.claimed) && outcome != NotExecuted && !known
}

// insist reports an outcome until the store has judged it, which it tells, or, once the engine ends, has been asked once more.
func (e *Engine) insist(ctx context.Context, id ID, event *Finish) (step Step, refusal *Error, judged bool) {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		step, err := e.store.Apply(context.WithoutCancel(ctx), id, event)
		if refusal := refusalOf(err); err == nil || refusal != nil {
			return step, refusal, true
		}
		e.events.StoreFailed("finish", err)
		if pause == minPause { // the first try
			e.unstored.Add(1)
			defer e.unstored.Add(-1)
		}
		if !e.pause(pause) {
			return step, nil, false
		}
	}
}

// judged tells what a report that the store has judged amounts to, after took.
func (e *Engine) judged(id ID, operation string, step Step, refusal *Error, took time.Duration) {
	if refusal == nil {
		e.events.Finished(operation, step.Record.Trace, took)
	}
	if step.Late {
		e.events.Late(operation)
	}
	if step.Contradiction {
		e.events.Contradicted(id, operation)
	}
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
		r := x.record
		if sameRequest(r, x.call.Operation, x.claim.Fingerprint) != nil {
			r = Record{ID: r.ID, Fence: r.Fence} // forgotten while it ran, and maybe claimed for something else
		}
		return Answer{Record: r}, r.Err()
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
