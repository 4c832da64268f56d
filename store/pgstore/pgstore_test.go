package pgstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/pgtest"
	"github.com/atmost-dev/atmost/store/pgstore"
	"github.com/atmost-dev/atmost/store/storetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestStore(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	clock := newTableClock(t, url)
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		clock.reset()
		reopen := func() atmost.Store { return open(t, url, pgstore.WithNow(pgstore.Options{}, tableNow)) }
		return storetest.Harness{Store: reopen(), Clock: clock, Reopen: reopen, Shared: true}
	})
}

// TestClosed: nothing of a store goes on after Close.
func TestClosed(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	running := goleak.IgnoreCurrent()
	s := open(t, url, pgstore.Options{})
	for n := range 32 {
		apply(t, s, atmost.ID{Key: fmt.Sprint("k", n)}, newClaim())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, running)
}

func migrated(t testing.TB, url string) string {
	t.Helper()
	if _, err := pgstore.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	return url
}

func open(t testing.TB, url string, o pgstore.Options) *pgstore.Store {
	t.Helper()
	s, err := pgstore.Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tableNow reads a tableClock.
const tableNow = "(SELECT now FROM test_clock)"

// tableClock is a clock in a table: time that all of a database's sessions see, and that tests control.
type tableClock struct {
	*storetest.ManualClock
	t    testing.TB
	conn *pgx.Conn
}

func newTableClock(t testing.TB, url string) *tableClock {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(ctx) })
	c := &tableClock{ManualClock: storetest.NewClock(), t: t, conn: conn}
	c.exec("SET synchronous_commit = off")
	c.exec("CREATE TABLE test_clock (now bigint)")
	c.exec("INSERT INTO test_clock VALUES (0)")
	c.set()
	return c
}

// reset empties the database. Time goes on.
func (c *tableClock) reset() { c.exec("DELETE FROM atmost_records; DELETE FROM atmost_audit") }

func (c *tableClock) Advance(d time.Duration) {
	c.ManualClock.Advance(d)
	c.set()
}

// Step does nothing: nobody steps the database's clock.
func (c *tableClock) Step(time.Duration) {}

func (c *tableClock) set() { c.exec("UPDATE test_clock SET now = $1", c.Now().UnixMicro()) }

func (c *tableClock) exec(sql string, args ...any) {
	if _, err := c.conn.Exec(context.Background(), sql, args...); err != nil {
		c.t.Fatal(err)
	}
}
