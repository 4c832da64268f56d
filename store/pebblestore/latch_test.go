package pebblestore

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/atmost-dev/atmost"
)

func TestLatchesPassAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLatches()
		held := l.of(codecID)
		held.take()
		passed := false
		go func() {
			l.passAll()
			passed = true
		}()
		synctest.Wait()
		if passed {
			t.Error("passAll went through a latch that is held")
		}
		held.drop()
		synctest.Wait()
		if !passed {
			t.Error("passAll did not go through free latches")
		}
		held.take() // passAll let go of it
	})
}

// TestSweepTakesTheLatch: what a step is about to write cannot be swept meanwhile.
func TestSweepTakesTheLatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open("store", Options{FS: vfs.NewMem(), Tune: func(p *pebble.Options) {
			p.DisableAutomaticCompactions = true
			p.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		c := &atmost.Claim{Token: atmost.NewToken(), Lease: 0, Policy: atmost.Policy{ResultRetention: time.Hour}}
		if _, err := s.Apply(t.Context(), codecID, c); err != nil {
			t.Fatal(err)
		}
		latch := s.latches.of(codecID)
		latch.take()
		swept := make(chan atmost.Swept, 1)
		go func() {
			got, err := s.Sweep(t.Context(), 10)
			if err != nil {
				t.Error(err)
			}
			swept <- got
		}()
		synctest.Wait()
		if len(swept) != 0 {
			t.Error("a record was swept while its latch was held")
		}
		latch.drop()
		if got := <-swept; len(got.Lapsed) != 1 {
			t.Errorf("swept %+v, want one lapse", got)
		}
	})
}
