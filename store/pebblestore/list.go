package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/atmost-dev/atmost"
)

// What is looked at for one page: so many records, where one counts more the bigger it is.
const (
	lookedAtMost = 10_000
	bytesOfOne   = 4096
)

// List is described at atmost.Store. A record that lapsed is listed as processing until it is swept, and among those of any state as
// what it lapsed to.
func (s *Store) List(_ context.Context, q atmost.Query) (atmost.Page, error) {
	s.calls.Add(1)
	defer s.calls.Done()
	at, err := s.now()
	if err != nil {
		return atmost.Page{}, err
	}
	page := atmost.Page{Now: at.Now}
	prefix := indexPrefix(q.State)
	if prefix == 0 {
		prefix = prefixRecord
	}
	looked := 0
	err = s.each(prefix, q, func(id atmost.ID, value []byte) (bool, error) {
		if page.More = len(page.Records) >= q.Limit || looked >= lookedAtMost; page.More {
			return false, nil
		}
		page.Next = id
		looked += 1 + len(value)/bytesOfOne
		if prefix == prefixRecord && !s.mayMatch(id, value, q, at) {
			return true, nil
		}
		r, found, err := s.listed(id, q)
		if found {
			page.Records = append(page.Records, r)
		}
		return true, err
	})
	if err != nil {
		return atmost.Page{}, fmt.Errorf("pebblestore: listing records: %w", err)
	}
	if !page.More {
		page.Next = atmost.ID{}
	}
	return page, nil
}

// mayMatch looks at a record that may not be durable yet, or any more, to spare those that are not asked for their latch.
func (s *Store) mayMatch(id atmost.ID, value []byte, q atmost.Query, at atmost.Instant) bool {
	r, err := decode(id, value)
	if err != nil {
		return true // listed tells
	}
	r = atmost.Age(r, at)
	return q.Match(&r, at.Now)
}

// listed returns a record that was led to, aged, if it is, still, what q asks for. One that cannot be read is left out: every call that
// asks for it alone gets the error.
func (s *Store) listed(id atmost.ID, q atmost.Query) (atmost.Record, bool, error) {
	latch := s.latches.of(id)
	latch.take()
	defer latch.drop()
	at, stored, err := s.read(id)
	if errors.Is(err, errCorrupt) {
		s.options.Logger.Error("a record cannot be listed", "key_digest", id.Digest(), "error", err)
		return atmost.Record{}, false, nil
	}
	if err != nil {
		return atmost.Record{}, false, err
	}
	aged := atmost.Age(stored, at)
	if q.State == stored.State && aged.State != atmost.Absent {
		q.State = aged.State
	}
	aged.Result = nil
	return aged, q.Match(&aged, at.Now), nil
}

// each calls f with the IDs in an index, or of the records, that q may ask for, in order, until it returns false or an error. They are
// read as they were at the call.
func (s *Store) each(prefix byte, q atmost.Query, f func(id atmost.ID, value []byte) (bool, error)) (err error) {
	bounds := pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}}
	switch {
	case q.Scope != nil && q.Key != nil:
		bounds.LowerBound = idKey(prefix, atmost.ID{Scope: *q.Scope, Key: *q.Key})
		bounds.UpperBound = append(idKey(prefix, atmost.ID{Scope: *q.Scope, Key: *q.Key}), 0)
	case q.Scope != nil:
		bounds = *rangeOf(idKey(prefix, atmost.ID{Scope: *q.Scope}))
	}
	if q.After != (atmost.ID{}) {
		bounds.LowerBound = slices.MaxFunc([][]byte{bounds.LowerBound, append(idKey(prefix, q.After), 0)}, bytes.Compare)
	}
	iter, err := s.db.NewIter(&bounds)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for valid := iter.First(); valid; valid = iter.Next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			return err
		}
		if more, err := f(idOf(iter.Key()[1:]), value); !more || err != nil {
			return err
		}
	}
	return nil
}
