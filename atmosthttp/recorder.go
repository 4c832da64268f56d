package atmosthttp

import (
	"maps"
	"net/http"

	"github.com/atmost-dev/atmost/wire"
)

// recorder is the ResponseWriter of a handler that runs under a key. It holds the response back until the outcome is durable, unless
// the handler flushes, or writes more than is kept: from then on the client gets it as it comes. What the client does or does
// not read makes no difference to the handler.
type recorder struct {
	to       http.ResponseWriter
	limit    int64
	replayed Replayed

	status  int         // 0 before the handler has set one
	sent    http.Header // all headers as they were then
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
	default:
		r.status, r.sent = status, r.to.Header().Clone()
		if r.sent == nil {
			r.sent = http.Header{}
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
	if len(r.body) == 0 && !r.over {
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
	r.pass()
	_ = http.NewResponseController(r.to).Flush() // a client that is gone misses it; so does one that cannot be flushed to, until the end
	return nil
}

// Flush is for handlers that ask for an http.Flusher.
func (r *recorder) Flush() { _ = r.FlushError() }

// pass begins to give the client what the handler writes. Nothing is known of the outcome then.
func (r *recorder) pass() {
	if r.passing {
		return
	}
	r.passing = true
	r.sent.Set(wire.HeaderReplayed, "false")
	r.give()
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
