package atmost

import (
	"context"
	"sync"
	"time"
)

// holding renews the lease that a function runs under, once it has run for a third of it. Until then it costs one timer.
type holding struct {
	*once
	ctx    context.Context // the function's: ends when the lease is lost
	cancel context.CancelCauseFunc
	end    time.Time // of the lease, at the earliest

	first *time.Timer // begins to renew
	work  sync.WaitGroup
}

func (o *once) hold(ctx context.Context, end time.Time) *holding {
	h := &holding{once: o, end: end}
	h.ctx, h.cancel = context.WithCancelCause(ctx)
	h.work.Add(1)
	h.first = time.AfterFunc(time.Until(end)/3, h.renew)
	return h
}

// release ends the renewal. The lease is the caller's to report under.
func (h *holding) release() {
	h.cancel(nil)
	if !h.first.Stop() {
		h.work.Wait()
	}
}

// renew renews the lease again and again, until it is released or lost.
func (h *holding) renew() {
	defer h.work.Done()
	lapse := time.AfterFunc(time.Until(h.end), func() { h.cancel(leaseLost()) })
	defer lapse.Stop()
	for retry := minPause; ; {
		pause, sent := retry, time.Now()
		l, err := h.claimer.Renew(h.ctx, h.call.ID, h.call.Token, h.call.Lease)
		switch {
		case err == nil:
			left := time.Until(sent.Add(l.ExpiresIn))
			lapse.Reset(left)
			pause, retry = left/3, minPause
		case unheard(err):
			retry = min(2*retry, maxPause)
		default:
			h.cancel(err)
			return
		}
		if !sleep(h.ctx, pause) {
			return
		}
	}
}
