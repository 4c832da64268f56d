package storetest

import (
	"bytes"
	"math/rand/v2"
	"time"

	"github.com/atmost-dev/atmost"
)

func finishOutcomes(s *subject) {
	big := atmost.Outcome{State: atmost.Completed, NotKept: atmost.TooLarge, UpstreamStatus: 200}
	for i, o := range []atmost.Outcome{completed(`1`), failed, notExecuted, unknown, big} {
		id := atmost.ID{Key: o.State.String() + o.NotKept.String()}
		s.refused(id, finish(i, o), atmost.CodeLeaseLost) // absent
		s.ok(id, claim(i), atmost.Processing)
		step := s.ok(id, finish(i, o), o.State)
		if !step.Changed || step.Late || step.Contradiction {
			s.Fatalf("finish %v: %+v", o.State, step)
		}
		if r := s.found(id, o.State); !bytes.Equal(r.Result, o.Result) || r.Message != o.Message || r.NotKept != o.NotKept {
			s.Fatalf("stored %+v of %+v", r.Outcome, o)
		}
	}
}

func finishRepeated(s *subject) {
	for i, o := range []atmost.Outcome{completed(`1`), failed, notExecuted} {
		id := atmost.ID{Key: o.State.String()}
		s.ok(id, claim(i), atmost.Processing)
		s.ok(id, finish(i, o), o.State)
		s.Clock.Advance(time.Second)
		s.unchanged(id, finish(i, o), o.State)
		s.refused(id, finish(i, completed(`2`)), atmost.CodeAlreadyFinished)
		s.refused(id, finish(i, unknown), atmost.CodeAlreadyFinished)
	}
	s.Clock.Advance(resultRetention)
	s.unchanged(atmost.ID{Key: "completed"}, finish(0, completed(`1`)), atmost.Completed)
}

func finishLate(s *subject) {
	for i, o := range []atmost.Outcome{completed(`1`), failed, notExecuted} {
		lapsed, abandoned := atmost.ID{Scope: "lapsed", Key: o.State.String()}, atmost.ID{Scope: "abandoned", Key: o.State.String()}
		s.ok(lapsed, claim(i), atmost.Processing)
		s.ok(abandoned, claim(i), atmost.Processing)
		s.ok(abandoned, finish(i, unknown), atmost.Unknown)
		s.unchanged(abandoned, finish(i, unknown), atmost.Unknown)
		s.Clock.Advance(lease)
		for _, id := range []atmost.ID{lapsed, abandoned} {
			if step := s.ok(id, finish(i, o), o.State); !step.Late || step.Contradiction {
				s.Fatalf("late report: %+v", step)
			}
			s.unchanged(id, finish(i, o), o.State)
		}
	}
}

// finishContradiction collects the reports that differ from what was held to be true. The step is stored in each case,
// also where it is refused.
func finishContradiction(s *subject) {
	presumed := atmost.ID{Key: "presumed"}
	s.ok(presumed, claimWith(1, atmost.RetryUnknown, atmost.ByClient), atmost.Processing)
	s.Clock.Advance(lease)
	if step := s.ok(presumed, finish(1, completed(`1`)), atmost.Completed); !step.Late || !step.Contradiction {
		s.Fatalf("the late truth: %+v", step)
	}

	resolved := atmost.ID{Key: "resolved"}
	s.ok(resolved, claim(1), atmost.Processing)
	s.Clock.Advance(lease)
	s.ok(resolved, &atmost.Resolve{Attempt: 1, Outcome: failed}, atmost.Failed)
	step := s.refused(resolved, finish(1, completed(`1`)), atmost.CodeLeaseLost)
	if !step.Changed || !step.Contradiction || s.found(resolved, atmost.Failed).Contradictions != 1 {
		s.Fatalf("a refused report left no trace: %+v", step)
	}
	if step := s.refused(resolved, finish(1, completed(`1`)), atmost.CodeLeaseLost); step.Changed || s.found(resolved, atmost.Failed).Contradictions != 1 {
		s.Fatalf("a report that was repeated was counted twice: %+v", step)
	}

	rerun := atmost.ID{Key: "rerun"}
	s.ok(rerun, claimWith(1, atmost.RetryUnknown, atmost.ByClient), atmost.Processing)
	s.Clock.Advance(lease)
	s.ok(rerun, claim(2), atmost.Processing)
	s.ok(rerun, finish(2, completed(`2`)), atmost.Completed)
	if step := s.refused(rerun, finish(1, completed(`1`)), atmost.CodeLeaseLost); !step.Changed || !step.Contradiction {
		s.Fatalf("a double run was not seen: %+v", step)
	}
	if step := s.refused(rerun, finish(1, completed(`1`)), atmost.CodeLeaseLost); step.Changed {
		s.Fatalf("one contradiction was counted twice: %+v", step)
	}
	if r := s.found(rerun, atmost.Completed); r.Contradictions != 1 || !r.Past[0].Contradicted || string(r.Result) != `2` {
		s.Fatalf("after a double run: %+v", r)
	}
}

func finishWrongToken(s *subject) {
	s.ok(someID, claim(1), atmost.Processing)
	check := func(o atmost.Outcome) {
		s.Helper()
		if step := s.refused(someID, finish(2, o), atmost.CodeLeaseLost); step.Changed {
			s.Fatalf("a stale token changed the record: %+v", step)
		}
		if step := s.refused(someID, &atmost.Finish{Outcome: o}, atmost.CodeLeaseLost); step.Changed {
			s.Fatalf("the zero token changed the record: %+v", step)
		}
	}
	for _, o := range []atmost.Outcome{completed(`9`), failed, notExecuted, unknown} {
		check(o)
	}
	s.ok(someID, finish(1, unknown), atmost.Unknown)
	check(completed(`9`))
	s.ok(someID, finish(1, completed(`1`)), atmost.Completed)
	check(completed(`9`))
}

// finishWithClaimed: what a reporter has kept of its claim changes no answer, whatever has happened since.
func finishWithClaimed(s *subject) {
	for i, o := range []atmost.Outcome{completed(`1`), failed, notExecuted, unknown} {
		id := atmost.ID{Key: o.State.String()}
		s.refused(id, s.withClaimed(id, finish(1, o)), atmost.CodeLeaseLost)
		s.ok(id, claimWith(1, atmost.RetryUnknown, atmost.ByClient), atmost.Processing)
		s.Clock.Advance(lease)
		s.ok(id, claimWith(2, atmost.HoldUnknown, atmost.ByClient), atmost.Processing)
		s.Clock.Advance(lease / 2)
		s.ok(id, &atmost.Renew{Token: token(2), Lease: lease}, atmost.Processing)
		if i%2 == 0 {
			s.refused(id, s.withClaimed(id, finish(1, completed(`0`))), atmost.CodeLeaseLost) // a contradiction
		}
		s.Clock.Advance(lease / 2)
		s.ok(id, s.withClaimed(id, finish(2, o)), o.State)
		s.lookup(id)
		if o.State != atmost.Unknown {
			s.unchanged(id, s.withClaimed(id, finish(2, o)), o.State)
		}
	}
	id := atmost.ID{Key: "lapsed"}
	s.ok(id, claim(3), atmost.Processing)
	s.Clock.Advance(lease)
	if step := s.ok(id, s.withClaimed(id, finish(3, completed(`1`))), atmost.Completed); !step.Late {
		s.Fatalf("a late report: %+v", step)
	}
}

func finishPastIsBounded(s *subject) {
	const attempts = atmost.MaxPast + 3
	for n := 1; n <= attempts; n++ {
		s.ok(someID, claimWith(n, atmost.RetryUnknown, atmost.ByClient), atmost.Processing)
		s.Clock.Advance(lease)
	}
	r := s.ok(someID, claim(attempts+1), atmost.Processing).Record
	if len(r.Past) != atmost.MaxPast || r.Past[0].Token != token(attempts-atmost.MaxPast+1) {
		s.Fatalf("%d earlier attempts are remembered, the oldest %v", len(r.Past), r.Past[0].Token)
	}
	if step := s.refused(someID, finish(1, completed(`1`)), atmost.CodeLeaseLost); step.Changed {
		s.Fatalf("a forgotten attempt changed the record: %+v", step)
	}
	if step := s.refused(someID, finish(attempts, completed(`1`)), atmost.CodeLeaseLost); !step.Contradiction {
		s.Fatalf("a remembered attempt's contradiction was not seen: %+v", step)
	}
}

func finishReplaysBytes(s *subject) {
	result := "{ \"a\" : 1.0,\n\t\"a\":\"\\u00e9\xff\x00\" }"
	s.ok(someID, claim(1), atmost.Processing)
	s.ok(someID, finish(1, completed(result)), atmost.Completed)
	for n := range 3 {
		if got := string(s.unchanged(someID, claim(n+2), atmost.Completed).Record.Result); got != result {
			s.Fatalf("replayed %q, want %q", got, result)
		}
	}
}

func finishBigResult(s *subject) {
	result := make([]byte, 3<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(result)
	s.ok(someID, claim(1), atmost.Processing)
	o := completed("")
	o.Result = result
	s.ok(someID, finish(1, o), atmost.Completed)
	if got := s.found(someID, atmost.Completed).Result; !bytes.Equal(got, result) {
		s.Fatalf("a result of %d bytes came back with %d, changed", len(result), len(got))
	}
}

// finishRecordIsCallers modifies all of a returned record that is the caller's.
func finishRecordIsCallers(s *subject) {
	s.ok(someID, claimWith(1, atmost.RetryUnknown, atmost.ByClient), atmost.Processing)
	s.Clock.Advance(lease)
	claimed := s.ok(someID, claim(2), atmost.Processing).Record
	claimed.Past[0] = atmost.Past{Token: token(99)}
	looked := s.found(someID, atmost.Processing)
	looked.Past[0].Contradicted = true
	s.Clock.Advance(lease)
	for _, state := range []atmost.State{atmost.Processing, atmost.Unknown} {
		for _, r := range s.standing(state, atmost.ID{}) {
			r.Past[0].Contradicted = true
		}
	}
	for _, r := range s.sweep(10).Lapsed {
		r.Past[0].Contradicted = true
	}
	s.found(someID, atmost.Unknown)
}
