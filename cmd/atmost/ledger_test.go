package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// ledger is an upstream that writes each effect to disk, synced, before it answers, and that misbehaves at random. As a good
// upstream does, it never tells a probe that nothing happened unless it made sure that nothing will.
type ledger struct {
	pulse func() // called at each step of a request
	quick bool   // does not wait for the disk: this process is not the one that is killed

	mu      sync.Mutex
	random  *rand.Rand
	calm    bool // misbehaves no more
	file    *os.File
	results map[string]string // of the keys that had an effect
	inHand  map[string]int    // requests under way, by key
	refused map[string]bool   // attempts of which a probe was told that they will have none
}

func newLedger(t *testing.T, seed uint64, pulse func()) *ledger {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "ledger"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return &ledger{
		pulse: pulse, random: rand.New(rand.NewPCG(seed, 0)), file: f,
		results: map[string]string{}, inHand: map[string]int{}, refused: map[string]bool{},
	}
}

// The ways to misbehave, drawn anew for each request.
const (
	wellBehaved = iota
	hangBefore  // never answers, and has no effect
	hangAfter   // has its effect, and never answers
	dropAfter   // has its effect, and closes the connection
	decline     // answers 402, for good, without an effect
	nothing     // answers 429, by which it says that nothing happened
)

func (l *ledger) behaviour() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	draw := l.random.IntN(100)
	switch {
	case l.calm:
		return wellBehaved
	case draw < 2:
		return hangBefore
	case draw < 4:
		return hangAfter
	case draw < 9:
		return dropAfter
	case draw < 12:
		return decline
	case draw < 17:
		return nothing
	}
	return wellBehaved
}

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	if r.Method == http.MethodGet {
		l.probe(w, strings.TrimPrefix(r.URL.Path, "/probe/"), r.URL.Query().Get("attempt"))
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	l.pulse()
	if !l.begin(key, r.Header.Get("Idempotency-Attempt")) {
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	defer l.end(key)
	w.Header().Set("Content-Type", "application/json")
	switch how := l.behaviour(); how {
	case hangBefore:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case decline:
		w.WriteHeader(http.StatusPaymentRequired)
		_, _ = io.WriteString(w, `"declined"`)
	case nothing:
		w.WriteHeader(http.StatusTooManyRequests)
	default:
		result := l.effect(key)
		l.pulse()
		if how == hangAfter {
			<-r.Context().Done()
		}
		if how != wellBehaved {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, result)
	}
}

func (l *ledger) begin(key, attempt string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused[key+" "+attempt] {
		return false
	}
	l.inHand[key]++
	return true
}

func (l *ledger) end(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inHand[key]--
}

// effect is durable when it returns. No two have the same result.
func (l *ledger) effect(key string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	result := fmt.Sprintf(`{"effect": %d}`, l.random.Uint64())
	if _, err := fmt.Fprintln(l.file, key); err != nil {
		panic(err)
	}
	if !l.quick {
		if err := l.file.Sync(); err != nil {
			panic(err)
		}
	}
	l.results[key] = result
	return result
}

func (l *ledger) probe(w http.ResponseWriter, key, attempt string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch result, had := l.results[key]; {
	case had:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Idempotency-Outcome", "completed")
		_, _ = io.WriteString(w, result)
	case l.inHand[key] > 0:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		l.refused[key+" "+attempt] = true
		w.Header().Set("Idempotency-Outcome", "not_executed")
	}
}

func (l *ledger) becalm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calm = true
}

// count reads from the disk how many effects each key had.
func (l *ledger) count(t *testing.T) map[string]int {
	t.Helper()
	f, err := os.Open(l.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	effects := map[string]int{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		effects[lines.Text()]++
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return effects
}
