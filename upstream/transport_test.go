package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/faultproxy"
)

// trap is an upstream that answers "warm-up" requests, and has the effect of the others: of the first it closes the
// connection without an answer, every later one it answers.
type trap struct {
	effects atomic.Int32
	warm    atomic.Value // the remote address of the last warm-up
	reused  atomic.Bool  // the first effect came on the connection of the warm-up
	body    atomic.Value // of the last effect
}

func (tr *trap) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.URL.Path == "/warm-up" {
		tr.warm.Store(r.RemoteAddr)
		return
	}
	tr.body.Store(string(body))
	if tr.effects.Add(1) == 1 {
		tr.reused.Store(r.RemoteAddr == tr.warm.Load())
		closeConn(r)
	}
}

// spring makes the two requests with rt.
func (tr *trap) spring(t *testing.T, rt http.RoundTripper, base, method string, body io.Reader) error {
	t.Helper()
	for _, path := range []string{"/warm-up", "/effect"} {
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, body)
		if err != nil {
			t.Fatal(err)
		}
		if path == "/warm-up" {
			r.Body, r.GetBody, r.ContentLength = nil, nil, 0
		}
		r.Header.Set("Idempotency-Key", "k")
		resp, err := rt.RoundTrip(r)
		if err != nil {
			if path == "/warm-up" {
				t.Fatal(err)
			}
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	return nil
}

func bodies() map[string]func() io.Reader {
	return map[string]func() io.Reader{
		"none":     func() io.Reader { return nil },
		"NoBody":   func() io.Reader { return http.NoBody },
		"GetBody":  func() io.Reader { return bytes.NewReader([]byte("payload")) },
		"unsized":  func() io.Reader { return io.MultiReader(strings.NewReader("payload")) },
		"no bytes": func() io.Reader { return io.MultiReader() },
	}
}

func TestNothingIsSentTwiceAfterALostAnswer(t *testing.T) {
	for _, proto := range []string{"http", "https", "h2"} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			for name, body := range bodies() {
				for through, make := range sendings() {
					t.Run(through+" "+proto+" "+method+" "+name, func(t *testing.T) {
						tr := &trap{}
						srv := start(t, proto, tr)
						err := tr.spring(t, make(t, newTransport(t, srv)), srv.URL, method, body())
						var unsent *NotSentError
						if err == nil || errors.As(err, &unsent) {
							t.Errorf("got %v, want an error that does not say that nothing was sent", err)
						}
						if n := tr.effects.Load(); n != 1 {
							t.Errorf("%d effects, want 1", n)
						}
						if !tr.reused.Load() {
							t.Error("the connection was not a reused one, so this tested nothing")
						}
						want := ""
						if name == "GetBody" || name == "unsized" {
							want = "payload"
						}
						if got := tr.body.Load(); got != want {
							t.Errorf("the upstream got the body %q, want %q", got, want)
						}
					})
				}
			}
		}
	}
}

// sendings are the ways to send a request of somebody else's.
func sendings() map[string]func(*testing.T, *Transport) http.RoundTripper {
	return map[string]func(*testing.T, *Transport) http.RoundTripper{
		"RoundTrip": func(_ *testing.T, tr *Transport) http.RoundTripper { return tr },
		"Forward": func(t *testing.T, tr *Transport) http.RoundTripper {
			return forwarding{newUpstream(t, "http://x", func(c *Config) { c.Transport = tr }), nil}
		},
		"Forward with trailers": func(t *testing.T, tr *Transport) http.RoundTripper {
			return forwarding{newUpstream(t, "http://x", func(c *Config) { c.Transport = tr }), http.Header{"X-Sum": {"1"}}}
		},
	}
}

// forwarding is Forward as a RoundTripper.
type forwarding struct {
	*Upstream
	trailers http.Header
}

func (f forwarding) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	r.Trailer = f.trailers
	answer, o := f.Forward(r.Context(), anAttempt, r, body)
	switch {
	case answer != nil:
		return &http.Response{StatusCode: answer.Status, Header: answer.Header, Body: io.NopCloser(bytes.NewReader(answer.Body))}, nil
	case o.State == atmost.NotExecuted:
		return nil, &NotSentError{Err: errors.New(o.Message)}
	}
	return nil, errors.New(o.Message)
}

// The control: net/http by itself falls into the same trap, so the test above can fail.
func TestTheTrapCatchesThePlainTransport(t *testing.T) {
	for _, name := range []string{"none", "GetBody"} {
		t.Run(name, func(t *testing.T) {
			tr := &trap{}
			srv := start(t, "http", tr)
			plain := http.DefaultTransport.(*http.Transport).Clone()
			defer plain.CloseIdleConnections()
			if err := tr.spring(t, plain, srv.URL, "POST", bodies()[name]()); err != nil {
				t.Fatalf("got %v: the second time should have been answered", err)
			}
			if n := tr.effects.Load(); n != 2 {
				t.Errorf("%d effects, want 2: has net/http changed?", n)
			}
		})
	}
}

func TestNoBodyIsSentAsNone(t *testing.T) {
	const tail = "User-Agent: x\r\n"
	for method, want := range map[string]string{
		"GET":    "GET / HTTP/1.1\r\nHost: h\r\n" + tail + "\r\n",
		"DELETE": "DELETE / HTTP/1.1\r\nHost: h\r\n" + tail + "\r\n",
		"POST":   "POST / HTTP/1.1\r\nHost: h\r\n" + tail + "content-length: 0\r\n\r\n",
		"PUT":    "PUT / HTTP/1.1\r\nHost: h\r\n" + tail + "content-length: 0\r\n\r\n",
	} {
		t.Run(method, func(t *testing.T) {
			sent := make(chan []byte, 1)
			addr := raw(t, func(c net.Conn) {
				b := make([]byte, 4096)
				n, _ := c.Read(b)
				_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
				rest, _ := io.ReadAll(c)
				sent <- append(b[:n], rest...)
			})
			r := httptest.NewRequest(method, "http://"+addr+"/", nil)
			r.Host = "h"
			r.Header.Set("User-Agent", "x")
			resp, err := newTransport(t, nil).RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.Request != r {
				t.Error("the response does not name the request it was given")
			}
			if got := string(<-sent); got != want {
				t.Errorf("sent %q\nwant %q", got, want)
			}
			//lint:ignore SA1008 because that is how it is sent
			if _, changed := r.Header["content-length"]; changed || r.Body != http.NoBody {
				t.Error("the caller's request was changed")
			}
		})
	}
}

func TestALengthWithoutABodyIsRefused(t *testing.T) {
	r := httptest.NewRequest("POST", "http://127.0.0.1:1/", nil)
	r.ContentLength = 5
	var unsent *NotSentError
	if _, err := newTransport(t, nil).RoundTrip(r); !errors.As(err, &unsent) || errors.Unwrap(err) != unsent.Err {
		t.Errorf("got %v, want a NotSentError", err)
	}
}

func TestABodyIsNotReadAfterItsClose(t *testing.T) {
	b := &onceBody{ReadCloser: io.NopCloser(strings.NewReader("x"))}
	_ = b.Close()
	if n, err := b.Read(make([]byte, 1)); n != 0 || !errors.Is(err, errBodyClosed) {
		t.Errorf("read %d, %v", n, err)
	}
}

func TestRedirectsProxiesAndCompressionAreLeftAlone(t *testing.T) {
	if newTransport(t, nil).base.Proxy != nil {
		t.Error("a proxy is used") // not tested by use: the environment's is never used for this host, and read only once
	}
	for _, proto := range []string{"http", "h2"} {
		var calls atomic.Int32
		srv := start(t, proto, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			if e := r.Header.Values("Accept-Encoding"); e != nil {
				t.Errorf("%s: Accept-Encoding %q", proto, e)
			}
			if (r.ProtoMajor == 2) != (proto == "h2") {
				t.Errorf("%s: spoken was %s", proto, r.Proto)
			}
			w.Header().Set("Content-Encoding", "gzip")
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}))
		r, _ := http.NewRequestWithContext(t.Context(), "POST", srv.URL, strings.NewReader("x"))
		resp, err := newTransport(t, srv).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusTemporaryRedirect || calls.Load() != 1 || resp.Uncompressed {
			t.Errorf("%s: status %d after %d calls, uncompressed %t", proto, resp.StatusCode, calls.Load(), resp.Uncompressed)
		}
	}
}

// failing is a connection on which the write of the request fails.
type failing struct {
	net.Conn
	write func([]byte) (int, error)
}

func (c failing) Write(p []byte) (int, error) { return c.write(p) }

func TestBytesAreCountedAtTheConnection(t *testing.T) {
	broken := errors.New("connection refused") // what it says must not matter
	for name, tc := range map[string]struct {
		left    int
		notSent bool
	}{
		"none":    {0, true},
		"one":     {1, false},
		"several": {20, false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTransport(t, nil)
			near, far := net.Pipe()
			defer far.Close()
			tr.connect = func(context.Context, string, string) (net.Conn, error) {
				return failing{near, func([]byte) (int, error) { return tc.left, broken }}, nil
			}
			_, err := tr.RoundTrip(httptest.NewRequest("POST", "http://h/", strings.NewReader("x")))
			var unsent *NotSentError
			if got := errors.As(err, &unsent); got != tc.notSent {
				t.Errorf("not sent: %t, want %t (%v)", got, tc.notSent, err)
			}
		})
	}
}

func TestWhatMayHaveLeft(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	conn := func() *countedConn {
		return newCountedConn(failing{write: func(p []byte) (int, error) { return len(p), nil }})
	}
	got := func(s *sending, c net.Conn) { s.gotConn(t.Context(), httptrace.GotConnInfo{Conn: c}) }
	write := func(c *countedConn) { _, _ = c.Write([]byte("x")) }
	for name, tc := range map[string]struct {
		ctx  context.Context
		do   func(*sending)
		want bool
	}{
		"never connected":                {t.Context(), func(*sending) {}, false},
		"never connected, ended":         {ended, func(*sending) {}, false},
		"connected":                      {t.Context(), func(s *sending) { got(s, conn()) }, false},
		"connected, ended":               {ended, func(s *sending) { got(s, conn()) }, true},
		"a connection that is not ours":  {t.Context(), func(s *sending) { got(s, failing{}) }, true},
		"written before, by another":     {t.Context(), func(s *sending) { c := conn(); write(c); got(s, c) }, false},
		"written":                        {t.Context(), func(s *sending) { c := conn(); got(s, c); write(c) }, true},
		"written to the first of two":    {t.Context(), func(s *sending) { c := conn(); got(s, c); write(c); got(s, conn()) }, true},
		"given two, neither written to":  {t.Context(), func(s *sending) { got(s, conn()); got(s, conn()) }, false},
		"a write has not yet come back":  {t.Context(), func(s *sending) { c := conn(); got(s, c); c.writing.Add(1) }, true},
		"the last of two is not ours":    {t.Context(), func(s *sending) { got(s, conn()); got(s, failing{}) }, true},
		"the first of two was not, then": {t.Context(), func(s *sending) { got(s, failing{}); got(s, conn()) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &sending{}
			tc.do(s)
			if got := s.mayHaveLeft(tc.ctx); got != tc.want {
				t.Errorf("got %t, want %t", got, tc.want)
			}
		})
	}
}

func TestAWriteCountsWhileItIsUnderWay(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	c := newCountedConn(failing{write: func([]byte) (int, error) {
		close(begun)
		<-finish
		return 0, io.ErrClosedPipe
	}})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = c.Write([]byte("x"))
	}()
	<-begun
	if !c.changedSince(0) {
		t.Error("a write under way does not count")
	}
	close(finish)
	<-ended
	if c.changedSince(0) {
		t.Error("a write of nothing counts")
	}
}

// The caller's own trace keeps working, and the connection it sees counts.
func TestTheCallersTraceIsKept(t *testing.T) {
	srv := start(t, "https", http.NotFoundHandler())
	var got httptrace.GotConnInfo
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { got = i }})
	resp, err := newTransport(t, srv).RoundTrip(httptest.NewRequest("GET", srv.URL, nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got.Conn == nil {
		t.Error("GotConn was not called")
	}
}

func TestARequestThatIsNotSentSaysSo(t *testing.T) {
	srv := start(t, "https", http.NotFoundHandler())
	open := func(serve func(net.Conn)) string { return "https://" + raw(t, serve) }
	refused := proxyTo(t, srv.Listener.Addr().String())
	refused.Refuse()
	cut := proxyTo(t, srv.Listener.Addr().String())
	cut.Set(faultproxy.Fault{Kind: faultproxy.Reset, After: 10})
	ended, end := context.WithCancel(t.Context())
	end()
	ctx, cancel := context.WithCancel(t.Context())
	silent := open(func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1)) // the handshake has begun
		cancel()
		_, _ = io.Copy(io.Discard, bufio.NewReader(c))
	})
	for name, tc := range map[string]struct {
		ctx   context.Context
		trust *httptest.Server
		url   string
	}{
		"refused":                       {t.Context(), srv, "https://" + refused.Addr()},
		"certificate not trusted":       {t.Context(), nil, srv.URL},
		"no TLS":                        {t.Context(), srv, open(says("HTTP/1.1 400 Bad Request\r\n\r\n"))},
		"reset in the handshake":        {t.Context(), srv, "https://" + cut.Addr()},
		"called off in the handshake":   {ctx, srv, silent},
		"called off before it began":    {ended, srv, srv.URL},
		"a request that makes no sense": {t.Context(), srv, "ftp://127.0.0.1/"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", tc.url, strings.NewReader("x")).WithContext(tc.ctx)
			_, err := newTransport(t, tc.trust).RoundTrip(r)
			var unsent *NotSentError
			if !errors.As(err, &unsent) {
				t.Errorf("got %v, want a NotSentError", err)
			}
		})
	}
}
