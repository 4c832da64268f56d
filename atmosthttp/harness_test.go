package atmosthttp_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
	"github.com/atmost-dev/atmost/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newEngine starts an engine that lets clients claim everything.
func newEngine(t testing.TB, unlisted atmost.Operation) *atmost.Engine {
	t.Helper()
	return engineOver(t, memstore.New(memstore.Options{}), unlisted, nil)
}

// wrap puts the middleware before h.
func wrap(t testing.TB, c atmost.Claimer, scope atmosthttp.Scope, o atmosthttp.Options, h http.Handler) http.Handler {
	t.Helper()
	middleware, err := atmosthttp.New(c, scope, o)
	if err != nil {
		t.Fatal(err)
	}
	return middleware(h)
}

// counted counts how often a handler runs.
type counted struct {
	ran atomic.Int64
	do  http.HandlerFunc
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.ran.Add(1)
	c.do(w, r)
}

// counting is a handler that answers each run with its number.
func counting() *counted {
	c := &counted{}
	c.do = func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"run": c.ran.Load(), "got": string(body)})
	}
	return c
}

// post makes a request with a key, "" for none, and a body of JSON.
func post(key, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/charges?x=1", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	return r
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// isProblem checks that an answer is the problem that has this code, with all of RFC 9457's members, and returns its detail.
func isProblem(t testing.TB, w *httptest.ResponseRecorder, status int, code string) string {
	t.Helper()
	var p struct {
		Type, Title, Detail, Code string
		Status                    int
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Fatalf("not a problem: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w.Code != status || p.Status != status || p.Code != code || p.Type != atmosthttp.ProblemType(code) || p.Title == "" || p.Detail == "" {
		t.Errorf("got %d %s, want %d %s", w.Code, w.Body, status, code)
	}
	if len(w.Header()["Request-Id"]) != 1 {
		t.Errorf("%d %s: the answer's id is %q", status, code, w.Header()["Request-Id"])
	}
	return p.Detail
}

// differs checks where a problem says that the body is another: nowhere, and it has no member for that.
func differs(t testing.TB, w *httptest.ResponseRecorder, want ...string) {
	t.Helper()
	var p map[string]json.RawMessage
	var got []string
	err := json.Unmarshal(w.Body.Bytes(), &p)
	if told, has := p["differs"]; has && err == nil {
		err = json.Unmarshal(told, &got)
	}
	if _, has := p["differs"]; err != nil || has != (len(want) > 0) || !slices.Equal(got, want) {
		t.Errorf("got %s, want %q", w.Body, want)
	}
}

// within fails the test if what it waits for does not come.
func within[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Fatal("it did not come")
	}
	return v
}

// clock is one that a test moves.
type clock struct {
	start time.Time
	moved atomic.Int64
}

func newClock() *clock { return &clock{start: time.Now()} }

func (c *clock) add(d time.Duration)    { c.moved.Add(int64(d)) }
func (c *clock) Elapsed() time.Duration { return time.Duration(c.moved.Load()) }
func (c *clock) Now() time.Time         { return c.start.Add(c.Elapsed()) }

// bubble is the time of a synctest.
type bubble struct{ start time.Time }

func newBubble() bubble { return bubble{time.Now()} }

func (b bubble) Elapsed() time.Duration { return time.Since(b.start) }
func (bubble) Now() time.Time           { return time.Now() }

// engineAt starts an engine whose time is c's.
func engineAt(t testing.TB, c atmost.Clock) *atmost.Engine {
	t.Helper()
	return engineWith(t, atmost.Operation{}, c)
}

func engineWith(t testing.TB, unlisted atmost.Operation, c atmost.Clock) *atmost.Engine {
	t.Helper()
	return engineOver(t, memstore.New(memstore.Options{Clock: c}), unlisted, c)
}

// engineOver starts an engine over a store, both by one clock.
func engineOver(t testing.TB, store atmost.Store, unlisted atmost.Operation, c atmost.Clock) *atmost.Engine {
	t.Helper()
	e, err := atmost.New(t.Context(), store, atmost.Options{Unlisted: &unlisted, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(context.Background()) })
	return e
}

// faulty is a claimer whose reports and renewals fail as long as a test says so.
type faulty struct {
	atmost.Claimer
	report func(result []byte) error
	renew  func() error
}

func (f *faulty) Complete(ctx context.Context, id atmost.ID, token atmost.Token, result []byte) (atmost.Answer, error) {
	if f.report != nil {
		if err := f.report(result); err != nil {
			return atmost.Answer{}, err
		}
	}
	return f.Claimer.Complete(ctx, id, token, result)
}

func (f *faulty) Renew(ctx context.Context, id atmost.ID, token atmost.Token, lease time.Duration) (atmost.Lease, error) {
	if f.renew != nil {
		if err := f.renew(); err != nil {
			return atmost.Lease{}, err
		}
	}
	return f.Claimer.Renew(ctx, id, token, lease)
}
