package gateway_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/gateway"
	"github.com/atmost-dev/atmost/store/memstore"
)

// clock is one that a test moves.
type clock struct {
	start time.Time
	moved atomic.Int64
}

func (c *clock) add(d time.Duration)    { c.moved.Add(int64(d)) }
func (c *clock) Elapsed() time.Duration { return time.Duration(c.moved.Load()) }
func (c *clock) Now() time.Time         { return c.start.Add(c.Elapsed()) }

// An attempt that was given up for lost is answered after all. By then the key has another story, and nobody gets any but that.
func TestTheFirstCallerGetsWhatLaterOnesGet(t *testing.T) {
	settled := func(o atmost.Outcome) func(*testing.T, atmost.Store, func() answer) {
		return func(t *testing.T, store atmost.Store, _ func() answer) {
			if _, err := store.Apply(t.Context(), atmost.ID{Key: "k"}, &atmost.Resolve{Attempt: 1, Outcome: o}); err != nil {
				t.Error(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		onUnknown atmost.OnUnknown
		meanwhile func(*testing.T, atmost.Store, func() answer)
		status    int
		attempt   string
		body      string
	}{
		"another attempt was made": {
			atmost.RetryUnknown,
			func(t *testing.T, _ atmost.Store, send func() answer) {
				if second := send(); second.body != "attempt 2" {
					t.Errorf("the second caller got %d %s", second.StatusCode, second.body)
				}
			},
			http.StatusCreated, "2", "attempt 2",
		},
		"settled as completed": {
			atmost.HoldUnknown,
			settled(atmost.Outcome{State: atmost.Completed, Result: []byte(`{"by":"hand"}`)}),
			http.StatusOK, "1", `{"by":"hand"}`,
		},
		"settled as failed": {
			atmost.HoldUnknown, settled(atmost.Outcome{State: atmost.Failed, Message: "it bounced"}), http.StatusFailedDependency, "1", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			started, goOn := make(chan struct{}), make(chan struct{})
			a := &api{}
			a.do = func(w http.ResponseWriter, r *http.Request) {
				attempt := r.Header.Get("Idempotency-Attempt")
				if attempt == "1" {
					close(started)
					<-goOn
				}
				w.WriteHeader(http.StatusCreated)
				_, _ = fmt.Fprint(w, "attempt ", attempt)
			}
			clock := &clock{start: time.Now()}
			store := memstore.New(memstore.Options{Clock: clock})
			target := httptest.NewServer(a)
			defer target.Close()
			srv, _ := boot(t, target.URL, store, clock, func(c *gateway.Config) { c.Route.Operation.OnUnknown = tc.onUnknown })
			post := func() answer { return send(t, srv, "POST", "/", "1", "Idempotency-Key", "k") }

			first := make(chan answer)
			go func() { first <- post() }()
			<-started
			clock.add(time.Hour)
			tc.meanwhile(t, store, post)
			close(goOn)
			for who, got := range map[string]answer{"first": <-first, "last": post()} {
				if got.StatusCode != tc.status || got.Header.Get("Idempotency-Attempt") != tc.attempt {
					t.Errorf("the %s caller got %d %v", who, got.StatusCode, got.Header)
				}
				if tc.body == "" {
					got.isProblem(t, tc.status, "EXECUTION_FAILED")
				} else if got.body != tc.body {
					t.Errorf("the %s caller got %s", who, got.body)
				}
			}
		})
	}
}

// The API holds to keys itself, and the first attempt's time is over before it answers. That it still processes that one is not its answer.
func TestRetryBeforeAnAPIThatHoldsToKeys(t *testing.T) {
	started, goOn, charged := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var state atomic.Value
	a := &api{do: func(w http.ResponseWriter, _ *http.Request) {
		switch state.Swap("charging") {
		case nil:
			close(started)
			<-goOn
			state.Store("charged")
			close(charged)
		case "charging":
			w.Header().Set("Retry-After", "1")
			w.Header().Set("Idempotency-Retry", "poll")
			w.WriteHeader(http.StatusConflict)
		default:
			w.WriteHeader(http.StatusCreated)
			_, _ = fmt.Fprint(w, "charge 1")
		}
	}}
	srv := start(t, a, func(c *gateway.Config) {
		c.Route.Operation.OnUnknown = atmost.RetryUnknown
		c.Route.Operation.Timeout = 300 * time.Millisecond
	})
	post := func() answer { return send(t, srv, "POST", "/", "1", "Idempotency-Key", "k") }
	first := make(chan answer)
	go func() { first <- post() }()
	<-started
	(<-first).isProblem(t, http.StatusServiceUnavailable, "EXECUTION_NOT_STARTED")
	if again := post(); again.StatusCode != http.StatusConflict || again.Header.Get("Idempotency-Executed") != "unknown" {
		t.Errorf("while it is processed: %d %v", again.StatusCode, again.Header)
	}
	close(goOn)
	<-charged
	for range 2 {
		if last := post(); last.StatusCode != http.StatusCreated || last.body != "charge 1" {
			t.Errorf("in the end: %d %s", last.StatusCode, last.body)
		}
	}
}
