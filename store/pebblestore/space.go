package pebblestore

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/atmost-dev/atmost"
)

// errDiskReserve is the error of a claim that was refused to keep the rest of the disk for what has been claimed already.
var errDiskReserve = fmt.Errorf("pebblestore: the disk is nearly full: %w", atmost.ErrFull)

// spaceInterval is the shortest time between two looks at the disk.
const spaceInterval = time.Second

// space knows whether the disk is nearly full. It looks when it is asked, so it costs nothing while nothing happens.
type space struct {
	fs      vfs.FS
	dir     string
	reserve uint64
	due     atomic.Int64 // elapsed time of the next look
	low     atomic.Bool
}

// check looks if it is time to; one caller does, and the others go by what was seen last. A disk that cannot be asked
// is not full.
func (s *space) check(elapsed time.Duration) {
	due := s.due.Load()
	if int64(elapsed) < due || !s.due.CompareAndSwap(due, int64(elapsed+spaceInterval)) {
		return
	}
	usage, err := s.fs.GetDiskUsage(s.dir)
	s.low.Store(err == nil && usage.AvailBytes < s.reserve)
}

// enoughToOpen refuses a disk on which what is to be replayed from the log could not be written.
func (s *space) enoughToOpen() error {
	usage, err := s.fs.GetDiskUsage(s.dir)
	if needed := min(s.reserve/2, 2*memTableSize); err == nil && usage.AvailBytes < needed {
		return fmt.Errorf("pebblestore: the disk of %s has %d bytes free, and %d are needed to open the store", s.dir, usage.AvailBytes, needed)
	}
	return nil
}
