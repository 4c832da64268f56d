package pebblestore_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/pebblestore"
)

// slowDisk takes its time to sync a log.
type slowDisk struct{ vfs.FS }

func (d slowDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return slowFile{f}, err
}

type slowFile struct{ vfs.File }

const syncTakes = 30 * time.Millisecond

func (f slowFile) SyncData() error {
	<-time.After(syncTakes)
	return f.File.SyncData()
}

// Every claim that is answered was synced, and how long that took is told.
func TestSyncs(t *testing.T) {
	s, err := pebblestore.Open("dir", pebblestore.Options{FS: slowDisk{vfs.NewMem()}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // it is thrown away
	before := s.Syncs()
	const claims = 3
	for n := range claims + 1 { // what the last one took may be told a little later than it is answered
		if _, err := s.Apply(t.Context(), atmost.ID{Key: string(rune('a' + n))}, claim(1)); err != nil {
			t.Fatal(err)
		}
	}
	after := s.Syncs()
	if n := after.Count - before.Count; n < claims {
		t.Errorf("%d syncs for %d claims", n, claims)
	}
	if d := after.Sum - before.Sum; d < claims*syncTakes || d > time.Minute {
		t.Errorf("they took %v", d)
	}
	times := slices.Sorted(maps.Keys(after.Within))
	if len(times) < 10 || len(times) > 30 || times[0] > 200*time.Microsecond || times[len(times)-1] < 5*time.Second {
		t.Errorf("the times are %v", times)
	}
	for i, d := range times {
		switch n := after.Within[d] - before.Within[d]; {
		case i > 0 && (d < 2*times[i-1] || after.Within[d] < after.Within[times[i-1]]):
			t.Errorf("%v after %v: %d", d, times[i-1], n)
		case d < syncTakes && n > 0:
			t.Errorf("%d took no longer than %v", n, d)
		}
	}
	if n := after.Within[times[len(times)-1]]; n > after.Count {
		t.Errorf("%d of %d took no longer than the longest", n, after.Count)
	}
}
