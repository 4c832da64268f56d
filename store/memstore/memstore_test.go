package memstore_test

import (
	"testing"

	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Harness {
		clock := storetest.NewClock()
		return storetest.Harness{Store: memstore.New(memstore.Options{Clock: clock}), Clock: clock}
	})
}
