package atmost

import (
	"context"
	"sync"
	"time"
)

// Holder holds the lease of one attempt: it renews it while the attempt is made, and reports how that ended. Once has one for each
// attempt. Whoever claims a key, and cannot put what follows into a function, uses one itself.
//
// It is not used concurrently. It works until the first report, so there has to be one, or until the lease is lost.
type Holder struct {
	claimer Claimer
	id      ID
	token   Token
	lasts   time.Duration // that is asked for, each time

	ctx    context.Context
	cancel context.CancelCauseFunc
	end    time.Time // of the lease, at the earliest
	first  *time.Timer
	work   sync.WaitGroup

	mu       sync.Mutex
	released bool
	stop     context.CancelFunc // ends the renewal, if that has begun
}

// Hold begins to hold the lease that call has won from c, which was asked for not before sent. Once a third of it is over, it is
// renewed for call's Lease, again and again, also when ctx has ended: whoever makes the attempt may need time to end it, or not heed ctx at
// all.
func Hold(ctx context.Context, c Claimer, call ClaimCall, lease Lease, sent time.Time) *Holder {
	h := &Holder{claimer: c, id: call.ID, token: lease.Token, lasts: call.Lease, end: sent.Add(lease.ExpiresIn)}
	h.ctx, h.cancel = context.WithCancelCause(ctx)
	left := time.Until(h.end)
	if left <= 0 {
		h.cancel(leaseLost())
	}
	h.work.Add(1)
	h.first = time.AfterFunc(left/3, h.renew) // until then, holding costs one timer
	return h
}

// Context is the one to make the attempt under: Hold's, but it ends when the lease is lost, and with the first report. When it is
// over from the beginning, the attempt must not be made. Once the lease is lost, context.Cause is an *Error with CodeLeaseLost.
func (h *Holder) Context() context.Context { return h.ctx }

// release ends the renewal. The lease is left to report under.
func (h *Holder) release() {
	h.cancel(nil)
	if h.first.Stop() { // before it began
		h.work.Done()
		return
	}
	h.mu.Lock()
	h.released = true
	if h.stop != nil {
		h.stop()
	}
	h.mu.Unlock()
	h.work.Wait()
}

// begin gives the renewal a context, unless there is nothing to renew any more.
func (h *Holder) begin() context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released || !time.Now().Before(h.end) {
		return nil
	}
	var ctx context.Context
	ctx, h.stop = context.WithCancel(context.WithoutCancel(h.ctx))
	return ctx
}

// renew renews the lease again and again, until it is released or lost.
func (h *Holder) renew() {
	defer h.work.Done()
	ctx := h.begin()
	if ctx == nil {
		return
	}
	defer h.stop()
	lapse := time.AfterFunc(time.Until(h.end), func() {
		h.cancel(leaseLost())
		h.stop()
	})
	defer lapse.Stop()
	for pause := minPause; ; {
		next, sent := pause, time.Now()
		l, err := h.claimer.Renew(ctx, h.id, h.token, h.lasts)
		switch {
		case err == nil:
			left := time.Until(sent.Add(l.ExpiresIn))
			lapse.Reset(left)
			next, pause = left/3, minPause
		case CodeOf(err) == CodeLeaseLost:
			h.cancel(err)
			return
		default: // there still is a lease, until it is over
			pause = min(2*pause, maxPause)
		}
		if !sleep(ctx, next) {
			return
		}
	}
}

// Complete reports the attempt's result, as Claimer's Complete does, again while nobody knows whether that was heard: for as long as
// a lease would last at most, or until ctx ends.
func (h *Holder) Complete(ctx context.Context, result []byte) (Answer, error) {
	return h.report(ctx, func(ctx context.Context) (Answer, error) { return h.claimer.Complete(ctx, h.id, h.token, result) })
}

// Fail reports that the attempt did not complete, as Claimer's Fail does, again as Complete.
func (h *Holder) Fail(ctx context.Context, f Failure) (Answer, error) {
	return h.report(ctx, func(ctx context.Context) (Answer, error) { return h.claimer.Fail(ctx, h.id, h.token, f) })
}

func (h *Holder) report(ctx context.Context, send func(context.Context) (Answer, error)) (Answer, error) {
	h.release()
	end := time.Now().Add(h.lasts)
	if _, near := h.claimer.(*Engine); !near { // one call may take longer than all of them are to; an Engine's ends within its own patience
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end)
		defer cancel()
	}
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		a, err := send(ctx)
		if err == nil || !unheard(err) || time.Now().Add(pause).After(end) || !sleep(ctx, pause) {
			return a, err
		}
	}
}
