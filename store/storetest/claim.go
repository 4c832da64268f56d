package storetest

import (
	"time"

	"github.com/atmost-dev/atmost"
)

func claimAbsent(s *subject) {
	if r := s.lookup(someID); r.State != atmost.Absent || r.ID != someID {
		s.Fatalf("Lookup of an absent key = %+v", r)
	}
	step := s.ok(someID, claim(1), atmost.Processing)
	r := step.Record
	if !step.Changed || !claim(1).Won(r) || r.Attempt != 1 || r.Fence != int64(s.at().Now) {
		s.Fatalf("first claim: %+v", step)
	}
	if want := s.at().Now.Add(lease); r.Deadline != want {
		s.Fatalf("deadline %v, want %v", r.Deadline, want)
	}
	s.found(someID, atmost.Processing)
}

func claimSameTokenAgain(s *subject) {
	first := s.ok(someID, claim(1), atmost.Processing)
	s.Clock.Advance(time.Second)
	again := s.unchanged(someID, claim(1), atmost.Processing)
	if again.Record.Deadline != first.Record.Deadline || again.Record.Fence != first.Record.Fence || !claim(1).Won(again.Record) {
		s.Fatalf("the repeated claim got another lease: %+v", again.Record)
	}
	if other := s.unchanged(someID, claim(2), atmost.Processing); claim(2).Won(other.Record) {
		s.Fatalf("two tokens won one attempt")
	}
}

// claimMismatch asks in every state with another operation, payload and algorithm.
func claimMismatch(s *subject) {
	check := func() {
		s.Helper()
		other := claim(9)
		other.Operation = "refund"
		s.refused(someID, other, atmost.CodeOperationMismatch)
		other = claim(9)
		other.Fingerprint.Digest[31]++
		s.refused(someID, other, atmost.CodePayloadMismatch)
		other = claim(9)
		other.Fingerprint.Algorithm = "a2"
		s.refused(someID, other, atmost.CodeStoreUnavailable)
	}
	s.ok(someID, claim(1), atmost.Processing)
	check()
	s.ok(someID, finish(1, unknown), atmost.Unknown)
	check()
	s.ok(someID, finish(1, notExecuted), atmost.NotExecuted)
	check()
	s.ok(someID, claim(2), atmost.Processing)
	s.ok(someID, finish(2, completed(`1`)), atmost.Completed)
	check()
	s.Clock.Advance(resultRetention)
	check()
	s.Clock.Advance(keyRetention)
	c := claim(3)
	c.Operation = "refund"
	s.ok(someID, c, atmost.Processing)
}

func claimTellsState(s *subject) {
	for _, o := range []atmost.Outcome{completed(`{"id":1}`), failed, unknown} {
		id := atmost.ID{Key: o.State.String()}
		s.ok(id, claim(1), atmost.Processing)
		s.unchanged(id, claim(2), atmost.Processing)
		s.ok(id, finish(1, o), o.State)
		s.unchanged(id, claim(2), o.State)
		s.unchanged(id, claim(1), o.State)
	}
}

func claimAfterNotExecuted(s *subject) {
	first := s.ok(someID, claim(1), atmost.Processing)
	s.ok(someID, finish(1, notExecuted), atmost.NotExecuted)
	s.unchanged(someID, claim(1), atmost.NotExecuted) // a repeated claim starts nothing: its attempt is over
	second := s.ok(someID, claim(2), atmost.Processing)
	if r := second.Record; r.Attempt != 2 || r.Fence <= first.Record.Fence || !claim(2).Won(r) {
		s.Fatalf("second attempt: %+v", r)
	}
	if second.Record.CreatedAt != first.Record.CreatedAt {
		s.Fatalf("the second attempt changed CreatedAt")
	}
	s.refused(someID, finish(1, completed(`1`)), atmost.CodeLeaseLost)
}

// claimPoliciesAreStored claims under one policy and goes on asking under another.
func claimPoliciesAreStored(s *subject) {
	short := claimWith(1, atmost.RetryUnknown, atmost.ByClient)
	short.Policy.ResultRetention, short.Policy.KeyRetention = time.Minute, 2*time.Minute
	s.ok(someID, short, atmost.Processing)
	s.unchanged(someID, claim(2), atmost.Processing)
	s.Clock.Advance(lease)
	s.found(someID, atmost.NotExecuted)
	again := claim(3)
	again.Policy.ResultRetention, again.Policy.KeyRetention = time.Minute, 2*time.Minute
	s.ok(someID, again, atmost.Processing)
	s.ok(someID, finish(3, completed(`1`)), atmost.Completed)
	s.unchanged(someID, claim(4), atmost.Completed)
	s.Clock.Advance(time.Minute)
	if r := s.found(someID, atmost.Completed); r.NotKept != atmost.Expired {
		s.Fatalf("the result outlived the retention it was claimed with")
	}
	s.Clock.Advance(time.Minute)
	s.found(someID, atmost.Absent)
}

func claimScopesIsolate(s *subject) {
	ids := []atmost.ID{
		{Scope: "", Key: "ab"},
		{Scope: "a", Key: "b"},
		{Scope: "a", Key: "ab"},
		{Scope: "ab", Key: "a"},
		{Scope: "aba", Key: "b"},
		{Scope: "ab", Key: "ab"},
		{Scope: "", Key: "a"},
		{Scope: "", Key: "A"},
	}
	for i, id := range ids {
		if step := s.ok(id, claim(i+1), atmost.Processing); step.Record.Attempt != 1 {
			s.Fatalf("%v shares a record", id)
		}
	}
	for i, id := range ids {
		s.ok(id, finish(i+1, completed(id.Scope+"/"+id.Key)), atmost.Completed)
	}
	for _, id := range ids {
		if r := s.found(id, atmost.Completed); string(r.Result) != id.Scope+"/"+id.Key {
			s.Fatalf("%v has the result of %s", id, r.Result)
		}
	}
}

func claimFenceOutlivesKey(s *subject) {
	var last int64
	for life := range 4 {
		r := s.ok(someID, claim(life+1), atmost.Processing).Record
		if r.Attempt != 1 || r.Fence <= last {
			s.Fatalf("life %d: attempt %d, fence %d after %d", life, r.Attempt, r.Fence, last)
		}
		last = r.Fence
		s.ok(someID, finish(life+1, failed), atmost.Failed)
		s.Clock.Advance(keyRetention)
		if life%2 == 0 {
			s.Clock.Advance(sweepLag)
			s.sweep(10)
		}
		s.found(someID, atmost.Absent)
	}
}

// claimFenceOutlivesSweepAtOnce forgets a key in the very microsecond of its claim.
func claimFenceOutlivesSweepAtOnce(s *subject) {
	s.Clock.Advance(time.Minute - time.Microsecond) // a store may sweep by the minute
	var last int64
	for n := range 6 {
		if n == 5 {
			s.Clock.Advance(time.Microsecond)
			s.sweep(10)
		}
		c := claim(n + 1)
		c.Policy.ResultRetention, c.Policy.KeyRetention = 0, 0
		r := s.ok(someID, c, atmost.Processing).Record
		if r.Fence <= last {
			s.Fatalf("fence %d after %d", r.Fence, last)
		}
		last = r.Fence
		s.ok(someID, finish(n+1, notExecuted), atmost.NotExecuted)
		s.found(someID, atmost.Absent)
		if n < 2 {
			s.sweep(10)
		}
	}
}
