package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/faultproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var anAttempt = atmost.Attempt{
	ID: atmost.ID{Key: "k1"}, Operation: "payment.charge", Payload: []byte(`{"amount":1.10}`), Number: 1, Fence: 7,
}

// newTransport makes a Transport that is cleaned up. trust, if not nil, is the server whose certificate it accepts.
func newTransport(t testing.TB, trust *httptest.Server) *Transport {
	t.Helper()
	var o TransportOptions
	if trust != nil {
		o.TLS = trust.Client().Transport.(*http.Transport).TLSClientConfig
	}
	tr := NewTransport(o)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// newUpstream makes an Upstream that calls url, and fails the test if it cannot.
func newUpstream(t testing.TB, url string, change func(*Config)) *Upstream {
	t.Helper()
	c := Config{URL: url}
	if change != nil {
		change(&c)
	}
	if c.Transport == nil {
		c.Transport = newTransport(t, nil)
	}
	u, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// raw serves each connection with serve, one after the other, until the test ends. It returns host and port.
func raw(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveListener(t, l, serve)
	return l.Addr().String()
}

// serveListener closes what it accepted when the test ends: clients keep connections for longer.
func serveListener(t testing.TB, l net.Listener, serve func(net.Conn)) {
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		conns   []net.Conn
	)
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			running.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
}

// says reads one request and answers with text, then closes the connection.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(c, text)
	}
}

// certificate is one that srv.Client() accepts for 127.0.0.1.
func certificate(t testing.TB) (srv *httptest.Server, config *tls.Config) {
	t.Helper()
	srv = httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	return srv, &tls.Config{Certificates: srv.TLS.Certificates}
}

func proxyTo(t testing.TB, addr string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.New(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

type connKey struct{}

// closeConn ends the connection that r came on, whatever its protocol, without an answer.
func closeConn(r *http.Request) { _ = r.Context().Value(connKey{}).(net.Conn).Close() }

// start runs srv so that closeConn works, over TLS with HTTP/2 when proto says "h2", with "https" over TLS without.
func start(t testing.TB, proto string, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	switch proto {
	case "http":
		srv.Start()
	case "h2":
		srv.EnableHTTP2 = true
		fallthrough
	case "https":
		srv.StartTLS()
	}
	t.Cleanup(srv.Close)
	return srv
}
