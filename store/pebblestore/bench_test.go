package pebblestore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/pebblestore"
)

// benchID is as random as a client's UUID.
func benchID(n int) atmost.ID {
	sum := sha256.Sum256(strconv.AppendInt(nil, int64(n), 10))
	h := hex.EncodeToString(sum[:16])
	return atmost.ID{Scope: "tenant", Key: h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]}
}

func benchClaim(n int) *atmost.Claim {
	c := claim(1)
	c.Token = atmost.NewToken()
	c.Fingerprint.Digest = sha256.Sum256([]byte("payload" + strconv.Itoa(n)))
	return c
}

// benchResult is 200 bytes of JSON, a third of it random.
func benchResult(n int) atmost.Outcome {
	id := benchID(-n).Key
	o := completed
	o.Result = fmt.Appendf(nil, `{"id":%q,"status":"succeeded","amount":%d,"currency":"EUR","created":%d,"reference":%q,"description":"`, id, n, 1_700_000_000+n, id[:18])
	o.Result = append(o.Result, bytes.Repeat([]byte("order "), 40)...)[:198]
	o.Result = append(o.Result, `"}`...)
	return o
}

func benchStore(b *testing.B) *pebblestore.Store {
	s := open(b, b.TempDir(), pebblestore.Options{})
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func BenchmarkClaim(b *testing.B) {
	s := benchStore(b)
	for n := 0; b.Loop(); n++ {
		apply(b, s, benchID(n), benchClaim(n))
	}
}

func BenchmarkFinish(b *testing.B) {
	s := benchStore(b)
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		c := benchClaim(n)
		apply(b, s, benchID(n), c)
		b.StartTimer()
		apply(b, s, benchID(n), &atmost.Finish{Token: c.Token, Outcome: benchResult(n)})
	}
}

func BenchmarkReplay(b *testing.B) {
	s := benchStore(b)
	c := benchClaim(0)
	apply(b, s, someID, c)
	apply(b, s, someID, &atmost.Finish{Token: c.Token, Outcome: benchResult(0)})
	again := benchClaim(0)
	for b.Loop() {
		apply(b, s, someID, again)
	}
}

// BenchmarkParallel claims and finishes from many goroutines; one operation is both.
func BenchmarkParallel(b *testing.B) {
	for _, clients := range []int{16, 64, 256} {
		b.Run(strconv.Itoa(clients), func(b *testing.B) {
			s := benchStore(b)
			var next atomic.Int64
			var running sync.WaitGroup
			b.ResetTimer()
			for range clients {
				running.Go(func() {
					for n := int(next.Add(1)); n <= b.N; n = int(next.Add(1)) {
						execute(b, s, n)
					}
				})
			}
			running.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "executions/s")
		})
	}
}

func execute(b *testing.B, s *pebblestore.Store, n int) {
	c := benchClaim(n)
	if _, err := s.Apply(context.Background(), benchID(n), c); err != nil {
		b.Error(err)
	}
	if _, err := s.Apply(context.Background(), benchID(n), &atmost.Finish{Token: c.Token, Outcome: benchResult(n)}); err != nil {
		b.Error(err)
	}
}

// BenchmarkAbsentKey compares the ways to find out that a key is not there, in a database of 200,000 that are.
func BenchmarkAbsentKey(b *testing.B) {
	o := &pebble.Options{Logger: quietLogger{}, FormatMajorVersion: pebble.FormatTableFormatV6, CacheSize: 64 << 20}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(b.TempDir(), o)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	value := bytes.Repeat([]byte("v"), 300)
	for n := range 200_000 {
		if err := db.Set([]byte(benchID(n).Key), value, pebble.NoSync); err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Compact(b.Context(), []byte("0"), []byte("g"), false); err != nil {
		b.Fatal(err)
	}
	absent := make([][]byte, 10_000)
	for n := range absent {
		absent[n] = []byte(benchID(1_000_000 + n).Key)
	}
	b.Run("Get", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			if _, _, err := db.Get(absent[n%len(absent)]); err == nil {
				b.Fatal("found")
			}
		}
	})
	for _, filters := range []bool{false, true} {
		b.Run(fmt.Sprint("Iterator/UseL6Filters=", filters), func(b *testing.B) {
			options := &pebble.IterOptions{UseL6Filters: filters}
			for n := 0; b.Loop(); n++ {
				iter, err := db.NewIter(options)
				if err != nil || iter.SeekPrefixGE(absent[n%len(absent)]) {
					b.Fatal("found", err)
				}
				if err := iter.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMillionRecords fills a store and reports what that costs: ATMOST_RECORDS is how many records, and without it
// nothing is done. One operation is a claim of a new key in the full store.
func BenchmarkMillionRecords(b *testing.B) {
	records, _ := strconv.Atoi(os.Getenv("ATMOST_RECORDS"))
	if records == 0 {
		b.Skip("set ATMOST_RECORDS=1000000")
	}
	dir := b.TempDir()
	opened := func() (*pebblestore.Store, float64) {
		start := time.Now()
		s := open(b, dir, pebblestore.Options{})
		return s, float64(time.Since(start).Microseconds()) / 1000
	}
	shut := func(s *pebblestore.Store) {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	s, _ := opened()
	shut(s)
	s, openEmpty := opened()
	claimEmpty := medianClaim(b, s, 2_000_000_000)
	start := time.Now()
	var next atomic.Int64
	var running sync.WaitGroup
	for range 512 {
		running.Go(func() {
			for n := int(next.Add(1)); n <= records; n = int(next.Add(1)) {
				execute(b, s, n)
			}
		})
	}
	running.Wait()
	filled := time.Since(start)
	resident := residentMiB(b)
	shut(s)
	s, openFull := opened()
	defer shut(s)
	claimFull := medianClaim(b, s, 3_000_000_000)
	replay := median(b, 1000, func(int) {
		n := 1 + rand.IntN(records)
		apply(b, s, benchID(n), benchClaim(n))
	})
	for n := 0; b.Loop(); n++ {
		apply(b, s, benchID(4_000_000_000+n), benchClaim(n))
	}
	b.ReportMetric(float64(s.Stats().DiskBytes)/float64(records), "disk-B/record")
	b.ReportMetric(resident, "peak-RSS-MiB")
	b.ReportMetric(openEmpty, "open-empty-ms")
	b.ReportMetric(openFull, "open-full-ms")
	b.ReportMetric(claimEmpty, "claim-empty-µs")
	b.ReportMetric(claimFull, "claim-full-µs")
	b.ReportMetric(replay, "replay-cold-µs")
	b.ReportMetric(float64(records)/filled.Seconds(), "fill-executions/s")
}

func medianClaim(b *testing.B, s *pebblestore.Store, base int) float64 {
	return median(b, 1000, func(n int) { apply(b, s, benchID(base+n), benchClaim(n)) })
}

// median returns how many microseconds f takes.
func median(b *testing.B, times int, f func(n int)) float64 {
	b.Helper()
	took := make([]time.Duration, times)
	for n := range took {
		start := time.Now()
		f(n)
		took[n] = time.Since(start)
	}
	slices.Sort(took)
	return float64(took[times/2].Nanoseconds()) / 1000
}

func residentMiB(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("there is no /proc")
	}
	_, line, _ := bytes.Cut(status, []byte("VmHWM:"))
	kib, err := strconv.Atoi(string(bytes.Fields(line)[0]))
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}
