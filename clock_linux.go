package atmost

import (
	"time"

	"golang.org/x/sys/unix"
)

// SystemClock returns the machine's clocks.
func SystemClock() Clock { return systemClock{} }

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

// Elapsed reads CLOCK_BOOTTIME: Go's own monotonic clock stands still while a machine is suspended.
func (systemClock) Elapsed() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("atmost: CLOCK_BOOTTIME cannot be read: " + err.Error()) // Linux has it since 2.6.39
	}
	return time.Duration(ts.Nano())
}
