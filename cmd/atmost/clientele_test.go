package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clientele is clients that ask for new keys and for old ones, and repeat each request, whatever happens to the service meanwhile,
// until there is an answer to keep. An audit remembers what they were told.
type clientele struct {
	seed    uint64
	size    int
	client  *http.Client
	audit   *audit
	history *history
	// reach tells where to ask next. It waits while there is nowhere, and reports false if ctx ends first.
	reach func(ctx context.Context, random *rand.Rand) (place, bool)
	// tries is how often a client asks for one key before it turns to another, 0 for until there is an answer to keep.
	tries int
	// fresh is how many of a hundred requests are about new keys.
	fresh int
	// meddlers is how many of a hundred requests come after one that has the same key and another payload.
	meddlers int
	// send has a service asked about key, with a payload.
	send func(ctx context.Context, client *http.Client, url, key, payload string) (reply, error)
	moments

	mu    sync.Mutex
	keys  []string
	calls atomic.Int64
}

// moments are when something may happen to a process: some steps of others away.
type moments struct {
	left atomic.Int64
	due  chan struct{}
}

func newMoments() moments { return moments{due: make(chan struct{}, 1)} }

// step is one of them.
func (m *moments) step() {
	if m.left.Add(-1) == 0 {
		m.due <- struct{}{}
	}
}

// after waits for the moment that is some steps away.
func (m *moments) after(t *testing.T, steps int) {
	t.Helper()
	m.left.Store(int64(steps))
	await(t, m.due)
}

// place is a process that can be asked.
type place struct {
	url  string
	life int // no other process's
}

func newClientele(seed uint64, size int) *clientele {
	return &clientele{
		seed: seed, size: size, fresh: 50, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: size}},
		audit: newAudit(), history: newHistory(), send: ask, moments: newMoments(),
	}
}

// gather starts the clients. What it returns has them finish what they are at, and waits for that.
func (c *clientele) gather() (disperse func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var load sync.WaitGroup
	for i := range c.size {
		random := rand.New(rand.NewPCG(c.seed, uint64(i)+1))
		load.Go(func() {
			for ctx.Err() == nil {
				c.drive(ctx, random, c.choose(random))
			}
		})
	}
	return func() {
		cancel()
		load.Wait()
	}
}

// choose returns a new key or one of the newest or any, to make duplicates and replays.
func (c *clientele) choose(random *rand.Rand) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.keys)
	switch draw := random.IntN(100); {
	case n < 16 || draw < c.fresh:
		c.keys = append(c.keys, fmt.Sprintf("%c%d", "hp"[random.IntN(2)], n))
		return c.keys[n]
	case draw < c.fresh+(100-c.fresh)*3/5:
		return c.keys[n-1-random.IntN(min(n, c.size))]
	}
	return c.keys[random.IntN(n)]
}

// add has the clients ask for key, too.
func (c *clientele) add(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = append(c.keys, key)
}

// drive asks about key until the client is done with it.
func (c *clientele) drive(ctx context.Context, random *rand.Rand, key string) {
	for try := 0; c.tries == 0 || try < c.tries; try++ {
		at, ok := c.reach(ctx, random)
		if !ok {
			return
		}
		c.step()
		if c.audit.isRecorded(key) && random.IntN(100) < c.meddlers {
			c.meddle(context.WithoutCancel(ctx), at, key)
		}
		// Not ctx: what was asked is waited for.
		p, done, err := c.ask(context.WithoutCancel(ctx), at, key)
		if err != nil {
			continue // killed, most likely: the key is asked for again
		}
		c.calls.Add(1)
		c.step()
		if done {
			return
		}
		if p.status == http.StatusServiceUnavailable {
			pause(ctx)
		}
	}
}

// pause is what a client does that is told to come again later, if sooner than it is told.
func pause(ctx context.Context) {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
	}
}

// ask asks about key once, and has the answer audited. It reports whether that is one to keep.
func (c *clientele) ask(ctx context.Context, at place, key string) (reply, bool, error) {
	before := c.audit.known(key)
	told := c.history.ask(key)
	p, err := c.send(ctx, c.client, at.url, key, payloadOf(key))
	told(p, err)
	if err != nil {
		return p, false, err
	}
	return p, c.audit.note(key, before, p, at.life), nil
}

// meddle asks for something else under a key that has a record.
func (c *clientele) meddle(ctx context.Context, at place, key string) {
	if p, err := c.send(ctx, c.client, at.url, key, `{"for":"somebody else"}`); err == nil {
		c.audit.noteMismatch(key, p)
	}
}

// settle asks for every key until its answer is the last one, and returns these.
func (c *clientele) settle(t *testing.T) map[string]reply {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	random := rand.New(rand.NewPCG(c.seed, 0))
	last := map[string]reply{}
	for _, key := range c.keys {
		for {
			at, _ := c.reach(ctx, random)
			p, done, err := c.ask(ctx, at, key)
			if err != nil {
				t.Fatalf("key %s: %v", key, err)
			}
			if last[key] = p; done && (p.status != http.StatusConflict || !isProbed(key)) {
				break
			}
			await(t, again.C)
		}
	}
	return last
}

// figures sums up the run.
func (c *clientele) figures() string {
	f, settled, held := c.audit.figures, c.audit.settled(), c.audit.held()
	return fmt.Sprintf("%d keys, %d answers, %d replays (%d of another process's answer), %d declined, %d not executed, %d refused, %d of them for another payload, "+
		"%d unknown and settled by a probe, %d unknown and held",
		len(c.keys), f.answers, f.replays, f.acrossRestarts, f.declined, f.notExecuted, f.refused+f.mismatches, f.mismatches, settled, held)
}
