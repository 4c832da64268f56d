package atmost

import (
	"context"
	"sync"
	"time"
)

const (
	sweepBatch = 1000
	// probeBatch is how many records one listing asks for, probeMost how many a round looks at.
	probeBatch = 256
	probeMost  = 10_000
	// atOnce bounds the renewals, and the probes, under way at a time.
	atOnce        = 16
	maxProbePause = 5 * time.Minute
)

// spawn runs f in a goroutine that Close waits for. It reports false, and does not, once the engine has ended.
func (e *Engine) spawn(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.work.Go(f)
	}
	return !e.closed
}

// pause waits, and reports false when the engine ended meanwhile.
func (e *Engine) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-e.base.Done():
		return false
	}
}

// sweep has the store write down what time changed, and tells those who wait for a record whose lease lapsed.
func (e *Engine) sweep() {
	for e.pause(e.housekeeping) {
		for more := true; more && e.base.Err() == nil; {
			swept, err := e.store.Sweep(e.base, sweepBatch)
			if err != nil {
				e.events.StoreFailed("sweep", err)
			}
			for _, r := range swept.Lapsed {
				e.events.Lapsed(r)
				e.hub.settle(r)
			}
			if swept.Dropped+swept.Forgotten > 0 {
				e.events.Swept(swept.Dropped, swept.Forgotten)
			}
			more = swept.More && err == nil
		}
	}
}

// renew keeps the leases of the attempts under way.
func (e *Engine) renew() {
	for e.pause(e.housekeeping) {
		e.each(func(x *execution) { x.renew(e.base) })
	}
}

// each calls f for every attempt under way, several at a time.
func (e *Engine) each(f func(*execution)) {
	e.mu.Lock()
	all := make([]*execution, 0, len(e.running))
	for x := range e.running {
		all = append(all, x)
	}
	e.mu.Unlock()
	group := newGroup()
	for _, x := range all {
		group.run(func() { f(x) })
	}
	group.all.Wait()
}

// group runs functions, at most atOnce at a time.
type group struct {
	slots chan struct{}
	all   sync.WaitGroup
}

func newGroup() *group { return &group{slots: make(chan struct{}, atOnce)} }

func (g *group) run(f func()) {
	g.slots <- struct{}{}
	g.all.Go(func() {
		defer func() { <-g.slots }()
		f()
	})
}

// doubt is what the prober remembers of an unknown attempt from one round to the next.
type doubt struct {
	attempt uint32
	first   time.Duration // when this engine first saw it
	next    time.Duration // when to ask again
	pause   time.Duration
}

// probe asks about unknown attempts whose policy is to ask, each less and less often.
func (e *Engine) probe() {
	var doubts map[ID]doubt
	for e.pause(e.housekeeping) {
		doubts = e.probeRound(doubts)
	}
}

// probeRound asks about every record that is due, and returns what to remember: only of those that are still unknown.
func (e *Engine) probeRound(before map[ID]doubt) map[ID]doubt {
	var (
		mu    sync.Mutex
		after = make(map[ID]doubt)
		group = newGroup()
		last  ID
	)
	for seen := 0; seen < probeMost; {
		records, err := e.store.List(e.base, Unknown, last, probeBatch)
		if err != nil {
			e.events.StoreFailed("list", err)
			after = before
			break
		}
		for _, r := range records {
			op := (*e.operations.Load())[r.Operation]
			if r.State != Unknown || r.Policy.OnUnknown != ProbeUnknown || op == nil || op.Prober == nil {
				continue
			}
			d, known := before[r.ID]
			if !known || d.attempt != r.Attempt {
				now := e.clock.Elapsed()
				d = doubt{attempt: r.Attempt, first: now, next: now, pause: e.housekeeping}
			}
			group.run(func() {
				d = e.probeOne(op, r, d)
				mu.Lock()
				defer mu.Unlock()
				after[r.ID] = d
			})
		}
		seen += len(records)
		if len(records) < probeBatch {
			break
		}
		last = records[len(records)-1].ID
	}
	group.all.Wait()
	return after
}

// probeOne asks about one record if it is due, and settles it by the answer. "Not executed" counts only once the attempt
// can no longer be on its way: the operation's ProbeSettle after this engine first saw that its lease had ended.
func (e *Engine) probeOne(op *operation, r Record, d doubt) doubt {
	now := e.clock.Elapsed()
	if now < d.next || e.base.Err() != nil {
		return d
	}
	d.pause = min(2*d.pause, maxProbePause)
	d.next = now + d.pause
	ctx, cancel := context.WithTimeout(e.base, op.Timeout)
	defer cancel()
	outcome := op.Prober.Probe(ctx, r.ID, r.Attempt)
	switch {
	case outcome.State == NotExecuted && now-d.first < op.ProbeSettle:
		d.next = min(d.next, d.first+op.ProbeSettle)
		return d
	case outcome.State != Completed && outcome.State != Failed && outcome.State != NotExecuted:
		return d
	}
	step, err := e.store.Apply(e.base, r.ID, &Resolve{Attempt: r.Attempt, Outcome: outcome})
	if err != nil {
		e.events.StoreFailed("resolve", err)
		return d
	}
	e.events.Settled(step.Record)
	return d
}

// Close ends the engine: it claims nothing more, and waits for the attempts under way until ctx ends; those that are
// left are stored as unknown, and whoever waits for them is told that they are processing. It returns once every
// goroutine of the engine has ended; executors are expected to return soon after their context has.
func (e *Engine) Close(ctx context.Context) {
	e.close.Do(func() {
		e.draining.Store(true)
		for e.pending.Load() > 0 && ctx.Err() == nil {
			select {
			case <-e.idle:
			case <-ctx.Done():
			}
		}
		e.each(func(x *execution) { x.abandon(context.WithoutCancel(ctx)) })
		e.stop()
		e.mu.Lock()
		e.closed = true
		e.mu.Unlock()
		e.work.Wait()
	})
}
