package pgstore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/fingerprint"
	"github.com/atmost-dev/atmost/internal/pgtest"
)

var ada = atmost.Actor{Name: "ada", Reason: "the bank says so"}

// migratedTo is a database whose schema has a version of old.
func migratedTo(t *testing.T, version int64) (url string) {
	t.Helper()
	url = pgtest.Database(t)
	if err := withProvider(url, func(p *goose.Provider) error {
		_, err := p.UpTo(t.Context(), version)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return url
}

// oldRelease is an instance of the release whose schema had version 1: what it sends is in testdata, as it was.
type oldRelease struct {
	t        *testing.T
	conn     *pgx.Conn
	text     map[string]string
	timeline string
}

func newOldRelease(t *testing.T, url string) *oldRelease {
	t.Helper()
	o := &oldRelease{t: t, text: map[string]string{}}
	files, err := filepath.Glob("testdata/version1/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		o.text[strings.TrimSuffix(filepath.Base(f), ".sql")] = string(text)
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range session() {
		config.RuntimeParams[name] = value
	}
	config.RuntimeParams["lock_timeout"] = ms(DefaultTimeout / loneLockShare)
	ctx := context.Background()
	if o.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.conn.Close(ctx) })
	if err := o.conn.QueryRow(ctx, `UPDATE atmost_meta SET timeline = `+currentTimeline+` RETURNING timeline`).Scan(&o.timeline); err != nil {
		t.Fatal(err)
	}
	return o
}

// rows is how many rows a statement tells of, or writes.
func (o *oldRelease) rows(name string, args ...any) int {
	rows, err := o.conn.Query(context.Background(), o.text[name], args...)
	n := 0
	if err == nil {
		for rows.Next() {
			n++
		}
		err = rows.Err()
	}
	if err != nil {
		o.t.Errorf("the old release cannot %s any more: %v", name, err)
		return -1
	}
	return max(n, int(rows.CommandTag().RowsAffected()))
}

// version is that of a row, 0 if there is none.
func (o *oldRelease) version(key string) (version int64) {
	err := o.conn.QueryRow(context.Background(), `SELECT version FROM atmost_records WHERE scope = 'old' AND key = $1`, key).Scan(&version)
	if err != nil {
		o.t.Error(err)
	}
	return version
}

// life does all that the old release does: it leaves keys that it completed, that it executes, and that lapsed.
func (o *oldRelease) life(name string) {
	want := func(rows int, statement string, args ...any) {
		o.t.Helper()
		if n := o.rows(statement, args...); n != rows {
			o.t.Errorf("%s: %s tells of %d rows, want %d", name, statement, n, rows)
		}
	}
	token, digest := make([]byte, 16), make([]byte, 32)
	claim := func(key string, lease int64) {
		o.t.Helper()
		want(1, "claim_one", "old", key, "charge", "a1", digest, token, lease, int64(time.Hour), int64(time.Hour), int16(0), int16(0), o.timeline)
	}
	done, running, lapsed, two := name+"-done", name+"-running", name+"-lapsed", []string{name + "-a", name + "-b"}
	both := []string{"old", "old"}
	claim(done, 1e9)
	claim(running, 1e9)
	claim(lapsed, 0)
	want(2, "claim_many", both, two, []string{"charge", "charge"}, []string{"a1", "a1"}, [][]byte{digest, digest}, [][]byte{token, token},
		[]int64{1e9, 1e9}, []int64{1e12, 1e12}, []int64{1e12, 1e12}, []int16{0, 0}, []int16{0, 0}, o.timeline)
	want(1, "renew_one", "old", running, token, int64(2e9))
	want(1, "finish_one", "old", done, token, int16(2), int16(0), int32(200), nil, []byte(`1`), true)
	want(2, "finish_claimed_many", both, two, [][]byte{token, token}, []int16{2, 2}, []int16{0, 0}, []int32{200, 200}, make([][]byte, 2),
		[][]byte{[]byte(`1`), []byte(`2`)}, []bool{true, true})
	for _, key := range []string{done, running, lapsed} {
		want(1, "read_one", "old", key)
	}
	if o.rows("due", 1000) < 1 {
		o.t.Errorf("%s: nothing is due", name)
	}
	want(1, "rewrite", []string{"old"}, []string{lapsed}, []int64{o.version(lapsed)}, []int16{5}, []int16{1}, []int16{0}, []int32{0}, make([][]byte, 1),
		[]int64{1}, []int64{1}, []int64{0}, []int64{0}, make([]*int64, 1))

	r := atmost.Record{ID: atmost.ID{Scope: "old", Key: name + "-alone"}, Outcome: atmost.Outcome{State: atmost.Processing}, Deadline: 1}
	args := named(&r)
	args["guard"] = 1
	want(1, "insert", args)
	args["version"], args["until"], args["claim"] = o.version(r.ID.Key), int64(9e18), true
	want(1, "update", args)
	want(1, "forget", []string{"old"}, []string{r.ID.Key}, []int64{o.version(r.ID.Key)})
}

// TestMigrateUnderLoad: while the schema is brought up to date, and from then on, instances of the release before go on, and what either
// release writes the other can read.
func TestMigrateUnderLoad(t *testing.T) {
	url := migratedTo(t, 1)
	old := newOldRelease(t, url)
	old.life("before")
	begun, stop, ended := make(chan struct{}), make(chan struct{}), make(chan int)
	go func() {
		lives := 0
		for {
			old.life(fmt.Sprint("during", lives))
			if lives++; lives == 1 {
				close(begun)
			}
			select {
			case <-stop:
				ended <- lives
				return
			default:
			}
		}
	}()
	<-begun
	if _, err := Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	close(stop)
	t.Logf("%d lives during the migration", <-ended)
	old.life("after")

	s, err := Open(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	apply := func(key string, event atmost.Event) atmost.Record {
		t.Helper()
		step, err := s.Apply(t.Context(), atmost.ID{Scope: "old", Key: key}, event)
		if err != nil {
			t.Fatalf("%s, %T: %v", key, event, err)
		}
		return step.Record
	}
	for _, name := range []string{"before", "during0", "after"} {
		for key, state := range map[string]atmost.State{"-done": atmost.Completed, "-running": atmost.Processing, "-lapsed": atmost.Unknown, "-b": atmost.Completed} {
			r, err := s.Lookup(t.Context(), atmost.ID{Scope: "old", Key: name + key})
			if err != nil || r.State != state || len(r.History.Entries) != 0 || r.Paths != nil || r.Trace != (atmost.SpanID{}) {
				t.Errorf("%s%s is %+v, %v", name, key, r, err)
			}
		}
		if got := string(apply(name+"-b", &atmost.Claim{Operation: "charge", Fingerprint: fingerprint.Fingerprint{Algorithm: "a1"}}).Result); got != `2` {
			t.Errorf("the result is %s", got)
		}
		apply(name+"-lapsed", &atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.NotExecuted}, By: &ada})
		apply(name+"-done", &atmost.Forget{By: ada})
		apply(name+"-a", &atmost.Erase{By: ada})
		for _, key := range []string{"-lapsed", "-done", "-a"} {
			if old.rows("read_one", "old", name+key) != 1 {
				t.Error("the old release finds no row")
			}
		}
	}
	if entries, err := s.Audit(t.Context(), 0, 100); err != nil || len(entries) != 9 {
		t.Errorf("the audit trail has %d entries, %v", len(entries), err)
	}
	if needs := pgtest.Query[int64](t, url, `SELECT needs FROM atmost_meta`); needs != 1 {
		t.Errorf("the database needs a release that knows version %d", needs)
	}
}

// TestMigrateWaitsForNobody: who waits for a table holds up all who come after, so a migration gives up, and goes on when it is run
// again.
func TestMigrateWaitsForNobody(t *testing.T) {
	url := migratedTo(t, 1)
	holder, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Close(context.Background()) }()
	if _, err := holder.Exec(t.Context(), `BEGIN; LOCK TABLE atmost_records IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	bound, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := Migrate(bound, url); err == nil || !strings.Contains(err.Error(), "somebody holds") {
		t.Errorf("migrated beside a dump: %v", err)
	}
	if _, err := holder.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	if _, err := Migrate(t.Context(), url); err != nil {
		t.Errorf("migrated at last: %v", err)
	}
}
