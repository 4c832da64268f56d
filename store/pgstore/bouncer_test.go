package pgstore_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/pgtest"
	"github.com/atmost-dev/atmost/store/pgstore"
	"github.com/atmost-dev/atmost/store/storetest"
)

// TestBouncer runs the suite, and a load that shares few sessions, behind PgBouncer in transaction mode.
func TestBouncer(t *testing.T) {
	for name, settings := range map[string][]string{
		"RefusesSettings": nil,
		"IgnoresSettings": {"ignore_startup_parameters = lock_timeout,statement_timeout,enable_seqscan,jit,plan_cache_mode,client_min_messages,default_transaction_isolation"},
	} {
		t.Run(name, func(t *testing.T) {
			direct := migrated(t, pgtest.Database(t))
			url := pgtest.Bouncer(t, direct, settings...)
			s := newStore(t, url, pgstore.Options{})
			var running sync.WaitGroup
			for client := range 32 {
				running.Go(func() {
					for n := range 8 {
						id, c := atmost.ID{Key: fmt.Sprint(client, "-", n)}, newClaim()
						for _, event := range []atmost.Event{c, newClaim(), &atmost.Renew{Token: c.Token, Lease: c.Lease * 2}, done(c)} {
							if _, err := s.Apply(t.Context(), id, event); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			running.Wait()
		})
	}
	t.Run("Suite", func(t *testing.T) {
		direct := migrated(t, pgtest.Database(t))
		url := pgtest.Bouncer(t, direct)
		clock := newTableClock(t, direct)
		storetest.Run(t, func(t *testing.T) storetest.Harness {
			clock.reset()
			return storetest.Harness{Store: open(t, url, pgstore.WithNow(pgstore.Options{}, tableNow)), Clock: clock}
		})
	})
}
