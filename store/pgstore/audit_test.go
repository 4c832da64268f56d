package pgstore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/pgtest"
	"github.com/atmost-dev/atmost/store/pgstore"
)

// unknown makes a record whose outcome nobody knows.
func unknown(t testing.TB, s *pgstore.Store, id atmost.ID) *atmost.Claim {
	t.Helper()
	c := newClaim()
	apply(t, s, id, c)
	apply(t, s, id, &atmost.Finish{Token: c.Token, Outcome: atmost.Outcome{State: atmost.Unknown, Message: "reset"}})
	return c
}

func audit(t testing.TB, s *pgstore.Store) []atmost.AuditEntry {
	t.Helper()
	entries, err := s.Audit(t.Context(), 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// TestAuditConcurrent: many change records at once, on several instances, some in long transactions. Whoever has seen an entry has
// seen all before it.
func TestAuditConcurrent(t *testing.T) {
	const clients, each = 16, 6
	url := migrated(t, pgtest.Database(t))
	stores := []*pgstore.Store{newStore(t, url, pgstore.Options{}), newStore(t, url, pgstore.Options{})}
	id := func(client, n int) atmost.ID { return atmost.ID{Key: fmt.Sprint(client, "-", n)} }
	for client := range clients {
		for n := range each {
			unknown(t, stores[0], id(client, n))
		}
	}
	// A commit takes a moment, one longer than another.
	pgtest.Exec(t, url, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(random() / 500); RETURN NULL; END $$`,
		`CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON atmost_audit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`)
	var running sync.WaitGroup
	told := make([]map[uint64]atmost.ID, clients)
	for client := range clients {
		told[client] = map[uint64]atmost.ID{}
		running.Go(func() {
			for n := range each {
				step, err := stores[client%2].Apply(t.Context(), id(client, n),
					&atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Failed}, By: &operator})
				if err != nil || step.Audit == nil {
					t.Errorf("%v: %+v, %v", id(client, n), step.Audit, err)
					return
				}
				told[client][step.Audit.Number] = step.Audit.ID
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		running.Wait()
		close(ended)
	}()
	reads := 0
	for more := true; more; reads++ {
		select {
		case <-ended:
			more = false
		default:
		}
		entries := audit(t, stores[rand.IntN(2)])
		for i, e := range entries {
			if e.Number != uint64(len(entries)-i) {
				t.Fatalf("of %d entries, number %d was seen before all that precede it", len(entries), e.Number)
			}
		}
	}
	entries := audit(t, stores[0])
	if len(entries) != clients*each {
		t.Errorf("%d changes left %d entries", clients*each, len(entries))
	}
	for client := range told {
		for number, id := range told[client] {
			if got := entries[uint64(len(entries))-number]; got.ID != id {
				t.Errorf("number %d was told to be of %v, and is of %v", number, id, got.ID)
			}
		}
	}
	t.Logf("%d entries, read %d times meanwhile", len(entries), reads)
}

// TestAuditOnce: of those who change one record at once, on several instances, one does, and the trail tells of that one.
func TestAuditOnce(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	stores := []*pgstore.Store{newStore(t, url, pgstore.Options{}), newStore(t, url, pgstore.Options{})}
	for round := range 5 {
		id := atmost.ID{Key: fmt.Sprint("k", round)}
		unknown(t, stores[0], id)
		var mu sync.Mutex
		changed := 0
		var running sync.WaitGroup
		for client := range 8 {
			running.Go(func() {
				step, err := stores[client%2].Apply(t.Context(), id, &atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Failed}, By: &operator})
				if err != nil && atmost.CodeOf(err) != atmost.CodeStateConflict {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if step.Changed {
					changed++
				}
			})
		}
		running.Wait()
		if entries := audit(t, stores[1]); changed != 1 || len(entries) != round+1 {
			t.Fatalf("%d changed the record, and there are %d entries, want %d", changed, len(entries), round+1)
		}
	}
}

// TestAuditAmbiguous: a person's change of which the server does not tell whether it was made is made once, or not at all, and so is its
// entry. Repeating it settles that.
func TestAuditAmbiguous(t *testing.T) {
	for name, trigger := range map[string]string{
		"done":     `AFTER INSERT ON atmost_audit FOR EACH ROW EXECUTE FUNCTION warn()`, // a warning is how a wait for a standby ends that was cancelled
		"not done": `AFTER INSERT ON atmost_audit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lose()`,
	} {
		t.Run(name, func(t *testing.T) {
			url := migrated(t, pgtest.Database(t))
			s := newStore(t, url, pgstore.Options{})
			resolved, erased, forgotten := atmost.ID{Key: "resolved"}, atmost.ID{Key: "erased"}, atmost.ID{Key: "forgotten"}
			unknown(t, s, resolved)
			for _, id := range []atmost.ID{erased, forgotten} {
				c := newClaim()
				apply(t, s, id, c)
				apply(t, s, id, done(c))
			}
			changes := map[atmost.ID]atmost.Event{
				resolved:  &atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Completed, Result: []byte(`null`)}, By: &operator},
				erased:    &atmost.Erase{By: operator},
				forgotten: &atmost.Forget{By: operator},
			}
			pgtest.Exec(t, url, `CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'cancelled'; RETURN NULL; END $$`,
				`CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'lost' USING ERRCODE = 'statement_completion_unknown'; END $$`,
				`CREATE CONSTRAINT TRIGGER ambiguous `+trigger)
			for id, event := range changes {
				if _, err := s.Apply(t.Context(), id, event); !errors.Is(err, atmost.ErrAmbiguous) {
					t.Errorf("%T: %v, want that it is ambiguous", event, err)
				}
			}
			pgtest.Exec(t, url, `DROP TRIGGER ambiguous ON atmost_audit`)
			if n := len(audit(t, s)); n != map[string]int{"done": 3, "not done": 0}[name] {
				t.Errorf("there are %d entries: this test shows nothing", n)
			}
			for id, event := range changes {
				step, err := s.Apply(t.Context(), id, event)
				again := name == "done" && id != erased // what is erased already is no conflict
				if again != (atmost.CodeOf(err) == atmost.CodeStateConflict) || !again && err != nil {
					t.Errorf("%T repeated: %v", event, err)
				}
				if step.Changed != (name == "not done") {
					t.Errorf("%T repeated changed the record: %t", event, step.Changed)
				}
			}
			for id, state := range map[atmost.ID]atmost.State{resolved: atmost.Completed, erased: atmost.Completed, forgotten: atmost.Absent} {
				if r, err := s.Lookup(t.Context(), id); err != nil || r.State != state || id != resolved && r.Result != nil {
					t.Errorf("%v is %v, %v", id, r, err)
				}
			}
			entries := audit(t, s)
			slices.SortFunc(entries, func(a, b atmost.AuditEntry) int { return int(a.Action) - int(b.Action) })
			if len(entries) != 3 || entries[0].ID != resolved || entries[1].ID != erased || entries[2].ID != forgotten {
				t.Errorf("the audit trail is %+v", entries)
			}
		})
	}
}

// TestAuditOfAdmissions: an entry tells of each guard that was lifted, and of none that was not there.
func TestAuditOfAdmissions(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	s := newStore(t, url, pgstore.Options{})
	var told []atmost.AuditEntry // the newest first
	tell := func(e *atmost.AuditEntry, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		if e != nil {
			told = slices.Insert(told, 0, *e)
		}
	}
	admit := func(scopes ...string) {
		t.Helper()
		for _, scope := range scopes {
			tell(s.Admit(t.Context(), scope, operator))
		}
		if len(scopes) == 0 {
			tell(s.AdmitAll(t.Context(), operator))
		}
	}
	admit("a")
	admit()
	if got := audit(t, s); len(got) != 0 {
		t.Errorf("without a guard: %+v", got)
	}
	if err := pgstore.Guard(t.Context(), url, operator, pgstore.Options{}); err != nil {
		t.Fatal(err)
	}
	begin := atmost.TimeOf(time.Now().Add(-time.Hour))
	admit("a", "b", "a")
	admit()
	admit()
	admit("c")
	if s.Guarded() {
		t.Error("guarded after everything was admitted")
	}
	apply(t, s, atmost.ID{Scope: "c", Key: "k"}, newClaim())
	type line struct {
		action atmost.Action
		scope  string
	}
	var got []line
	trail := audit(t, s)
	for _, e := range trail {
		if e.Actor != operator || e.At < begin {
			t.Errorf("%+v", e)
		}
		got = append(got, line{e.Action, e.ID.Scope})
	}
	if !slices.Equal(told, trail[:len(trail)-1]) {
		t.Errorf("admitting told of\n%+v, and in the trail is\n%+v", told, trail)
	}
	if want := []line{{atmost.AuditAdmitAll, ""}, {atmost.AuditAdmit, "b"}, {atmost.AuditAdmit, "a"}, {atmost.AuditGuard, ""}}; !slices.Equal(got, want) {
		t.Errorf("the audit trail is %v, want %v", got, want)
	}
	if _, err := s.Admit(t.Context(), "a", atmost.Actor{Name: "nul\x00", Reason: "r"}); atmost.CodeOf(err) != atmost.CodeInvalidRequest {
		t.Errorf("an actor that cannot be stored: %v", err)
	}
}

// TestForgotten: of what a person had forgotten nothing is kept but the fence, as long as a claim may be under way that saw no row, and no
// clock brings it back.
func TestForgotten(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	clock := newTableClock(t, url)
	s := newStore(t, url, pgstore.WithNow(pgstore.Options{}, tableNow))
	id, c := atmost.ID{Scope: "s", Key: "k"}, newClaim()
	c.Trace, c.Paths = atmost.SpanID{1}, func() []byte { return []byte("paths") }
	apply(t, s, id, c)
	apply(t, s, id, &atmost.Finish{Token: c.Token, Outcome: atmost.Outcome{State: atmost.Unknown, Message: "secret"}})
	late := done(c)
	late.Outcome.Message = "secret"
	before := apply(t, s, id, late).Record
	clock.Advance(time.Second)
	apply(t, s, id, &atmost.Forget{By: operator})
	if n := pgtest.Query[int](t, url, `SELECT count(*) FROM atmost_records WHERE
		coalesce(result, message, history, trace, paths, past) IS NULL AND operation = '' AND key = 'k'`); n != 1 {
		t.Errorf("%d rows are left with nothing but a fence, want 1", n)
	}
	clock.exec("UPDATE test_clock SET now = $1", int64(before.CreatedAt))
	if r, err := s.Lookup(t.Context(), id); err != nil || r.State != atmost.Absent {
		t.Errorf("at an earlier time the key is %v, %v", r.State, err)
	}
	clock.set()
	swept := func(want int) {
		t.Helper()
		if got, err := s.Sweep(t.Context(), 10); err != nil || got.Forgotten != want {
			t.Errorf("swept %+v, %v", got, err)
		}
	}
	swept(0)
	if after := apply(t, s, id, newClaim()).Record; after.Attempt != 1 || after.Fence <= before.Fence || len(after.Timeline()) != 1 || after.Paths != nil {
		t.Errorf("the next life is %+v", after)
	}
	other := atmost.ID{Key: "other"}
	c = newClaim()
	apply(t, s, other, c)
	apply(t, s, other, done(c))
	clock.Advance(time.Second)
	apply(t, s, other, &atmost.Forget{By: operator})
	clock.Advance(59 * time.Second)
	swept(0)
	clock.Advance(time.Second)
	swept(1)
	if n := pgtest.Query[int](t, url, `SELECT count(*) FROM atmost_records`); n != 1 {
		t.Errorf("%d rows are left, want 1", n)
	}
}

// TestSecret: all who open a database have its secret, and that of no other.
func TestSecret(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	first, second := newStore(t, url, pgstore.Options{}).Secret(), newStore(t, url, pgstore.Options{}).Secret()
	other := newStore(t, migrated(t, pgtest.Database(t)), pgstore.Options{}).Secret()
	if first != second || first == other || first == [32]byte{} {
		t.Errorf("the secrets are %x, %x, and of another database %x", first, second, other)
	}
	pgtest.Exec(t, url, `UPDATE atmost_meta SET secret = 'short'`)
	if text := refusal(t, url, pgstore.Options{}); text == "" {
		t.Error("a secret that is too short is used")
	}
}

// TestPathsOnce: what is made of a payload is made once for each claim, however often that is sent, and stored with the span by whichever
// statement.
func TestPathsOnce(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	s := newStore(t, url, pgstore.Options{Linger: time.Millisecond})
	calls := make([]int, 32)
	var running sync.WaitGroup
	for n := range calls {
		running.Go(func() {
			c := newClaim()
			c.Trace, c.Paths = atmost.SpanID{byte(n + 1)}, func() []byte { calls[n]++; return []byte{byte(n)} }
			r := apply(t, s, atmost.ID{Key: fmt.Sprint(n % 16)}, c).Record
			stored, err := s.Lookup(t.Context(), r.ID)
			if err != nil || !slices.Equal(stored.Paths, r.Paths) || stored.Trace != r.Trace || len(r.Paths) != 1 {
				t.Errorf("%v has the paths %v and the span %x, stored are %v and %x, %v", r.ID, r.Paths, r.Trace, stored.Paths, stored.Trace, err)
				return
			}
			if c.Won(r) != (int(r.Paths[0]) == n && r.Trace == c.Trace) {
				t.Errorf("the claim of %v has the paths %v", r.ID, r.Paths)
			}
		})
	}
	running.Wait()
	if slices.Max(calls) != 1 {
		t.Errorf("called %v times", calls)
	}
}
