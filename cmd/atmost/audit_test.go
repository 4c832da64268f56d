package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// audit remembers every answer that a client was given, and complains when a later one takes it back.
type audit struct {
	mu       sync.Mutex
	terminal map[string]string // status and body, by key
	born     map[string]int    // in which process's life the terminal answer was first given
	unknown  map[string]string // the attempt of which a client was told OUTCOME_UNKNOWN, by key
	recorded map[string]bool   // keys of which a client was told something that makes them known for good
	first    map[string]bool   // keys whose outcome a client was told as its own
	wrong    []string
	outages  bool // the store may be away, so that requests are refused
	figures  struct{ answers, replays, acrossRestarts, declined, refused, notExecuted, mismatches int }
}

func newAudit() *audit {
	return &audit{
		terminal: map[string]string{}, born: map[string]int{}, unknown: map[string]string{}, recorded: map[string]bool{}, first: map[string]bool{},
	}
}

func (a *audit) complain(format string, args ...any) {
	a.wrong = append(a.wrong, fmt.Sprintf(format, args...))
}

// known is the terminal answer that key was given, which every request sent from now on must be given too.
func (a *audit) known(key string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.terminal[key]
}

// note judges an answer; before is what known said when the request was sent. It reports whether the client is done: with a
// terminal answer, or with one that time alone does not change.
func (a *audit) note(key, before string, p reply, life int) (done bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.figures.answers++
	said := fmt.Sprintf("%d %s", p.status, p.body)
	terminal := p.status == http.StatusOK || p.status == http.StatusFailedDependency
	a.recorded[key] = a.recorded[key] || answerOf(p, nil) != answeredRefusal
	if terminal && p.header.Get("Idempotency-Replayed") == "false" {
		if a.first[key] {
			a.complain("I5: key %s was answered twice as if for the first time", key)
		}
		a.first[key] = true
	}
	switch {
	case before != "" && said != before && !(a.outages && answerOf(p, nil) == answeredRefusal):
		a.complain("I2: key %s was answered %q, and later %q", key, before, said)
		return true
	case terminal && a.terminal[key] == "":
		a.terminal[key], a.born[key] = said, life
		if p.status != http.StatusOK {
			a.figures.declined++
		}
	case terminal && a.terminal[key] != said:
		a.complain("I5: key %s was answered %q and %q", key, a.terminal[key], said)
	case terminal:
		a.figures.replays++
		if a.born[key] != life {
			a.figures.acrossRestarts++
		}
	case p.status == http.StatusConflict && strings.Contains(p.body, "OUTCOME_UNKNOWN"):
		if a.unknown[key] = attemptOf(p); a.unknown[key] == "" {
			a.complain("key %s is unknown, and nothing says in which attempt: %q", key, said)
		}
		return true
	case p.status == http.StatusAccepted:
	case p.status == http.StatusServiceUnavailable && strings.Contains(p.body, "EXECUTION_NOT_STARTED"):
		a.figures.notExecuted++
	case a.outages && p.status == http.StatusServiceUnavailable && strings.Contains(p.body, "STORE_UNAVAILABLE"):
		a.figures.refused++
	default:
		a.complain("key %s was answered %q", key, said)
		return true
	}
	return terminal
}

// isRecorded reports whether key can have no other payload any more.
func (a *audit) isRecorded(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.recorded[key]
}

// noteMismatch judges the answer to a request that had the key of another.
func (a *audit) noteMismatch(key string, p reply) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.figures.mismatches++
	if p.status != http.StatusUnprocessableEntity || !strings.Contains(p.body, "PAYLOAD_MISMATCH") {
		a.complain("G4: key %s was sent with another payload, and answered %d %s", key, p.status, p.body)
	}
}

// settled counts the keys whose outcome was unknown until a probe settled it, held those of which only a late report could.
func (a *audit) settled() int { return a.countUnknown(true) }
func (a *audit) held() int    { return a.countUnknown(false) }

func (a *audit) countUnknown(probed bool) (n int) {
	for key := range a.unknown {
		if isProbed(key) == probed {
			n++
		}
	}
	return n
}

// close compares what clients were told with what is in the ledger, once every key has had its last answer.
func (a *audit) close(t *testing.T, keys []string, last map[string]reply, effects map[string][]string) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, key := range keys {
		n, status := len(effects[key]), last[key].status
		switch {
		case n > 1:
			a.complain("I6: key %s had %d effects", key, n)
		case status == http.StatusOK && n != 1:
			a.complain("I6: key %s is completed with %d effects", key, n)
		case n == 1 && !strings.Contains(effects[key][0], payloadOf(key)):
			a.complain("G4: key %s had the effect %s", key, effects[key][0])
		case status == http.StatusOK && !strings.Contains(last[key].body, effects[key][0]):
			a.complain("I5: key %s had the effect %s, and is answered %q", key, effects[key][0], last[key].body)
		case status == http.StatusFailedDependency && n != 0:
			a.complain("I6: key %s is failed with %d effects", key, n)
		case status == http.StatusConflict && isProbed(key):
			a.complain("I6: key %s was never settled", key)
		case a.unknown[key] != "" && !isProbed(key) && attemptOf(last[key]) != a.unknown[key]:
			a.complain("I6: key %s was unknown, and is now answered %d by another attempt though nobody settled it", key, status)
		}
	}
	for key, results := range effects {
		if _, asked := last[key]; !asked {
			a.complain("I6: key %s had %d effects, and nobody knows it", key, len(results))
		}
	}
	for _, w := range a.wrong {
		t.Error(w)
	}
}

// The operations of the test, told apart by the key's first letter.
func isProbed(key string) bool { return strings.HasPrefix(key, "p") }

func operationOf(key string) string {
	if isProbed(key) {
		return "probed"
	}
	return "held"
}

// attemptOf is the attempt that p speaks of. Who made one may report how it ended after it was given up.
func attemptOf(p reply) string { return p.header.Get("Idempotency-Attempt") }

// ask sends the request that belongs to key, but for its payload.
func ask(ctx context.Context, client *http.Client, url, key, payload string) (reply, error) {
	return post(ctx, client, url, key, bodyWith(key, payload), "wait=2")
}

func bodyOf(key string) string { return bodyWith(key, payloadOf(key)) }

func bodyWith(key, payload string) string {
	return `{"operation":"` + operationOf(key) + `","payload":` + payload + `}`
}

func payloadOf(key string) string { return `{"for":"` + key + `"}` }
