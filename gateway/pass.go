package gateway

import (
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/atmost-dev/atmost/atmosthttp"
	"github.com/atmost-dev/atmost/upstream"
)

// passThrough makes the proxy for what is not executed at most once.
func (g *Gateway) passThrough(c Config) {
	g.plain = &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ExpectContinueTimeout: time.Second,
		IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 256,
		ForceAttemptHTTP2:  true,
		DisableCompression: true, // what was not asked for is not to be added, nor undone
	}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:    g.rewrite,
		Transport:  transports{plain: g.plain, once: c.Transport},
		BufferPool: &buffers{},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			g.onError(atmosthttp.Identify(w, r), err)
			var unsent *upstream.NotSentError
			switch {
			case errors.As(err, &unsent):
				atmosthttp.WriteProblem(w, http.StatusBadGateway, atmosthttp.NoAnswer, "the upstream could not be reached; nothing was sent to it")
			default:
				atmosthttp.WriteProblem(w, http.StatusBadGateway, atmosthttp.NoAnswer, "the upstream gave no answer; the request may have been processed")
			}
		},
	}
}

// rewrite sends a request to the upstream as it came, with X-Forwarded-… as a proxy among others adds them. What only the gateway says of
// an attempt is not the caller's to say.
func (g *Gateway) rewrite(r *httputil.ProxyRequest) {
	for _, name := range []string{"Attempt", "Fence", "Operation", "Scope"} {
		r.Out.Header.Del("Idempotency-" + name)
	}
	r.Out.URL.RawQuery = r.In.URL.RawQuery // also what ReverseProxy cannot parse
	r.SetURL(g.target)
	r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
	r.SetXForwarded()
	for _, name := range []string{"Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := r.In.Header[name]; ok {
			r.Out.Header[name] = values
		}
	}
	if r.Out.Body != nil && len(r.In.Trailer) > 0 {
		maps.DeleteFunc(r.Out.Trailer, func(name string, _ []string) bool { return !g.mayTrail(name) })
		r.Out.Body = trailed{r.Out.Body, r}
	}
}

// trailed is a body that passes on the trailers that were announced before it: what they say is known at its end.
type trailed struct {
	io.ReadCloser
	of *httputil.ProxyRequest
}

func (b trailed) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		for name := range b.of.Out.Trailer {
			b.of.Out.Trailer[name] = b.of.In.Trailer[name]
		}
	}
	return n, err
}

// transports sends what is safe to send twice by net/http, which does so after a lost connection, and everything else once.
type transports struct {
	plain *http.Transport
	once  *upstream.Transport
}

func (t transports) RoundTrip(r *http.Request) (*http.Response, error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return t.plain.RoundTrip(r)
	}
	return t.once.RoundTrip(r)
}

// buffers are reused by what copies bodies.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return p[:]
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(p []byte) { b.pool.Put((*[bufferSize]byte)(p)) }
