// Package memstore keeps records in memory: the reference that shows what a Store is, for tests and for trying things out.
// What it holds ends with the process, and List and Sweep look at every record.
package memstore

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/atmost-dev/atmost"
)

// Options are all optional.
type Options struct {
	// Clock is atmost.SystemClock if nil.
	Clock atmost.Clock
}

// Store is an atmost.Store in memory.
type Store struct {
	clock *atmost.StoreClock

	mu      sync.Mutex
	records map[atmost.ID]atmost.Record
}

var _ atmost.Store = (*Store)(nil)

// New returns an empty store.
func New(o Options) *Store {
	if o.Clock == nil {
		o.Clock = atmost.SystemClock()
	}
	return &Store{clock: atmost.NewStoreClock(o.Clock, 0, 0), records: map[atmost.ID]atmost.Record{}}
}

// Apply is described at atmost.Store. It never fails but by a rule.
func (s *Store) Apply(_ context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	step, err := atmost.Transition(s.stored(id), event, s.clock.Read())
	if step.Changed {
		s.records[id] = step.Record
	}
	step.Record = own(step.Record)
	return step, err
}

// Lookup is described at atmost.Store. It never fails.
func (s *Store) Lookup(_ context.Context, id atmost.ID) (atmost.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return own(atmost.Age(s.stored(id), s.clock.Read())), nil
}

// List is described at atmost.Store. It never fails.
func (s *Store) List(_ context.Context, state atmost.State, after atmost.ID, limit int) ([]atmost.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.clock.Read()
	var found []atmost.Record
	for id, r := range s.records {
		if r = atmost.Age(r, at); r.State == state && compare(id, after) > 0 {
			found = append(found, own(r))
		}
	}
	slices.SortFunc(found, func(a, b atmost.Record) int { return compare(a.ID, b.ID) })
	return found[:min(limit, len(found))], nil
}

// Sweep is described at atmost.Store. It never fails.
func (s *Store) Sweep(_ context.Context, limit int) (atmost.Swept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.clock.Read()
	var swept atmost.Swept
	for id, r := range s.records {
		aged := atmost.Age(r, at)
		if aged.State == r.State && aged.NotKept == r.NotKept {
			continue
		}
		if aged.State == atmost.Absent && aged.Fence >= int64(at.Now) {
			continue // forgotten in the microsecond of its claim, the next fence could be the same
		}
		if len(swept.Lapsed)+swept.Dropped+swept.Forgotten >= limit {
			swept.More = true
			break
		}
		switch {
		case aged.State == atmost.Absent:
			swept.Forgotten++
			delete(s.records, id)
			continue
		case r.State == atmost.Processing:
			swept.Lapsed = append(swept.Lapsed, own(aged))
		default:
			swept.Dropped++
		}
		s.records[id] = aged
	}
	return swept, nil
}

// Close does nothing.
func (s *Store) Close() error { return nil }

func (s *Store) stored(id atmost.ID) atmost.Record {
	if r, ok := s.records[id]; ok {
		return r
	}
	return atmost.Record{ID: id}
}

// own gives the caller a copy of all that is not to be shared.
func own(r atmost.Record) atmost.Record {
	r.Past = slices.Clone(r.Past)
	return r
}

func compare(a, b atmost.ID) int {
	return cmp.Or(strings.Compare(a.Scope, b.Scope), strings.Compare(a.Key, b.Key))
}
