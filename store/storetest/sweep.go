package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/atmost-dev/atmost"
)

func sweepNothing(s *subject) {
	if got := s.sweep(10); len(got.Lapsed)+got.Dropped+got.Forgotten != 0 {
		s.Fatalf("swept %+v from an empty store", got)
	}
	s.ok(someID, claim(1), atmost.Processing)
	done := atmost.ID{Key: "done"}
	s.ok(done, claim(1), atmost.Processing)
	s.ok(done, finish(1, completed(`1`)), atmost.Completed)
	if got := s.sweep(10); len(got.Lapsed)+got.Dropped+got.Forgotten != 0 {
		s.Fatalf("swept %+v where nothing is due", got)
	}
	s.found(someID, atmost.Processing)
	s.found(done, atmost.Completed)
}

// claimMany claims n keys and returns them in order.
func (s *subject) claimMany(n int, prefix string, c atmost.Claim) []atmost.ID {
	s.Helper()
	ids := make([]atmost.ID, n)
	for i := range ids {
		ids[i] = atmost.ID{Scope: "many", Key: fmt.Sprintf("%s%04d", prefix, i)}
		s.ok(ids[i], &c, atmost.Processing)
	}
	return ids
}

func sweepLapsed(s *subject) {
	held := s.claimMany(3, "held", *claim(1))
	retried := s.claimMany(2, "retried", *claimWith(1, atmost.RetryUnknown, atmost.ByClient))
	s.Clock.Advance(lease)
	before := s.found(held[0], atmost.Unknown)
	got := s.sweep(10)
	if want := sortedIDs(append(held, retried...)); !slices.Equal(sortedIDs(idsOf(got.Lapsed)), want) {
		s.Fatalf("lapsed: %v, want %v", idsOf(got.Lapsed), want)
	}
	for _, r := range got.Lapsed {
		if diff := diffRecords(atmost.Age(s.stored(r.ID), s.at()), r); diff != "" {
			s.Fatalf("lapsed record (-want +got):\n%s", diff)
		}
		s.lookup(r.ID)
	}
	if diff := diffRecords(before, s.found(held[0], atmost.Unknown)); diff != "" {
		s.Fatalf("the sweep changed an answer (-before +after):\n%s", diff)
	}
	if again := s.sweep(10); len(again.Lapsed) != 0 {
		s.Fatalf("the same lapses were told again: %v", idsOf(again.Lapsed))
	}
	s.ok(held[0], finish(1, completed(`late`)), atmost.Completed)
	s.ok(retried[0], claim(2), atmost.Processing)
}

func sweepExpired(s *subject) {
	done := s.claimMany(3, "done", *claim(1))
	for _, id := range done {
		s.ok(id, finish(1, completed(`1`)), atmost.Completed)
	}
	void := s.claimMany(2, "void", *claim(1))
	for _, id := range void {
		s.ok(id, finish(1, notExecuted), atmost.NotExecuted)
	}
	s.Clock.Advance(resultRetention + sweepLag)
	if got := s.sweep(100); got.Dropped != 3 || got.Forgotten != 0 || len(got.Lapsed) != 0 {
		s.Fatalf("swept %+v, want 3 results dropped", got)
	}
	if got := s.sweep(100); got.Dropped != 0 {
		s.Fatalf("%d results were dropped twice", got.Dropped)
	}
	for _, id := range done {
		s.found(id, atmost.Completed)
	}
	s.Clock.Advance(keyRetention)
	if got := s.sweep(100); got.Dropped != 0 || got.Forgotten != 5 {
		s.Fatalf("swept %+v, want 5 keys forgotten", got)
	}
	if got := s.sweep(100); got.Forgotten != 0 {
		s.Fatalf("%d keys were forgotten twice", got.Forgotten)
	}
	for _, id := range append(done, void...) {
		s.found(id, atmost.Absent)
	}
}

func sweepLimit(s *subject) {
	s.claimMany(7, "lapsed", *claim(1))
	for _, id := range s.claimMany(7, "done", *claim(1)) {
		s.ok(id, finish(1, failed), atmost.Failed)
	}
	s.Clock.Advance(resultRetention + sweepLag)
	first, err := s.Store.Sweep(s.ctx, 5)
	if err != nil || !first.More || len(first.Lapsed)+first.Dropped+first.Forgotten > 5 {
		s.Fatalf("the first of several sweeps: %+v, %v", first, err)
	}
	rest := s.sweep(5)
	if n := len(first.Lapsed) + len(rest.Lapsed); n != 7 {
		s.Fatalf("%d lapses were told, want 7", n)
	}
	if n := first.Dropped + rest.Dropped; n != 7 {
		s.Fatalf("%d results were dropped, want 7", n)
	}
}

// sweepStaleIndex: what was due once need not be due any more.
func sweepStaleIndex(s *subject) {
	renewed, finished, reclaimed := atmost.ID{Key: "renewed"}, atmost.ID{Key: "finished"}, atmost.ID{Key: "reclaimed"}
	s.ok(renewed, claim(1), atmost.Processing)
	s.ok(finished, claim(1), atmost.Processing)
	s.ok(reclaimed, claim(1), atmost.Processing)
	s.ok(reclaimed, finish(1, notExecuted), atmost.NotExecuted)
	long := claim(2)
	long.Lease = 100 * keyRetention
	s.ok(reclaimed, long, atmost.Processing)
	s.Clock.Advance(lease / 2)
	s.ok(renewed, &atmost.Renew{Token: token(1), Lease: 2 * keyRetention}, atmost.Processing)
	s.ok(finished, finish(1, completed(`1`)), atmost.Completed)
	s.Clock.Advance(lease)
	if got := s.sweep(10); len(got.Lapsed) != 0 {
		s.Fatalf("lapsed: %v, none is due", idsOf(got.Lapsed))
	}
	s.Clock.Advance(keyRetention + sweepLag)
	if got := s.sweep(10); len(got.Lapsed) != 0 || got.Forgotten != 1 {
		s.Fatalf("swept %+v, only %v is due", got, finished)
	}
	s.found(renewed, atmost.Processing)
	s.found(reclaimed, atmost.Processing)
	s.found(finished, atmost.Absent)

	// A forgotten key's second life expires by its own times.
	s.ok(finished, claim(3), atmost.Processing)
	s.Clock.Advance(time.Second)
	s.ok(finished, finish(3, failed), atmost.Failed)
	s.Clock.Advance(keyRetention - time.Second)
	s.sweep(10)
	s.found(finished, atmost.Failed)
}

// The races are run some times over, by some goroutines.
const raceRounds, racers = 60, 8

// race does f for every id while sweep runs over and over.
func (s *subject) race(ids []atmost.ID, f func(id atmost.ID) error) {
	s.Helper()
	var running, sweeping sync.WaitGroup
	stop := make(chan struct{})
	errs := make(chan error, racers+1)
	sweeping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.Store.Sweep(s.ctx, len(ids)); err != nil {
				errs <- err
				return
			}
		}
	})
	for racer := range racers {
		running.Go(func() {
			for i := racer; i < len(ids); i += racers {
				id := ids[i]
				if err := f(id); err != nil {
					errs <- fmt.Errorf("%v: %w", id, err)
					return
				}
			}
		})
	}
	running.Wait()
	close(stop)
	sweeping.Wait()
	close(errs)
	for err := range errs {
		s.Fatalf("while sweeping: %v", err)
	}
}

// sweepAgainstClaims claims keys anew while they are being forgotten.
func sweepAgainstClaims(s *subject) {
	for round := range raceRounds {
		ids := s.claimMany(48, fmt.Sprint("round", round, "-"), *claim(1))
		for _, id := range ids {
			s.ok(id, finish(1, notExecuted), atmost.NotExecuted)
		}
		s.Clock.Advance(keyRetention + sweepLag)
		s.race(ids, func(id atmost.ID) error {
			c := claim(2)
			step, err := s.Store.Apply(s.ctx, id, c)
			if err == nil && !c.Won(step.Record) {
				err = fmt.Errorf("the claim did not win: %v", step.Record.State)
			}
			return err
		})
		for _, id := range ids {
			if r, err := s.Store.Lookup(s.ctx, id); err != nil || !claim(2).Won(r) {
				s.Fatalf("%v was claimed, and swept away: %v, %v", id, r.State, err)
			}
		}
		if got := s.listAll(atmost.Query{State: atmost.Processing, Limit: 77}); len(got) != len(ids) {
			s.Fatalf("%d are processing, want %d", len(got), len(ids))
		}
		for _, id := range ids {
			if _, err := s.Store.Apply(s.ctx, id, finish(2, completed(`1`))); err != nil {
				s.Fatalf("%v: %v", id, err)
			}
		}
	}
}

// sweepAgainstReports reports on lapsed attempts while the lapses are being written down.
func sweepAgainstReports(s *subject) {
	for round := range raceRounds {
		ids := s.claimMany(48, fmt.Sprint("round", round, "-"), *claim(1))
		s.Clock.Advance(lease)
		s.race(ids, func(id atmost.ID) error {
			step, err := s.Store.Apply(s.ctx, id, finish(1, completed(`1`)))
			if err == nil && (!step.Late || step.Record.State != atmost.Completed) {
				err = fmt.Errorf("the late report: %+v", step)
			}
			return err
		})
		for _, id := range ids {
			if r, err := s.Store.Lookup(s.ctx, id); err != nil || r.State != atmost.Completed {
				s.Fatalf("the report on %v was swept away: %v, %v", id, r.State, err)
			}
		}
		if got := s.listAll(atmost.Query{State: atmost.Unknown, Limit: 77}); len(got) != 0 {
			s.Fatalf("%d are listed as unknown, want none", len(got))
		}
	}
}
