package atmosttest_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmostclient"
	"github.com/atmost-dev/atmost/atmosttest"
)

// does is an executor.
type does func(context.Context, atmost.Attempt) atmost.Outcome

func (f does) Execute(ctx context.Context, a atmost.Attempt) atmost.Outcome { return f(ctx, a) }

func client(t *testing.T, s *atmosttest.Service) *atmostclient.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := atmostclient.New(s.URL, atmostclient.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func call(key string) atmost.Call {
	return atmost.Call{ID: atmost.ID{Key: key}, Operation: "op", Payload: []byte("1")}
}

func TestLoseReply(t *testing.T) {
	var effects atomic.Int64
	s := atmosttest.Start(t, atmosttest.WithOperation("op", atmost.Operation{Executor: does(func(context.Context, atmost.Attempt) atmost.Outcome {
		effects.Add(1)
		return atmost.Outcome{State: atmost.Completed, Result: []byte(`"done"`)}
	})}))
	execute := func() (status int, lost bool) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/v1/idempotency/execute", strings.NewReader(`{"operation":"op","payload":1}`))
		r.Header.Set("Idempotency-Key", "k")
		r.Header.Set("Content-Type", "application/json")
		defer func() {
			if p := recover(); p != nil {
				lost = p == http.ErrAbortHandler
			}
		}()
		s.ServeHTTP(w, r)
		return w.Code, false
	}
	s.LoseReply()
	s.LoseReply()
	for i, want := range []bool{true, true, false, false} {
		status, lost := execute()
		if lost != want || !lost && status != 200 || effects.Load() != 1 {
			t.Errorf("reply %d: %d, lost: %v", i+1, status, lost)
		}
	}
	if r := s.Record(atmost.ID{Key: "k"}); r.State != atmost.Completed {
		t.Errorf("it is %v", r.State)
	}
}

func TestCrashInTheMiddle(t *testing.T) {
	cancelled := make(chan struct{})
	var s *atmosttest.Service
	s = atmosttest.Start(t,
		atmosttest.WithOperation("op", atmost.Operation{Executor: does(func(ctx context.Context, _ atmost.Attempt) atmost.Outcome {
			s.Crash()
			<-ctx.Done()
			close(cancelled)
			return atmost.Outcome{State: atmost.Completed}
		})}),
		atmosttest.WithOperation("work", atmost.Operation{}))
	c := client(t, s)
	held := atmost.ClaimCall{Call: call("held"), Lease: time.Minute}
	held.Operation = "work"
	lease, err := c.Claim(t.Context(), held)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.Execute(t.Context(), call("k")); atmost.CodeOf(err) != atmost.CodeOutcomeUnknown {
			t.Error(err)
		}
	}
	<-cancelled
	if r := s.Record(atmost.ID{Key: "k"}); r.State != atmost.Unknown || r.Attempt != 1 {
		t.Errorf("%+v", r)
	}
	if a, err := c.Complete(t.Context(), held.ID, lease.Lease.Token, []byte("2")); err != nil || a.Record.State != atmost.Completed {
		t.Errorf("the lease of a client did not outlast the crash: %v", err)
	}
}

func TestCrashForgetsNothingElse(t *testing.T) {
	var effects atomic.Int64
	s := atmosttest.Start(t, atmosttest.WithOperation("op", atmost.Operation{Executor: does(func(context.Context, atmost.Attempt) atmost.Outcome {
		effects.Add(1)
		return atmost.Outcome{State: atmost.Completed, Result: []byte("7")}
	})}))
	c := client(t, s)
	for range 3 {
		if r, err := c.Execute(t.Context(), call("k")); err != nil || string(r.JSON) != "7" {
			t.Errorf("%s, %v", r.JSON, err)
		}
		s.Crash()
	}
	if effects.Load() != 1 {
		t.Errorf("%d effects", effects.Load())
	}
}

// TestManyAreUnderWayWhenItCrashes: none is forgotten.
// A mismatch is explained as the service does, also after a crash.
func TestMismatch(t *testing.T) {
	s := atmosttest.Start(t, atmosttest.WithOperation("op", atmost.Operation{Executor: does(func(context.Context, atmost.Attempt) atmost.Outcome {
		return atmost.Outcome{State: atmost.Completed}
	})}))
	c := call("k")
	c.Payload = []byte(`{"amount":1,"to":"x"}`)
	if _, err := client(t, s).Execute(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s.Crash()
	c.Payload = []byte(`{"amount":2,"to":"x"}`)
	_, err := client(t, s).Execute(t.Context(), c)
	var e *atmost.Error
	if !errors.As(err, &e) || !slices.Equal(e.Differs, []string{"/amount"}) {
		t.Errorf("%+v", err)
	}
}

func TestManyAreUnderWayWhenItCrashes(t *testing.T) {
	const many = 250
	begun := make(chan struct{}, many)
	s := atmosttest.Start(t, atmosttest.WithOperation("op", atmost.Operation{Concurrency: many, Executor: does(func(ctx context.Context, _ atmost.Attempt) atmost.Outcome {
		begun <- struct{}{}
		<-ctx.Done()
		return atmost.Outcome{State: atmost.NotExecuted}
	})}))
	for i := range many {
		r := httptest.NewRequest(http.MethodPost, "/v1/idempotency/execute", strings.NewReader(`{"operation":"op","payload":1}`))
		r.Header.Set("Idempotency-Key", atmost.KeyOf("k", i))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Prefer", "wait=0")
		s.ServeHTTP(httptest.NewRecorder(), r)
		<-begun
	}
	s.Crash()
	for i := range many {
		if r := s.Record(atmost.ID{Key: atmost.KeyOf("k", i)}); r.State != atmost.Unknown {
			t.Fatalf("%d is %v", i, r.State)
		}
	}
}

func TestLapse(t *testing.T) {
	s := atmosttest.Start(t, atmosttest.WithUnlisted())
	c := atmost.WithOnceOptions(client(t, s), atmost.OnceOptions{Lease: time.Second})
	id := call("k").ID
	if s.Lapse(id) {
		t.Error("there was a lease before there was one")
	}
	result, err := atmost.Once(t.Context(), c, call("k"), func(ctx context.Context, _ atmost.Attempt) (string, error) {
		if !s.Lapse(id) {
			t.Error("there was no lease")
		}
		if r := s.Record(id); r.State != atmost.Unknown {
			t.Errorf("it is %v", r.State)
		}
		<-ctx.Done()
		return "late", nil
	})
	if err != nil || result != "late" {
		t.Errorf("%q, %v", result, err)
	}
}

func TestAdvance(t *testing.T) {
	s := atmosttest.Start(t, atmosttest.WithOperation("work", atmost.Operation{ResultRetention: time.Hour, KeyRetention: 2 * time.Hour}))
	c, work := client(t, s), call("k")
	work.Operation = "work"
	once := func() error {
		_, err := atmost.Once(t.Context(), c, work, func(context.Context, atmost.Attempt) (int, error) { return 1, nil })
		return err
	}
	for i, want := range []atmost.Code{"", atmost.CodeResultNotKept, ""} {
		if err := once(); atmost.CodeOf(err) != want {
			t.Errorf("hour %d: %v", i, err)
		}
		s.Advance(time.Hour)
	}
}

// TestItEndsWithTheTest, whatever is under way.
func TestItEndsWithTheTest(t *testing.T) {
	ended := make(chan struct{})
	t.Run("inner", func(t *testing.T) {
		begun := make(chan struct{})
		s := atmosttest.Start(t, atmosttest.WithOperation("op", atmost.Operation{Executor: does(func(ctx context.Context, _ atmost.Attempt) atmost.Outcome {
			close(begun)
			<-ctx.Done()
			return atmost.Outcome{State: atmost.Unknown}
		})}))
		c := client(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(ended)
			if _, err := c.Execute(ctx, call("k")); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}()
		<-begun
		cancel()
		<-ended
	})
}
