package storetest

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"time"
)

// ManualClock is an atmost.Clock that stands still until it is told otherwise. Its methods may be called from any
// number of goroutines.
type ManualClock struct {
	mu      sync.Mutex
	wall    time.Time
	elapsed time.Duration
}

// NewClock returns a clock that shows a fixed time in 2026.
func NewClock() *ManualClock {
	return &ManualClock{wall: time.Date(2026, time.November, 23, 12, 0, 0, 0, time.UTC)}
}

// Now is the wall clock. It lets other goroutines run first, now and then for long: a store that reads its clock between
// reading a record and writing it meets them there.
func (c *ManualClock) Now() time.Time {
	yields := 1
	if rand.IntN(8) == 0 {
		yields = 100
	}
	for range yields {
		runtime.Gosched()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

// Elapsed is the sum of what Advance was given.
func (c *ManualClock) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.elapsed
}

// Advance lets d pass, on both clocks.
func (c *ManualClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.elapsed = c.wall.Add(d), c.elapsed+d
}

// Step sets the wall clock forward by d, or back if d is negative.
func (c *ManualClock) Step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}
