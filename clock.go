package atmost

import (
	"sync"
	"time"
)

// Clock is what this package and the embedded stores know of time. SystemClock is the real one; tests bring theirs.
// Its methods may be called from any number of goroutines.
type Clock interface {
	// Now is the wall clock, which may be set forward or back at any moment.
	Now() time.Time
	// Elapsed is the time since some fixed moment. It never goes back and counts the time that a machine is suspended.
	Elapsed() time.Duration
}

// Limits of how a StoreClock follows the wall clock.
const (
	// MaxDrift is how far the wall clock may move away from the time that elapsed before it is not believed any more.
	MaxDrift = 5 * time.Minute
	// slew is the share of elapsed time by which the store's clock may run fast or slow to meet the wall clock again.
	slew = 100
)

// StoreClock makes a store's now from a process's clocks: it starts at the wall clock, or at a floor if that is later, and
// then advances with the time that elapses, following corrections of the wall clock at a hundredth of that speed.
// So it never goes back, and setting the wall clock neither ends a lease nor expires a key. When the wall clock has moved
// more than MaxDrift away from the time that elapsed, it is not followed, and expiry stands still until that is mended
// or the store is reopened.
type StoreClock struct {
	clock Clock

	mu      sync.Mutex
	last    time.Duration // Elapsed at the last reading
	now     time.Duration // since the epoch
	lead    time.Duration // how far the floor put it ahead of the wall clock, less what was made up for since
	expiry  Time
	suspend bool
}

// NewStoreClock starts a store's clock at no less than floor: the latest time that the store may have told before.
func NewStoreClock(clock Clock, floor Time) *StoreClock {
	wall := TimeOf(clock.Now())
	now := max(wall, floor)
	return &StoreClock{
		clock: clock, last: clock.Elapsed(), now: time.Duration(now) * time.Microsecond,
		lead: now.Sub(wall), expiry: now,
	}
}

// Read returns the store's now.
func (c *StoreClock) Read() Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	elapsed := c.clock.Elapsed()
	step := max(elapsed-c.last, 0)
	c.last += step
	c.now += step
	behind := time.Duration(c.clock.Now().UnixNano()) - c.now
	if c.suspend = (behind + c.lead).Abs() > MaxDrift; !c.suspend {
		correction := min(max(behind, -step/slew), step/slew)
		c.now += correction
		c.lead = max(c.lead+min(correction, 0), 0)
	}
	now := Time(c.now / time.Microsecond)
	if !c.suspend {
		c.expiry = now
	}
	return Instant{Now: now, Expiry: c.expiry}
}

// Suspended reports whether the last reading found the wall clock too far away to expire anything by it.
func (c *StoreClock) Suspended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.suspend
}
