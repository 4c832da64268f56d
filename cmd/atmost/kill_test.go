package main

import (
	"context"
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
	command string // of the program
	url     string
	file    string
	log     *journal

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
	k := newKilling(t, seed, "serve", 16)
	l := newLedger(t, seed, k.step)
	upstream := httptest.NewServer(l)
	defer upstream.Close()
	address := freeAddress(t)
	k.configure(t, address, "listen: "+address+"\nadmin: ''\n"+operationsAt(upstream.URL))

	last := k.survive(t, kills, l.becalm)
	k.audit.close(t, k.keys, last, l.effects(t))
	k.history.linearizable(t)
	k.report(t, kills)
}

// newKilling has clients for a service that is run by a command of the program.
func newKilling(t *testing.T, seed uint64, command string, clients int) *killing {
	k := &killing{clientele: newClientele(seed, clients), command: command, log: newJournal(), up: make(chan struct{})}
	k.reach, k.meddlers = k.whenUp, 10
	t.Cleanup(k.client.CloseIdleConnections)
	return k
}

// freeAddress is one that nobody listens on, for a process that is to have the same one in each of its lives.
func freeAddress(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	return free.Addr().String()
}

// configure writes the configuration of a service at address, with a store that stays the same across restarts.
func (k *killing) configure(t *testing.T, address, text string) {
	t.Helper()
	dir := t.TempDir()
	k.url, k.file = "http://"+address, filepath.Join(dir, "atmost.yaml")
	text += "\nstore: pebble:" + filepath.Join(dir, "store") + "\n"
	if err := os.WriteFile(k.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// survive has the clients ask while the service is killed so many times, at random moments. Then becalm has the upstream behave,
// and every key is asked for until its answer is the last one; these are returned.
func (k *killing) survive(t *testing.T, kills int, becalm func()) map[string]reply {
	t.Helper()
	disperse := k.gather()
	random := rand.New(rand.NewPCG(k.seed, 1000))
	service := k.start(t)
	for range kills {
		k.after(t, 20+random.IntN(240))
		k.down()
		service.kill()
		service = k.start(t)
	}
	becalm()
	disperse()
	last := k.settle(t)
	if err := service.stop(); err != nil {
		t.Errorf("the service ended with %v", err)
	}
	return last
}

func (k *killing) start(t *testing.T) *child {
	t.Helper()
	c, err := startChild(context.WithoutCancel(t.Context()), []string{k.command, "--config", k.file}, nil, k.log.add)
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
	f := k.audit.figures
	if !testing.Short() && (f.acrossRestarts == 0 || f.mismatches == 0 || k.audit.settled() == 0 || k.audit.held() == 0) {
		t.Error("the run did not come across what it is for")
	}
}
