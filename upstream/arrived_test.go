//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package upstream

import (
	"net"
	"syscall"
	"testing"
)

// What the system has received counts before anybody has read it.
func TestWhatHasArrivedEndsAKeptConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		do    func(net.Conn)
		opens bool
	}{
		"nothing": {func(net.Conn) {}, true},
		"a byte":  {func(c net.Conn) { _, _ = c.Write([]byte("x")) }, false},
		"the end": {func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() }, false},
		"a reset": {func(c net.Conn) { _, _ = c.(*net.TCPConn).SetLinger(0), c.Close() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			far := make(chan net.Conn)
			done := make(chan struct{})
			near, err := net.Dial("tcp", raw(t, func(c net.Conn) { far <- c; <-done }))
			if err != nil {
				t.Fatal(err)
			}
			defer near.Close()
			defer close(done)
			tc.do(<-far)
			c := newCountedConn(near)
			c.state.Store(armed)
			if !tc.opens {
				arrival(t, c)
			}
			if n, err := c.Write([]byte("x")); (n == 1) != tc.opens || (err == nil) != tc.opens {
				t.Errorf("wrote %d, %v", n, err)
			}
			if c.refuse() == tc.opens {
				t.Errorf("dead: %t", !tc.opens)
			}
		})
	}
}

// arrival waits until the system has something to read, and leaves it there.
func arrival(t *testing.T, c *countedConn) {
	t.Helper()
	err := c.raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN
	})
	if err != nil {
		t.Fatal(err)
	}
}
