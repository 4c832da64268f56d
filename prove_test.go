package atmost_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/storetest"
)

// TestNewProvesTheStore: an engine is not started over a store whose claims do not exclude each other, and is over one that is only
// slow, or does not know for a while.
func TestNewProvesTheStore(t *testing.T) {
	inMemory := func() atmost.Store { return memstore.New(memstore.Options{Clock: &bubbleClock{start: time.Now()}}) }
	faulty := func(fault storetest.Fault, match func(atmost.Event) bool) func() atmost.Store {
		return func() atmost.Store {
			s := storetest.Faulty(inMemory())
			s.Next(fault, match)
			return s
		}
	}
	for name, test := range map[string]struct {
		store func() atmost.Store
		want  string // in the error
	}{
		"claims exclude each other": {inMemory, ""},
		"both win":                  {func() atmost.Store { return forgetful{inMemory()} }, "2 won"},
		"one wins after the other":  {func() atmost.Store { return &stalling{Store: inMemory(), takes: time.Hour} }, "proves nothing"},
		"one is late":               {func() atmost.Store { return &stalling{Store: inMemory(), takes: 50 * time.Second} }, ""},
		"a claim may be made":       {faulty(storetest.AmbiguousDone, storetest.Of[*atmost.Claim]), ""},
		"a claim may not be made":   {faulty(storetest.AmbiguousLost, storetest.Of[*atmost.Claim]), ""},
		"the report may be heard":   {faulty(storetest.AmbiguousDone, storetest.Of[*atmost.Finish]), ""},
		"the report may be lost":    {faulty(storetest.AmbiguousLost, storetest.Of[*atmost.Finish]), ""},
		"out of reach":              {faulty(storetest.Unavailable, storetest.Of[*atmost.Claim]), "self-test"},
		"the report is refused":     {func() atmost.Store { return deaf{inMemory()} }, "self-test"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, err := atmost.New(t.Context(), test.store(), atmost.Options{Clock: &bubbleClock{start: time.Now()}})
				if err == nil {
					e.Close(t.Context())
				}
				if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Errorf("New: %v; want %q", err, test.want)
				}
			})
		})
	}
}

// forgetful knows nothing of what it was told.
type forgetful struct{ atmost.Store }

func (s forgetful) Apply(_ context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	return atmost.Transition(atmost.Record{ID: id}, event, atmost.Instant{Now: 1, Expiry: 1})
}

// stalling takes its time for the second claim.
type stalling struct {
	atmost.Store
	takes  time.Duration
	claims atomic.Int32
}

func (s *stalling) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	if _, claim := event.(*atmost.Claim); claim && s.claims.Add(1) == 2 {
		<-time.After(s.takes)
	}
	return s.Store.Apply(ctx, id, event)
}

// deaf refuses every report.
type deaf struct{ atmost.Store }

func (s deaf) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	if _, report := event.(*atmost.Finish); report {
		return atmost.Step{}, errors.New("test: no")
	}
	return s.Store.Apply(ctx, id, event)
}
