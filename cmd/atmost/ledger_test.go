package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
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
	l, err := openLedger(filepath.Join(t.TempDir(), "ledger"), seed, pulse)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.file.Close() })
	return l
}

// openLedger goes on with the ledger in file, if there is one.
func openLedger(file string, seed uint64, pulse func()) (*ledger, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	l := &ledger{
		pulse: pulse, random: rand.New(rand.NewPCG(seed, 0)), file: f,
		results: map[string]string{}, inHand: map[string]int{}, refused: map[string]bool{},
	}
	effects, err := readLedger(file)
	for key, results := range effects {
		l.results[key] = results[len(results)-1]
	}
	return l, err
}

// The ways to misbehave, drawn anew for each request.
const (
	wellBehaved = iota
	hangBefore  // never answers, and has no effect
	hangAfter   // has its effect, and never answers
	dropAfter   // has its effect, and closes the connection
	failAfter   // has its effect, and answers 500
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
		return failAfter
	case draw < 15:
		return decline
	case draw < 20:
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
	payload, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // whoever sent it is gone
	}
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
		_, _ = fmt.Fprintf(w, `{"declined": %d}`, l.number())
	case nothing:
		w.WriteHeader(http.StatusTooManyRequests)
	default:
		result := l.effect(key, payload)
		w.Header().Set("ETag", strconv.Quote(key))
		l.pulse()
		switch how {
		case hangAfter:
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		case dropAfter:
			panic(http.ErrAbortHandler)
		case failAfter:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusCreated)
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

// number is drawn: no two are the same.
func (l *ledger) number() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.random.Uint64()
}

// effect is durable when it returns. No two have the same result, which tells what it was that had the effect.
func (l *ledger) effect(key string, payload []byte) string {
	result := fmt.Sprintf(`{"effect": %d, "of": %s}`, l.number(), payload)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := fmt.Fprintln(l.file, key, result); err != nil {
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

// effects reads from the disk the results of each key's effects.
func (l *ledger) effects(t *testing.T) map[string][]string {
	t.Helper()
	effects, err := readLedger(l.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return effects
}

// count reads from the disk how many effects each key had.
func (l *ledger) count(t *testing.T) map[string]int {
	t.Helper()
	n := map[string]int{}
	for key, results := range l.effects(t) {
		n[key] = len(results)
	}
	return n
}

func readLedger(file string) (map[string][]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was read
	effects := map[string][]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, result, _ := strings.Cut(lines.Text(), " ")
		effects[key] = append(effects[key], result)
	}
	return effects, lines.Err()
}
