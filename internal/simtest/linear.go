package simtest

import (
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/atmost-dev/atmost"
)

// history is what clients asked, and were told. It is held to what one client after the other could have been told by a service that
// remembers, for each key, what it was first used for, and what came of it.
type history struct {
	w *world

	mu  sync.Mutex
	ops []porcupine.Operation
	n   int64
}

// asking is what a client asked.
type asking struct {
	key, what string
	part      part
}

// part tells two moments of one request apart: when the key was bound to what it is for, and when it was known what came of that. Both
// are between the request and its answer.
type part int

const (
	binds part = iota
	learns
	expires // not a request: the key may be forgotten
)

// told is the answer: one of the codes below, and the outcome if there is one.
type told struct {
	code  string
	final string
}

const (
	nothing  = "nothing" // it may have been bound, or will be
	bound    = "bound"
	mismatch = "mismatch"
	pending  = "pending"
	ended    = "ended"
	dropped  = "dropped" // ended, and the result is gone
)

// begin notes that a client asks.
func (h *history) begin(client int, c atmost.Call) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	what := c.Operation
	if string(c.Payload) == other {
		what += " other"
	}
	h.n++
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: asking{key: c.ID.Key, what: what}, Call: h.n, Output: told{code: nothing}})
	return len(h.ops) - 1
}

// lost notes that there was no answer: what was asked may be done at any time, or never.
func (h *history) lost(op int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops[op].Return = forever
}

const forever = 1 << 60

// end notes the answer.
func (h *history) end(op int, r atmost.Record, code atmost.Code) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	o := &h.ops[op]
	o.Return = h.n
	switch code {
	case "":
		o.Output = told{code: pending}
		if r.State.Final() {
			o.Output = told{ended, r.State.String() + " " + string(r.Result)}
		}
	case atmost.CodeExecutionFailed:
		o.Output = told{ended, r.State.String() + " " + string(r.Result)}
	case atmost.CodeResultNotKept:
		o.Output = told{code: dropped}
	case atmost.CodeOutcomeUnknown, atmost.CodeExecutionNotStarted:
		o.Output = told{code: pending}
	case atmost.CodePayloadMismatch, atmost.CodeOperationMismatch:
		o.Output = told{code: mismatch}
	default:
		o.Return = forever
	}
}

// lives is how often a key was used anew, as far as anybody saw.
func (w *world) lives(name string) int { return max(1, len(w.judge.story(name).lives)) }

// mayExpire tells of a key that may be forgotten within a world. Within one the caller holds the judge's lock.
func (w *world) mayExpire(name string) bool {
	return w.operationOf(name) == brief || w.judge.story(name).forgets
}

// operationOf returns the name of a key's operation.
func (w *world) operationOf(name string) string {
	for _, k := range w.plan.keys {
		if k.id.Key == name {
			return k.operation
		}
	}
	return ""
}

// undecided is when the search for an order is given up: it takes a millisecond.
const undecided = 10 * time.Second

// checkHistory has porcupine find an order in which the answers make sense.
func (w *world) checkHistory() {
	byKey := map[string][]porcupine.Operation{}
	unanswered := map[asking]int{}
	for _, o := range w.history.ops {
		in := o.Input.(asking)
		if o.Return == forever {
			if unanswered[in]++; unanswered[in] > w.lives(in.key) {
				continue // it explains nothing that those before it do not
			}
		}
		byKey[in.key] = append(byKey[in.key], o)
		if o.Output.(told).code == ended {
			in.part = learns
			o.Input = in
			byKey[in.key] = append(byKey[in.key], o)
		}
	}
	for _, k := range w.plan.keys {
		ops := byKey[k.id.Key]
		if w.mayExpire(k.id.Key) {
			for range w.lives(k.id.Key) {
				ops = append(ops, porcupine.Operation{ClientId: clients, Input: asking{key: k.id.Key, part: expires}, Output: told{code: nothing}, Return: forever})
			}
		}
		switch porcupine.CheckOperationsTimeout(model, ops, undecided) {
		case porcupine.Illegal:
			w.judge.complain(k.id.Key, "linearizability: no order of the requests explains what clients were told")
		case porcupine.Unknown:
			w.judge.complain(k.id.Key, "linearizability: not decided within %v", undecided)
		}
	}
}

// memory is what the model remembers of a key: what it is for, and its outcome, if that is known.
type memory struct{ what, final string }

var model = porcupine.Model{
	Init: func() any { return memory{} },
	Step: func(state, input, output any) (bool, any) {
		possible, next := state.(memory).after(input.(asking), output.(told))
		return possible, next
	},
	Equal: func(a, b any) bool { return a == b },
}

// after returns what is remembered after an answer, and whether it could be given.
func (m memory) after(in asking, out told) (bool, memory) {
	switch {
	case in.part == expires:
		return true, memory{}
	case out.code == mismatch:
		return m.what != "" && m.what != in.what, m
	case out.code == nothing && m.what != "":
		return true, m
	case m.what == "" && in.part == binds:
		m.what = in.what
	}
	switch {
	case m.what != in.what:
		return false, m
	case out.code == pending:
		return m.final == "", m
	case out.code == ended && in.part == learns:
		possible := m.final == "" || m.final == out.final
		m.final = out.final
		return possible, m
	}
	return true, m
}

// keyOf returns which key a violation is about, if it is about one.
func keyOf(violation string) string {
	key, _, _ := strings.Cut(violation, " ")
	if strings.HasPrefix(key, "key-") {
		return key
	}
	return ""
}
