package pebblestore

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/atmost-dev/atmost"
)

// markAhead is how far ahead of the time the high-water mark is set. After a crash the store's time begins at the mark, so it
// is also the most that a crash can shorten a lease by.
const markAhead = 10 * time.Second

// storeTime makes the store's now, which never goes back, not even after a crash with the wall clock set back: no time
// is told that is later than a mark on disk. The mark is moved when time is asked for, so an idle store writes nothing.
type storeTime struct {
	clock  *atmost.StoreClock
	mark   atomic.Int64
	moving atomic.Bool // somebody moves it in the background
	latch  latch       // held while the mark is written
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
	_ = b.Set(metaMark, binary.BigEndian.AppendUint64(nil, uint64(mark)), nil)
	if err := s.commit(b, durable); err != nil {
		return err
	}
	s.time.mark.Store(int64(mark))
	return nil
}
