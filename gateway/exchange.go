package gateway

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
	"github.com/atmost-dev/atmost/upstream"
)

// exchange is a request with a key on its way to the upstream, and the upstream's own answer on its way to the caller, if that is still
// there. The engine may go on with it long after the caller is gone.
type exchange struct {
	request *http.Request // as it is sent, but for its body
	body    []byte

	mu    sync.Mutex
	own   *answer
	taken bool // nobody comes for an answer any more
}

func (x *exchange) put(a *answer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.taken {
		a.close()
		return
	}
	x.own = a
}

// take returns the answer, nil if there is none yet. It is called once.
func (x *exchange) take() *answer {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.taken = true
	return x.own
}

// outbound is r, whose body was read, as the upstream gets it, but for that body. What is only between the caller and the gateway is left
// out, and so is Accept-Encoding: the answer is replayed to callers who may accept less.
func (g *Gateway) outbound(r *http.Request) *http.Request {
	out := r.Clone(context.WithoutCancel(r.Context()))
	endToEnd(out.Header)
	for _, name := range []string{"Accept-Encoding", "Content-Length", "Expect"} {
		out.Header.Del(name)
	}
	if _, has := out.Header["User-Agent"]; !has {
		out.Header.Set("User-Agent", "") // net/http would send its own
	}
	out.Body, out.TransferEncoding, out.Trailer, out.Close, out.RequestURI = nil, nil, g.trailers(r), false, ""
	g.rewrite(&httputil.ProxyRequest{In: r, Out: out})
	return out
}

// hopByHop are headers about one connection.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// endToEnd leaves out what is about one connection.
func endToEnd(h http.Header) {
	for _, value := range h["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopByHop {
		h.Del(name)
	}
}

// answer is the upstream's own, to an attempt that ended so.
type answer struct {
	*upstream.Answer
	attempt uint32
	outcome atmost.Outcome
}

func (a *answer) close() {
	if a.Rest != nil {
		_ = a.Rest.Close()
	}
}

// write gives the first caller what the upstream answered, and what the record says of it. What is too large to keep ends with the
// caller, or when either side stands still for as long as idle.
func (a *answer) write(w http.ResponseWriter, r atmost.Record, idle time.Duration) {
	h := w.Header()
	maps.Copy(h, a.Header)
	endToEnd(h)
	atmosthttp.Own(h, r)
	trailers := slices.Sorted(maps.Keys(a.Trailer))
	switch {
	case len(trailers) > 0:
		h.Del("Content-Length")
		h.Set("Trailer", strings.Join(trailers, ", "))
	case a.Rest == nil && len(a.Body) > 0:
		h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
	if _, has := h["Content-Type"]; !has {
		h["Content-Type"] = nil // net/http is not to guess
	}
	w.WriteHeader(a.Status)
	if len(a.Body) > 0 {
		_, _ = w.Write(a.Body) // whoever is gone can ask again
	}
	if a.Rest != nil {
		stalled := time.AfterFunc(idle, a.close)
		defer stalled.Stop()
		c := http.NewResponseController(w)
		if _, err := io.Copy(w, &steady{a.Rest, stalled, c, idle}); err != nil {
			panic(http.ErrAbortHandler) // what the caller has is not to look like all of it
		}
		_ = c.SetWriteDeadline(time.Time{})
	}
	for name, values := range a.Trailer {
		if !slices.Contains(trailers, name) { // nobody announced it
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
}

// steady is read while what is read is written by c: each for no longer than idle.
type steady struct {
	io.Reader
	stalled *time.Timer
	c       *http.ResponseController
	idle    time.Duration
}

func (s *steady) Read(p []byte) (int, error) {
	s.stalled.Reset(s.idle)
	n, err := s.Reader.Read(p)
	s.stalled.Reset(s.idle)
	_ = s.c.SetWriteDeadline(time.Now().Add(s.idle)) // a writer that knows no deadlines is a test's
	return n, err
}
