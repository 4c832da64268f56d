package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tally counts the effects that each key had.
type tally struct {
	mu      sync.Mutex
	effects map[string]int
}

func (n *tally) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	n.mu.Lock()
	defer n.mu.Unlock()
	key := r.Header.Get("Idempotency-Key")
	n.effects[key]++
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `"%s %d"`, key, n.effects[key])
}

func (n *tally) all() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.effects)
}

// TestBackupUnderLoad: the real program makes a backup while it serves, and is killed later. A store is made of the backup elsewhere. It
// replays what was answered before the backup, and executes nothing of what it forgot, until an operator has looked and admits it.
func TestBackupUnderLoad(t *testing.T) {
	dir := t.TempDir()
	up := &tally{effects: map[string]int{}}
	upstream := httptest.NewServer(up)
	defer upstream.Close()
	text := "operations: {a: {url: '" + upstream.URL + "'}}\npebble: {backups: " + filepath.Join(dir, "backups") + "}\n"
	first, _ := spawn(t, filepath.Join(dir, "store"), text)

	load, told := newMoments(), map[string]string{}
	var mu sync.Mutex // of told
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := fmt.Sprintf("%d-%d", i, n)
				p, err := post(ctx, http.DefaultClient, first.url(), key, request, "")
				if err != nil {
					return // it was killed
				}
				if p.status != http.StatusOK {
					t.Errorf("key %s: %d %s", key, p.status, p.body)
				}
				mu.Lock()
				told[key] = p.body
				mu.Unlock()
				load.step()
			}
		})
	}
	answered := func() map[string]string {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(told)
	}
	operate := func(want string, args ...string) string {
		t.Helper()
		code, stdout, stderr := command(t, args...)
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Fatalf("%v: exit code %d, %s%s", args, code, stdout, stderr)
		}
		return stdout
	}
	load.after(t, 60)
	before := answered()
	made := operate("the service made a backup in ", "backup", "--admin", first.addresses[listenerAdmin])
	_, backup, _ := strings.Cut(strings.TrimSpace(made), " in ")
	load.after(t, 60)
	first.kill()
	cancel()
	clients.Wait()
	effects := up.all()

	operate("restored to ", "restore", backup, filepath.Join(dir, "restored"))
	second, _ := spawn(t, filepath.Join(dir, "restored"), text)
	ask := func(key string) reply {
		t.Helper()
		p, err := post(t.Context(), http.DefaultClient, second.url(), key, request, "")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	forgotten := 0
	for key, body := range answered() {
		switch p := ask(key); {
		case p.status == http.StatusOK && p.body == body && p.header.Get("Idempotency-Replayed") == "true":
		case p.status == http.StatusConflict && strings.Contains(p.body, "OUTCOME_UNKNOWN") && before[key] == "":
			forgotten++
		default:
			t.Errorf("key %s was answered %s, and then %d %s; before the backup: %t", key, body, p.status, p.body, before[key] != "")
		}
	}
	if forgotten == 0 {
		t.Error("nothing was forgotten")
	}
	ask("new").want(t, http.StatusConflict, "OUTCOME_UNKNOWN")
	if now := up.all(); !maps.Equal(now, effects) {
		t.Error("the store that may have forgotten keys executed something")
	}

	// The operator has made sure that nobody retries what had its effect.
	operate("the store is not guarded any more", "admit", "--admin", second.addresses[listenerAdmin], "--all", "--yes", "--reason", "checked against the upstream")
	ask("new").want(t, http.StatusOK, `"new 1"`)
	for key := range before {
		ask(key).want(t, http.StatusOK, before[key])
	}
	operate("checked against the upstream", "audit", "--admin", second.addresses[listenerAdmin])
	for key, n := range up.all() {
		if n != 1 {
			t.Errorf("key %s had %d effects", key, n)
		}
	}
	t.Logf("%d keys before the backup, %d in all, %d forgotten", len(before), len(answered()), forgotten)
}
