package pgstore

// Stats are figures for operators.
type Stats struct {
	// Down is why the database cannot be used, "" while it can: what the look at it found that is taken every second, without what tells
	// where the database is or who uses it. Options.Logger was told all of it.
	Down string
	// Guarded tells what Store.Guarded does.
	Guarded bool
	// Connections are those in use, MaxConnections how many there may be.
	Connections, MaxConnections int
}

// Stats returns them. It asks the database for nothing.
func (s *Store) Stats() Stats {
	pool := s.pool.Stat()
	out := Stats{Guarded: s.Guarded(), Connections: int(pool.AcquiredConns()), MaxConnections: int(pool.MaxConns())}
	if down := s.down.Load(); down != nil {
		out.Down = causeOf(*down)
	}
	return out
}

// looked takes note of what a look at the database found, and tells when that changed.
func (s *Store) looked(err error) {
	switch was := s.down.Load(); {
	case err != nil:
		s.down.Store(&err)
		if was == nil {
			s.options.Logger.Warn("the database cannot be used", "error", err)
		}
	case was != nil:
		s.down.Store(nil)
		s.options.Logger.Info("the database can be used again")
	}
}
