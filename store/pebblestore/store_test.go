package pebblestore_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/store/storetest"
)

// edit changes what is stored, behind the store's back.
func edit(t *testing.T, fs vfs.FS, key, value string) {
	t.Helper()
	db, err := pebble.Open("store", &pebble.Options{FS: fs, Logger: quietLogger{}, FormatMajorVersion: pebble.FormatTableFormatV6})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Set([]byte(key), []byte(value), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

type quietLogger struct{}

func (quietLogger) Infof(string, ...any)           {}
func (quietLogger) Errorf(string, ...any)          {}
func (quietLogger) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

// TestUndecodableRecord: what makes no sense is an error in every method, and keeps nothing else from being done.
func TestUndecodableRecord(t *testing.T) {
	clock, fs := storetest.NewClock(), vfs.NewMem()
	o := pebblestore.Options{Clock: clock, FS: fs, Logger: slog.New(slog.DiscardHandler)}
	s := open(t, "store", o)
	other := atmost.ID{Scope: "s", Key: "t"}
	apply(t, s, someID, claimByClient(1))
	apply(t, s, other, claim(1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, fs, "rs\x00some", "\x03 of the next release")

	s = open(t, "store", o)
	defer s.Close()
	for _, event := range []atmost.Event{claim(1), claim(2), finish(1, completed)} {
		if step, err := s.Apply(t.Context(), someID, event); err == nil || !strings.Contains(err.Error(), "version is 3") || strings.Contains(err.Error(), "some") {
			t.Errorf("%T: %v, %v", event, step.Record.State, err)
		}
	}
	if r, err := s.Lookup(t.Context(), someID); err == nil {
		t.Errorf("an undecodable record is %v", r.State)
	}
	if r := lookup(t, s, other); r.State != atmost.Unknown {
		t.Errorf("another was not restarted, it is %v", r.State)
	}
	clock.Advance(time.Hour)
	if _, err := s.Sweep(t.Context(), 10); err != nil {
		t.Error(err)
	}
	for _, state := range []atmost.State{atmost.Absent, atmost.Unknown} {
		page, err := s.List(t.Context(), atmost.Query{State: state, Limit: 10})
		if err != nil || len(page.Records) != 1 || page.Records[0].ID != other {
			t.Errorf("beside an undecodable record, %+v are listed, %v", page, err)
		}
	}
}

func TestOtherLayoutIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	if err := open(t, "store", pebblestore.Options{FS: fs}).Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, fs, "ml", "2")
	if _, err := pebblestore.Open("store", pebblestore.Options{FS: fs}); err == nil || !strings.Contains(err.Error(), `version "2"`) {
		t.Errorf("opened a directory of another layout: %v", err)
	}
}

func TestScopeWithZeroByteIsRefused(t *testing.T) {
	s := open(t, "store", pebblestore.Options{FS: vfs.NewMem()})
	defer s.Close()
	apply(t, s, atmost.ID{Scope: "a", Key: "b\x00c"}, claim(1))
	twin := atmost.ID{Scope: "a\x00b", Key: "c"}
	if _, err := s.Apply(t.Context(), twin, claim(1)); atmost.CodeOf(err) != atmost.CodeInvalidRequest {
		t.Errorf("claimed: %v", err)
	}
	if _, err := s.Lookup(t.Context(), twin); atmost.CodeOf(err) != atmost.CodeInvalidRequest {
		t.Errorf("looked up: %v", err)
	}
}

// TestTimeNeverGoesBack crashes a store again and again, with the wall clock set back each time.
func TestTimeNeverGoesBack(t *testing.T) {
	fs, clock := vfs.NewCrashableMem(), storetest.NewClock()
	var last int64
	for round := range 5 {
		s := open(t, "store", pebblestore.Options{Clock: clock, FS: fs})
		for n := range 30 {
			clock.Advance(time.Duration(n+1) * 100 * time.Millisecond)
			r := apply(t, s, atmost.ID{Key: fmt.Sprint(round, "-", n)}, claim(1)).Record
			if r.Fence <= last {
				t.Fatalf("round %d: fence %d after %d", round, r.Fence, last)
			}
			last = r.Fence
		}
		fs = fs.CrashClone(vfs.CrashCloneCfg{})
		_ = s.Close()
		clock.Step(-time.Hour)
	}
}

// TestCrashLosesLittleTime: the time that a crash skips is bounded.
func TestCrashLosesLittleTime(t *testing.T) {
	fs, clock := vfs.NewCrashableMem(), storetest.NewClock()
	s := open(t, "store", pebblestore.Options{Clock: clock, FS: fs})
	for range 100 {
		clock.Advance(time.Second)
		apply(t, s, someID, claim(1))
	}
	fs = fs.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close()
	s = open(t, "store", pebblestore.Options{Clock: clock, FS: fs})
	defer s.Close()
	r := apply(t, s, atmost.ID{Key: "next"}, claim(1)).Record
	if skipped := r.CreatedAt.Sub(atmost.TimeOf(clock.Now())); skipped < 0 || skipped > 10*time.Second {
		t.Errorf("the crash skipped %v", skipped)
	}
}

// TestRestartIsDurable: what was put in doubt when the store was opened is not put in doubt again after a crash.
func TestRestartIsDurable(t *testing.T) {
	fs, clock := vfs.NewCrashableMem(), storetest.NewClock()
	s := open(t, "store", pebblestore.Options{Clock: clock, FS: fs})
	apply(t, s, someID, claim(1))
	var since atmost.Time
	for range 3 {
		fs = fs.CrashClone(vfs.CrashCloneCfg{})
		_ = s.Close()
		clock.Advance(15 * time.Second)
		s = open(t, "store", pebblestore.Options{Clock: clock, FS: fs})
		r := lookup(t, s, someID)
		if since == 0 {
			since = r.UpdatedAt
		}
		if r.State != atmost.Unknown || r.UpdatedAt != since {
			t.Errorf("after a crash the attempt is %v since %v, before it was since %v", r.State, r.UpdatedAt, since)
		}
	}
	_ = s.Close()
}

// TestPrivate: nobody but the owner, and the group, can look into what is made on the disk.
func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	store, backup, restored := filepath.Join(dir, "a", "store"), filepath.Join(dir, "backup"), filepath.Join(dir, "restored")
	s := open(t, store, pebblestore.Options{})
	if err := s.Checkpoint(t.Context(), backup, operator); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := pebblestore.Restore(backup, restored, pebblestore.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, made := range []string{filepath.Dir(store), store, backup, restored} {
		info, err := os.Stat(made)
		if err != nil || runtime.GOOS != "windows" && info.Mode().Perm()&0o027 != 0 {
			t.Errorf("%s: %v, %v", made, info.Mode(), err)
		}
	}
}

func TestRestore(t *testing.T) {
	fs, clock := vfs.NewMem(), storetest.NewClock()
	o := pebblestore.Options{Clock: clock, FS: fs}
	s := open(t, "store", o)
	key := func(name string) atmost.ID { return atmost.ID{Scope: "s", Key: name} }
	apply(t, s, key("done"), claim(1))
	apply(t, s, key("done"), finish(1, completed))
	apply(t, s, key("running"), claim(1))
	for _, name := range []string{"free", "admitted"} {
		apply(t, s, key(name), claim(1))
		apply(t, s, key(name), finish(1, notExecuted))
	}
	if err := s.Checkpoint(t.Context(), "backup", operator); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(t.Context(), "backup", operator); err == nil {
		t.Error("a backup was overwritten")
	}
	apply(t, s, key("lost"), claim(1)) // from here on the backup knows nothing
	apply(t, s, key("lost"), finish(1, completed))
	apply(t, s, key("free"), claim(2))
	apply(t, s, key("free"), finish(2, completed))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := pebblestore.Restore("backup", "store", o); err == nil {
		t.Error("a restore overwrote a store")
	}
	if err := pebblestore.Restore("nowhere", "restored", o); err == nil {
		t.Error("nothing was restored")
	}
	if err := pebblestore.Restore("backup", "restored", o); err != nil {
		t.Fatal(err)
	}

	clock.Advance(time.Minute)
	s = open(t, "restored", o)
	refused := func(names ...string) {
		t.Helper()
		for _, name := range names {
			if _, err := s.Apply(t.Context(), key(name), claim(7)); atmost.CodeOf(err) != atmost.CodeOutcomeUnknown {
				t.Errorf("claim of %s: %v", name, err)
			}
		}
	}
	if !s.Guarded() {
		t.Fatal("a restored store is not guarded")
	}
	refused("lost", "free", "never")
	if _, err := s.Lookup(t.Context(), key("lost")); atmost.CodeOf(err) != atmost.CodeOutcomeUnknown {
		t.Errorf("Lookup of an absent key: %v", err)
	}
	if r := apply(t, s, key("done"), claim(7)).Record; string(r.Result) != string(completed.Result) {
		t.Errorf("what the backup knows is %+v", r)
	}
	// What is settled after the restore is known.
	if r := lookup(t, s, key("running")); r.State != atmost.Unknown {
		t.Errorf("what was running is %v", r.State)
	}
	apply(t, s, key("running"), &atmost.Resolve{Attempt: 1, Outcome: notExecuted})
	if step := apply(t, s, key("running"), claim(7)); !claim(7).Won(step.Record) {
		t.Errorf("a key settled after the restore is %v", step.Record.State)
	}

	elsewhere := atmost.ID{Scope: "other", Key: "never"}
	if _, err := s.Admit(t.Context(), "s", operator); err != nil {
		t.Fatal(err)
	}
	reopen := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, "restored", o)
	}
	reopen()
	apply(t, s, key("admitted"), claim(7))
	apply(t, s, key("never"), claim(7))
	if _, err := s.Apply(t.Context(), elsewhere, claim(7)); atmost.CodeOf(err) != atmost.CodeOutcomeUnknown || !s.Guarded() {
		t.Errorf("another scope was admitted: %v", err)
	}
	if _, err := s.AdmitAll(t.Context(), operator); err != nil || s.Guarded() {
		t.Errorf("AdmitAll: %v, guarded: %v", err, s.Guarded())
	}
	reopen()
	apply(t, s, elsewhere, claim(7))

	// An older copy that was put in a store's place is guarded when somebody says so.
	if err := pebblestore.Guard("restored", operator, o); err == nil {
		t.Error("a store was guarded that is open")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := pebblestore.Guard("restored", operator, o); err != nil {
		t.Fatal(err)
	}
	s = open(t, "restored", o)
	defer s.Close()
	if refused("guarded"); !s.Guarded() {
		t.Error("not guarded")
	}
	trail, err := s.Audit(t.Context(), 0, 10)
	if err != nil || len(trail) != 4 || trail[3].Action != atmost.AuditBackup || trail[0].Action != atmost.AuditGuard || trail[0].Actor != operator ||
		trail[0].Number != trail[1].Number+1 || trail[0].At < trail[1].At {
		t.Errorf("the audit trail is %+v, %v", trail, err)
	}
	if err := pebblestore.Guard("restored", atmost.Actor{}, o); atmost.CodeOf(err) != atmost.CodeInvalidRequest {
		t.Errorf("guarded by nobody: %v", err)
	}
	if err := pebblestore.Guard("nowhere", operator, o); err == nil {
		t.Error("guarded a directory that is not there")
	}
}

// TestRestoreCrash crashes a restore before each of its operations: what there is afterwards is guarded.
func TestRestoreCrash(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t, 0)
		w.open()
		w.do("a", claim(1))
		if err := w.store.Checkpoint(t.Context(), "backup", operator); err != nil {
			t.Fatal(err)
		}
		if err := w.store.Close(); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		w.crashAt = w.ops + n
		w.mu.Unlock()
		o := pebblestore.Options{Clock: w.clock, FS: w.fs, Tune: quiet}
		if err := pebblestore.Restore("backup", "restored", o); err != nil {
			t.Fatal(err)
		}
		if !w.crashed {
			return
		}
		for _, share := range []int{0, 100} {
			o.FS = w.clones[share]
			if _, err := o.FS.Stat("restored"); err != nil {
				if err := pebblestore.Restore("backup", "restored", o); err != nil {
					t.Fatalf("crashed at %d, %d%%: restoring again: %v", n, share, err)
				}
			}
			s := open(t, "restored", o)
			if r := lookup(t, s, atmost.ID{Scope: "s", Key: "a"}); !s.Guarded() || r.State != atmost.Unknown {
				t.Fatalf("crashed at %d, %d%%: guarded: %v, the record is %v", n, share, s.Guarded(), r.State)
			}
			_ = s.Close()
		}
	}
}

// TestSweepForgetsTheIndex: of a key that was forgotten nothing is left.
func TestSweepForgetsTheIndex(t *testing.T) {
	fs, clock := vfs.NewMem(), storetest.NewClock()
	o := pebblestore.Options{Clock: clock, FS: fs}
	s := open(t, "store", o)
	for n := range 50 {
		id := atmost.ID{Key: fmt.Sprint(n)}
		apply(t, s, id, claim(1))
		apply(t, s, id, finish(1, completed))
		clock.Advance(10 * time.Second)
	}
	var dropped, forgotten int
	for range 26 * 60 * 3 {
		clock.Advance(20 * time.Second)
		swept, err := s.Sweep(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		dropped, forgotten = dropped+swept.Dropped, forgotten+swept.Forgotten
	}
	if dropped != 50 || forgotten != 50 {
		t.Errorf("%d results were dropped and %d keys forgotten, want 50 each", dropped, forgotten)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := pebble.Open("store", &pebble.Options{FS: fs, Logger: quietLogger{}, FormatMajorVersion: pebble.FormatTableFormatV6})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	iter, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer iter.Close()
	for valid := iter.First(); valid; valid = iter.Next() {
		if iter.Key()[0] != 'm' {
			t.Errorf("%q is left", iter.Key())
		}
	}
}

// TestBackupIsAudited: who had a backup made is in the store's trail, and the last thing that the backup has; one that was never begun
// is in none.
func TestBackupIsAudited(t *testing.T) {
	o := pebblestore.Options{FS: vfs.NewMem()}
	s := open(t, "store", o)
	wants := func(s *pebblestore.Store, want ...string) {
		t.Helper()
		entries, err := s.Audit(t.Context(), 0, 10)
		got := []string{}
		for _, e := range entries {
			got = append(got, e.Action.String()+" "+e.Actor.Name)
			if e.At == 0 || e.ID != (atmost.ID{}) {
				t.Errorf("an entry is %+v", e)
			}
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("the trail is %q, %v; want %q", got, err, want)
		}
	}
	ada, bob := atmost.Actor{Name: "ada", Reason: "r"}, atmost.Actor{Name: "bob", Reason: "r"}
	if err := s.Checkpoint(t.Context(), "one", ada); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(t.Context(), "two", bob); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(t.Context(), "two", ada); err == nil {
		t.Error("a backup was overwritten")
	}
	if err := s.Checkpoint(t.Context(), "three", atmost.Actor{Name: "ada"}); err == nil {
		t.Error("a backup was made for no reason")
	}
	wants(s, "backup bob", "backup ada")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := pebblestore.Restore("one", "restored", o); err != nil {
		t.Fatal(err)
	}
	restored := open(t, "restored", o)
	defer restored.Close()
	wants(restored, "backup ada")
}
