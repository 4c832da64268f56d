package atmost

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// SystemClock returns the machine's clocks.
func SystemClock() Clock {
	start := time.Now()
	c := &systemClock{boot: bootTime, read: func() (wall, run time.Duration) {
		now := time.Now()
		return time.Duration(now.UnixNano()), now.Sub(start)
	}}
	c.look()
	return c
}

// systemClock counts by Go's monotonic clock, which costs no system call but stands still while a machine is suspended, and adds
// how long that was. A suspension moves the wall clock away from the monotonic one; as long as the two keep step there was none, and
// when they do not, CLOCK_BOOTTIME tells.
type systemClock struct {
	read func() (wall, run time.Duration) // Go's clocks, at one moment
	boot func() time.Duration             // counts suspensions

	mu   sync.Mutex // held to replace seen
	seen atomic.Pointer[sight]
}

// sight is how the clocks stood to each other when they were last compared.
type sight struct {
	ahead time.Duration // the wall clock of Go's monotonic one
	slept time.Duration // the boot clock likewise
}

// inStep is how far the wall clock may move away before the boot clock is asked.
const inStep = time.Millisecond

func (c *systemClock) Now() time.Time { return time.Now() }

func (c *systemClock) Elapsed() time.Duration {
	wall, run := c.read()
	s := c.seen.Load()
	if (wall - run - s.ahead).Abs() > inStep {
		s = c.look()
	}
	return run + s.slept
}

// look compares the clocks. The boot clock is read last, so what passes in between counts as slept, and is never taken back.
func (c *systemClock) look() *sight {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, run := c.read()
	s := &sight{ahead: wall - run, slept: c.boot() - run}
	if before := c.seen.Load(); before != nil {
		s.slept = max(s.slept, before.slept)
	}
	c.seen.Store(s)
	return s
}

func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("atmost: CLOCK_BOOTTIME cannot be read: " + err.Error()) // Linux has it since 2.6.39
	}
	return time.Duration(ts.Nano())
}
