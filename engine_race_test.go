package atmost_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/storetest"
)

// TestManyClientsAtOnce has clients ask for a few keys at once, in virtual time, while calls of the store go wrong, and holds what
// happened to the guarantees. A seed that fails is named, and can be run alone.
func TestManyClientsAtOnce(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				newCrowd(t, seed).run()
			})
		})
	}
}

// crowd is one such world. It is the executor too, and remembers every attempt.
type crowd struct {
	*testing.T
	random *rand.Rand
	store  *storetest.FaultyStore
	engine *atmost.Engine

	mu      sync.Mutex
	begun   map[string][]atmost.State // of each key's attempts, the outcome; Processing while it runs
	results map[string]string         // told for each key
}

func newCrowd(t *testing.T, seed uint64) *crowd {
	c := &crowd{T: t, random: rand.New(rand.NewPCG(seed, 0)), begun: map[string][]atmost.State{}, results: map[string]string{}}
	clock := &bubbleClock{start: time.Now()}
	c.store = storetest.Faulty(&slowStore{memstore.New(memstore.Options{Clock: clock}), c})
	op := atmost.Operation{Executor: c, Timeout: 10 * time.Second, Concurrency: 2, DuplicateWait: time.Second}
	var err error
	if c.engine, err = atmost.New(t.Context(), c.store, atmost.Options{Clock: clock, Operations: map[string]atmost.Operation{"op": op}}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *crowd) int(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.IntN(n)
}

// slowStore takes a while, before a step and after it, and now and then a long one.
type slowStore struct {
	atmost.Store
	crowd *crowd
}

func (s *slowStore) Apply(ctx context.Context, id atmost.ID, e atmost.Event) (atmost.Step, error) {
	s.dawdle()
	defer s.dawdle()
	return s.Store.Apply(ctx, id, e)
}

func (s *slowStore) dawdle() {
	longest := 20
	if s.crowd.int(5) == 0 {
		longest = 1000
	}
	pass(time.Duration(s.crowd.int(longest)) * time.Millisecond)
}

func (c *crowd) Execute(ctx context.Context, a atmost.Attempt) atmost.Outcome {
	c.mu.Lock()
	for i, state := range c.begun[a.ID.Key] {
		if state != atmost.NotExecuted {
			c.Errorf("attempt %d of %s began though attempt %d is %v", a.Number, a.ID.Key, i+1, state)
		}
	}
	c.begun[a.ID.Key] = append(c.begun[a.ID.Key], atmost.Processing)
	if n := len(c.begun[a.ID.Key]); int(a.Number) < n {
		c.Errorf("attempt %d of %s is called number %d", n, a.ID.Key, a.Number)
	}
	c.mu.Unlock()
	pass(time.Duration(c.int(3000)) * time.Millisecond)
	outcome := []atmost.Outcome{completed(a.Number), failure, noEffect, noEffect, noEffect, doubt}[c.int(6)]
	if ctx.Err() != nil {
		outcome = doubt
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun[a.ID.Key][len(c.begun[a.ID.Key])-1] = outcome.State
	return outcome
}

func (c *crowd) run() {
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 12 {
				c.ask(fmt.Sprint("k", c.int(3)))
				pass(time.Duration(c.int(500)) * time.Millisecond)
			}
		})
	}
	faults := []storetest.Fault{storetest.AmbiguousDone, storetest.AmbiguousLost, storetest.Unavailable}
	for range 10 {
		pass(time.Duration(c.int(2000)) * time.Millisecond)
		c.store.Next(faults[c.int(len(faults))], nil)
	}
	clients.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.int(2))*time.Second)
	defer cancel()
	c.engine.Close(ctx)
	c.audit()
}

// ask makes one request, and holds its answer to what had happened before it was made.
func (c *crowd) ask(key string) {
	c.mu.Lock()
	before := len(c.begun[key])
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+c.int(20))*time.Second)
	defer cancel()
	request := call(key)
	if c.int(2) == 0 {
		request = waiting(request, time.Duration(c.int(5))*time.Second)
	}
	a, err := c.engine.Execute(ctx, request)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch code := atmost.CodeOf(err); {
	case code == atmost.CodeStoreUnavailable || code == atmost.CodeOverloaded:
		return
	case int(a.Record.Attempt) < before:
		c.Errorf("%s: attempt %d had begun, and the answer is of attempt %d: %v", key, before, a.Record.Attempt, err)
	case a.Record.State.Final():
		told := fmt.Sprint(a.Record.State, string(a.Record.Result), err)
		if was, known := c.results[key]; known && was != told {
			c.Errorf("%s: told %s, and then %s", key, was, told)
		}
		c.results[key] = told
	}
}

// audit compares what is stored in the end with what happened.
func (c *crowd) audit() {
	for n := range 3 {
		key := fmt.Sprint("k", n)
		r, err := c.store.Store.Lookup(context.Background(), atmost.ID{Key: key})
		if err != nil {
			c.Fatal(err)
		}
		last := atmost.Absent
		if attempts := c.begun[key]; len(attempts) > 0 {
			last = attempts[len(attempts)-1]
		}
		inDoubt := r.State == atmost.Processing || r.State == atmost.Unknown
		switch _, told := c.results[key]; {
		case last.Final() && r.State != last:
			c.Errorf("%s: its last attempt is %v, the record is %v", key, last, r.State)
		case told && !r.State.Final():
			c.Errorf("%s: told final, and stored as %v", key, r.State)
		case inDoubt && (last == atmost.Absent || last == atmost.NotExecuted):
			c.Errorf("%s: the record is %v, of an attempt that never began", key, r.State)
		}
	}
}
