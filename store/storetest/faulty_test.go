package storetest_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/storetest"
)

var (
	id    = atmost.ID{Key: "k"}
	claim = &atmost.Claim{Operation: "o", Token: atmost.Token{1}, Lease: time.Minute}
	renew = &atmost.Renew{Token: atmost.Token{1}, Lease: time.Hour}
)

func faulty() *storetest.FaultyStore {
	return storetest.Faulty(memstore.New(memstore.Options{Clock: storetest.NewClock()}))
}

func stateOf(t *testing.T, s atmost.Store) atmost.State {
	t.Helper()
	r, err := s.Lookup(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r.State
}

func TestFaultyWithoutFaults(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Harness {
		clock := storetest.NewClock()
		return storetest.Harness{Store: storetest.Faulty(memstore.New(memstore.Options{Clock: clock})), Clock: clock}
	})
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		fault     storetest.Fault
		ambiguous bool
		state     atmost.State
	}{
		{storetest.Unavailable, false, atmost.Absent},
		{storetest.AmbiguousDone, true, atmost.Processing},
		{storetest.AmbiguousLost, true, atmost.Absent},
		{storetest.AmbiguousLater, true, atmost.Absent},
	} {
		s := faulty()
		injected := s.Next(c.fault, storetest.Of[*atmost.Claim])
		if _, err := s.Apply(t.Context(), id, renew); atmost.CodeOf(err) != atmost.CodeLeaseLost {
			t.Errorf("fault %d met another event: %v", c.fault, err)
		}
		_, err := s.Apply(t.Context(), id, claim)
		if !errors.Is(err, storetest.ErrInjected) || errors.Is(err, atmost.ErrAmbiguous) != c.ambiguous {
			t.Errorf("fault %d: %v", c.fault, err)
		}
		<-injected.Hit()
		if got := stateOf(t, s); got != c.state {
			t.Errorf("fault %d left %v, want %v", c.fault, got, c.state)
		}
		injected.Release()
		injected.Release()
		if got := stateOf(t, s); c.fault == storetest.AmbiguousLater && got != atmost.Processing {
			t.Errorf("what was to be written later left %v", got)
		}
		if step, err := s.Apply(t.Context(), id, claim); err != nil || !claim.Won(step.Record) {
			t.Errorf("fault %d happened twice: %v", c.fault, err)
		}
	}
}

func TestFaultyNth(t *testing.T) {
	s := faulty()
	s.Nth(3, storetest.Unavailable, nil)
	for n := 1; n <= 4; n++ {
		if _, err := s.Apply(t.Context(), id, claim); (err != nil) != (n == 3) {
			t.Errorf("call %d: %v", n, err)
		}
	}
}

func TestFaultyBlocks(t *testing.T) {
	for fault, before := range map[storetest.Fault]atmost.State{
		storetest.Blocked: atmost.Absent, storetest.AnswerBlocked: atmost.Processing,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := faulty()
			injected := s.Next(fault, nil)
			answered := make(chan error, 1)
			go func() {
				_, err := s.Apply(t.Context(), id, claim)
				answered <- err
			}()
			synctest.Wait()
			if got := stateOf(t, s); got != before || len(answered) != 0 {
				t.Errorf("fault %d: the record is %v, answered: %d", fault, got, len(answered))
			}
			injected.Release()
			if err := <-answered; err != nil || stateOf(t, s) != atmost.Processing {
				t.Errorf("fault %d: after the release %v, %v", fault, stateOf(t, s), err)
			}
		})
	}
}

func TestFaultyDown(t *testing.T) {
	s := faulty()
	s.SetDown(true)
	_, applied := s.Apply(t.Context(), id, claim)
	_, lookedUp := s.Lookup(t.Context(), id)
	_, listed := s.List(t.Context(), atmost.Query{State: atmost.Unknown, Limit: 1})
	_, swept := s.Sweep(t.Context(), 1)
	for _, err := range []error{applied, lookedUp, listed, swept} {
		if !errors.Is(err, storetest.ErrInjected) || errors.Is(err, atmost.ErrAmbiguous) {
			t.Errorf("a store that is down: %v", err)
		}
	}
	s.SetDown(false)
	if got := stateOf(t, s); got != atmost.Absent {
		t.Errorf("while it was down it became %v", got)
	}
}
