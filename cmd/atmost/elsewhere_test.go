package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/atmost-dev/atmost/internal/pgtest"
)

// statements is how often a database's role sent the statement that asks for waited keys, and for how long that has been counted.
func statements(t *testing.T, database, role string) (n int64, passed time.Duration) {
	t.Helper()
	n = pgtest.Query[int64](t, database, `SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
		WHERE r.rolname = $1 AND s.query LIKE 'SELECT%unnest($1::text[], $2::text[]) AS i(scope, key)%'`, role)
	seconds := pgtest.Query[float64](t, database, `SELECT extract(epoch FROM clock_timestamp() - stats_reset)::float8 FROM pg_stat_statements_info`)
	return n, time.Duration(seconds * float64(time.Second))
}

// TestWaitElsewhere: duplicates that wait on one instance for what another executes get the result when it is durable, and cost one
// statement at each interval, however many they are and for however many keys.
func TestWaitElsewhere(t *testing.T) {
	cluster := pgtest.New(t, pgtest.Config{Settings: []string{"shared_preload_libraries=pg_stat_statements"}})
	database := migrated(t, cluster.Database(t))
	pgtest.Exec(t, database, "CREATE EXTENSION pg_stat_statements", "CREATE ROLE waiter LOGIN SUPERUSER")
	u := newFrozenUpstream(t)
	f := newFleet(t, "operations: {slow: {url: '"+u.URL+"', timeout: 50s, concurrency: 100}}\n", database, with(t, database, "waiter", "", ""))
	executing, waiting := f.instances[0], f.instances[1]

	const keys, interval, wait = 24, 50 * time.Millisecond, "wait=40"
	var lets []func()
	var first, duplicates []<-chan reply
	key := func(i int) string { return fmt.Sprint("k", i) }
	for i := range keys {
		lets = append(lets, u.hold(key(i)))
		first = append(first, executing.later(t, "slow", key(i), ""))
		until(t, "the execution", func() bool { return u.called(key(i)) == 1 })
		for range 2 {
			duplicates = append(duplicates, waiting.later(t, "slow", key(i), wait))
		}
	}
	until(t, "the duplicates to be answered that they are", func() bool {
		return waiting.metric(t, "atmost_claim_duration_seconds_count{operation=\"slow\"}") == 2*keys
	})
	pgtest.Exec(t, database, "SELECT pg_stat_statements_reset()")
	var n int64
	var passed time.Duration
	until(t, "several intervals", func() bool {
		n, passed = statements(t, database, "waiter")
		return n >= 5
	})
	if most := int64(passed/interval) + 2; n > most {
		t.Errorf("%d keys are asked for with %d statements in %v, want at most %d", keys, n, passed, most)
	}
	t.Logf("%d statements in %v", n, passed)

	const result = `{"status":"completed","result":{"done":true}}`
	var slowest, sum time.Duration
	for i := range keys {
		lets[i]()
		await(t, first[i]).want(t, http.StatusOK, result)
		durable := time.Now()
		for _, answer := range duplicates[2*i : 2*i+2] {
			// One whose wait had ended would be told that it is processing.
			await(t, answer).want(t, http.StatusOK, result)
		}
		took := time.Since(durable)
		slowest, sum = max(slowest, took), sum+took
	}
	t.Logf("the duplicates had the result %v after the first, at worst %v", sum/keys, slowest)
	f.stop(t)
}
