package pebblestore

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/atmost-dev/atmost"
)

// markAhead is how far ahead of the time the high-water mark is set. After a crash the store's time begins at the mark, so it
// is also the most that a crash can shorten a lease by.
const markAhead = time.Second

// storeTime makes the store's now, which never goes back, not even after a crash with the wall clock set back: no time
// is told that is later than a mark on disk. The mark is moved when time is asked for, so an idle store writes nothing.
//
// Expiry has a mark of its own, that is never ahead: it is moved before something is told, or written, to have expired by
// a later time. So an expired key does not come back, and crashes in a row let none expire early.
type storeTime struct {
	clock  *atmost.StoreClock
	mark   atomic.Int64
	moving atomic.Bool // somebody moves it in the background
	latch  latch       // held while a mark is written

	expired atomic.Int64 // the mark of expiry
}

// now reads the store's clock.
func (s *Store) now() (atmost.Instant, error) {
	at := s.time.clock.Read()
	switch ahead := atmost.Time(s.time.mark.Load()).Sub(at.Now); {
	case ahead < 0:
		if err := s.moveMark(at.Now); err != nil {
			return atmost.Instant{}, err
		}
	case ahead < markAhead/2 && s.time.moving.CompareAndSwap(false, true):
		s.calls.Go(func() {
			defer s.time.moving.Store(false)
			_ = s.moveMark(at.Now) // whoever reaches the mark tries again, and is told
		})
	}
	return at, nil
}

// moveMark moves the mark to markAhead of now, unless somebody has.
func (s *Store) moveMark(now atmost.Time) error {
	s.time.latch.take()
	defer s.time.latch.drop()
	if atmost.Time(s.time.mark.Load()).Sub(now) >= markAhead/2 {
		return nil
	}
	return s.setMark(now.Add(markAhead))
}

// setMark makes a mark durable, and then lets it count. The caller holds the mark's latch, or is alone.
func (s *Store) setMark(mark atmost.Time) error {
	b := s.db.NewBatch()
	defer b.Close()
	_ = b.Set(metaMark, encodeTime(mark), nil)
	if err := s.commit(b, durable); err != nil {
		return err
	}
	s.time.mark.Store(int64(mark))
	return nil
}

// expiring makes the mark of expiry durable before at is used to tell that r, as it is stored, has expired in part or whole: further
// than by the mark.
func (s *Store) expiring(r *atmost.Record, at atmost.Instant) error {
	if due, ok := r.NextChange(); !ok || due > max(at.Now, at.Expiry) {
		return nil
	}
	told := atmost.Age(*r, at)
	marked := atmost.Age(*r, atmost.Instant{Now: at.Now, Expiry: min(at.Expiry, atmost.Time(s.time.expired.Load()))})
	if told.State == marked.State && told.NotKept == marked.NotKept {
		return nil
	}
	return s.moveExpired(at.Expiry)
}

// moveExpired moves the mark of expiry to no less than a time.
func (s *Store) moveExpired(to atmost.Time) error {
	if int64(to) <= s.time.expired.Load() {
		return nil
	}
	s.time.latch.take()
	defer s.time.latch.drop()
	if int64(to) <= s.time.expired.Load() {
		return nil
	}
	b := s.db.NewBatch()
	defer b.Close()
	_ = b.Set(metaExpired, encodeTime(to), nil)
	if err := s.commit(b, durable); err != nil {
		return err
	}
	s.time.expired.Store(int64(to))
	return nil
}

func encodeTime(t atmost.Time) []byte { return binary.BigEndian.AppendUint64(nil, uint64(t)) }

// storedTime reads a mark, 0 if there is none.
func (s *Store) storedTime(key []byte) (atmost.Time, error) {
	b, err := s.meta(key)
	if err != nil || b == nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("a mark of time: %w", errCorrupt)
	}
	return atmost.Time(binary.BigEndian.Uint64(b)), nil
}
