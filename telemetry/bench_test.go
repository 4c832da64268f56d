package telemetry

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/upstream"
)

// BenchmarkObserved makes first executions, by turns with everything that observes them and with nothing, and tells the ratio of the
// processor's time that the two took, which other work on the machine does not change: what is over 1 is the cost. An engine alone, in memory, shows what the observers cost; over HTTP, with a
// store that syncs and an upstream that answers at once, is what a service is like at its fastest.
func BenchmarkObserved(b *testing.B) {
	transport := upstream.NewTransport(upstream.TransportOptions{})
	defer transport.CloseIdleConnections()
	up := httptest.NewServer(http.HandlerFunc(fine))
	defer up.Close()
	u, err := upstream.New(upstream.Config{URL: up.URL, Transport: transport})
	if err != nil {
		b.Fatal(err)
	}
	atOnce := executor(func(context.Context, atmost.Attempt) atmost.Outcome {
		return atmost.Outcome{State: atmost.Completed, Result: []byte(`"done"`)}
	})
	memory := func(*testing.B) atmost.Store { return memstore.New(memstore.Options{}) }
	pebble := func(b *testing.B) atmost.Store {
		s, err := pebblestore.Open(b.TempDir(), pebblestore.Options{})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	for name, c := range map[string]struct {
		store func(*testing.B) atmost.Store
		x     atmost.Executor
		send  func(*testing.B, *atmost.Engine) func(key string) error
	}{
		"memory": {memory, atOnce, direct}, "pebble": {pebble, atOnce, direct}, "http": {pebble, u, overHTTP},
	} {
		for _, traced := range []bool{false, true} {
			b.Run(name+map[bool]string{true: "/exemplars"}[traced], func(b *testing.B) {
				var send [2]func(key string) error
				for i := range send {
					store := c.store(b)
					o := atmost.Options{Operations: map[string]atmost.Operation{"pay": {Executor: c.x}}}
					observed := store
					if i == 1 {
						reg := prometheus.NewRegistry()
						o.Events = atmost.Tee(atmost.Events{}, atmost.Tee(NewPrometheus(reg), Log(slog.New(slog.DiscardHandler))))
						observed = MeterStore(reg, "kind", store)
					}
					e, err := atmost.New(b.Context(), observed, o)
					if err != nil {
						b.Fatal(err)
					}
					send[i] = c.send(b, e)
					b.Cleanup(func() {
						e.Close(context.Background())
						_ = store.Close()
					})
				}
				ratio(b, send)
			})
		}
	}
}

// direct asks the engine itself.
func direct(_ *testing.B, e *atmost.Engine) func(key string) error {
	return func(key string) error {
		c := atmost.Call{ID: atmost.ID{Key: key}, Operation: "pay", Payload: []byte(`{"amount":1}`)}
		if strings.HasPrefix(key, "traced") {
			c.Trace.Parent = theirs
		}
		_, err := e.Execute(context.Background(), c)
		return err
	}
}

// overHTTP asks the API.
func overHTTP(b *testing.B, e *atmost.Engine) func(key string) error {
	srv := httptest.NewServer(server.New(e, server.Options{}))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	b.Cleanup(func() {
		client.CloseIdleConnections()
		srv.Close()
	})
	return func(key string) error {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, srv.URL+execute, strings.NewReader(pay))
		if err != nil {
			return err
		}
		r.Header["Idempotency-Key"], r.Header["Content-Type"] = []string{key}, []string{"application/json"}
		if strings.HasPrefix(key, "traced") {
			r.Header["Traceparent"] = []string{theirs}
		}
		resp, err := client.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
}

const (
	clients = 16
	turn    = 10 * clients // requests
)

// processorTime is what this process has used, clients and upstream included.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ratio has both ways take turns, and reports the median of what the second took in relation to the first.
func ratio(b *testing.B, send [2]func(key string) error) {
	b.Helper()
	prefix := "plain-"
	if strings.HasSuffix(b.Name(), "exemplars") {
		prefix = "traced-"
	}
	var n atomic.Int64
	var ratios []float64
	var per [2]time.Duration
	for done := 0; done < b.N || done == 0; done += 2 * turn {
		var took [2]time.Duration
		for k := range send {
			which := (k + done/(2*turn)) % 2 // whoever is first changes
			begin := processorTime(b)
			var all sync.WaitGroup
			for range clients {
				all.Go(func() {
					for range turn / clients {
						if err := send[which](prefix + strconv.FormatInt(n.Add(1), 10)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			took[which] = processorTime(b) - begin
			per[which] += took[which]
		}
		ratios = append(ratios, float64(took[1])/float64(took[0]))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(float64(per[0].Microseconds())/float64(len(ratios)*turn), "µs-plain")
	b.ReportMetric(float64(per[1].Microseconds())/float64(len(ratios)*turn), "µs-observed")
	b.ReportMetric(0, "ns/op")
}
