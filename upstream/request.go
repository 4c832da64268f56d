package upstream

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"

	"github.com/atmost-dev/atmost"
)

const userAgent = "atmost"

// request is what a is sent as, but for its body.
func (u *Upstream) request(ctx context.Context, a atmost.Attempt) *http.Request {
	h := u.headers()
	h.Set("Content-Type", "application/json")
	u.identify(h, a)
	r := &http.Request{Method: u.cfg.Method, URL: u.url, Header: h, ContentLength: int64(len(a.Payload))}
	return r.WithContext(ctx)
}

// identify says which attempt a request is, and to which trace it belongs.
func (u *Upstream) identify(h http.Header, a atmost.Attempt) {
	h.Set("Idempotency-Key", atmost.HeaderValue(u.forwardedKey(a.ID)))
	h.Del("Idempotency-Scope")
	if u.cfg.ForwardKey == ForwardOriginal && a.ID.Scope != "" {
		h.Set("Idempotency-Scope", atmost.HeaderValue(a.ID.Scope))
	}
	h.Set("Idempotency-Operation", a.Operation)
	h.Set("Idempotency-Attempt", strconv.FormatUint(uint64(a.Number), 10))
	h.Set("Idempotency-Fence", strconv.FormatInt(a.Fence, 10))
	if a.Trace.Valid() {
		h.Set("Traceparent", a.Trace.Parent)
		h.Del("Tracestate")
		if a.Trace.State != "" && isFieldValue(a.Trace.State) {
			h.Set("Tracestate", a.Trace.State)
		}
	}
}

// headers are the configured ones and the one that every request has.
func (u *Upstream) headers() http.Header {
	h := make(http.Header, len(u.cfg.Headers)+10)
	for name, values := range u.cfg.Headers {
		h[http.CanonicalHeaderKey(name)] = values
	}
	h.Set("User-Agent", userAgent)
	return h
}

// forwardedKey is the name under which the upstream knows id.
func (u *Upstream) forwardedKey(id atmost.ID) string {
	if u.cfg.ForwardKey == ForwardOriginal {
		return id.Key
	}
	return id.ForwardedKey()
}

// inMemory is a body for r of which net/http can tell that reading it never blocks, so that it sends it in one packet with the
// header. Closing it does nothing: it can be read to its end whatever was closed before. It is nil if there is nothing to send, after
// it neither.
func inMemory(r *http.Request, payload []byte) io.ReadCloser {
	if len(payload) == 0 && len(r.Trailer) == 0 {
		return nil
	}
	return io.NopCloser(bytes.NewReader(payload))
}
