package pgstore_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/fingerprint"
	"github.com/atmost-dev/atmost/internal/pgtest"
	"github.com/atmost-dev/atmost/store/pgstore"
)

// plainDesign is what is usually written: a statement per request, on a pool of 32 connections.
type plainDesign struct{ pool *pgxpool.Pool }

const plainSchema = `CREATE TABLE plain (key text PRIMARY KEY, state smallint NOT NULL, fingerprint bytea NOT NULL,
	result bytea, created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL)`

func (p plainDesign) execute(ctx context.Context, key string, print, result []byte) error {
	var claimed bool
	err := p.pool.QueryRow(ctx, `INSERT INTO plain VALUES ($1, 1, $2, NULL, now(), now() + interval '1 day')
		ON CONFLICT (key) DO UPDATE SET state = 1 WHERE plain.expires_at < now() RETURNING true`, key, print).Scan(&claimed)
	if err == nil {
		_, err = p.pool.Exec(ctx, `UPDATE plain SET state = 2, result = $2 WHERE key = $1 AND state = 1`, key, result)
	}
	return err
}

// storeDesign is ours.
type storeDesign struct{ store *pgstore.Store }

func (d storeDesign) execute(ctx context.Context, key string, print, result []byte) error {
	id := atmost.ID{Key: key}
	claim := &atmost.Claim{
		Operation: "charge", Token: atmost.NewToken(), Lease: time.Minute,
		Fingerprint: fingerprint.Fingerprint{Algorithm: fingerprint.JSON1, Digest: [32]byte(print)},
		Policy:      atmost.Policy{ResultRetention: 24 * time.Hour, KeyRetention: 720 * time.Hour},
	}
	if _, err := d.store.Apply(ctx, id, claim); err != nil {
		return err
	}
	_, err := d.store.Apply(ctx, id, &atmost.Finish{Token: claim.Token, Outcome: atmost.Outcome{
		State: atmost.Completed, Result: result, UpstreamStatus: 200,
	}})
	return err
}

// BenchmarkFirstExecutions compares first executions, a claim and a finish each, with the plain design's, both on one server.
func BenchmarkFirstExecutions(b *testing.B) {
	cluster := pgtest.New(b, pgtest.Config{Disk: true})
	url := migrated(b, cluster.Database(b))
	pgtest.Exec(b, url, plainSchema)
	config, err := pgxpool.ParseConfig(url + "&pool_max_conns=32")
	if err != nil {
		b.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	store := open(b, url, pgstore.Options{})
	defer store.Close()
	for _, clients := range []int{1, 64, 256} {
		b.Run(fmt.Sprint("clients=", clients), func(b *testing.B) {
			var plain, ours float64
			for b.Loop() {
				plain += perSecond(b, clients, plainDesign{pool}.execute)
				ours += perSecond(b, clients, storeDesign{store}.execute)
			}
			b.ReportMetric(plain/float64(b.N), "plain/s")
			b.ReportMetric(ours/float64(b.N), "store/s")
			b.ReportMetric(ours/plain, "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

var benchKey atomic.Int64

// perSecond lets clients execute, each the next as soon as the last has ended, for a while.
func perSecond(b *testing.B, clients int, execute func(context.Context, string, []byte, []byte) error) float64 {
	print, result := make([]byte, 32), make([]byte, 200)
	var done atomic.Int64
	var running sync.WaitGroup
	start := time.Now()
	for range clients {
		running.Go(func() {
			for time.Since(start) < time.Second {
				key := fmt.Sprintf("%08x-0000-4000-8000-000000000000", benchKey.Add(1))
				if err := execute(context.Background(), key, print, result); err != nil && err != pgx.ErrNoRows {
					b.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	running.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
}
