// Package memstore keeps records in memory: the reference that shows what a Store is, for tests and for trying things out.
// What it holds ends with the process, and List, but of what is open, and Sweep look at every record.
package memstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"maps"
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

	secret [32]byte

	mu      sync.Mutex
	records map[atmost.ID]atmost.Record
	open    map[atmost.ID]struct{} // those that are processing or unknown
	audit   []atmost.AuditEntry
}

var (
	_ atmost.Store = (*Store)(nil)
	_ atmost.Keyed = (*Store)(nil)
)

// New returns an empty store.
func New(o Options) *Store {
	if o.Clock == nil {
		o.Clock = atmost.SystemClock()
	}
	s := &Store{clock: atmost.NewStoreClock(o.Clock, 0, 0), records: map[atmost.ID]atmost.Record{}, open: map[atmost.ID]struct{}{}}
	_, _ = rand.Read(s.secret[:]) // never fails
	return s
}

// Secret is described at atmost.Keyed.
func (s *Store) Secret() [32]byte { return s.secret }

// Apply is described at atmost.Store. It never fails but by a rule.
func (s *Store) Apply(_ context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	step, err := atmost.Transition(s.stored(id), event, s.clock.Read())
	if step.Changed {
		s.put(step.Record)
	}
	if step.Audit != nil {
		step.Audit.Number = uint64(len(s.audit) + 1)
		s.audit = append(s.audit, *step.Audit)
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
func (s *Store) List(_ context.Context, q atmost.Query) (atmost.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.clock.Read()
	ids := maps.Keys(s.records)
	if q.State == atmost.Processing || q.State == atmost.Unknown { // asked for again and again by engines
		ids = maps.Keys(s.open)
	}
	var found []atmost.Record
	for id := range ids {
		if r := atmost.Age(s.records[id], at); q.Match(&r, at.Now) && compare(id, q.After) > 0 {
			r.Result = nil
			found = append(found, own(r))
		}
	}
	slices.SortFunc(found, func(a, b atmost.Record) int { return compare(a.ID, b.ID) })
	page := atmost.Page{Records: found[:min(q.Limit, len(found))], More: len(found) > q.Limit, Now: at.Now}
	if page.More {
		page.Next = found[q.Limit-1].ID
	}
	return page, nil
}

// Audit is described at atmost.Store. It never fails.
func (s *Store) Audit(_ context.Context, before uint64, limit int) ([]atmost.AuditEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := len(s.audit)
	if before != 0 {
		end = int(min(uint64(end), before-1))
	}
	entries := slices.Clone(s.audit[max(0, end-limit):end])
	slices.Reverse(entries)
	return entries, nil
}

// Sweep is described at atmost.Store. It never fails.
func (s *Store) Sweep(_ context.Context, limit int) (atmost.Swept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.clock.Read()
	var swept atmost.Swept
	for _, r := range s.records {
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
		case r.State == atmost.Processing:
			swept.Lapsed = append(swept.Lapsed, own(aged))
		default:
			swept.Dropped++
		}
		s.put(aged)
	}
	return swept, nil
}

// Close does nothing.
func (s *Store) Close() error { return nil }

// put keeps r. An absent one is forgotten: its fence is older than now.
func (s *Store) put(r atmost.Record) {
	delete(s.open, r.ID)
	switch r.State {
	case atmost.Absent:
		delete(s.records, r.ID)
		return
	case atmost.Processing, atmost.Unknown:
		s.open[r.ID] = struct{}{}
	}
	s.records[r.ID] = r
}

func (s *Store) stored(id atmost.ID) atmost.Record {
	if r, ok := s.records[id]; ok {
		return r
	}
	return atmost.Record{ID: id}
}

// own gives the caller a copy of all that is not to be shared.
func own(r atmost.Record) atmost.Record {
	r.Past = slices.Clone(r.Past)
	r.History.Entries = slices.Clone(r.History.Entries)
	return r
}

func compare(a, b atmost.ID) int {
	return cmp.Or(strings.Compare(a.Scope, b.Scope), strings.Compare(a.Key, b.Key))
}
