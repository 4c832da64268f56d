package atmost

// Probes find out about unknown attempts whose policy is to ask. The engine goes round all unknown records, a bounded number
// at each interval, and asks about each less and less often. How soon an answer may be believed is the store's to judge,
// by its own clock (Resolve.Settle).

import (
	"cmp"
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
	var seen Doubts
	q := Query{State: Unknown, Limit: probeBatch}
	for lap := 0; e.pause(e.housekeeping); {
		for range probeBatches {
			page, err := e.store.List(e.base, q)
			if err != nil {
				e.events.StoreFailed("list", err)
				break
			}
			for _, r := range page.Records {
				seen.count(r, page.Now)
				e.consider(r, lap)
			}
			q.After = page.Next
			if !page.More {
				e.forgetDoubts(lap)
				all := seen // which is read while the next lap counts
				e.doubts.Store(&all)
				q.After, seen = ID{}, Doubts{}
				lap++
				break
			}
		}
	}
}

// Doubts tells of the records that are unknown.
type Doubts struct {
	Count int
	// Oldest is for how long the one has been that has been for longest.
	Oldest time.Duration
}

func (d *Doubts) count(r Record, now Time) {
	if r.State == Unknown {
		d.Count++
		d.Oldest = max(d.Oldest, now.Sub(r.UpdatedAt))
	}
}

// Doubts returns how many records are unknown, of all instances, as they were at the end of the last round, which ends a second ago
// or so unless there are thousands.
func (e *Engine) Doubts() Doubts {
	if d := e.doubts.Load(); d != nil {
		return *d
	}
	return Doubts{}
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
		vain := &Probed{Attempt: r.Attempt, Message: cmp.Or(outcome.Message, "the probe did not find out how it ended")}
		if _, err := e.store.Apply(context.WithoutCancel(e.base), r.ID, vain); err != nil {
			e.events.StoreFailed("resolve", err)
		}
		return
	}
	step, err := e.store.Apply(context.WithoutCancel(e.base), r.ID, &Resolve{Attempt: r.Attempt, Outcome: outcome.whole(), Settle: op.ProbeSettle})
	switch {
	case err == nil:
		e.events.Settled(step.Record, nil)
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
