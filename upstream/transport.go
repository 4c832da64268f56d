package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// TransportOptions configure a Transport. Zero values mean the defaults named.
type TransportOptions struct {
	// TLS is used for https. It is cloned. Default: the system's roots, no client certificate.
	TLS *tls.Config
	// DialTimeout bounds the making of a TCP connection, and then its TLS handshake. Default 5 s.
	DialTimeout time.Duration
	// Dial makes the connections, as net.Dialer's DialContext does, in place of DialTimeout: a failure means that nothing left. Default: TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// IdleTimeout is how long an unused connection is kept. It should be less than the server keeps it, as a connection
	// that the server closes just when a request leaves on it makes an outcome unknown. Default 4 s: Node, uvicorn and
	// Apache close after 5 s, most others later. gunicorn closes after 2 s; set less for such a server.
	IdleTimeout time.Duration
	// MaxIdlePerHost bounds the unused connections kept for one host. Default 256.
	MaxIdlePerHost int
}

// Limits that are not worth a setting.
const (
	maxHeaderBytes = 256 << 10
	// A connection over HTTP/2 that is silent is asked for a sign of life, or requests would be sent into the void.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
)

// Transport is an http.RoundTripper that sends every request at most once, whatever its method and headers, with a body
// and without, over HTTP/1.1 and HTTP/2. It follows no redirect, uses no proxy, and neither asks for compression nor
// undoes it. It is safe for concurrent use.
//
// When it fails and not one byte of the request can have left the process, now or later, the error is a *NotSentError.
//
// HTTP/1.1 tells which request an answer belongs to only by their order. A connection on which more arrived than was
// asked for is not used again: nothing is sent on a kept connection before net/http has read all that came, and on most
// systems before the system was asked too. But what a server sends unasked is taken for the answer if it arrives only
// after the next request was sent: nobody can tell it apart. HTTP/2 numbers its answers.
//
// # What this rests on
//
// http.Transport sends again what it believes to be safe to repeat. Read in Go 1.26.8, every path that does so is closed
// for a request whose Body is neither nil nor http.NoBody and whose GetBody is nil:
//   - Transport.roundTrip, HTTP/1.1, after a failure on a reused connection: shouldRetryRequest wants Request.isReplayable
//     (which an Idempotency-Key header makes true for any method), and that is false for such a body.
//   - The same where nothing was written: it wants outgoingLength() == 0 or GetBody. Such a body's length is never 0: a
//     ContentLength of 0 counts as unknown.
//   - HTTP/2, after GOAWAY, REFUSED_STREAM or the peer's PROTOCOL_ERROR: http2shouldRetryRequest finds neither an absent
//     body nor GetBody, and gives up. It goes on only after errClientConnUnusable, which comes before the stream has a
//     number, so before the request is written.
//   - ErrNoCachedConn and ErrSkipAltProtocol, on which roundTrip starts over, come before a connection was chosen.
//
// The tests hold these facts to every new release of Go.
type Transport struct {
	base    *http.Transport
	fresh   *http.Transport // the same, but each request has a connection of its own
	connect func(ctx context.Context, network, addr string) (net.Conn, error)
}

// NewTransport makes a Transport. One is meant to be shared by everything in the process that sends requests.
func NewTransport(o TransportOptions) *Transport {
	orDefault(&o.DialTimeout, 5*time.Second)
	orDefault(&o.IdleTimeout, 4*time.Second)
	orDefault(&o.MaxIdlePerHost, 256)
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: o.DialTimeout}).DialContext
	}
	t := &Transport{connect: o.Dial}
	t.base = &http.Transport{
		DialContext:            t.dial,
		TLSClientConfig:        o.TLS.Clone(),
		TLSHandshakeTimeout:    o.DialTimeout,
		ForceAttemptHTTP2:      true, // which a DialContext or a TLSClientConfig would otherwise turn off
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		DisableCompression:     true,
		IdleConnTimeout:        o.IdleTimeout,
		MaxIdleConnsPerHost:    o.MaxIdlePerHost,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	t.fresh = t.base.Clone()
	t.fresh.DisableKeepAlives = true
	return t
}

func orDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

func (t *Transport) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := t.connect(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return newCountedConn(c), nil
}

// CloseIdleConnections closes the connections that no request uses.
func (t *Transport) CloseIdleConnections() { t.base.CloseIdleConnections() }

// RoundTrip sends r once. It ignores r.GetBody and the deprecated r.Cancel.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	body := r.Body
	if body == nil || body == http.NoBody {
		if r.ContentLength > 0 {
			return nil, &NotSentError{Err: errors.New("the request has a length but no body")}
		}
		return send(t.base, r, nil, nil)
	}
	return send(t.base, r, &onceBody{ReadCloser: body}, nil)
}

// maxStale is how many kept connections are tried in vain before a new one is made.
const maxStale = 3

// sendAnew sends r with payload like RoundTrip, but when nothing left because a kept connection was of no use, it tries
// others, and in the end a new one: that the server has closed what was kept for long says nothing about the request.
func (t *Transport) sendAnew(r *http.Request, payload []byte, connected func()) (*http.Response, error) {
	for range maxStale {
		resp, err := send(t.base, r, inMemory(r, payload), connected)
		if !errors.Is(err, errStale) || r.Context().Err() != nil {
			return resp, err
		}
	}
	return send(t.fresh, r, inMemory(r, payload), connected)
}

// send sends r once by rt, with the given body, which nil stands for none, and calls connected, unless it is nil, when it
// has been given a connection that is fit for use, at least once if so.
func send(rt *http.Transport, r *http.Request, body io.ReadCloser, connected func()) (*http.Response, error) {
	s := &sending{connected: connected}
	once := r.WithContext(s.trace(r.Context()))
	once.GetBody = nil
	once.Cancel = nil //lint:ignore SA1019 because callers may have set it
	once.Body = body
	if body == nil {
		withoutBody(once)
	}
	resp, err := rt.RoundTrip(once)
	if err == nil && s.unasked() {
		_, _ = resp.Body.Close(), s.conn.Close()
		err = errUnsolicited
	}
	if err != nil {
		return nil, s.failure(r.Context(), err)
	}
	resp.Request = r
	return resp, nil
}

// withoutBody gives r, which is the caller's own copy, a body of no bytes that is neither nil nor http.NoBody, and has
// it sent as a request without one. Left alone, net/http would take the length for unknown and send an empty chunked
// body; "identity" prevents that. Then it would leave out the Content-Length that some servers demand of these methods,
// and would drop it from the headers under its canonical name, so it goes there under the other; HTTP/2 needs none and
// drops both.
func withoutBody(r *http.Request) {
	r.Body = io.NopCloser(bytes.NewReader(nil))
	r.ContentLength = 0
	r.TransferEncoding = []string{"identity"}
	r.Header = r.Header.Clone()
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		if r.Header == nil {
			r.Header = http.Header{}
		}
		r.Header["content-length"] = []string{"0"}
	}
}

// onceBody fails to be read after it was closed. HTTP/2 closes a body that it has not read before it tries another
// connection: then a body whose end looks like its close would be sent as an empty one.
type onceBody struct {
	io.ReadCloser
	closed atomic.Bool
}

var errBodyClosed = errors.New("upstream: the request's body was closed before it was sent")

func (b *onceBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, errBodyClosed
	}
	return b.ReadCloser.Read(p)
}

func (b *onceBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}
