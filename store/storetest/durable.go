package storetest

import (
	"fmt"
	"time"

	"github.com/atmost-dev/atmost"
)

// durableEverything reopens a store that has a record in each state, and each of the fields set.
func durableEverything(s *subject) {
	outcomes := []atmost.Outcome{
		completed(`{"a": 1}`), failed, notExecuted, unknown,
		{State: atmost.Completed, NotKept: atmost.TooLarge, UpstreamStatus: 200},
	}
	var ids []atmost.ID
	for i, o := range outcomes {
		id := atmost.ID{Scope: fmt.Sprint(i), Key: o.State.String()}
		ids = append(ids, id)
		s.ok(id, claimWith(i+1, atmost.ProbeUnknown, atmost.ByClient), atmost.Processing)
		s.ok(id, finish(i+1, o), o.State)
	}
	rerun := atmost.ID{Key: "rerun"}
	s.ok(rerun, claimWith(1, atmost.RetryUnknown, atmost.ByClient), atmost.Processing)
	s.Clock.Advance(lease)
	s.ok(rerun, claimWith(2, atmost.RetryUnknown, atmost.ByClient), atmost.Processing)
	s.refused(rerun, finish(1, completed(`1`)), atmost.CodeLeaseLost)
	renewed := atmost.ID{Key: "renewed"}
	s.ok(renewed, claimWith(1, atmost.HoldUnknown, atmost.ByClient), atmost.Processing)
	s.Clock.Advance(time.Second)
	s.ok(renewed, &atmost.Renew{Token: token(1), Lease: time.Hour}, atmost.Processing)
	resolved := atmost.ID{Key: "resolved"}
	s.ok(resolved, claim(1), atmost.Processing)
	s.ok(resolved, finish(1, unknown), atmost.Unknown)
	s.ok(resolved, &atmost.Resolve{Attempt: 1, Outcome: completed(`found`)}, atmost.Completed)
	ids = append(ids, rerun, renewed, resolved)

	for range 2 {
		s.reopen()
		for _, id := range ids {
			s.lookup(id)
		}
		s.unchanged(ids[0], finish(1, outcomes[0]), atmost.Completed)
		if got := s.listAll(atmost.Query{State: atmost.Unknown, Limit: 10}); len(got) != 1 || got[0].ID != ids[3] {
			s.Fatalf("listed as unknown after reopening: %v", idsOf(got))
		}
		if got := s.listAll(atmost.Query{State: atmost.Processing, Limit: 10}); len(got) != 2 {
			s.Fatalf("listed as processing after reopening: %v", idsOf(got))
		}
	}
	s.Clock.Advance(2 * sweepLag)
	if got := s.sweep(3); len(got.Lapsed) != 2 || got.Dropped != 3 || got.Forgotten != 0 {
		s.Fatalf("after reopening the sweep found %d lapses, %d results, %d keys", len(got.Lapsed), got.Dropped, got.Forgotten)
	}
	s.Clock.Advance(keyRetention)
	s.reopen()
	if got := s.sweep(3); got.Forgotten != 6 {
		s.Fatalf("after reopening the sweep found %d keys", got.Forgotten)
	}
	for _, id := range ids {
		s.lookup(id)
	}
}

// durableRestart: what the earlier process was executing is in doubt at once, what clients execute is not; nor is anything of a
// store that is shared.
func durableRestart(s *subject) {
	type kind struct {
		by     atmost.ExecutedBy
		policy atmost.OnUnknown
	}
	want := map[kind]atmost.State{
		{atmost.ByService, atmost.HoldUnknown}:  atmost.Unknown,
		{atmost.ByService, atmost.ProbeUnknown}: atmost.Unknown,
		{atmost.ByService, atmost.RetryUnknown}: atmost.NotExecuted,
		{atmost.ByClient, atmost.HoldUnknown}:   atmost.Processing,
		{atmost.ByClient, atmost.RetryUnknown}:  atmost.Processing,
	}
	if s.Shared {
		for k := range want {
			want[k] = atmost.Processing
		}
	}
	idOf := func(k kind) atmost.ID { return atmost.ID{Key: fmt.Sprintf("%d-%v", k.by, k.policy)} }
	for k := range want {
		s.ok(idOf(k), claimWith(1, k.policy, k.by), atmost.Processing)
	}
	s.Clock.Advance(lease / 3)
	s.reopen()
	for k, state := range want {
		if r := s.found(idOf(k), state); state != atmost.Processing && r.UpdatedAt != s.at().Now {
			s.Fatalf("%+v: in doubt since %v, the restart was at %v", k, r.UpdatedAt, s.at().Now)
		}
	}
	if s.Shared {
		return
	}
	if got := s.listAll(atmost.Query{State: atmost.Unknown, Limit: 1}); len(got) != 2 {
		s.Fatalf("listed as unknown: %v", idsOf(got))
	}
	hold := idOf(kind{atmost.ByService, atmost.HoldUnknown})
	s.unchanged(hold, claim(2), atmost.Unknown)
	s.ok(hold, finish(1, completed(`late`)), atmost.Completed)
	client := idOf(kind{atmost.ByClient, atmost.HoldUnknown})
	s.ok(client, &atmost.Renew{Token: token(1), Lease: lease}, atmost.Processing)
	s.Clock.Advance(lease)
	if got := s.sweep(10); len(got.Lapsed) != 2 {
		s.Fatalf("lapsed: %v, want the clients' two leases", idsOf(got.Lapsed))
	}
}

// durableTime: the store's time does not go back from one process to the next, whatever the wall clock does.
func durableTime(s *subject) {
	s.ok(someID, claim(1), atmost.Processing)
	s.ok(someID, finish(1, completed(`1`)), atmost.Completed)
	s.Clock.Advance(keyRetention)
	s.found(someID, atmost.Absent)
	var last int64
	for n := range 3 {
		id := atmost.ID{Key: fmt.Sprint("claimed-", n)}
		step, err := s.Store.Apply(s.ctx, id, claim(1))
		if err != nil || step.Record.Fence <= last {
			s.Fatalf("fence %d after %d, %v", step.Record.Fence, last, err)
		}
		last = step.Record.Fence
		s.Clock.Step(-100 * keyRetention)
		s.close()
		s.Store = s.Reopen()
		s.stillAbsent()
		s.Clock.Advance(time.Millisecond)
	}
}
