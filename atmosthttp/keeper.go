package atmosthttp

import (
	"context"
	"sync"
	"time"

	"github.com/atmost-dev/atmost"
)

// leaseTime is how long a lease lasts that nobody renews any more, because the process died: then the outcome is unknown.
const leaseTime = 30 * time.Second

// renewPause is the pause before a renewal that failed is tried again.
const renewPause = time.Second

// keep renews a lease, each time a third of it is over, until ctx ends or stop is called, which returns when that is done. It calls
// lost if the lease is.
func keep(ctx context.Context, c atmost.Claimer, id atmost.ID, lease atmost.Lease, lost func()) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		lapse := time.AfterFunc(lease.ExpiresIn, lost)
		defer lapse.Stop()
		next := time.NewTimer(lease.ExpiresIn / 3)
		defer next.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-next.C:
			}
			asked := time.Now()
			renewed, err := c.Renew(ctx, id, lease.Token, leaseTime)
			switch {
			case err == nil:
				left := time.Until(asked.Add(renewed.ExpiresIn))
				lapse.Reset(left)
				next.Reset(left / 3)
			case atmost.CodeOf(err) == atmost.CodeLeaseLost:
				lost()
				return
			default:
				next.Reset(renewPause)
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}
