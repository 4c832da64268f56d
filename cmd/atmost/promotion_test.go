package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/atmost-dev/atmost/internal/pgtest"
)

// scoped asks an instance about a key of a scope.
func scoped(ctx context.Context, client *http.Client, url, scope, key string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/idempotency/execute", strings.NewReader(`{"operation":"held","payload":1}`))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Idempotency-Key", key)
	req.Header.Set("Idempotency-Scope", scope)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	return read(resp)
}

// asked is a key, and its scope.
type asked struct{ scope, key string }

// hasty is clients that ask for one new key after the other, in two scopes, and do not care about answers.
type hasty struct {
	fleet  *fleet
	client *http.Client
	mu     sync.Mutex
	all    []asked
	done   map[asked]bool        // that were answered as completed
	due    map[int]chan struct{} // closed when so many were
}

func (h *hasty) gather(clients int) (disperse func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var load sync.WaitGroup
	for i := range clients {
		random := rand.New(rand.NewPCG(uint64(i), 2))
		load.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				a := asked{"ab"[i%2 : i%2+1], fmt.Sprintf("c%d-%d", i, n)}
				h.ask(a)
				at, _ := h.fleet.reach(ctx, random)
				p, err := scoped(context.WithoutCancel(ctx), h.client, at.url, a.scope, a.key)
				if err != nil || p.status != http.StatusOK {
					pause(ctx)
					continue
				}
				h.complete(a)
			}
		})
	}
	return func() {
		cancel()
		load.Wait()
	}
}

func (h *hasty) ask(a asked) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, a)
}

func (h *hasty) complete(a asked) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done[a] = true
	if c := h.due[len(h.done)]; c != nil {
		close(c)
		delete(h.due, len(h.done))
	}
}

// completed waits until so many more keys have been completed.
func (h *hasty) completed(t *testing.T, more int) {
	t.Helper()
	c := make(chan struct{})
	h.mu.Lock()
	h.due[len(h.done)+more] = c
	h.mu.Unlock()
	await(t, c)
}

// TestPromotion promotes a standby, which had fallen behind, under load. The instances find it by themselves, and no key that had
// its effect runs again, though the database has forgotten it: new keys are refused until they are admitted.
func TestPromotion(t *testing.T) {
	primary := pgtest.New(t, pgtest.Config{})
	database := migrated(t, primary.Database(t))
	standby := primary.Standby(t, "s")
	l := newLedger(t, 0, func() {})
	l.quick, l.calm = true, true
	up := httptest.NewServer(l)
	defer up.Close()
	both := strings.Replace(database, primary.Addr(), primary.Addr()+","+standby.Addr(), 1) + "&target_session_attrs=read-write"
	f := newFleet(t, "claim_patience: 500ms\n"+operationsAt(up.URL), both, both)
	h := &hasty{fleet: f, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}, done: map[asked]bool{}, due: map[int]chan struct{}{}}
	defer h.client.CloseIdleConnections()

	disperse := h.gather(16)
	h.completed(t, 100)
	standby.Stop(true) // from now on everything will be forgotten
	h.completed(t, 200)
	primary.Stop(true)
	if err := standby.Start(); err != nil {
		t.Fatal(err)
	}
	standby.Promote(t)
	promoted := strings.Replace(database, primary.Addr(), standby.Addr(), 1)
	for _, m := range f.instances {
		until(t, "the instance to notice", func() bool { return m.metric(t, "atmost_store_guarded") == 1 })
	}
	disperse()

	effects := l.count(t)
	forgotten, remembered := 0, 0
	for i, a := range h.all {
		p, err := scoped(t.Context(), h.client, f.instances[i%2].url(), a.scope, a.key)
		switch {
		case err != nil:
			t.Fatal(err)
		case p.status == http.StatusOK && h.done[a]:
			remembered++
		case strings.Contains(p.body, "may have forgotten this key"):
			forgotten++
		case p.status != http.StatusOK && p.status != http.StatusConflict && p.status != http.StatusAccepted:
			t.Errorf("%v is answered %d %s", a, p.status, p.body)
		}
	}
	for key, n := range l.count(t) {
		if n != 1 || effects[key] != 1 {
			t.Errorf("an upstream's key had %d effects, %d of them before it was asked for again", n, effects[key])
		}
	}
	t.Logf("%d keys, %d of them completed: %d remembered, %d refused", len(h.all), len(h.done), remembered, forgotten)
	if forgotten < 100 || remembered == 0 {
		t.Error("the run did not come across what it is for")
	}

	want := func(scope, key string, status int, contains string) {
		t.Helper()
		for _, m := range f.instances {
			p, err := scoped(t.Context(), h.client, m.url(), scope, key)
			if err != nil {
				t.Fatal(err)
			}
			p.want(t, status, contains)
		}
	}
	admit := func(says string, args ...string) {
		t.Helper()
		code, stdout, stderr := command(t, append([]string{"admit", "--yes", "--reason", "r", "--store", promoted}, args...)...)
		if code != exitOK || !strings.Contains(stdout, says) {
			t.Errorf("exit code %d, %s%s", code, stdout, stderr)
		}
	}
	want("a", "new", http.StatusConflict, "OUTCOME_UNKNOWN")
	admit(`admitted scope "a"`, "--scope", "a")
	want("a", "new", http.StatusOK, "completed")
	want("b", "new", http.StatusConflict, "OUTCOME_UNKNOWN")
	admit("admitted all scopes", "--all")
	want("b", "new", http.StatusOK, "completed")
	for _, m := range f.instances {
		until(t, "the instance to notice", func() bool { return m.metric(t, "atmost_store_guarded") == 0 })
	}
	f.stop(t)
}
