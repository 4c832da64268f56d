package pebblestore

import (
	"time"

	dto "github.com/prometheus/client_model/go"
)

// Stats are figures for operators.
type Stats struct {
	// DiskBytes is what the directory takes.
	DiskBytes uint64
	// Processing counts the records whose attempt is running, or lapsed and not swept yet.
	Processing int
	// ClockSuspended tells that the wall clock is too far from the store's, so that nothing expires.
	ClockSuspended bool
	// DiskLow tells that new claims are refused for lack of space.
	DiskLow bool
	// Guarded tells what Store.Guarded does.
	Guarded bool
}

// Stats returns them, at the cost of a few microseconds.
func (s *Store) Stats() Stats {
	return Stats{
		DiskBytes:      s.db.Metrics().DiskSpaceUsage(),
		Processing:     s.leases.len(),
		ClockSuspended: s.time.clock.Suspended(),
		DiskLow:        s.space.low.Load(),
		Guarded:        s.Guarded(),
	}
}

// Syncs is how long the syncs of the log have taken since the store was opened.
type Syncs struct {
	Count uint64
	Sum   time.Duration
	// Within counts those that took no longer than the time, for some times.
	Within map[time.Duration]uint64
}

// Syncs returns it. Each of the times is at least twice the one before.
func (s *Store) Syncs() Syncs {
	var m dto.Metric
	if h := s.db.Metrics().LogWriter.FsyncLatency; h == nil || h.Write(&m) != nil {
		return Syncs{}
	}
	all := m.GetHistogram()
	out := Syncs{Count: all.GetSampleCount(), Sum: time.Duration(all.GetSampleSum()), Within: map[time.Duration]uint64{}}
	last := time.Duration(0)
	for _, b := range all.GetBucket() { // a hundred, in nanoseconds
		if upTo := time.Duration(b.GetUpperBound()); upTo > 0 && upTo >= 2*last {
			out.Within[upTo] = b.GetCumulativeCount()
			last = upTo
		}
	}
	return out
}
