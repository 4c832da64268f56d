package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// killing is a service that is killed again and again, while clients do not let that disturb them.
type killing struct {
	url    string
	file   string
	client *http.Client
	audit  *audit
	log    *journal

	mu   sync.Mutex
	up   chan struct{} // closed while the service is up
	keys []string
	life int

	left  atomic.Int64 // steps until the next kill
	due   chan struct{}
	calls atomic.Int64
}

const clients = 16

// TestKill kills the real program at random moments under load, at least 30 times, and audits what it answered before and after.
// ATMOST_SEED repeats a run's draws.
func TestKill(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("ATMOST_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("ATMOST_SEED=%d", seed)
	kills := 32
	if testing.Short() {
		kills = 5
	}
	k := &killing{
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}, audit: newAudit(), log: newJournal(),
		up: make(chan struct{}), due: make(chan struct{}, 1),
	}
	defer k.client.CloseIdleConnections()
	l := newLedger(t, seed, k.step)
	upstream := httptest.NewServer(l)
	defer upstream.Close()
	k.configure(t, upstream.URL)

	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for i := range clients {
		random := rand.New(rand.NewPCG(seed, uint64(i)+1))
		load.Go(func() { k.load(ctx, random) })
	}
	random := rand.New(rand.NewPCG(seed, 1000))
	service := k.start(t)
	for range kills {
		k.left.Store(int64(20 + random.IntN(240)))
		await(t, k.due)
		k.down()
		service.kill()
		service = k.start(t)
	}
	l.becalm()
	cancel()
	load.Wait()
	last := k.settle(t)
	if err := service.stop(); err != nil {
		t.Errorf("the service ended with %v", err)
	}
	k.audit.close(t, k.keys, last, l.count(t))
	k.report(t, kills)
}

// configure writes a configuration with a port and a directory that stay the same across restarts.
func (k *killing) configure(t *testing.T, upstream string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	k.url, k.file = "http://"+address, filepath.Join(dir, "atmost.yaml")
	text := fmt.Sprintf(`listen: %s
admin: ""
store: pebble:%s
defaults: {timeout: 2s, not_executed_status: [429]}
operations:
  held: {url: '%s/held'}
  probed: {url: '%s/probed', on_unknown: probe, probe_url: '%s/probe/{key}?attempt={attempt}', probe_settle: 100ms}
`, address, filepath.Join(dir, "store"), upstream, upstream, upstream)
	if err := os.WriteFile(k.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// step is one of the moments at which the service may be killed.
func (k *killing) step() {
	if k.left.Add(-1) == 0 {
		k.due <- struct{}{}
	}
}

func (k *killing) start(t *testing.T) *child {
	t.Helper()
	c, err := startChild(context.WithoutCancel(t.Context()), []string{"serve", "--config", k.file}, nil, k.log.add)
	if err != nil {
		t.Fatalf("%v\n%s", err, k.log.text())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.life++
	close(k.up)
	return c
}

func (k *killing) down() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.up = make(chan struct{})
}

// state is whether the service is up, and in its how-manieth life.
func (k *killing) state() (up chan struct{}, life int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.up, k.life
}

// load is one client: it asks for new keys and for old ones, and repeats each request until there is an answer to keep.
func (k *killing) load(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		k.drive(ctx, k.choose(random))
	}
}

// choose returns a new key half of the time, else one of the newest or any, to make duplicates and replays.
func (k *killing) choose(random *rand.Rand) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.keys)
	switch draw := random.IntN(100); {
	case n < clients || draw < 50:
		k.keys = append(k.keys, fmt.Sprintf("%c%d", "hp"[random.IntN(2)], n))
		return k.keys[n]
	case draw < 80:
		return k.keys[n-1-random.IntN(clients)]
	}
	return k.keys[random.IntN(n)]
}

// drive asks about key until the client is done with it.
func (k *killing) drive(ctx context.Context, key string) {
	for {
		up, life := k.state()
		select {
		case <-up:
		case <-ctx.Done():
			return
		}
		before := k.audit.known(key)
		k.step()
		// Not ctx: what was asked is waited for.
		p, err := ask(context.WithoutCancel(ctx), k.client, k.url, key)
		if err != nil {
			continue // killed, most likely: the key is asked for again
		}
		k.calls.Add(1)
		k.step()
		if k.audit.note(key, before, p, life) {
			return
		}
	}
}

// settle asks for every key until its answer is the last one, and returns these.
func (k *killing) settle(t *testing.T) map[string]reply {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	last := map[string]reply{}
	for _, key := range k.keys {
		for {
			before := k.audit.known(key)
			p, err := ask(ctx, k.client, k.url, key)
			if err != nil {
				t.Fatalf("key %s: %v", key, err)
			}
			done := k.audit.note(key, before, p, k.life)
			if last[key] = p; done && (p.status != http.StatusConflict || !isProbed(key)) {
				break
			}
			await(t, again.C)
		}
	}
	return last
}

// report prints what was exercised, and fails a run that tested nothing.
func (k *killing) report(t *testing.T, kills int) {
	t.Helper()
	f, settled, held := k.audit.figures, 0, 0
	for key := range k.audit.unknown {
		if isProbed(key) {
			settled++
		} else {
			held++
		}
	}
	t.Logf("%d kills, %d keys, %d answers, %d replays (%d of another process's answer), %d declined, %d unknown and settled by a probe, %d unknown and held",
		kills, len(k.keys), f.answers, f.replays, f.acrossRestarts, f.declined, settled, held)
	if !testing.Short() && (f.acrossRestarts == 0 || settled == 0 || held == 0) {
		t.Error("the run did not come across what it is for")
	}
}
