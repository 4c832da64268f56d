package pebblestore

// The time index and how it is emptied. An entry of a bucket says that some change of a record falls due in that
// minute. A bucket is emptied once it is over, and after every step that could still have added to it has ended: steps
// read under their latch which bucket is the earliest that is still open, so the sweeper closes the buckets first,
// then passes through every latch, and only then reads and removes entries. That happens once a minute at most.
//
// Nothing here is synced. What a crash undoes is what time does again.

import (
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/atmost-dev/atmost"
)

// Sweep is described at atmost.Store. Results and keys whose retention ended are found up to a minute later.
// An entry of an index that turns out to be stale counts towards limit.
func (s *Store) Sweep(_ context.Context, limit int) (atmost.Swept, error) {
	s.calls.Add(1)
	defer s.calls.Done()
	s.sweeping.take()
	defer s.sweeping.drop()
	w := sweeper{Store: s, left: limit}
	var err error
	if w.at, err = s.now(); err != nil {
		return atmost.Swept{}, err
	}
	err = w.lapses()
	if err == nil {
		err = w.expiries()
	}
	w.swept.More = w.left <= 0
	return w.swept, err
}

// sweeper is one Sweep.
type sweeper struct {
	*Store
	at    atmost.Instant
	left  int
	swept atmost.Swept
}

// lapses writes down the leases that ended.
func (w *sweeper) lapses() error {
	for w.left > 0 {
		id, ok := w.leases.earliest(w.at.Now)
		if !ok {
			return nil
		}
		if err := w.sweep(id); err != nil {
			return err
		}
	}
	return nil
}

// expiries empties the buckets that are over.
func (w *sweeper) expiries() (err error) {
	over := bucketOf(w.at.Expiry)
	if due, err := w.anyDue(over); !due || err != nil || w.left <= 0 {
		return err
	}
	if w.closed.Load() < over {
		w.closed.Store(over)
		w.latches.passAll()
	}
	iter, err := w.dueBefore(over)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	var done []byte
	for valid := iter.First(); valid && w.left > 0; valid = iter.Next() {
		if err := w.sweep(idOfExpiryKey(iter.Key())); err != nil {
			return err
		}
		done = append(done[:0], iter.Key()...)
	}
	if done == nil {
		return iter.Error()
	}
	return w.forgetEntries(append(done, 0))
}

func (w *sweeper) anyDue(over uint32) (bool, error) {
	iter, err := w.dueBefore(over)
	if err != nil {
		return false, err
	}
	due := iter.First()
	return due, iter.Close()
}

// dueBefore iterates over the entries of the buckets before over.
func (w *sweeper) dueBefore(over uint32) (*pebble.Iterator, error) {
	lower := []byte{prefixExpiry}
	if w.Store.swept != nil {
		lower = w.Store.swept
	}
	return w.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: bucketKey(over)})
}

// forgetEntries removes the entries before end, and spares the next sweep from skipping them.
func (w *sweeper) forgetEntries(end []byte) error {
	b := w.db.NewBatch()
	defer b.Close()
	_ = b.DeleteRange([]byte{prefixExpiry}, end, nil)
	if err := w.commit(b, buffered); err != nil {
		return err
	}
	w.Store.swept = slices.Clone(end)
	return nil
}

// sweep writes down what time did to the record of id, which is read again under its latch: what led here may be
// stale.
func (w *sweeper) sweep(id atmost.ID) error {
	w.left--
	latch := w.Store.latches.of(id)
	latch.take()
	defer latch.drop()
	at, stored, err := w.read(id)
	if errors.Is(err, errCorrupt) {
		w.leases.track(&atmost.Record{ID: id})
		w.options.Logger.Error("a record cannot be swept", "key_digest", id.Digest(), "error", err)
		return nil // every call that asks for it gets the error
	}
	if err != nil {
		return err
	}
	return w.age(stored, at)
}

func (w *sweeper) age(stored atmost.Record, at atmost.Instant) error {
	aged := atmost.Age(stored, at)
	switch {
	case aged.State == stored.State && aged.NotKept == stored.NotKept:
		w.leases.track(&stored)
		return nil
	case aged.State == atmost.Absent && aged.Fence >= int64(at.Now):
		return w.postpone(stored) // its next claim could not know that the fence must be higher
	}
	if err := w.write(&stored, &aged, buffered); err != nil {
		return err
	}
	switch {
	case aged.State == atmost.Absent:
		w.swept.Forgotten++
	case stored.State == atmost.Processing:
		w.swept.Lapsed = append(w.swept.Lapsed, aged)
	default:
		w.swept.Dropped++
	}
	return nil
}

// postpone adds an entry for a record at its fence's time.
func (w *sweeper) postpone(stored atmost.Record) error {
	b := w.db.NewBatch()
	defer b.Close()
	w.putDue(b, stored.ID, atmost.Time(stored.Fence))
	return w.commit(b, buffered)
}
