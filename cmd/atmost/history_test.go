package main

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// history is every request with its answer, and when each was given.
type history struct {
	start time.Time
	mu    sync.Mutex
	all   []porcupine.Operation
}

func newHistory() *history { return &history{start: time.Now()} }

// ask notes a request about key. What it returns is to be told the answer.
func (h *history) ask(key string) func(reply, error) {
	called := time.Since(h.start)
	return func(p reply, err error) {
		answered := int64(time.Since(h.start))
		if err != nil {
			answered = math.MaxInt64 // nobody knows when it was looked at, or whether it was
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.all = append(h.all, porcupine.Operation{
			ClientId: len(h.all), Input: key, Call: int64(called), Output: answerOf(p, err), Return: answered,
		})
	}
}

// The answers that are told apart, beside terminal ones, which stand for themselves.
const (
	answeredNothing   = "nothing"
	answeredRefusal   = "refused, and executed nothing"
	answeredRunning   = "processing"
	answeredUnknown   = "unknown"
	answeredNoAttempt = "not executed"
)

func answerOf(p reply, err error) string {
	switch {
	case err != nil:
		return answeredNothing
	case p.status == http.StatusAccepted:
		return answeredRunning
	case strings.Contains(p.body, "OUTCOME_UNKNOWN"):
		return answeredUnknown
	case strings.Contains(p.body, "EXECUTION_NOT_STARTED"):
		return answeredNoAttempt
	case p.status == http.StatusServiceUnavailable:
		return answeredRefusal
	}
	return fmt.Sprintf("%d %s", p.status, p.body)
}

// followed is what an answer makes of the state in which a key may be, which is "" while there is no outcome, or says that it
// cannot have been given then.
func followed(key, state, answer string) (bool, string) {
	settled := state == "" || state == answeredUnknown && isProbed(key) // no outcome, or one that may be replaced
	switch answer {
	case answeredNothing, answeredRefusal:
		return true, state
	case answeredRunning, answeredNoAttempt:
		return settled, ""
	case answeredUnknown:
		return state == "" || state == answeredUnknown, answeredUnknown
	}
	return settled || state == answer, answer
}

// linearizable fails the test unless the answers for each key fit one order of the requests.
func (h *history) linearizable(t *testing.T) {
	t.Helper()
	model := porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string][]porcupine.Operation{}
			for _, op := range all {
				byKey[op.Input.(string)] = append(byKey[op.Input.(string)], op)
			}
			parts := make([][]porcupine.Operation, 0, len(byKey))
			for _, part := range byKey {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			return followed(input.(string), state.(string), output.(string))
		},
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if got := porcupine.CheckOperationsTimeout(model, h.all, patience); got != porcupine.Ok {
		t.Errorf("the answers to %d requests fit no order of them: %v", len(h.all), got)
	}
	t.Logf("%d requests fit an order", len(h.all))
}
