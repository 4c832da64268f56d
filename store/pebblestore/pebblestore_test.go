package pebblestore_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/store/storetest"
)

func TestStore(t *testing.T) {
	t.Run("Memory", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Harness { return harness(t, "store", vfs.NewMem()) })
	})
}

func harness(t *testing.T, dir string, fs vfs.FS) storetest.Harness {
	clock := storetest.NewClock()
	open := func() atmost.Store { return open(t, dir, pebblestore.Options{Clock: clock, FS: fs}) }
	return storetest.Harness{Store: open(), Clock: clock, Reopen: open}
}

func open(t testing.TB, dir string, o pebblestore.Options) *pebblestore.Store {
	t.Helper()
	s, err := pebblestore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
