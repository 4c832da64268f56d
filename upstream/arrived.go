//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package upstream

import "syscall"

// arrived reports whether the system has something to read, be it the connection's end, that no Read has been given yet.
// The scheduler may take a while to wake the Read that waits for it.
func (c *countedConn) arrived() bool {
	if c.raw == nil {
		return false
	}
	something := false
	err := c.raw.Control(func(fd uintptr) {
		var b [1]byte
		for {
			_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if err != syscall.EINTR {
				something = err != syscall.EAGAIN
				return
			}
		}
	})
	return something || err != nil
}
