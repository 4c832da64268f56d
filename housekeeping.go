package atmost

import (
	"context"
	"sync"
	"time"
)

const (
	sweepBatch = 1000
	// atOnce bounds the attempts that are renewed, or abandoned, at a time.
	atOnce = 16
)

// pause waits, and reports false when the engine ended meanwhile.
func (e *Engine) pause(d time.Duration) bool { return sleep(e.base, d) }

// sleep waits, and reports false when ctx ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// detached returns ctx's values in a context that does not end, which ctx itself may be.
func detached(ctx context.Context) context.Context {
	if ctx.Done() == nil {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

// sweep has the store write down what time changed, and tells those who wait for a record whose lease lapsed.
func (e *Engine) sweep() {
	for e.pause(e.housekeeping) {
		for more := true; more && e.base.Err() == nil; {
			begun := e.clock.Elapsed()
			swept, err := e.store.Sweep(e.base, sweepBatch)
			switch {
			case err != nil:
				e.events.StoreFailed("sweep", err)
			case !swept.More:
				e.swept.Store(int64(begun))
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

// watchInterval is how often a shared store is asked for what other engines did to the records that are waited for.
const watchInterval = 50 * time.Millisecond

// watch wakes who waits for a record that another engine settled, or that lapsed.
func (e *Engine) watch(store Watcher) {
	for {
		select {
		case <-e.hub.joined:
		case <-e.base.Done():
			return
		}
		for ids := e.hub.waited(); len(ids) > 0; ids = e.hub.waited() {
			if !e.pause(watchInterval) {
				return
			}
			records, err := store.Settled(e.base, ids)
			if err != nil {
				e.events.StoreFailed("watch", err)
			}
			for _, r := range records {
				e.hub.settle(r)
			}
		}
	}
}

// renew keeps the leases of the attempts under way.
func (e *Engine) renew() {
	for e.pause(e.housekeeping) {
		e.each(func(x *execution) { x.renew(e.base) })
	}
}

// each calls f for every attempt under way, atOnce at a time.
func (e *Engine) each(f func(*execution)) {
	e.mu.Lock()
	all := make([]*execution, 0, len(e.running))
	for x := range e.running {
		all = append(all, x)
	}
	e.mu.Unlock()
	var (
		slots = make(chan struct{}, atOnce)
		calls sync.WaitGroup
	)
	for _, x := range all {
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			f(x)
		})
	}
	calls.Wait()
}
