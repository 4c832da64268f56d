package storetest

import (
	"time"

	"github.com/atmost-dev/atmost"
)

func expiryResult(s *subject) {
	for _, o := range []atmost.Outcome{completed(`1`), failed} {
		id := atmost.ID{Key: o.State.String()}
		s.ok(id, claim(1), atmost.Processing)
		s.ok(id, finish(1, o), o.State)
		s.Clock.Advance(resultRetention - time.Microsecond)
		s.unchanged(id, claim(2), o.State)
		if r := s.found(id, o.State); r.NotKept != atmost.Kept {
			s.Fatalf("the result was dropped too early: %+v", r)
		}
		s.Clock.Advance(time.Microsecond)
		s.unchanged(id, claim(2), o.State)
		if r := s.found(id, o.State); r.NotKept != atmost.Expired || r.Result != nil {
			s.Fatalf("the result outlived its retention: %+v", r)
		}
		s.Clock.Advance(sweepLag)
		s.sweep(10)
		if r := s.found(id, o.State); r.NotKept != atmost.Expired || r.Result != nil {
			s.Fatalf("after the sweep: %+v", r)
		}
		s.unchanged(id, claim(2), o.State) // a tombstone never executes
	}
}

func expiryKey(s *subject) {
	for _, o := range []atmost.Outcome{completed(`1`), failed, notExecuted} {
		id := atmost.ID{Key: o.State.String()}
		s.ok(id, claim(1), atmost.Processing)
		s.ok(id, finish(1, o), o.State)
		s.Clock.Advance(keyRetention - time.Microsecond)
		s.found(id, o.State)
		s.Clock.Advance(time.Microsecond)
		s.found(id, atmost.Absent)
		s.refused(id, finish(1, o), atmost.CodeLeaseLost)
		other := claim(2)
		other.Operation = "refund"
		if r := s.ok(id, other, atmost.Processing).Record; r.Attempt != 1 || len(r.Past) != 0 {
			s.Fatalf("a forgotten key's next life: %+v", r)
		}
	}
	long := claim(1)
	long.Policy.ResultRetention, long.Policy.KeyRetention = keyRetention, time.Minute
	id := atmost.ID{Key: "result outlives key"}
	id.Key = "result-outlives-key"
	s.ok(id, long, atmost.Processing)
	s.ok(id, finish(1, completed(`1`)), atmost.Completed)
	s.Clock.Advance(time.Hour)
	if r := s.found(id, atmost.Completed); r.NotKept != atmost.Kept {
		s.Fatalf("the key retention cut the result's short: %+v", r)
	}
}

// expiryNeverWhileOpen waits for years while an attempt is running or in doubt.
func expiryNeverWhileOpen(s *subject) {
	running, doubted := atmost.ID{Key: "running"}, atmost.ID{Key: "doubted"}
	long := claim(1)
	long.Lease = 3 * 365 * 24 * time.Hour
	s.ok(running, long, atmost.Processing)
	s.ok(doubted, claim(1), atmost.Processing)
	s.Clock.Advance(2 * 365 * 24 * time.Hour)
	s.sweep(10)
	s.found(running, atmost.Processing)
	s.found(doubted, atmost.Unknown)
	s.unchanged(doubted, claim(2), atmost.Unknown)
}

func expiryNeverComesBack(s *subject) {
	s.ok(someID, claim(1), atmost.Processing)
	s.ok(someID, finish(1, completed(`1`)), atmost.Completed)
	s.Clock.Advance(keyRetention)
	s.found(someID, atmost.Absent)
	s.Clock.Step(-2 * time.Minute)
	s.stillAbsent()
	s.Clock.Step(-48 * time.Hour)
	s.stillAbsent()
	s.sweep(10)
	s.stillAbsent()
	if s.Reopen != nil {
		s.reopen()
		s.stillAbsent()
	}
}

func (s *subject) stillAbsent() {
	s.Helper()
	r, err := s.Store.Lookup(s.ctx, someID)
	if err != nil || r.State != atmost.Absent {
		s.Fatalf("an expired key came back: %v, %v", r.State, err)
	}
}

// expiryWallClockStepped: setting the wall clock alone ends no lease and no retention, nor does it lengthen a lease.
func expiryWallClockStepped(s *subject) {
	done, running := atmost.ID{Key: "done"}, atmost.ID{Key: "running"}
	s.ok(done, claim(1), atmost.Processing)
	s.ok(done, finish(1, completed(`1`)), atmost.Completed)
	s.ok(running, claim(1), atmost.Processing)
	state := func(id atmost.ID) atmost.Record {
		r, err := s.Store.Lookup(s.ctx, id)
		if err != nil {
			s.Fatalf("Lookup(%v): %v", id, err)
		}
		return r
	}
	for _, d := range []time.Duration{time.Minute, -2 * time.Minute, 100 * time.Hour, -200 * time.Hour, 100*time.Hour + time.Minute} {
		s.Clock.Step(d)
		if r := state(done); r.State != atmost.Completed || r.NotKept != atmost.Kept {
			s.Fatalf("a step of %v expired the result: %+v", d, r)
		}
		if r := state(running); r.State != atmost.Processing {
			s.Fatalf("a step of %v ended the lease: %+v", d, r)
		}
	}
	s.Clock.Step(-100 * time.Hour)
	s.Clock.Advance(lease + lease/10)
	if r := state(running); r.State != atmost.Unknown {
		s.Fatalf("a wall clock that was set back kept the lease: %+v", r)
	}
}
