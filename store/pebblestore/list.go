package pebblestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/atmost-dev/atmost"
)

// List is described at atmost.Store. A record that lapsed is listed as processing until it is swept.
func (s *Store) List(_ context.Context, state atmost.State, after atmost.ID, limit int) ([]atmost.Record, error) {
	prefix := indexPrefix(state)
	if prefix == 0 {
		return nil, fmt.Errorf("pebblestore: records that are %v are not listed", state)
	}
	s.calls.Add(1)
	defer s.calls.Done()
	var found []atmost.Record
	err := s.eachIndexed(prefix, after, func(id atmost.ID) (bool, error) {
		if len(found) >= limit {
			return false, nil
		}
		r, err := s.listed(id, state)
		if err == nil && r.State != atmost.Absent {
			found = append(found, r)
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// listed returns the record that an index led to, aged, or an absent one if it does not stand in state any more.
func (s *Store) listed(id atmost.ID, state atmost.State) (atmost.Record, error) {
	latch := s.latches.of(id)
	latch.take()
	defer latch.drop()
	at, stored, err := s.read(id)
	if err != nil || stored.State != state {
		return atmost.Record{}, err
	}
	return atmost.Age(stored, at), nil
}

// eachIndexed calls f with the IDs in an index that follow after, in order, until it returns false or an error. The index
// is read as it was at the call.
func (s *Store) eachIndexed(prefix byte, after atmost.ID, f func(atmost.ID) (bool, error)) (err error) {
	lower := []byte{prefix}
	if after != (atmost.ID{}) {
		lower = append(idKey(prefix, after), 0)
	}
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{prefix + 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for valid := iter.First(); valid; valid = iter.Next() {
		if more, err := f(idOf(iter.Key()[1:])); !more || err != nil {
			return err
		}
	}
	return nil
}
