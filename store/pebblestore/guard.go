package pebblestore

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"

	"github.com/cockroachdb/pebble/v2"

	"github.com/atmost-dev/atmost"
)

// errForgotten is the answer of a guarded store where it may have forgotten a claim.
var errForgotten = &atmost.Error{
	Code:    atmost.CodeOutcomeUnknown,
	Message: "the store was restored from a backup and may have forgotten this key",
}

// guard is what a restored store does not let be claimed. It is not modified, but replaced; nil guards nothing.
type guard struct {
	since    atmost.Time // what is older may have changed after the backup was taken
	admitted map[string]bool
}

// forgot reports whether something may have happened to an aged record that this store does not know of, such that a claim of it
// could be a second run: it is absent, or has been free to be claimed since before the backup.
func (g *guard) forgot(r atmost.Record) bool {
	if g == nil || g.admitted[r.ID.Scope] {
		return false
	}
	return r.State == atmost.Absent || r.State == atmost.NotExecuted && r.UpdatedAt <= g.since
}

// admittedKey remembers that a scope has been admitted.
func admittedKey(scope string) []byte { return append([]byte{prefixMeta, 'a'}, scope...) }

func (s *Store) loadGuard() error {
	since, err := s.meta(metaGuard)
	if since == nil || err != nil {
		return err
	}
	if len(since) != 8 {
		return fmt.Errorf("the guard %w", errCorrupt)
	}
	g := &guard{since: atmost.Time(binary.BigEndian.Uint64(since)), admitted: map[string]bool{}}
	iter, err := s.db.NewIter(rangeOf(admittedKey("")))
	if err != nil {
		return err
	}
	for valid := iter.First(); valid; valid = iter.Next() {
		g.admitted[string(iter.Key()[2:])] = true
	}
	s.guard.Store(g)
	return iter.Close()
}

// Guarded reports whether the store was restored from a backup, and refuses claims that it may have forgotten: those
// of absent keys, and of keys that the backup knows as not executed, in all scopes that were not admitted.
func (s *Store) Guarded() bool { return s.guard.Load() != nil }

// Admit lifts the guard from one scope. When it returns, that is durable.
func (s *Store) Admit(_ context.Context, scope string, by atmost.Actor) (*atmost.AuditEntry, error) {
	s.calls.Add(1)
	defer s.calls.Done()
	s.guardLatch.take()
	defer s.guardLatch.drop()
	g := s.guard.Load()
	if g == nil || g.admitted[scope] {
		return nil, nil
	}
	b := s.db.NewBatch()
	defer b.Close()
	_ = b.Set(admittedKey(scope), nil, nil)
	entry, err := s.told(b, atmost.AuditAdmit, scope, by)
	if err != nil {
		return nil, err
	}
	admitted := maps.Clone(g.admitted)
	admitted[scope] = true
	s.guard.Store(&guard{since: g.since, admitted: admitted})
	return entry, nil
}

// AdmitAll lifts the guard. When it returns, that is durable.
func (s *Store) AdmitAll(_ context.Context, by atmost.Actor) (*atmost.AuditEntry, error) {
	s.calls.Add(1)
	defer s.calls.Done()
	s.guardLatch.take()
	defer s.guardLatch.drop()
	if s.guard.Load() == nil {
		return nil, nil
	}
	b := s.db.NewBatch()
	defer b.Close()
	_ = b.Delete(metaGuard, nil)
	admitted := rangeOf(admittedKey(""))
	_ = b.DeleteRange(admitted.LowerBound, admitted.UpperBound, nil)
	entry, err := s.told(b, atmost.AuditAdmitAll, "", by)
	if err != nil {
		return nil, err
	}
	s.guard.Store(nil)
	return entry, nil
}

// told commits b, and in the audit trail what a person did who changed no record, and returns that entry.
func (s *Store) told(b *pebble.Batch, action atmost.Action, scope string, by atmost.Actor) (*atmost.AuditEntry, error) {
	at, err := s.now()
	if err != nil {
		return nil, err
	}
	entry := &atmost.AuditEntry{At: at.Now, Actor: by, Action: action, ID: atmost.ID{Scope: scope}}
	return entry, s.commitAudited(b, entry)
}
