package gateway

import (
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"sync"

	"github.com/atmost-dev/atmost/upstream"
)

// passThrough makes the proxy for what is not executed at most once.
func (g *Gateway) passThrough(c Config) {
	g.plain = http.DefaultTransport.(*http.Transport).Clone()
	g.plain.Proxy = nil
	g.plain.DisableCompression = true // what was not asked for is not to be added, nor undone
	g.plain.MaxIdleConns, g.plain.MaxIdleConnsPerHost = 0, 256
	g.proxy = &httputil.ReverseProxy{
		Rewrite:    g.rewrite,
		Transport:  transports{plain: g.plain, once: c.Transport},
		BufferPool: &buffers{},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if c.OnError != nil {
				c.OnError(err)
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
}

// rewrite sends a request to the upstream as it came, with X-Forwarded-… as a proxy among others adds them.
func (g *Gateway) rewrite(r *httputil.ProxyRequest) {
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
