package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"sync/atomic"
	"syscall"
	"time"
)

// NotSentError is the error of a request of which not one byte has left, or will.
type NotSentError struct {
	Err error // the cause, for logs
}

// Error says so, and why.
func (e *NotSentError) Error() string { return "the request was not sent: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *NotSentError) Unwrap() error { return e.Err }

// errStale is why a request was not sent on a connection that had served others before.
var errStale = errors.New("a connection that was kept is no longer fit for use")

var (
	errRefused     = errors.New("nothing may be written to the connection any more")
	errUnsolicited = errors.New("an answer came before the request was sent")
)

// readyWithin bounds the wait for net/http to read again from a connection that it has given away already. That is due
// at once.
const readyWithin = 100 * time.Millisecond

// States of a countedConn.
const (
	open     int32 = iota // what is written passes
	checking              // the next request has it but may not write yet; what TLS writes, to say farewell, may not pass
	armed                 // the next request has it and has written nothing: whatever arrives is not an answer to it
	dead                  // nothing is written any more
)

// countedConn counts the bytes that were given to the operating system. It lies under TLS. It hides the ReadFrom of the
// connection it wraps, by which bytes could leave uncounted. While it is armed, the first that happens decides: a Write
// opens it, the end of a Read makes it dead.
type countedConn struct {
	net.Conn
	raw      syscall.RawConn // nil if there is none
	writing  atomic.Int64    // calls of Write under way
	written  atomic.Int64    // bytes, never less than have left when writing is 0
	received atomic.Int64    // bytes
	failed   atomic.Bool     // a Read or a Write has, not because of our own Close
	state    atomic.Int32
	reading  atomic.Bool // a Read is under way
	closed   atomic.Bool
	waiting  atomic.Bool   // somebody waits for one of the last two
	changed  chan struct{} // with room for one: one of the last two has become true
}

func newCountedConn(c net.Conn) *countedConn {
	counted := &countedConn{Conn: c, changed: make(chan struct{}, 1)}
	if s, ok := c.(syscall.Conn); ok {
		counted.raw, _ = s.SyscallConn() // without it there is one check less
	}
	return counted
}

func (c *countedConn) Read(p []byte) (int, error) {
	c.reading.Store(true)
	c.wake()
	n, err := c.Conn.Read(p)
	c.received.Add(int64(n))
	c.note(err)
	c.reading.Store(false)
	// After that store: arm first changes the state, then looks for a Read under way. So it never misses what this one got.
	if n > 0 || err != nil {
		c.refuse()
	}
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.writing.Add(1)
	defer c.writing.Add(-1)
	if !c.mayWrite() {
		return 0, errRefused
	}
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	c.note(err)
	return n, err
}

// Close closes the connection.
func (c *countedConn) Close() error {
	c.closed.Store(true)
	c.wake()
	return c.Conn.Close()
}

func (c *countedConn) note(err error) {
	if err != nil && !errors.Is(err, net.ErrClosed) {
		c.failed.Store(true)
	}
}

func (c *countedConn) wake() {
	if c.waiting.Load() {
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}
}

// mayWrite opens c if it is armed and nothing has arrived, and reports whether it is open.
func (c *countedConn) mayWrite() bool {
	if c.state.Load() == armed {
		next := open
		if c.arrived() {
			next = dead
		}
		c.state.CompareAndSwap(armed, next)
	}
	return c.state.Load() == open
}

// arm makes c ready for the next request of HTTP/1.1, or dead, and reports which. net/http gives a connection away before
// it has looked whether more than the last answer has come. It reads from the connection, and so through TLS from c, only
// when its buffers are empty; else it finds an answer that nobody asked for, since the next request is not announced to
// it while arm waits, and closes the connection.
func (c *countedConn) arm(ctx context.Context) bool {
	if c.state.CompareAndSwap(open, checking) && c.ready(ctx) && c.state.CompareAndSwap(checking, armed) {
		return true
	}
	c.refuse()
	_ = c.Close() // without the farewell of TLS, which would be refused
	return false
}

// ready waits until a Read is under way and reports whether it came to that.
func (c *countedConn) ready(ctx context.Context) bool {
	if c.reading.Load() {
		return true
	}
	c.waiting.Store(true)
	defer c.waiting.Store(false)
	timer := time.NewTimer(readyWithin)
	defer timer.Stop()
	for !c.reading.Load() {
		if c.closed.Load() {
			return false
		}
		select {
		case <-c.changed: // or an earlier wait left that behind
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// refuse makes c dead unless it is open, and reports whether it is dead: then nothing of the last request has left or
// will.
func (c *countedConn) refuse() bool {
	_ = c.state.CompareAndSwap(checking, dead) || c.state.CompareAndSwap(armed, dead) // it never goes back
	return c.state.Load() == dead
}

// changedSince reports whether a byte may have left since written was base. The order of the two loads matters: a Write
// that ends between them has been counted.
func (c *countedConn) changedSince(base int64) bool {
	return c.writing.Load() != 0 || c.written.Load() != base
}

// sending follows one round trip from connection to connection. net/http calls it on the goroutine of that round trip.
type sending struct {
	connected func()
	conn      *countedConn // the last one that the request was given, nil before
	reused    bool         // conn has served others before
	shared    bool         // conn serves others at the same time: it is HTTP/2
	base      int64        // what conn had written by then
	received  int64        // and received
	left      bool         // a byte may have left on an earlier one
}

func (s *sending) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { s.gotConn(ctx, info) },
	})
}

// gotConn is called after the TLS handshake and HTTP/2's preface, and before anything of the request is written.
func (s *sending) gotConn(ctx context.Context, info httptrace.GotConnInfo) {
	s.left = s.left || s.conn != nil && !s.conn.refuse() && s.conn.changedSince(s.base)
	c := info.Conn
	s.conn, s.reused, s.shared = nil, info.Reused, false
	if t, ok := c.(*tls.Conn); ok {
		c, s.shared = t.NetConn(), t.ConnectionState().NegotiatedProtocol == "h2"
	}
	counted, ok := c.(*countedConn)
	if !ok {
		s.left = true
		return
	}
	s.conn, s.base, s.received = counted, counted.written.Load(), counted.received.Load()
	if s.reused && !s.shared && !counted.arm(ctx) {
		return // as net/http will notice when it writes
	}
	if s.connected != nil {
		s.connected()
	}
}

// unasked reports whether the round trip has ended before anything of the request was written, and then nothing will be:
// what it got as an answer is none. It is asked once the round trip has ended.
func (s *sending) unasked() bool { return s.conn != nil && s.conn.refuse() }

// mayHaveLeft is asked after the round trip has failed. It errs on the side of yes: the farewell of TLS counts as a byte,
// and so does what other requests wrote to a shared HTTP/2 connection.
//
// Over HTTP/1.1 a failed round trip has ended its writer, over HTTP/2 too unless ctx has ended: then the stream's
// goroutine may be about to write. So the count is believed only while ctx lives.
func (s *sending) mayHaveLeft(ctx context.Context) bool {
	if s.left || s.conn == nil {
		return s.left
	}
	return !s.unasked() && (ctx.Err() != nil || s.conn.changedSince(s.base))
}

// failure is err, by which the round trip ended, with what is known about it.
func (s *sending) failure(ctx context.Context, err error) error {
	switch {
	case !s.mayHaveLeft(ctx) && s.conn != nil && s.reused:
		return &NotSentError{Err: fmt.Errorf("%w: %w", errStale, err)}
	case !s.mayHaveLeft(ctx):
		return &NotSentError{Err: err}
	case s.conn == nil || s.shared || ctx.Err() != nil || s.conn.failed.Load():
		return err
	}
	// Nothing was wrong with the connection, so it is net/http that could do nothing with what had come by then.
	if n := s.conn.received.Load() - s.received; n > 0 {
		return &badAnswerError{err: err, tooLarge: n >= maxHeaderBytes}
	}
	return err
}

// badAnswerError is the error of an answer whose header came but is too large or not HTTP.
type badAnswerError struct {
	err      error
	tooLarge bool
}

func (e *badAnswerError) Error() string { return "the answer makes no sense: " + e.err.Error() }
func (e *badAnswerError) Unwrap() error { return e.err }
