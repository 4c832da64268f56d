package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/fingerprint"
	"github.com/atmost-dev/atmost/internal/faultproxy"
	"github.com/atmost-dev/atmost/internal/pgtest"
	"github.com/atmost-dev/atmost/store/pgstore"
)

func newClaim() *atmost.Claim {
	return &atmost.Claim{
		Operation: "charge", Token: atmost.NewToken(), Lease: time.Minute,
		Fingerprint: fingerprint.Fingerprint{Algorithm: fingerprint.JSON1, Digest: [32]byte{1}},
		Policy:      atmost.Policy{ResultRetention: time.Hour, KeyRetention: time.Hour},
	}
}

var operator = atmost.Actor{Name: "ada", Reason: "the bank says so, see ticket 7"}

func done(c *atmost.Claim) *atmost.Finish {
	return &atmost.Finish{Token: c.Token, Outcome: atmost.Outcome{State: atmost.Completed, Result: []byte(`1`), UpstreamStatus: 200}}
}

func apply(t testing.TB, s *pgstore.Store, id atmost.ID, event atmost.Event) atmost.Step {
	t.Helper()
	step, err := s.Apply(t.Context(), id, event)
	if err != nil {
		t.Fatalf("Apply(%v, %T): %v", id, event, err)
	}
	return step
}

// settled repeats an event until its fate is known, as an engine does.
func settled(s *pgstore.Store, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	for {
		step, err := s.Apply(context.Background(), id, event)
		var refusal *atmost.Error
		if err == nil || errors.As(err, &refusal) {
			return step, err
		}
	}
}

// newStore is a store in a database of its own.
func newStore(t testing.TB, url string, o pgstore.Options) *pgstore.Store {
	t.Helper()
	s := open(t, url, o)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestReopened(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	s := open(t, url, pgstore.Options{})
	running, ended := atmost.ID{Key: "running"}, atmost.ID{Scope: "a", Key: "ended"}
	c := newClaim()
	apply(t, s, running, c)
	apply(t, s, ended, c)
	apply(t, s, ended, done(c))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = newStore(t, url, pgstore.Options{})
	if r, err := s.Lookup(t.Context(), running); err != nil || !c.Won(r) {
		t.Errorf("what another instance executes became %v, %v", r.State, err)
	}
	got, err := s.Settled(t.Context(), []atmost.ID{running, ended, {Key: "absent"}})
	if err != nil || len(got) != 1 || got[0].ID != ended || string(got[0].Result) != `1` {
		t.Errorf("Settled = %+v, %v", got, err)
	}
}

// TestOverlapping has two instances do everything to the same few keys at once.
func TestOverlapping(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	stores := []*pgstore.Store{newStore(t, url, pgstore.Options{}), newStore(t, url, pgstore.Options{BatchSize: 3, Linger: time.Millisecond})}
	var mu sync.Mutex
	won := map[atmost.ID]int{}
	var running sync.WaitGroup
	for client := range 64 {
		running.Go(func() {
			s := stores[client%2]
			for n := range 24 {
				id := atmost.ID{Key: fmt.Sprint("k", (n*7+client)%24)}
				c := newClaim()
				step, err := s.Apply(t.Context(), id, c)
				if err != nil {
					t.Error(err)
					return
				}
				if !c.Won(step.Record) {
					continue
				}
				mu.Lock()
				won[id]++
				mu.Unlock()
				for _, event := range []atmost.Event{&atmost.Renew{Token: c.Token, Lease: 2 * time.Minute}, done(c)} {
					if _, err := s.Apply(t.Context(), id, event); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	running.Wait()
	for id, n := range won {
		if n != 1 {
			t.Errorf("%v was won %d times", id, n)
		}
	}
	if len(won) != 24 {
		t.Errorf("%d keys were won, want 24", len(won))
	}
}

// TestHeldRow: a row that somebody holds delays nobody but those who ask for it.
func TestHeldRow(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	s := newStore(t, url, pgstore.Options{Timeout: 2 * time.Second})
	claims := map[atmost.ID]*atmost.Claim{}
	for n := range 16 {
		id := atmost.ID{Key: fmt.Sprint("k", n)}
		claims[id] = newClaim()
		apply(t, s, id, claims[id])
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), "BEGIN; SELECT FROM atmost_records WHERE key = 'k3' FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	held := atmost.ID{Key: "k3"}
	var running sync.WaitGroup
	for id, c := range claims {
		running.Go(func() {
			_, err := s.Apply(t.Context(), id, done(c))
			switch {
			case id != held && err != nil:
				t.Errorf("%v: %v", id, err)
			case id == held && (err == nil || errors.Is(err, atmost.ErrAmbiguous)):
				t.Errorf("the held row: %v, want an error that is not ambiguous", err)
			}
		})
	}
	running.Wait()
	apply(t, s, held, newClaim()) // reading needs no lock
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	apply(t, s, held, done(claims[held]))
}

// hung is how long a call with a time-out of a second takes if that does not end it, on any machine.
const hung = 30 * time.Second

func TestAmbiguous(t *testing.T) {
	cluster := pgtest.New(t, pgtest.Config{})
	url := migrated(t, cluster.Database(t))
	proxy, err := faultproxy.New(cluster.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	s := newStore(t, strings.Replace(url, cluster.Addr(), proxy.Addr(), 1), pgstore.Options{Timeout: time.Second})
	faults := map[string]faultproxy.Fault{
		"before it":          {Kind: faultproxy.Reset, Direction: faultproxy.Request},
		"within it":          {Kind: faultproxy.Reset, Direction: faultproxy.Request, After: 100},
		"after it":           {Kind: faultproxy.Reset, Direction: faultproxy.Response},
		"within the answer":  {Kind: faultproxy.Close, Direction: faultproxy.Response, After: 20},
		"answer disappeared": {Kind: faultproxy.Drop, Direction: faultproxy.Response},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			id, c := atmost.ID{Scope: "cut", Key: strings.ReplaceAll(name, " ", "-")}, newClaim()
			apply(t, s, atmost.ID{Key: "warm-" + id.Key}, newClaim())
			proxy.Set(fault)
			begin := time.Now()
			_, err := s.Apply(t.Context(), id, c)
			if took := time.Since(begin); took > hung {
				t.Errorf("it took %v", took)
			}
			proxy.Set(faultproxy.Fault{})
			if err == nil {
				t.Fatal("the connection was cut, and nobody noticed")
			}
			step, err := settled(s, id, c)
			if err != nil || !c.Won(step.Record) || step.Record.Attempt != 1 {
				t.Fatalf("repeated: %+v, %v", step, err)
			}
			apply(t, s, id, done(c))
		})
	}
}

// TestOutage: while the database is away, calls fail in time and nothing is done; they work as soon as it is back.
func TestOutage(t *testing.T) {
	cluster := pgtest.New(t, pgtest.Config{})
	s := newStore(t, migrated(t, cluster.Database(t)), pgstore.Options{Timeout: time.Second})
	id, c := atmost.ID{Key: "k"}, newClaim()
	apply(t, s, id, c)
	cluster.Stop(false)
	other := atmost.ID{Key: "other"}
	for n := range 5 {
		begin := time.Now()
		_, err := s.Apply(t.Context(), other, newClaim())
		if took := time.Since(begin); err == nil || took > hung {
			t.Errorf("a claim without a database: %v, after %v", err, took)
		}
		if n > 1 && errors.Is(err, atmost.ErrAmbiguous) {
			t.Errorf("nothing could be sent, and yet: %v", err)
		}
		if _, err := s.Lookup(t.Context(), id); err == nil {
			t.Error("looked up without a database")
		}
	}
	if err := cluster.Start(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	step, err := settled(s, id, done(c))
	if err != nil || step.Record.State != atmost.Completed {
		t.Errorf("after the outage: %+v, %v", step, err)
	}
	t.Logf("it was finished %v after the database was back", time.Since(begin))
	if r, err := s.Lookup(t.Context(), other); err != nil || r.State != atmost.Absent {
		t.Errorf("the claims that failed left %v, %v", r.State, err)
	}
}

// TestCrashUnderLoad: what was acknowledged is there after crashes of the database, and no key is won twice.
func TestCrashUnderLoad(t *testing.T) {
	cluster := pgtest.New(t, pgtest.Config{})
	s := newStore(t, migrated(t, cluster.Database(t)), pgstore.Options{})
	var mu sync.Mutex
	acknowledged := map[atmost.ID]atmost.Token{}
	crash := make(chan struct{}, 1000)
	var running sync.WaitGroup
	for client := range 32 {
		running.Go(func() {
			for n := range 60 {
				id, c := atmost.ID{Key: fmt.Sprint("c", client, "-", n)}, newClaim()
				step, err := settled(s, id, c)
				if err != nil || !c.Won(step.Record) {
					t.Errorf("%v: %+v, %v", id, step.Record.State, err)
					return
				}
				step, err = settled(s, id, done(c))
				if err != nil || step.Record.State != atmost.Completed {
					t.Errorf("%v: %v, %v", id, step.Record.State, err)
					return
				}
				mu.Lock()
				acknowledged[id] = c.Token
				mu.Unlock()
				if client == 0 && n%20 == 10 {
					crash <- struct{}{}
				}
			}
		})
	}
	for range 3 {
		<-crash
		cluster.Stop(true)
		if err := cluster.Start(); err != nil {
			t.Fatal(err)
		}
	}
	running.Wait()
	for id, token := range acknowledged {
		if r, err := s.Lookup(t.Context(), id); err != nil || r.State != atmost.Completed || r.Token != token || r.Attempt != 1 {
			t.Errorf("%v was acknowledged as completed, and is %v, attempt %d, %v", id, r.State, r.Attempt, err)
		}
	}
}

// TestRetried: what the server refuses for a conflict is sent again, as often as the budget says.
func TestRetried(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	pgtest.Exec(t, url, `CREATE SEQUENCE tries`, `CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN IF nextval('tries') % 4 <> 0 THEN RAISE 'conflict' USING ERRCODE = 'serialization_failure'; END IF; RETURN NULL; END $$`,
		`CREATE TRIGGER conflict BEFORE INSERT ON atmost_records EXECUTE FUNCTION conflict()`)
	apply(t, newStore(t, url, pgstore.Options{Retries: 3}), atmost.ID{Key: "k"}, newClaim())
	if _, err := newStore(t, url, pgstore.Options{Retries: 2}).Apply(t.Context(), atmost.ID{Key: "other"}, newClaim()); err == nil || errors.Is(err, atmost.ErrAmbiguous) {
		t.Errorf("with too few tries: %v", err)
	}
}

// TestRefusedAtCommit: what a try told counts for nothing when its commit was refused.
func TestRefusedAtCommit(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	pgtest.Exec(t, url, `CREATE SEQUENCE tries`, `CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN IF nextval('tries') = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$`,
		`CREATE TRIGGER skip BEFORE INSERT ON atmost_records FOR EACH ROW EXECUTE FUNCTION skip()`,
		`CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN IF currval('tries') = 1 THEN RAISE 'conflict' USING ERRCODE = 'serialization_failure'; END IF; RETURN NULL; END $$`,
		`CREATE CONSTRAINT TRIGGER conflict AFTER INSERT ON atmost_records DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION conflict()`)
	s := newStore(t, url, pgstore.Options{})
	id, c := atmost.ID{Key: "k"}, newClaim()
	if step := apply(t, s, id, c); !c.Won(step.Record) {
		t.Errorf("claimed: %+v", step)
	}
	if r, err := s.Lookup(t.Context(), id); err != nil || !c.Won(r) {
		t.Errorf("stored: %v, %v", r.State, err)
	}
	if n := pgtest.Query[int](t, url, "SELECT last_value FROM tries"); n != 3 {
		t.Errorf("it was tried %d times, want 3", n)
	}
}

// TestFull: where the server has no room, nothing is claimed, and what was claimed is finished.
func TestFull(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	s := newStore(t, url, pgstore.Options{})
	id, c := atmost.ID{Key: "k"}, newClaim()
	apply(t, s, id, c)
	pgtest.Exec(t, url, `CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$`,
		`CREATE TRIGGER full_disk BEFORE INSERT ON atmost_records EXECUTE FUNCTION full_disk()`)
	if _, err := s.Apply(t.Context(), atmost.ID{Key: "other"}, newClaim()); !errors.Is(err, atmost.ErrFull) || errors.Is(err, atmost.ErrAmbiguous) {
		t.Errorf("a claim on a full disk: %v", err)
	}
	apply(t, s, id, done(c))
}

// TestCorrupt: a row that makes no sense is an error for those who ask for it, and for nobody else.
func TestCorrupt(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	s := newStore(t, url, pgstore.Options{Logger: slog.New(slog.DiscardHandler), Linger: time.Millisecond})
	bad := atmost.ID{Key: "bad"}
	c := newClaim()
	apply(t, s, bad, c)
	pgtest.Exec(t, url, `UPDATE atmost_records SET settled_by = 77, due = 0`)
	var running sync.WaitGroup
	for n := range 16 {
		running.Go(func() {
			if _, err := s.Apply(t.Context(), atmost.ID{Key: fmt.Sprint("k", n)}, newClaim()); err != nil {
				t.Error(err)
			}
		})
		running.Go(func() {
			if _, err := s.Apply(t.Context(), bad, newClaim()); err == nil || atmost.CodeOf(err) != atmost.CodeInternal {
				t.Errorf("claim of the row: %v", err)
			}
		})
	}
	running.Wait()
	if _, err := s.Lookup(t.Context(), bad); err == nil {
		t.Error("the row was read")
	}
	if got, err := s.List(t.Context(), atmost.Query{State: atmost.Processing, Limit: 100}); err != nil || len(got.Records) != 16 || got.More {
		t.Errorf("listed %d, %v", len(got.Records), err)
	}
	if _, err := s.Sweep(t.Context(), 10); err != nil {
		t.Error(err)
	}
}
