package atmost

import (
	"testing"
	"time"
)

// TestSystemClockCountsSuspension with clocks as the kernel's: a suspension moves the wall and the boot clock on, a correction the
// wall clock only. It asks the boot clock when there may have been one.
func TestSystemClockCountsSuspension(t *testing.T) {
	var wall, run, boot time.Duration
	asked := 0
	c := &systemClock{
		read: func() (time.Duration, time.Duration) { return wall, run },
		boot: func() time.Duration { asked++; return boot },
	}
	wall, boot = 1000*time.Hour, 5*time.Hour
	c.look()
	begin, last := c.Elapsed(), c.Elapsed()
	for i, step := range []struct {
		runs, sleeps, corrected, counts time.Duration
		asks                            int
	}{
		{runs: time.Second, counts: time.Second},
		{runs: time.Second, corrected: 900 * time.Microsecond, counts: time.Second},
		{runs: time.Second, corrected: -time.Minute, counts: time.Second, asks: 1},
		{runs: time.Second, sleeps: time.Hour, counts: time.Hour + time.Second, asks: 1},
		{runs: time.Second, counts: time.Second},
		{sleeps: time.Hour, corrected: -30 * time.Minute, counts: time.Hour, asks: 1},
		{runs: time.Second, sleeps: time.Hour, corrected: time.Hour, counts: time.Hour + time.Second, asks: 1},
	} {
		asked = 0
		wall += step.runs + step.sleeps + step.corrected
		run += step.runs
		boot += step.runs + step.sleeps
		now := c.Elapsed()
		if now-last != step.counts || asked != step.asks {
			t.Errorf("step %d: %v went by, not %v; the boot clock was asked %d times, not %d", i, now-last, step.counts, asked, step.asks)
		}
		last = now
	}
	boot -= time.Second // as if more time had passed between the readings of an earlier comparison
	wall += time.Minute
	if now := c.Elapsed(); now < last {
		t.Errorf("it went back by %v", last-now)
	}
	if last-begin != boot+time.Second-5*time.Hour {
		t.Errorf("in all %v went by", last-begin)
	}
}

// TestSystemClockKeepsPaceWithTheBootClock of this machine.
func TestSystemClockKeepsPaceWithTheBootClock(t *testing.T) {
	c := SystemClock()
	boot, began := bootTime(), c.Elapsed()
	for bootTime()-boot < 10*time.Millisecond {
	}
	if took, real := c.Elapsed()-began, bootTime()-boot; took < 10*time.Millisecond-inStep || took > real+inStep {
		t.Errorf("%v, and by the boot clock %v", took, real)
	}
}
