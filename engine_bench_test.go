package atmost_test

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/pebblestore"
)

// atOnce answers at once.
type atOnce struct{}

func (atOnce) Execute(context.Context, atmost.Attempt) atmost.Outcome {
	return atmost.Outcome{State: atmost.Completed, Result: []byte(`{"id":"ch_1","amount":1200,"status":"succeeded"}`), UpstreamStatus: 200}
}

func benchmarkStores(b *testing.B, bench func(b *testing.B, e *atmost.Engine)) {
	for name, open := range map[string]func(b *testing.B) atmost.Store{
		"memory": func(*testing.B) atmost.Store { return memstore.New(memstore.Options{}) },
		"pebble": func(b *testing.B) atmost.Store {
			s, err := pebblestore.Open(b.TempDir(), pebblestore.Options{})
			if err != nil {
				b.Fatal(err)
			}
			return s
		},
	} {
		b.Run(name, func(b *testing.B) {
			store := open(b)
			e, err := atmost.New(b.Context(), store, atmost.Options{
				Operations: map[string]atmost.Operation{"op": {Executor: atOnce{}}},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				e.Close(context.Background())
				if err := store.Close(); err != nil {
					b.Error(err)
				}
			}()
			bench(b, e)
		})
	}
}

// BenchmarkExecute makes first executions: with a store that syncs, more clients share each sync.
func BenchmarkExecute(b *testing.B) {
	benchmarkStores(b, func(b *testing.B, e *atmost.Engine) {
		var n atomic.Int64
		for _, clients := range []int{1, 4, 16, 64, 256} {
			b.Run(fmt.Sprint("clients=", clients), func(b *testing.B) {
				b.ReportAllocs()
				inParallel(b, clients, func() error {
					c := call("key-" + strconv.FormatInt(n.Add(1), 10))
					_, err := e.Execute(context.Background(), c)
					return err
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "executions/s")
			})
		}
	})
}

// BenchmarkReplay answers a thousand keys again and again.
func BenchmarkReplay(b *testing.B) {
	benchmarkStores(b, func(b *testing.B, e *atmost.Engine) {
		var calls [1000]atmost.Call
		for i := range calls {
			calls[i] = call(fmt.Sprint("replay-", i))
			if _, err := e.Execute(context.Background(), calls[i]); err != nil {
				b.Fatal(err)
			}
		}
		var n atomic.Int64
		for _, clients := range []int{1, 64} {
			b.Run(fmt.Sprint("clients=", clients), func(b *testing.B) {
				b.ReportAllocs()
				inParallel(b, clients, func() error {
					a, err := e.Execute(context.Background(), calls[n.Add(1)%1000])
					if err == nil && !a.Replayed {
						return fmt.Errorf("not replayed: %+v", a)
					}
					return err
				})
			})
		}
	})
}

// inParallel has clients goroutines call f, b.N times altogether.
func inParallel(b *testing.B, clients int, f func() error) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	failed := make(chan error, clients)
	b.ResetTimer()
	for range clients {
		go func() {
			for left.Add(-1) >= 0 {
				if err := f(); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range clients {
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
}
