package atmosttest

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/atmost-dev/atmost"
)

// LoseReply has the service's next reply lost: it does what it is asked to, and the connection ends before there is an answer.
func (s *Service) LoseReply() { s.LoseReplies(1) }

// LoseReplies has the next n replies lost.
func (s *Service) LoseReplies(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losses += n
}

// Crash ends the service's process, and starts another. What was answered is kept. Requests under way get no answer; what the service
// was executing for them is cancelled, and, as nobody knows any more how it ended, unknown. Leases of clients stay theirs.
func (s *Service) Crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	dead := s.process
	dead.store.kill()
	s.restart()
	s.process = s.boot()
	s.crashed.Go(dead.end)
}

// restart tells the records that their process is gone, as a store of atmost serve does when it is opened.
func (s *Service) restart() {
	ctx := context.Background()
	for q := (atmost.Query{State: atmost.Processing, Limit: 100}); ; {
		page, _ := s.records.List(ctx, q) // memstore never fails
		for _, r := range page.Records {
			_, _ = s.records.Apply(ctx, r.ID, atmost.Restart{})
		}
		if !page.More {
			return
		}
		q.After = page.Next
	}
}

// Advance lets d pass for the service, at once. Timers of the program that is tested go on as they were.
func (s *Service) Advance(d time.Duration) { s.clock.advance(d) }

// Lapse lets so much time pass that the lease of id ends without a report, and tells whether there was one. A function that Once runs
// learns of it when it renews its lease next: atmost.OnceOptions makes that soon.
func (s *Service) Lapse(id atmost.ID) bool {
	lapsed := false
	for r := s.Record(id); r.State == atmost.Processing; r = s.Record(id) { // which may be renewed meanwhile
		s.Advance(r.Deadline.Std().Sub(s.clock.Now()) + time.Second)
		lapsed = true
	}
	return lapsed
}

// ServeHTTP makes a Service a handler, for tests that need no connection. A reply that is lost is a panic with http.ErrAbortHandler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := s.current()
	reply := httptest.NewRecorder()
	p.handler.ServeHTTP(reply, r)
	if !p.store.alive() || s.loses() {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), reply.Header())
	w.WriteHeader(reply.Code)
	_, _ = w.Write(reply.Body.Bytes())
}

// loses takes one of the losses that were asked for.
func (s *Service) loses() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.losses == 0 {
		return false
	}
	s.losses--
	return true
}

// clock is the time that elapsed, and what was added.
type clock struct {
	start time.Time

	mu    sync.Mutex
	added time.Duration
}

func (c *clock) Now() time.Time { return c.start.Add(c.Elapsed()) }

func (c *clock) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.start) + c.added
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.added += d
}
