//go:build !linux

package pgstore

import (
	"syscall"
	"time"
)

// userTimeout leaves it to keep-alive to find out that a server is gone.
func userTimeout(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
