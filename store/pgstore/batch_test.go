package pgstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/pgtest"
)

// TestTwinsOfTheGone: who waits for a call of the same key goes on when that call's caller is gone.
func TestTwinsOfTheGone(t *testing.T) {
	named := func(key string) *call { return &call{id: atmost.ID{Key: key}} }
	gone, twin, other, another := named("a"), named("a"), named("b"), named("b")
	gone.stage.Store(dropped)
	sh := share([]*call{gone, twin, other, another}, time.Time{})
	if left := sh.begin(); !slices.Equal(left, []*call{twin}) || !slices.Equal(sh.calls, []*call{other}) || !slices.Equal(other.twins, []*call{another}) {
		t.Errorf("left %v, together %v", left, sh.calls)
	}
}

func openedStore(t *testing.T, o Options) *Store {
	t.Helper()
	url := pgtest.Database(t)
	if _, err := Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func someClaim() *atmost.Claim {
	return &atmost.Claim{Operation: "o", Token: atmost.NewToken(), Lease: time.Minute, Policy: atmost.Policy{ResultRetention: time.Hour}}
}

// TestStalled: a call that waits behind a statement that makes no progress is looked after, though nobody else comes.
func TestStalled(t *testing.T) {
	s := openedStore(t, Options{Timeout: 10 * time.Second})
	b := s.claims
	b.mu.Lock()
	b.running, b.begun = 1, time.Now() // and it never ends
	b.mu.Unlock()
	if _, err := s.Apply(t.Context(), atmost.ID{Key: "k"}, someClaim()); err != nil {
		t.Error(err)
	}
}

// TestQueueHoldsTheLiving: while nothing can be sent, no more is kept than callers wait for.
func TestQueueHoldsTheLiving(t *testing.T) {
	const callers, each = 50, 3
	s := openedStore(t, Options{Timeout: 100 * time.Millisecond, BatchSize: 4, MaxConns: 8})
	for range s.options.MaxConns {
		c, err := s.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Release()
	}
	var asking sync.WaitGroup
	for i := range callers {
		asking.Go(func() {
			for n := range each {
				if _, err := s.Apply(context.Background(), atmost.ID{Key: fmt.Sprint(i, "-", n)}, someClaim()); err == nil || errors.Is(err, atmost.ErrAmbiguous) {
					t.Errorf("nothing can be sent, and yet: %v", err)
				}
			}
		})
	}
	asking.Wait()
	s.claims.mu.Lock()
	defer s.claims.mu.Unlock()
	if n := len(s.claims.queue); n != 0 {
		t.Errorf("%d are queued that nobody waits for", n)
	}
}

// TestBatch: it is told how many requests go together. Six wait behind a statement that does not end, until as many as one takes do.
func TestBatch(t *testing.T) {
	var mu sync.Mutex
	var told []int
	s := openedStore(t, Options{BatchSize: 5, Batch: func(requests int) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, requests)
	}})
	b := s.claims
	b.mu.Lock()
	b.running, b.begun = 1, time.Now().Add(time.Hour)
	b.mu.Unlock()
	var asking sync.WaitGroup
	for i := range 6 {
		asking.Go(func() {
			if _, err := s.Apply(context.Background(), atmost.ID{Key: fmt.Sprint(i)}, someClaim()); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(told, []int{5, 1}) {
		t.Errorf("told of %v", told)
	}
}
