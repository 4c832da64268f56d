package atmost_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/storetest"
)

// TestEngineAgainstAModel drives an engine and its store through random requests, faults, restarts and settlements, and foretells
// every answer and every effect.
func TestEngineAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var failure any
		synctest.Test(t, func(*testing.T) {
			defer func() { failure = recover() }() // rapid fails by a panic, in its own goroutine
			m := newModel(rt)
			defer m.close()
			rt.Repeat(map[string]func(*rapid.T){
				"execute": m.execute,
				"pass":    m.pass,
				"restart": m.restart,
				"resolve": m.resolve,
				"fault":   m.fault,
			})
		})
		if failure != nil {
			panic(failure)
		}
	})
}

const (
	modelResults = 10 * time.Minute
	modelKeys    = 30 * time.Minute
)

// expected is what the model holds of one key. Its zero value is an absent one.
type expected struct {
	call    atmost.Call
	state   atmost.State
	result  string
	ended   time.Time
	effects int
}

type model struct {
	clock  *bubbleClock
	store  *storetest.FaultyStore
	engine *atmost.Engine
	next   atmost.Outcome // of the next attempt
	runs   map[atmost.ID]int
	keys   map[atmost.ID]*expected
	down   bool // the next claim finds no store
}

func newModel(t *rapid.T) *model {
	m := &model{clock: &bubbleClock{start: time.Now()}, runs: map[atmost.ID]int{}, keys: map[atmost.ID]*expected{}}
	m.store = storetest.Faulty(memstore.New(memstore.Options{Clock: m.clock}))
	m.open(t)
	return m
}

// Execute makes the attempt that the model has planned.
func (m *model) Execute(_ context.Context, a atmost.Attempt) atmost.Outcome {
	m.runs[a.ID]++
	return m.next
}

func (m *model) open(t *rapid.T) {
	op := atmost.Operation{Executor: m, ResultRetention: modelResults, KeyRetention: modelKeys}
	engine, err := atmost.New(context.Background(), m.store, atmost.Options{
		Clock: m.clock, Housekeeping: atmost.MaxHousekeeping, Operations: map[string]atmost.Operation{"a": op, "b": op},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.engine = engine
}

func (m *model) close() { m.engine.Close(context.Background()) }

func (m *model) restart(t *rapid.T) {
	m.close()
	m.store = storetest.Faulty(m.store.Store) // no fault is pending
	m.open(t)
}

func (m *model) pass(t *rapid.T) {
	pass(rapid.SampledFrom([]time.Duration{time.Second, modelResults, modelKeys - modelResults, modelKeys}).Draw(t, "pass"))
}

// fault makes a call go wrong in a way that the engine must make good, or makes the next claim find no store.
func (m *model) fault(t *rapid.T) {
	if m.down {
		return
	}
	fault := rapid.SampledFrom([]storetest.Fault{storetest.AmbiguousDone, storetest.AmbiguousLost}).Draw(t, "fault")
	switch rapid.IntRange(0, 2).Draw(t, "of") {
	case 0:
		m.store.Next(fault, storetest.Of[*atmost.Claim])
	case 1:
		m.store.Next(fault, storetest.Of[*atmost.Finish])
	case 2:
		m.down = true
	}
}

// age applies time to what is expected of a key.
func (m *model) age(e *expected) {
	settled := e.state == atmost.Completed || e.state == atmost.Failed || e.state == atmost.NotExecuted
	if settled && time.Since(e.ended) >= modelKeys {
		*e = expected{effects: e.effects}
	}
}

func (m *model) execute(t *rapid.T) {
	c := atmost.Call{
		ID:        atmost.ID{Key: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "key"), Scope: rapid.SampledFrom([]string{"", "s"}).Draw(t, "scope")},
		Operation: rapid.SampledFrom([]string{"a", "a", "a", "b"}).Draw(t, "operation"),
		Payload:   []byte(rapid.SampledFrom([]string{"1", "1", "1", "1.0"}).Draw(t, "payload")),
	}
	m.next = rapid.SampledFrom([]atmost.Outcome{outcomeA, outcomeB, failure, noEffect, doubt}).Draw(t, "outcome")
	m.next.Result = fmt.Append(nil, `"`, m.runs[c.ID], `"`)
	e := m.keys[c.ID]
	if e == nil {
		e = &expected{}
		m.keys[c.ID] = e
	}
	m.age(e)
	if m.down {
		m.store.SetDown(true)
	}
	a, err := m.engine.Execute(context.Background(), c)
	if m.down {
		m.store.SetDown(false)
		m.down = false
		if atmost.CodeOf(err) != atmost.CodeStoreUnavailable {
			t.Fatalf("without a store: %v, %v", a, err)
		}
		return
	}
	want, replayed := m.foretell(e, c)
	if got := atmost.CodeOf(err); got != want || a.Replayed != replayed {
		t.Fatalf("answered %q (replayed %v), want %q (%v); expected %+v", got, a.Replayed, want, replayed, *e)
	}
	if want == "" && string(a.Record.Result) != e.result {
		t.Fatalf("the result is %s, want %s", a.Record.Result, e.result)
	}
	if m.runs[c.ID] != e.effects {
		t.Fatalf("%d attempts were made, want %d", m.runs[c.ID], e.effects)
	}
}

// foretell says what a request is answered, and what becomes of its key.
func (m *model) foretell(e *expected, c atmost.Call) (code atmost.Code, replayed bool) {
	switch {
	case e.state == atmost.Absent:
	case e.call.Operation != c.Operation:
		return atmost.CodeOperationMismatch, false
	case string(e.call.Payload) != string(c.Payload):
		return atmost.CodePayloadMismatch, false
	case e.state == atmost.Unknown:
		return atmost.CodeOutcomeUnknown, false
	case e.state != atmost.NotExecuted && time.Since(e.ended) >= modelResults:
		return atmost.CodeResultNotKept, true
	case e.state == atmost.Completed:
		return "", true
	case e.state == atmost.Failed:
		return atmost.CodeExecutionFailed, true
	}
	e.call, e.state, e.result, e.ended = c, m.next.State, string(m.next.Result), time.Now()
	e.effects++
	return map[atmost.State]atmost.Code{
		atmost.Failed: atmost.CodeExecutionFailed, atmost.NotExecuted: atmost.CodeExecutionNotStarted, atmost.Unknown: atmost.CodeOutcomeUnknown,
	}[e.state], false
}

// resolve settles a key that is unknown, and shows that no other can be.
func (m *model) resolve(t *rapid.T) {
	o := rapid.SampledFrom([]atmost.Outcome{outcomeA, failure, noEffect}).Draw(t, "outcome")
	for id, e := range m.keys {
		r, err := m.store.Lookup(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.store.Apply(context.Background(), id, &atmost.Resolve{Attempt: r.Attempt, Outcome: o})
		if settled := err == nil; settled != (e.state == atmost.Unknown) {
			t.Fatalf("%v: %v", e.state, err)
		}
		if err == nil {
			e.state, e.result, e.ended = o.State, string(o.Result), time.Now()
		}
	}
}
