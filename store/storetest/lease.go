package storetest

import (
	"time"

	"github.com/atmost-dev/atmost"
)

func renew(s *subject) {
	s.refused(someID, &atmost.Renew{Token: token(1), Lease: lease}, atmost.CodeLeaseLost)
	first := s.ok(someID, claim(1), atmost.Processing).Record
	s.unchanged(someID, &atmost.Renew{Token: token(1), Lease: time.Second}, atmost.Processing)
	s.refused(someID, &atmost.Renew{Token: token(2), Lease: lease}, atmost.CodeLeaseLost)
	s.refused(someID, &atmost.Renew{Lease: lease}, atmost.CodeLeaseLost)

	s.Clock.Advance(lease - time.Microsecond)
	step := s.ok(someID, &atmost.Renew{Token: token(1), Lease: lease}, atmost.Processing)
	if !step.Changed || step.Record.Deadline != s.at().Now.Add(lease) || step.Record.Fence != first.Fence {
		s.Fatalf("renewed: %+v", step)
	}
	s.Clock.Advance(lease - time.Microsecond)
	s.found(someID, atmost.Processing)
	s.ok(someID, finish(1, completed(`1`)), atmost.Completed)
	s.refused(someID, &atmost.Renew{Token: token(1), Lease: lease}, atmost.CodeLeaseLost)
}

func renewLapsed(s *subject) {
	for i, policy := range []atmost.OnUnknown{atmost.HoldUnknown, atmost.ProbeUnknown, atmost.RetryUnknown} {
		id := atmost.ID{Key: policy.String()}
		s.ok(id, claimWith(i+1, policy, atmost.ByClient), atmost.Processing)
		s.Clock.Advance(lease) // exactly the deadline
		s.refused(id, &atmost.Renew{Token: token(i + 1), Lease: lease}, atmost.CodeLeaseLost)
	}
}

func lapseOnRead(s *subject) {
	for _, by := range []atmost.ExecutedBy{atmost.ByService, atmost.ByClient} {
		for _, policy := range []atmost.OnUnknown{atmost.HoldUnknown, atmost.ProbeUnknown, atmost.RetryUnknown} {
			id := atmost.ID{Scope: []string{"service", "client"}[by], Key: policy.String()}
			s.ok(id, claimWith(1, policy, by), atmost.Processing)
			s.Clock.Advance(lease - time.Microsecond)
			s.found(id, atmost.Processing)
			s.Clock.Advance(time.Microsecond)
			want := atmost.Unknown
			if policy == atmost.RetryUnknown {
				want = atmost.NotExecuted
			}
			if r := s.found(id, want); r.SettledBy != atmost.ByNobody {
				s.Fatalf("lapsed: %+v", r)
			}
		}
	}
}

// lapseOnClaim: what lapsed is not run again, unless its policy says so.
func lapseOnClaim(s *subject) {
	hold, retry := atmost.ID{Key: "hold"}, atmost.ID{Key: "retry"}
	s.ok(hold, claimWith(1, atmost.HoldUnknown, atmost.ByClient), atmost.Processing)
	s.ok(retry, claimWith(1, atmost.RetryUnknown, atmost.ByClient), atmost.Processing)
	s.Clock.Advance(lease)
	s.unchanged(hold, claim(2), atmost.Unknown)
	if r := s.ok(retry, claim(2), atmost.Processing).Record; r.Attempt != 2 || len(r.Past) != 1 {
		s.Fatalf("claimed after a lapse: %+v", r)
	}
}

func resolve(s *subject) {
	for _, o := range []atmost.Outcome{completed(`{"found":true}`), failed, notExecuted} {
		id := atmost.ID{Key: o.State.String()}
		event := &atmost.Resolve{Attempt: 1, Outcome: o}
		s.refused(id, event, atmost.CodeStateConflict)
		s.ok(id, claim(1), atmost.Processing)
		s.refused(id, event, atmost.CodeStateConflict)
		s.Clock.Advance(lease)
		s.refused(id, &atmost.Resolve{Attempt: 2, Outcome: o}, atmost.CodeStateConflict)
		s.refused(id, &atmost.Resolve{Attempt: 0, Outcome: o}, atmost.CodeStateConflict)
		if step := s.ok(id, event, o.State); !step.Changed || step.Record.SettledBy != atmost.ByResolve {
			s.Fatalf("resolved: %+v", step)
		}
		s.refused(id, event, atmost.CodeStateConflict)
	}
	id := atmost.ID{Key: notExecuted.State.String()}
	if r := s.ok(id, claim(2), atmost.Processing).Record; r.Attempt != 2 {
		s.Fatalf("attempt %d after the first was resolved", r.Attempt)
	}
}
