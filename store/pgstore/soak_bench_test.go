package pgstore_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/pgtest"
	"github.com/atmost-dev/atmost/store/pgstore"
)

// BenchmarkSoak writes and expires keys continuously, as long as ATMOST_SOAK says, while the server vacuums by itself. Every key
// lives for about ten seconds. It fails if what is on disk or the time that an execution takes grows.
func BenchmarkSoak(b *testing.B) {
	length, err := time.ParseDuration(os.Getenv("ATMOST_SOAK"))
	if err != nil {
		length = 30 * time.Second
	}
	const clients, windows = 16, 9
	cluster := pgtest.New(b, pgtest.Config{Disk: true, Settings: []string{"autovacuum_naptime=5s"}})
	url := migrated(b, cluster.Database(b))
	clock := newTableClock(b, url)
	s := newStore(b, url, pgstore.WithNow(pgstore.Options{}, tableNow))
	ctx, stop := context.WithTimeout(b.Context(), length)
	defer stop()

	var (
		mu        sync.Mutex
		took      []time.Duration // of the executions of this window
		forgotten atomic.Int64
		running   sync.WaitGroup
	)
	every := func(d time.Duration, f func()) {
		running.Go(func() {
			tick := time.NewTicker(d)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					f()
				}
			}
		})
	}
	every(100*time.Millisecond, func() { clock.Advance(36 * time.Second) }) // an hour in ten seconds
	every(200*time.Millisecond, func() {
		for more := true; more && ctx.Err() == nil; {
			swept, err := s.Sweep(ctx, 1000)
			if err != nil {
				b.Error(err)
				return
			}
			forgotten.Add(int64(swept.Forgotten))
			more = swept.More
		}
	})
	for client := range clients {
		running.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				id, c := atmost.ID{Key: fmt.Sprint(client, "-", n)}, newClaim()
				c.Lease = 24 * time.Hour
				begin := time.Now()
				for _, event := range []atmost.Event{c, done(c)} {
					if _, err := s.Apply(context.Background(), id, event); err != nil {
						b.Error(err)
						return
					}
				}
				mu.Lock()
				took = append(took, time.Since(begin))
				mu.Unlock()
			}
		})
	}
	var sizes, medians []float64
	for range windows {
		<-time.After(length / windows)
		mu.Lock()
		window := took
		took = nil
		mu.Unlock()
		slices.Sort(window)
		size := pgtest.Query[int64](b, url, "SELECT pg_total_relation_size('atmost_records')")
		rows := pgtest.Query[int64](b, url, "SELECT count(*) FROM atmost_records")
		sizes = append(sizes, float64(size))
		medians = append(medians, float64(window[len(window)/2]))
		b.Logf("%6d executions, median %v, p99 %v; %d keys, %.1f MiB; %d forgotten",
			len(window), window[len(window)/2].Round(10*time.Microsecond), window[len(window)*99/100].Round(10*time.Microsecond), rows, float64(size)/(1<<20), forgotten.Load())
	}
	stop()
	running.Wait()
	third := windows / 3
	growth := func(x []float64) float64 { return slices.Max(x[2*third:]) / slices.Max(x[third:2*third]) }
	b.ReportMetric(growth(sizes), "size-growth")
	b.ReportMetric(growth(medians), "latency-growth")
	b.ReportMetric(float64(forgotten.Load()), "forgotten")
	b.ReportMetric(0, "ns/op")
	if growth(sizes) > 1.5 || growth(medians) > 2 {
		b.Errorf("from the second third to the last, what is on disk grew %.2f times, the median %.2f times", growth(sizes), growth(medians))
	}
}
