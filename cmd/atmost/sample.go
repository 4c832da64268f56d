package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// sample is an upstream to try things out with: it makes users, charges cards and sends mails, in a ledger that anybody can
// look at. It has an effect for every request that reaches it, however often: that there is only one is atmost's doing.
type sample struct {
	told func(effect)  // about each effect
	hung chan struct{} // has an element for each request that had its effect and hangs

	mu     sync.Mutex
	ledger []effect
	inHand map[string]int // requests under way, by key
	mute   bool
}

// effect is one line of the ledger.
type effect struct {
	Operation string          `json:"operation"`
	Key       string          `json:"idempotency_key"`
	Result    json.RawMessage `json:"result"`
}

// What the member "simulate" of a payload makes the sample do.
const (
	simulateDrop    = "drop_reply" // has its effect, and closes the connection without an answer
	simulateDecline = "decline"    // answers 402, without an effect
	simulateSlow    = "slow"       // takes its time
	simulateHang    = "hang"       // has its effect, and never answers
)

const sampleSlowness = 3 * time.Second

func newSample(told func(effect)) *sample {
	return &sample{told: told, hung: make(chan struct{}, 1), inHand: map[string]int{}}
}

func (s *sample) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /users", s.operation("user.create", `{"user_id":"usr_%d"}`))
	mux.Handle("POST /charges", s.operation("payment.charge", `{"charge_id":"ch_%d","status":"paid"}`))
	mux.Handle("POST /emails", s.operation("email.send", `{"message_id":"msg_%d"}`))
	mux.HandleFunc("GET /charges/by-key/{key}", s.probe)
	mux.HandleFunc("GET /ledger", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(append([]effect{}, s.ledger...)) // a reader that is gone misses nothing
	})
	return mux
}

// operation has one effect for each request, and answers with result, which has room for a number.
func (s *sample) operation(name, result string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		s.hold(key, 1)
		defer s.hold(key, -1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var payload struct {
			Simulate string `json:"simulate"`
		}
		_ = json.Unmarshal(body, &payload) // a payload that is no object asks for nothing special
		w.Header().Set("Content-Type", "application/json")
		switch payload.Simulate {
		case simulateDecline:
			w.WriteHeader(http.StatusPaymentRequired)
			_, _ = io.WriteString(w, `{"error":"declined"}`)
			return
		case simulateSlow:
			select {
			case <-time.After(sampleSlowness):
			case <-r.Context().Done():
				return
			}
		}
		e := s.record(name, key, result)
		switch payload.Simulate {
		case simulateHang:
			select {
			case s.hung <- struct{}{}:
			default:
			}
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		case simulateDrop:
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(e.Result)
	})
}

func (s *sample) hold(key string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inHand[key] += n; s.inHand[key] == 0 {
		delete(s.inHand, key)
	}
}

func (s *sample) record(operation, key, result string) effect {
	s.mu.Lock()
	defer s.mu.Unlock()
	number := 1
	for _, e := range s.ledger {
		if e.Operation == operation {
			number++
		}
	}
	e := effect{Operation: operation, Key: key, Result: fmt.Appendf(nil, result, number)}
	s.ledger = append(s.ledger, e)
	s.told(e)
	return e
}

// probe tells how the charge with a key ended. While it is under way, or the sample is silenced, it does not know.
func (s *sample) probe(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.PathValue("key")
	if s.mute {
		http.Error(w, "no information at the moment", http.StatusServiceUnavailable)
		return
	}
	for _, e := range s.ledger {
		if e.Operation == "payment.charge" && e.Key == key {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Idempotency-Outcome", "completed")
			_, _ = w.Write(e.Result)
			return
		}
	}
	if s.inHand[key] > 0 {
		http.Error(w, "under way", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Idempotency-Outcome", "not_executed")
}

// effects counts the effects that the ledger has for key.
func (s *sample) effects(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, e := range s.ledger {
		if e.Key == key {
			n++
		}
	}
	return n
}

// silence makes probes learn nothing, or something again.
func (s *sample) silence(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = on
}
