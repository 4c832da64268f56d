package pgstore_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/pgtest"
	"github.com/atmost-dev/atmost/store/pgstore"
)

// TestSpaceIsReclaimed writes and expires the same number of keys over and over: what is on disk does not grow.
func TestSpaceIsReclaimed(t *testing.T) {
	const rounds, clients, each = 10, 32, 20
	url := migrated(t, pgtest.Database(t))
	clock := newTableClock(t, url)
	s := newStore(t, url, pgstore.WithNow(pgstore.Options{}, tableNow))
	var early int64
	for round := range rounds {
		var running sync.WaitGroup
		for client := range clients {
			running.Go(func() {
				for n := range each {
					id, c := atmost.ID{Key: fmt.Sprint(round, "-", client, "-", n)}, newClaim()
					for _, event := range []atmost.Event{c, done(c)} {
						if _, err := s.Apply(t.Context(), id, event); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		running.Wait()
		clock.Advance(2 * time.Hour)
		forgotten := 0
		for more := true; more; {
			swept, err := s.Sweep(t.Context(), 100)
			if err != nil {
				t.Fatal(err)
			}
			forgotten, more = forgotten+swept.Forgotten, swept.More
		}
		if forgotten != clients*each {
			t.Fatalf("round %d: %d keys were forgotten, want %d", round, forgotten, clients*each)
		}
		pgtest.Exec(t, url, "VACUUM atmost_records") // what the server does by itself, a minute later
		size := pgtest.Query[int64](t, url, "SELECT pg_total_relation_size('atmost_records')")
		if round == 2 {
			early = size
		}
		if round > 2 && size > early*3/2 {
			t.Fatalf("round %d: the table and its indexes take %d bytes, after round 2 it was %d", round, size, early)
		}
	}
}
