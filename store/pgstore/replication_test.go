package pgstore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/pgtest"
	"github.com/atmost-dev/atmost/store/pgstore"
)

// TestCancelledWait: a commit whose wait for the standby was cancelled is visible, and nobody answers from it before the
// standby has it.
func TestCancelledWait(t *testing.T) {
	primary := pgtest.New(t, pgtest.Config{})
	url := migrated(t, primary.Database(t))
	standby := primary.Standby(t, "s1")
	primary.Set(t, "synchronous_standby_names = 's1'")
	writer := newStore(t, url, pgstore.Options{Timeout: 3 * time.Second})
	reader := newStore(t, url, pgstore.Options{Timeout: time.Second})
	before, id, c := atmost.ID{Key: "before"}, atmost.ID{Key: "k"}, newClaim()
	apply(t, writer, before, newClaim())
	forgotten := atmost.ID{Key: "forgotten"}
	ended := newClaim()
	apply(t, writer, forgotten, ended)
	apply(t, writer, forgotten, done(ended))
	if r, err := reader.Lookup(t.Context(), before); err != nil || r.State != atmost.Processing {
		t.Fatalf("with the standby: %v, %v", r.State, err)
	}

	standby.Stop(true)
	cancelled := func(id atmost.ID, event atmost.Event, table string) {
		t.Helper()
		answers := make(chan error)
		go func() {
			_, err := writer.Apply(t.Context(), id, event)
			answers <- err
		}()
		for !pgtest.Query[bool](t, url, `SELECT count(pg_cancel_backend(pid)) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'
			AND query LIKE '%INSERT INTO `+table+`%'`) {
			select {
			case err := <-answers:
				t.Fatalf("%T did not wait for the standby: %v", event, err)
			default:
			}
		}
		if err := <-answers; !errors.Is(err, atmost.ErrAmbiguous) {
			t.Errorf("the writer was told %v, want that it is ambiguous", err)
		}
	}
	cancelled(id, c, "atmost_records")
	if n := pgtest.Query[int](t, url, `SELECT count(*) FROM atmost_records WHERE key = 'k'`); n != 1 {
		t.Fatalf("the row is not visible: this test shows nothing")
	}
	if r, err := reader.Lookup(t.Context(), id); err == nil {
		t.Errorf("another instance answered %v from what is not replicated", r.State)
	}
	if step, err := reader.Apply(t.Context(), id, newClaim()); err == nil {
		t.Errorf("another instance answered a claim with %v from what is not replicated", step.Record.State)
	}
	if got, err := reader.Settled(t.Context(), []atmost.ID{before, id}); err != nil || len(got) != 0 {
		t.Errorf("Settled = %v, %v", got, err)
	}
	if got, err := reader.List(t.Context(), atmost.Query{State: atmost.Processing, Limit: 10}); err == nil {
		t.Errorf("another instance listed %d records that are not replicated", len(got.Records))
	}
	cancelled(forgotten, &atmost.Forget{By: operator}, "atmost_audit")
	if r, err := reader.Lookup(t.Context(), forgotten); err == nil {
		t.Errorf("another instance answered %v of what is forgotten, which is not replicated", r.State)
	}
	if step, err := reader.Apply(t.Context(), forgotten, done(ended)); atmost.CodeOf(err) != atmost.CodeInternal {
		t.Errorf("another instance answered a report with %v, %v from what is not replicated", step.Record.State, err)
	}
	if got, err := reader.Audit(t.Context(), 0, 10); err == nil {
		t.Errorf("another instance told of %d entries of the audit trail that are not replicated", len(got))
	}

	if err := standby.Start(); err != nil {
		t.Fatal(err)
	}
	if step, err := settled(writer, id, c); err != nil || !c.Won(step.Record) {
		t.Errorf("repeated with the standby: %+v, %v", step, err)
	}
	if r, err := reader.Lookup(t.Context(), id); err != nil || !c.Won(r) {
		t.Errorf("with the standby: %v, %v", r.State, err)
	}
}

// TestPromotedSynchronous: a promoted standby that every commit waited for has all that was acknowledged.
func TestPromotedSynchronous(t *testing.T) {
	primary := pgtest.New(t, pgtest.Config{})
	url := migrated(t, primary.Database(t))
	standby := primary.Standby(t, "s1")
	primary.Set(t, "synchronous_standby_names = 's1'")
	before := newStore(t, url, pgstore.Options{})
	id, c := atmost.ID{Key: "k"}, newClaim()
	apply(t, before, id, c)
	apply(t, before, id, done(c))
	primary.Stop(true)
	standby.Promote(t)
	s := newStore(t, strings.Replace(url, primary.Addr(), standby.Addr(), 1), pgstore.Options{})
	if r, err := s.Lookup(t.Context(), id); err != nil || r.State != atmost.Completed {
		t.Errorf("what was acknowledged is %v, %v", r.State, err)
	}
	if s.Guarded() {
		t.Error("guarded, though nothing can be missing")
	}
	apply(t, s, atmost.ID{Key: "new"}, newClaim())
}

// TestPromotedThatCeasedToBeSynchronous: what the standby has says that commits waited for it. Those who used the primary until its end
// know better.
func TestPromotedThatCeasedToBeSynchronous(t *testing.T) {
	primary := pgtest.New(t, pgtest.Config{})
	url := migrated(t, primary.Database(t))
	standby := primary.Standby(t, "s1")
	primary.Set(t, "synchronous_standby_names = 's1'")
	both := strings.Replace(url, primary.Addr(), primary.Addr()+","+standby.Addr(), 1) + "&target_session_attrs=read-write"
	s := newStore(t, both, pgstore.Options{Timeout: time.Second})
	apply(t, s, atmost.ID{Key: "before"}, newClaim())
	standby.Stop(true)
	primary.Set(t, "synchronous_standby_names = ''")
	lost, c := atmost.ID{Key: "lost"}, newClaim()
	if step, err := settled(s, lost, c); err != nil || !c.Won(step.Record) { // without a standby, once the setting is noticed
		t.Fatalf("claimed: %+v, %v", step, err)
	}
	waitFor(t, url, `SELECT NOT synchronous FROM atmost_meta`)
	primary.Stop(true)
	if err := standby.Start(); err != nil {
		t.Fatal(err)
	}
	standby.Promote(t)
	for {
		_, err := s.Apply(t.Context(), lost, newClaim())
		if atmost.CodeOf(err) == atmost.CodeOutcomeUnknown {
			return
		}
		if err == nil {
			t.Fatal("a claim that was forgotten was made again")
		}
	}
}

// waitFor asks until the answer is yes.
func waitFor(t *testing.T, url, question string) {
	t.Helper()
	for !pgtest.Query[bool](t, url, question) {
		if t.Context().Err() != nil {
			t.FailNow()
		}
	}
}

// TestPromoted: a promoted standby that commits did not wait for may have missed some.
func TestPromoted(t *testing.T) {
	primary := pgtest.New(t, pgtest.Config{})
	url := migrated(t, primary.Database(t))
	before := newStore(t, url, pgstore.Options{})
	free, c := atmost.ID{Scope: "a", Key: "free"}, newClaim()
	apply(t, before, free, c)
	apply(t, before, free, &atmost.Finish{Token: c.Token, Outcome: atmost.Outcome{State: atmost.NotExecuted}})
	standby := primary.Standby(t, "s1")
	promotedURL := strings.Replace(url, primary.Addr(), standby.Addr(), 1)
	if _, err := pgstore.Open(t.Context(), promotedURL, pgstore.Options{}); err == nil {
		t.Fatal("a standby was not refused")
	}
	primary.Stop(true)
	standby.Promote(t)

	s, other := newStore(t, promotedURL, pgstore.Options{}), newStore(t, promotedURL, pgstore.Options{})
	if !s.Guarded() || !other.Guarded() {
		t.Error("a promoted standby is not guarded")
	}
	refused := func(s *pgstore.Store, id atmost.ID) {
		t.Helper()
		if _, err := s.Apply(t.Context(), id, newClaim()); atmost.CodeOf(err) != atmost.CodeOutcomeUnknown {
			t.Errorf("claim of %v: %v", id, err)
		}
	}
	lost := atmost.ID{Scope: "a", Key: "lost"}
	refused(s, lost)
	refused(other, free)
	if _, err := s.Lookup(t.Context(), lost); atmost.CodeOf(err) != atmost.CodeOutcomeUnknown {
		t.Errorf("Lookup: %v", err)
	}
	if _, err := s.Admit(t.Context(), "a", operator); err != nil {
		t.Fatal(err)
	}
	apply(t, other, lost, newClaim())
	apply(t, other, free, newClaim())
	refused(s, atmost.ID{Scope: "b", Key: "lost"})
	if _, err := other.AdmitAll(t.Context(), operator); err != nil {
		t.Fatal(err)
	}
	apply(t, s, atmost.ID{Scope: "b", Key: "lost"}, newClaim())
	if other.Guarded() {
		t.Error("guarded after everything was admitted")
	}

	// A database that was set back otherwise is guarded when somebody says so, and those that use it find out.
	if err := pgstore.Guard(t.Context(), promotedURL, operator, pgstore.Options{}); err != nil {
		t.Fatal(err)
	}
	again := newStore(t, promotedURL, pgstore.Options{})
	refused(again, atmost.ID{Scope: "a", Key: "admitted before"})
	if !again.Guarded() {
		t.Error("not guarded")
	}
}
