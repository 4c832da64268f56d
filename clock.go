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

	mu          sync.Mutex
	last        time.Duration // Elapsed at the last reading
	now, expiry course
	told        Time // the last expiry
	suspended   bool
}

// course is one line of time, in nanoseconds since the epoch.
type course struct {
	at   time.Duration
	lead time.Duration // how far its floor put it ahead of the wall clock, less what was made up for since
}

// NewStoreClock starts a store's clock. Now is no less than floor, the latest time that the store may have told before,
// and Expiry no less than expired, the latest by which it told that something had expired. Only Now may be told ahead
// of the wall clock in order not to go back: keys must not be forgotten early because of it.
func NewStoreClock(clock Clock, floor, expired Time) *StoreClock {
	wall := clock.Now()
	c := &StoreClock{clock: clock, last: clock.Elapsed(), now: courseFrom(wall, floor), expiry: courseFrom(wall, expired)}
	c.told = c.expiry.time()
	return c
}

func courseFrom(wall time.Time, floor Time) course {
	at := time.Duration(wall.UnixNano())
	lead := max(time.Duration(floor)*time.Microsecond-at, 0)
	return course{at: at + lead, lead: lead}
}

func (c *course) time() Time { return Time(c.at / time.Microsecond) }

// advance lets step pass, and follows the wall clock if that can be believed, which it reports.
func (c *course) advance(step, wall time.Duration) bool {
	c.at += step
	behind := wall - c.at
	if (behind + c.lead).Abs() > MaxDrift {
		return false
	}
	correction := min(max(behind, -step/slew), step/slew)
	c.at += correction
	c.lead = max(c.lead+min(correction, 0), 0)
	return true
}

// Read returns the store's now.
func (c *StoreClock) Read() Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	elapsed := c.clock.Elapsed()
	step := max(elapsed-c.last, 0)
	c.last += step
	wall := time.Duration(c.clock.Now().UnixNano())
	c.now.advance(step, wall)
	if c.suspended = !c.expiry.advance(step, wall); !c.suspended {
		c.told = c.expiry.time()
	}
	return Instant{Now: c.now.time(), Expiry: c.told}
}

// Suspended reports whether the last reading found the wall clock too far away to expire anything by it.
func (c *StoreClock) Suspended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.suspended
}
