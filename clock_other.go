//go:build !linux

package atmost

import "time"

// SystemClock returns the machine's clocks. Outside Linux the elapsed time may not count the time that the machine is suspended.
func SystemClock() Clock { return systemClock{start: time.Now()} }

type systemClock struct{ start time.Time }

func (systemClock) Now() time.Time { return time.Now() }

func (c systemClock) Elapsed() time.Duration { return time.Since(c.start) }
