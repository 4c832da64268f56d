package doctest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/memstore"
)

// store is a memstore that can be out of reach.
type store struct {
	atmost.Store
	down atomic.Bool
}

var errDown = errors.New("the store is down")

func (s *store) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	if s.down.Load() {
		return atmost.Step{}, errDown
	}
	return s.Store.Apply(ctx, id, event)
}

func (s *store) Lookup(ctx context.Context, id atmost.ID) (atmost.Record, error) {
	if s.down.Load() {
		return atmost.Record{}, errDown
	}
	return s.Store.Lookup(ctx, id)
}

// does is an executor.
type does func(context.Context, atmost.Attempt) atmost.Outcome

func (f does) Execute(ctx context.Context, a atmost.Attempt) atmost.Outcome { return f(ctx, a) }

// finds is a prober.
type finds atmost.Outcome

func (f finds) Probe(context.Context, atmost.ID, uint32) atmost.Outcome { return atmost.Outcome(f) }

// service is a real service, and before it a front that does to a client what the script says: what its first element says to the
// first request, and so on, and nothing to those that follow.
type service struct {
	store   *store
	engine  *atmost.Engine
	handler http.Handler
	server  *httptest.Server
	keyFile string // of examples that retry
	dir     string // where the commands of others work
	script  []step
	effects atomic.Int64
	hurry   chan struct{} // closed: the attempt that waits may go on

	// judge tells what is wrong with a request, and how; mu is held.
	judge func(r *http.Request, body string, wrong func(format string, args ...any))

	mu       sync.Mutex
	requests int
	body     string
	token    string    // of the last claim
	spent    bool      // it was answered that nothing was executed
	report   string    // the last one
	notYet   time.Time // when the client may ask again
	problems []string
}

// step handles one request. It answers with what it returns, or with nothing at all if that is nil.
type step func(s *service, r *http.Request) *httptest.ResponseRecorder

func start(t *testing.T, operation func(*service) atmost.Operation, script ...step) *service {
	t.Helper()
	s := &service{keyFile: t.TempDir() + "/order.key", script: script, hurry: make(chan struct{})}
	s.judge = s.judgeRetry
	s.serve(t, map[string]atmost.Operation{"payment.charge": operation(s)})
	return s
}

// serve starts it, until the test ends.
func (s *service) serve(t *testing.T, operations map[string]atmost.Operation) {
	t.Helper()
	s.store = &store{Store: memstore.New(memstore.Options{})}
	var err error
	s.engine, err = atmost.New(t.Context(), s.store, atmost.Options{Operations: operations})
	if err != nil {
		t.Fatal(err)
	}
	s.handler = server.New(s.engine, server.Options{})
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	t.Cleanup(func() { s.engine.Close(t.Context()) }) // first: a request that waits is answered then
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	act := s.next(r, string(body))
	a := act(s, r)
	if a == nil {
		panic(http.ErrAbortHandler)
	}
	s.told(r, a)
	maps.Copy(w.Header(), a.Header())
	w.WriteHeader(a.Code)
	_, _ = w.Write(a.Body.Bytes())
}

// next notes what is wrong with a request and says what is to be done with it.
func (s *service) next(r *http.Request, body string) step {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	wrong := func(format string, args ...any) {
		s.problems = append(s.problems, fmt.Sprintf("request %d ", s.requests)+fmt.Sprintf(format, args...))
	}
	s.judge(r, body, wrong)
	if s.requests <= len(s.script) {
		return s.script[s.requests-1]
	}
	return pass
}

// isEarly tells that a request came before the time that an answer had named.
func (s *service) isEarly(wrong func(format string, args ...any)) {
	if early := time.Until(s.notYet); early > 10*time.Millisecond { // clocks of other languages are coarser
		wrong("came %v before the time that Retry-After named", early)
	}
}

// judgeRetry looks at a request of an example of a client that retries.
func (s *service) judgeRetry(r *http.Request, body string, wrong func(format string, args ...any)) {
	s.isEarly(wrong)
	if r.Method != http.MethodPost || r.URL.Path != "/v1/idempotency/execute" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Prefer") != "wait=30" {
		wrong("is %s %s with %v", r.Method, r.URL, r.Header)
	}
	stored, err := os.ReadFile(s.keyFile)
	if key := r.Header.Get("Idempotency-Key"); err != nil || len(stored) < 20 || key != string(stored) {
		wrong("has the key %q, and stored is %q, %v", key, stored, err)
	}
	if s.requests > 1 && body != s.body {
		wrong("has the body %s, and the ones before had %s", body, s.body)
	}
	s.body = body
}

// told notes when the client may ask again, and whether that would be for another attempt. Answers to reports say it to others.
func (s *service) told(r *http.Request, a *httptest.ResponseRecorder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name := path.Base(r.URL.Path); name != "execute" && name != "claim" {
		return
	}
	if after, err := time.ParseDuration(a.Header().Get("Retry-After") + "s"); err == nil {
		s.notYet = time.Now().Add(after)
	}
	s.spent = strings.Contains(a.Body.String(), string(atmost.CodeExecutionNotStarted))
}

// pass is a step: nothing special.
func pass(s *service, r *http.Request) *httptest.ResponseRecorder {
	a := httptest.NewRecorder()
	s.handler.ServeHTTP(a, r)
	return a
}

// soon is a step that lets the client ask again at once.
func soon(s step) step { return after("0", s) }

// after changes the time at which the client may ask again.
func after(seconds string, next step) step {
	return func(s *service, r *http.Request) *httptest.ResponseRecorder {
		a := next(s, r)
		if a.Header().Get("Retry-After") != "" {
			a.Header().Set("Retry-After", seconds)
		}
		return a
	}
}

// outage is a step: the store is down.
func outage(s *service, r *http.Request) *httptest.ResponseRecorder {
	s.store.down.Store(true)
	defer s.store.down.Store(false)
	return pass(s, r)
}

// impatient is a step: the answer does not wait for the execution.
func impatient(s *service, r *http.Request) *httptest.ResponseRecorder {
	r.Header.Set("Prefer", "wait=0")
	return pass(s, r)
}

// lost is a step: the execution ends, and the connection does before there is an answer.
func lost(s *service, r *http.Request) *httptest.ResponseRecorder {
	close(s.hurry)
	pass(s, r)
	return nil
}

// cut is a step: the connection ends in the middle of the answer.
func cut(s *service, r *http.Request) *httptest.ResponseRecorder {
	a := pass(s, r)
	a.Body.Truncate(a.Body.Len() / 2) // shorter than its Content-Length
	return a
}

// foreign is a step: something between client and service answers, and not in JSON.
func foreign(*service, *http.Request) *httptest.ResponseRecorder {
	a := httptest.NewRecorder()
	a.WriteHeader(http.StatusBadGateway)
	_, _ = a.WriteString("<h1>Bad Gateway</h1>")
	return a
}

// silent is a step: there is no answer for as long as the client waits.
func silent(_ *service, r *http.Request) *httptest.ResponseRecorder {
	<-r.Context().Done()
	return nil
}

func (s *service) check(t *testing.T, requests, effects int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.problems) > 0 {
		t.Error(strings.Join(s.problems, "\n"))
	}
	if requests > 0 && s.requests != requests {
		t.Errorf("%d requests were made, not %d", s.requests, requests)
	}
	if n := s.effects.Load(); n != int64(effects) {
		t.Errorf("there were %d effects, not %d", n, effects)
	}
}
