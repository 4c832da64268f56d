package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// killing is a service that is killed again and again, while clients do not let that disturb it.
type killing struct {
	*clientele
	url  string
	file string
	log  *journal

	mu   sync.Mutex
	up   chan struct{} // closed while the service is up
	life int
}

// seedOf is what a test's draws come from. ATMOST_SEED repeats a run's.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("ATMOST_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("ATMOST_SEED=%d", seed)
	return seed
}

// TestKill kills the real program at random moments under load, at least 30 times, and audits what it answered before and after.
func TestKill(t *testing.T) {
	seed, kills := seedOf(t), 32
	if testing.Short() {
		kills = 5
	}
	k := &killing{clientele: newClientele(seed, 16), log: newJournal(), up: make(chan struct{})}
	k.reach = k.whenUp
	defer k.client.CloseIdleConnections()
	l := newLedger(t, seed, k.step)
	upstream := httptest.NewServer(l)
	defer upstream.Close()
	k.configure(t, upstream.URL)

	disperse := k.gather()
	random := rand.New(rand.NewPCG(seed, 1000))
	service := k.start(t)
	for range kills {
		k.after(t, 20+random.IntN(240))
		k.down()
		service.kill()
		service = k.start(t)
	}
	l.becalm()
	disperse()
	last := k.settle(t)
	if err := service.stop(); err != nil {
		t.Errorf("the service ended with %v", err)
	}
	k.audit.close(t, k.keys, last, l.count(t))
	k.history.linearizable(t)
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

// whenUp is the service, once it is up.
func (k *killing) whenUp(ctx context.Context, _ *rand.Rand) (place, bool) {
	k.mu.Lock()
	up := k.up
	k.mu.Unlock()
	select {
	case <-up:
	case <-ctx.Done():
		return place{}, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return place{k.url, k.life}, true
}

// report prints what was exercised, and fails a run that tested nothing.
func (k *killing) report(t *testing.T, kills int) {
	t.Helper()
	t.Logf("%d kills, %s", kills, k.figures())
	if !testing.Short() && (k.audit.figures.acrossRestarts == 0 || k.audit.settled() == 0 || k.audit.held() == 0) {
		t.Error("the run did not come across what it is for")
	}
}
