package atmost_test

import (
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/storetest"
)

func TestStoreClockAdvancesWithTime(t *testing.T) {
	clock := storetest.NewClock()
	store := atmost.NewStoreClock(clock, 0, 0)
	begin := store.Read()
	if begin.Now != atmost.TimeOf(clock.Now()) || begin.Expiry != begin.Now {
		t.Fatalf("began at %+v", begin)
	}
	clock.Advance(time.Hour)
	if got := store.Read(); got.Now.Sub(begin.Now) != time.Hour || got.Expiry != got.Now {
		t.Errorf("an hour later it told %v", got.Now.Sub(begin.Now))
	}
}

func TestStoreClockStartsNoEarlierThanItsFloor(t *testing.T) {
	clock := storetest.NewClock()
	floor := atmost.TimeOf(clock.Now()).Add(time.Minute)
	expired := atmost.TimeOf(clock.Now()).Add(time.Second)
	got := atmost.NewStoreClock(clock, floor, expired).Read()
	if got.Now != floor || got.Expiry != expired {
		t.Errorf("began %v and %v from its floors", got.Now.Sub(floor), got.Expiry.Sub(expired))
	}
	// A floor of now alone must not let anything expire early.
	if got := atmost.NewStoreClock(clock, floor, 0).Read(); got.Expiry != atmost.TimeOf(clock.Now()) {
		t.Errorf("expiry is %v ahead of the wall clock", got.Expiry.Sub(atmost.TimeOf(clock.Now())))
	}
}

// TestStoreClockMakesUpForItsFloor: a store that was opened ahead of the wall clock, even far ahead, goes on expiring, and
// waits for the wall clock slowly.
func TestStoreClockMakesUpForItsFloor(t *testing.T) {
	clock := storetest.NewClock()
	floor := atmost.TimeOf(clock.Now()).Add(time.Hour)
	store := atmost.NewStoreClock(clock, floor, floor)
	clock.Advance(100 * time.Second)
	if got := store.Read(); got.Now.Sub(floor) != 99*time.Second || got.Expiry != got.Now {
		t.Errorf("after 100 s it told %v, expiry %v", got.Now.Sub(floor), got.Expiry.Sub(floor))
	}
	clock.Advance(100 * time.Hour)
	if got := store.Read(); got.Now != atmost.TimeOf(clock.Now()) || store.Suspended() {
		t.Errorf("after 100 h it is %v away", got.Now.Sub(atmost.TimeOf(clock.Now())))
	}
	clock.Step(-time.Hour)
	if store.Read(); !store.Suspended() {
		t.Error("a step as large as the lead that was made up for is believed")
	}
}

func TestStoreClockFollowsSmallStepsSlowly(t *testing.T) {
	for _, step := range []time.Duration{4 * time.Minute, -4 * time.Minute} {
		clock := storetest.NewClock()
		store := atmost.NewStoreClock(clock, 0, 0)
		begin := store.Read().Now
		clock.Step(step)
		if got := store.Read().Now; got != begin {
			t.Errorf("setting the wall clock by %v moved it by %v at once", step, got.Sub(begin))
		}
		clock.Advance(100 * time.Second)
		want := 100*time.Second + time.Second
		if step < 0 {
			want = 99 * time.Second
		}
		if got := store.Read().Now.Sub(begin); got != want {
			t.Errorf("100 s after a step of %v it told %v", step, got)
		}
		clock.Advance(10 * time.Hour)
		if got := store.Read().Now; got != atmost.TimeOf(clock.Now()) || store.Suspended() {
			t.Errorf("ten hours after a step of %v it is %v away", step, got.Sub(atmost.TimeOf(clock.Now())))
		}
	}
}

func TestStoreClockDoesNotBelieveLargeSteps(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		clock := storetest.NewClock()
		store := atmost.NewStoreClock(clock, 0, 0)
		begin := store.Read().Now
		clock.Step(step)
		clock.Advance(time.Minute)
		got := store.Read()
		if got.Now.Sub(begin) != time.Minute || got.Expiry != begin || !store.Suspended() {
			t.Errorf("after a step of %v: now moved by %v, expiry by %v", step, got.Now.Sub(begin), got.Expiry.Sub(begin))
		}
		clock.Step(-step)
		clock.Advance(time.Minute)
		if got := store.Read(); got.Now.Sub(begin) != 2*time.Minute || got.Expiry != got.Now || store.Suspended() {
			t.Errorf("set right again, it did not go on: %v, %v", got.Now.Sub(begin), got.Expiry.Sub(begin))
		}
	}
}

func TestSystemClockElapses(t *testing.T) {
	clock := atmost.SystemClock()
	a := clock.Elapsed()
	if b := clock.Elapsed(); b < a || a < 0 {
		t.Errorf("%v, then %v", a, b)
	}
}
