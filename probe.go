package atmost

// Probes find out about unknown attempts whose policy is to ask. The engine goes round all unknown records, a bounded number
// at each interval, and asks about each less and less often. How soon an answer may be believed is the store's to judge,
// by its own clock (Resolve.Settle).

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	// probeBatch is how many records one listing asks for, probeBatches how many listings one round makes.
	probeBatch   = 256
	probeBatches = 8
	// probesAtOnce bounds the probes of one operation under way at a time: so many of records that are asked about for the
	// first time, and as many others, so that slow and vain ones do not keep those waiting. doubtsMost bounds what is
	// remembered of all: what is not remembered is asked about in each lap.
	probesAtOnce  = 16
	doubtsMost    = 10_000
	maxProbePause = 5 * time.Minute
)

// doubt is what is remembered of an unknown attempt that was asked about. The engine's mu guards it.
type doubt struct {
	attempt uint32
	asking  bool
	asked   bool
	pause   time.Duration
	next    time.Duration // when to ask again
	lap     int           // in which it was last seen
}

// probe goes round the unknown records.
func (e *Engine) probe() {
	var after ID
	for lap := 0; e.pause(e.housekeeping); {
		if !e.canAsk() {
			continue
		}
		for range probeBatches {
			records, err := e.store.List(e.base, Unknown, after, probeBatch)
			if err != nil {
				e.events.StoreFailed("list", err)
				break
			}
			for _, r := range records {
				e.consider(r, lap)
			}
			if len(records) < probeBatch {
				e.forgetDoubts(lap)
				after = ID{}
				lap++
				break
			}
			after = records[len(records)-1].ID
		}
	}
}

// canAsk reports whether any operation has somebody to ask. Else there is no use for a list.
func (e *Engine) canAsk() bool {
	for _, op := range *e.operations.Load() {
		if op.Prober != nil {
			return true
		}
	}
	return false
}

// consider asks about r if it is to be asked about, and it is time.
func (e *Engine) consider(r Record, lap int) {
	op := e.operation(r.Operation)
	if r.State != Unknown || r.Policy.OnUnknown != ProbeUnknown || op == nil || op.Prober == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	d := e.probing[r.ID]
	if d == nil || !d.asking && d.attempt != r.Attempt {
		d = &doubt{attempt: r.Attempt, pause: e.housekeeping}
		if len(e.probing) < doubtsMost {
			e.probing[r.ID] = d
		}
	}
	d.lap = lap
	now := e.clock.Elapsed()
	if d.asking || now < d.next {
		return
	}
	slots := op.probes
	if !d.asked {
		slots = op.fresh
	}
	select {
	case slots <- struct{}{}:
	default:
		return // in the next round
	}
	d.asking, d.asked = true, true
	e.work.Go(func() {
		defer func() { <-slots }()
		e.ask(op, r)
		e.mu.Lock()
		defer e.mu.Unlock()
		d.asking = false
		d.next = e.clock.Elapsed() + d.pause
		d.pause = min(2*d.pause, maxProbePause)
	})
}

// forgetDoubts drops what is remembered of records that are not unknown any more: those that a whole lap did not meet.
func (e *Engine) forgetDoubts(lap int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, d := range e.probing {
		if d.lap < lap && !d.asking {
			delete(e.probing, id)
		}
	}
}

// ask probes once, and settles r by the answer.
func (e *Engine) ask(op *operation, r Record) {
	outcome := e.askProber(op, r)
	e.events.Probed(r.ID, op.name, outcome)
	if !outcome.State.Final() && outcome.State != NotExecuted {
		return
	}
	step, err := e.store.Apply(context.WithoutCancel(e.base), r.ID, &Resolve{Attempt: r.Attempt, Outcome: outcome.whole(), Settle: op.ProbeSettle})
	switch {
	case err == nil:
		e.events.Settled(step.Record)
		e.hub.settle(step.Record)
	case refusalOf(err) == nil: // else it was settled otherwise, or it is too early
		e.events.StoreFailed("resolve", err)
	}
}

// askProber calls the prober. A panic tells nothing.
func (e *Engine) askProber(op *operation, r Record) (o Outcome) {
	ctx, cancel := context.WithTimeout(e.base, op.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			e.events.Panicked(op.name, p, debug.Stack())
			o = Outcome{State: Unknown, Message: "the prober panicked"}
		}
	}()
	return op.Prober.Probe(ctx, r.ID, r.Attempt)
}
