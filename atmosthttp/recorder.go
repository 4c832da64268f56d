package atmosthttp

import (
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/atmost-dev/atmost/wire"
)

// recorder is the ResponseWriter of a handler that runs under a key. It holds the response back until the outcome is durable, unless
// the handler flushes, or writes more than is kept: from then on the client gets it as it comes, but for its end. That the client is
// gone the handler does not learn. One that does not read holds it up then, as without a key, unless the handler sets a deadline.
//
// It has no Unwrap: what that leads to, Hijack above all, would not be recorded.
type recorder struct {
	to       http.ResponseWriter
	limit    int64
	replayed Replayed

	status  int         // 0 before the handler has set one
	sent    http.Header // all headers as they were then
	length  int64       // of the body as the handler announced it, or -1
	written int64       // of the body
	body    []byte      // up to limit
	over    bool        // there was more
	passing bool        // the client gets it as it comes
}

func (r *recorder) Header() http.Header { return r.to.Header() }

func (r *recorder) WriteHeader(status int) {
	switch {
	case r.status != 0: // the first counts
	case status >= 100 && status <= 199 && status != http.StatusSwitchingProtocols:
		r.to.WriteHeader(status)
	case status < 100 || status > 999: // as net/http does, and while it is the handler that panics
		panic("atmosthttp: invalid WriteHeader code " + strconv.Itoa(status))
	default:
		r.status, r.sent, r.length = status, r.to.Header().Clone(), -1
		if r.sent == nil {
			r.sent = http.Header{}
		}
		if length, err := strconv.ParseInt(r.sent.Get("Content-Length"), 10, 64); err == nil && length >= 0 {
			r.length = length
		} else {
			r.sent.Del("Content-Length")
		}
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if !bodyAllowed(r.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if r.written += int64(len(p)); r.length >= 0 && r.written > r.length {
		return 0, http.ErrContentLength
	}
	if len(r.body) == 0 && !r.over && !r.passing {
		r.sniff(p)
	}
	if r.over = r.over || int64(len(r.body)+len(p)) > r.limit; r.over {
		r.pass()
	} else {
		r.body = append(r.body, p...)
	}
	if r.passing {
		_, _ = r.to.Write(p)
	}
	return len(p), nil
}

// sniff sets the content type that net/http would guess of what it is first given to write. A replay is given more at once.
func (r *recorder) sniff(p []byte) {
	if _, has := r.sent["Content-Type"]; !has && len(p) > 0 && r.sent.Get("Content-Encoding") == "" {
		r.sent.Set("Content-Type", http.DetectContentType(p))
	}
}

// FlushError is for http.ResponseController.
func (r *recorder) FlushError() error {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if !bodyAllowed(r.status) {
		return nil // the header would be all of the answer
	}
	r.pass()
	_ = http.NewResponseController(r.to).Flush() // a client that is gone misses it; so does one that cannot be flushed to, until the end
	return nil
}

// Flush is for handlers that ask for an http.Flusher.
func (r *recorder) Flush() { _ = r.FlushError() }

// SetReadDeadline is for http.ResponseController.
func (r *recorder) SetReadDeadline(t time.Time) error {
	return http.NewResponseController(r.to).SetReadDeadline(t)
}

// SetWriteDeadline is for http.ResponseController.
func (r *recorder) SetWriteDeadline(t time.Time) error {
	return http.NewResponseController(r.to).SetWriteDeadline(t)
}

// pass begins to give the client what the handler writes. Nothing is known of the outcome then, so no length goes along by which the
// client could take what it has for all.
func (r *recorder) pass() {
	if r.passing {
		return
	}
	r.passing = true
	r.sent.Set(wire.HeaderReplayed, "false")
	r.sent.Del("Content-Length")
	r.give()
}

// broken reports whether the body is not as long as the handler announced. The handler has returned.
func (r *recorder) broken() bool {
	return r.length >= 0 && r.length != r.written && bodyAllowed(r.status)
}

// give writes what there is. The headers are those of the time when the status was set; what the handler sets later are trailers.
func (r *recorder) give() {
	h := r.to.Header()
	later := h.Clone()
	clear(h)
	maps.Copy(h, r.sent)
	r.to.WriteHeader(r.status)
	maps.Copy(h, later)
	if len(r.body) > 0 {
		_, _ = r.to.Write(r.body)
	}
}

// end makes the response that is kept of what was recorded. The handler has returned.
func (r *recorder) end() Response {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	kept := Response{Status: r.status, Header: r.replayed.Of(r.sent), TooLarge: r.over}
	if !r.over {
		kept.Body = r.body
	}
	return kept
}

// discard drops what was recorded, so that another answer can be given.
func (r *recorder) discard(before http.Header) http.ResponseWriter {
	h := r.to.Header()
	clear(h)
	maps.Copy(h, before)
	return r.to
}
