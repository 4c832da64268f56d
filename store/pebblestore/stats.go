package pebblestore

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
