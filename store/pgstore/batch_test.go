package pgstore

import (
	"slices"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
)

// TestTwinsOfTheGone: who waits for a call of the same key goes on when that call's caller is gone.
func TestTwinsOfTheGone(t *testing.T) {
	named := func(key string) *call { return &call{id: atmost.ID{Key: key}} }
	gone, twin, other, another := named("a"), named("a"), named("b"), named("b")
	gone.stage.Store(dropped)
	sh := share([]*call{gone, twin, other, another}, time.Time{})
	if left := sh.begin(); !slices.Equal(left, []*call{twin}) || !slices.Equal(sh.calls, []*call{other}) || !slices.Equal(other.twins, []*call{another}) {
		t.Errorf("left %v, together %v", left, sh.calls)
	}
}
