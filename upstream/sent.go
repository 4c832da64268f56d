package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"sync/atomic"
)

// NotSentError is the error of a request of which not one byte has left, or will.
type NotSentError struct {
	Err error // the cause, for logs
}

// Error says so, and why.
func (e *NotSentError) Error() string { return "the request was not sent: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *NotSentError) Unwrap() error { return e.Err }

// countedConn counts the bytes that were given to the operating system. It lies under TLS. It hides the ReadFrom of the
// connection it wraps, by which bytes could leave uncounted.
type countedConn struct {
	net.Conn
	writing atomic.Int64 // calls of Write under way
	written atomic.Int64 // bytes, never less than have left when writing is 0
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.writing.Add(1)
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	c.writing.Add(-1)
	return n, err
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
	base      int64        // what conn had written by then
	left      bool         // a byte may have left on an earlier one
}

func (s *sending) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { s.gotConn(info.Conn) },
	})
}

// gotConn is called after the TLS handshake and HTTP/2's preface, and before anything of the request is written.
func (s *sending) gotConn(c net.Conn) {
	s.left = s.left || s.conn != nil && s.conn.changedSince(s.base)
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	counted, ok := c.(*countedConn)
	if !ok {
		s.left = true
		return
	}
	s.conn, s.base = counted, counted.written.Load()
	if s.connected != nil {
		s.connected()
	}
}

// mayHaveLeft is asked after the round trip has failed. It errs on the side of yes: the farewell of TLS counts as a byte,
// and so does what other requests wrote to a shared HTTP/2 connection.
//
// Over HTTP/1.1 a failed round trip has ended its writer, over HTTP/2 too unless ctx has ended: then the stream's
// goroutine may be about to write. So the count is believed only while ctx lives.
func (s *sending) mayHaveLeft(ctx context.Context) bool {
	if s.left || s.conn == nil {
		return s.left
	}
	return ctx.Err() != nil || s.conn.changedSince(s.base)
}
