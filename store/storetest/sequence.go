package storetest

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/atmost-dev/atmost"
)

// sequences does random calls one after the other, and compares every answer with the model's.
func sequences(t *testing.T, open func(t *testing.T) Harness) {
	rapid.Check(t, func(rt *rapid.T) {
		s := &subject{reporter: rt}
		s.begin(t.Context(), open(t))
		defer s.close()
		rt.Repeat(map[string]func(*rapid.T){
			"claim":   func(rt *rapid.T) { s.draw(rt, drawClaim) },
			"renew":   func(rt *rapid.T) { s.draw(rt, drawRenew) },
			"finish":  func(rt *rapid.T) { s.draw(rt, drawFinish) },
			"resolve": func(rt *rapid.T) { s.draw(rt, drawResolve) },
			"probe":   func(rt *rapid.T) { s.draw(rt, drawProbed) },
			"erase":   func(rt *rapid.T) { s.draw(rt, drawErase) },
			"forget":  func(rt *rapid.T) { s.draw(rt, drawForget) },
			"advance": func(rt *rapid.T) { s.Clock.Advance(rapid.SampledFrom(spans).Draw(rt, "span")) },
			"sweep":   s.drawSweep,
			"list":    s.drawList,
			"reopen": func(rt *rapid.T) {
				if s.Reopen == nil || rapid.IntRange(0, 3).Draw(rt, "rarely") != 0 {
					rt.Skip("not now")
				}
				s.reopen()
			},
			"": func(*rapid.T) {
				for _, id := range drawnIDs {
					s.lookup(id)
				}
				s.checkAudit(3)
			},
		})
	})
}

var (
	spans    = []time.Duration{time.Microsecond, time.Second, lease, time.Minute, resultRetention, keyRetention, 3 * keyRetention}
	drawnIDs = []atmost.ID{{Key: "a"}, {Key: "b"}, {Scope: "a", Key: "a"}}
)

func (s *subject) draw(rt *rapid.T, event func(*rapid.T) atmost.Event) {
	id := rapid.SampledFrom(drawnIDs).Draw(rt, "id")
	e := event(rt)
	if f, ok := e.(*atmost.Finish); ok && rapid.Bool().Draw(rt, "with its claim") {
		e = s.withClaimed(id, f)
	}
	_, _ = s.apply(id, e)
}

func drawClaim(rt *rapid.T) atmost.Event {
	c := claimWith(
		rapid.IntRange(0, 5).Draw(rt, "token"),
		rapid.SampledFrom([]atmost.OnUnknown{atmost.HoldUnknown, atmost.ProbeUnknown, atmost.RetryUnknown, atmost.RetryUnknown}).Draw(rt, "policy"),
		rapid.SampledFrom([]atmost.ExecutedBy{atmost.ByService, atmost.ByClient}).Draw(rt, "by"),
	)
	c.Lease = rapid.SampledFrom(spans).Draw(rt, "lease")
	c.Policy.ResultRetention = rapid.SampledFrom(spans).Draw(rt, "result retention")
	c.Policy.KeyRetention = rapid.SampledFrom(spans).Draw(rt, "key retention")
	if rapid.IntRange(0, 9).Draw(rt, "mismatch") == 0 {
		c.Operation = "refund"
	}
	return c
}

func drawRenew(rt *rapid.T) atmost.Event {
	return &atmost.Renew{
		Token: token(rapid.IntRange(0, 5).Draw(rt, "token")),
		Lease: rapid.SampledFrom(spans).Draw(rt, "lease"),
	}
}

func drawOutcome(rt *rapid.T, outcomes ...atmost.Outcome) atmost.Outcome {
	return rapid.SampledFrom(outcomes).Draw(rt, "outcome")
}

func drawFinish(rt *rapid.T) atmost.Event {
	n := rapid.IntRange(0, 5).Draw(rt, "token")
	return finish(n, drawOutcome(rt, completed(`1`), completed(`2`), failed, notExecuted, unknown))
}

func drawResolve(rt *rapid.T) atmost.Event {
	e := &atmost.Resolve{
		Attempt: rapid.Uint32Range(1, 3).Draw(rt, "attempt"),
		Outcome: drawOutcome(rt, completed(`1`), failed, notExecuted),
	}
	if rapid.Bool().Draw(rt, "by a person") {
		e.By = &operator
	}
	return e
}

func drawProbed(rt *rapid.T) atmost.Event {
	return &atmost.Probed{
		Attempt: rapid.Uint32Range(1, 3).Draw(rt, "attempt"),
		Message: rapid.SampledFrom([]string{"no answer", "gone"}).Draw(rt, "message"),
	}
}

func drawErase(rt *rapid.T) atmost.Event {
	return &atmost.Erase{Attempt: rapid.Uint32Range(0, 3).Draw(rt, "attempt"), By: operator}
}

func drawForget(rt *rapid.T) atmost.Event {
	return &atmost.Forget{Attempt: rapid.Uint32Range(0, 3).Draw(rt, "attempt"), By: operator}
}

// drawSweep sweeps, and writes down in the model what the store told of. All lapses that are due must be told.
func (s *subject) drawSweep(rt *rapid.T) {
	due := map[atmost.ID]bool{}
	for id, r := range s.model {
		aged := atmost.Age(r, s.at())
		due[id] = r.State == atmost.Processing && aged.State != r.State && aged.State != atmost.Absent
	}
	for _, r := range s.sweep(rapid.IntRange(1, 5).Draw(rt, "limit")).Lapsed {
		if !due[r.ID] {
			rt.Fatalf("%v was told to have lapsed", r.ID)
		}
		if diff := diffRecords(atmost.Age(s.stored(r.ID), s.at()), r); diff != "" {
			rt.Fatalf("lapsed record (-want +got):\n%s", diff)
		}
		due[r.ID] = false
		s.model[r.ID] = r
	}
	for id, missed := range due {
		if missed {
			rt.Fatalf("the lapse of %v was not told", id)
		}
	}
}

// drawList lists all that stand in a state: a record that lapsed and was not swept may be there or not.
func (s *subject) drawList(rt *rapid.T) {
	state := rapid.SampledFrom([]atmost.State{atmost.Absent, atmost.Processing, atmost.Unknown, atmost.Completed, atmost.NotExecuted}).Draw(rt, "state")
	listed := map[atmost.ID]bool{}
	for _, r := range s.listAll(atmost.Query{State: state, Limit: rapid.IntRange(1, 4).Draw(rt, "page")}) {
		listed[r.ID] = true
		want := atmost.Age(s.stored(r.ID), s.at())
		want.Result = nil
		if diff := diffRecords(want, r); diff != "" {
			rt.Fatalf("listed record (-want +got):\n%s", diff)
		}
	}
	for id, r := range s.model {
		aged := atmost.Age(r, s.at())
		lapsed := aged.State != r.State
		want := r.State == state
		if state == atmost.Absent { // any
			want = aged.State != atmost.Absent
		}
		if want != listed[id] && !lapsed {
			rt.Fatalf("%v is %v, listed as %v: %v", id, r.State, state, listed[id])
		}
		delete(listed, id)
	}
	if len(listed) != 0 {
		rt.Fatalf("listed, but never claimed: %s", fmt.Sprint(listed))
	}
}
