package pebblestore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/store/storetest"
)

// tap is a file system whose operations can be seen, delayed and made to fail.
type tap struct {
	mu sync.Mutex
	f  func(errorfs.Op) error
}

func (p *tap) set(f func(errorfs.Op) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.f = f
}

func (p *tap) wrap(fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		p.mu.Lock()
		f := p.f
		p.mu.Unlock()
		if f == nil {
			return nil
		}
		return f(op)
	}))
}

func isLogSync(op errorfs.Op) bool {
	return op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, ".log")
}

// TestNothingIsAnsweredBeforeTheSync holds up the sync of each kind of step, and sees that nobody is told of it.
func TestNothingIsAnsweredBeforeTheSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk tap
		s := open(t, "store", pebblestore.Options{FS: disk.wrap(vfs.NewMem()), Clock: storetest.NewClock(), Tune: func(p *pebble.Options) {
			quiet(p)
			p.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
		}})
		defer s.Close()
		steps := []atmost.Event{
			claim(1), &atmost.Renew{Token: token(1), Lease: time.Hour}, finish(1, unknown),
			&atmost.Resolve{Attempt: 1, Outcome: notExecuted}, claim(2), finish(2, completed),
		}
		for _, event := range steps {
			release := make(chan struct{})
			disk.set(func(op errorfs.Op) error {
				if isLogSync(op) {
					<-release
				}
				return nil
			})
			var answered atomic.Int32
			ask := func(f func() error) {
				go func() {
					if err := f(); err != nil && atmost.CodeOf(err) != atmost.CodeStateConflict {
						t.Error(err)
					}
					answered.Add(1)
				}()
				synctest.Wait()
			}
			ctx := context.Background()
			ask(func() error { _, err := s.Apply(ctx, someID, event); return err })
			ask(func() error { _, err := s.Apply(ctx, someID, event); return err })
			ask(func() error { _, err := s.Lookup(ctx, someID); return err })
			for _, state := range []atmost.State{atmost.Processing, atmost.Unknown} {
				ask(func() error {
					got, err := s.List(ctx, atmost.Query{State: state, Limit: 10})
					if len(got.Records) == 0 {
						answered.Add(-1) // the answer says nothing of the step
					}
					return err
				})
			}
			if n := answered.Load(); n > 0 {
				t.Errorf("%T: %d answers were given before it was synced", event, n)
			}
			disk.set(nil)
			close(release)
			synctest.Wait()
			if n := answered.Load(); n < 3 {
				t.Errorf("%T: %d answers were given after it was synced", event, n)
			}
		}
	})
}

// markHalf is how much of the high-water mark of time is used up before it is moved.
const markHalf = 500 * time.Millisecond

// TestReplaysWriteNothing counts the operations of a store that is asked for what it knows, and of one that is idle.
func TestReplaysWriteNothing(t *testing.T) {
	var disk tap
	var writes atomic.Int32
	clock := storetest.NewClock()
	s := open(t, "store", pebblestore.Options{FS: disk.wrap(vfs.NewMem()), Clock: clock, Tune: quiet})
	defer s.Close()
	apply(t, s, someID, claim(1))
	apply(t, s, someID, finish(1, completed))
	disk.set(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			writes.Add(1)
		}
		return nil
	})
	for n := range 100 {
		apply(t, s, someID, claim(n))
		apply(t, s, someID, finish(1, completed))
		lookup(t, s, someID)
		if _, err := s.Sweep(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
	}
	if n := writes.Load(); n != 0 {
		t.Errorf("100 replays made %d writes", n)
	}
	clock.Advance(markHalf - time.Millisecond)
	lookup(t, s, someID)
	if n := writes.Load(); n != 0 {
		t.Errorf("a reading of the clock made %d writes", n)
	}
}

// TestFailedSyncIsTheEnd lets one sync fail and all others succeed: nobody is answered any more.
func TestFailedSyncIsTheEnd(t *testing.T) {
	var disk tap
	var fatal []error
	memory := vfs.NewCrashableMem()
	clock := storetest.NewClock()
	s := open(t, "store", pebblestore.Options{
		FS: disk.wrap(memory), Clock: clock, Logger: slog.New(slog.DiscardHandler),
		Fatal: func(err error) { fatal = append(fatal, err) },
	})
	apply(t, s, atmost.ID{Key: "before"}, claimByClient(1))
	once := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if isLogSync(op) {
			disk.set(nil)
			return syscall.EIO
		}
		return nil
	})
	disk.set(once)
	_, err := s.Apply(t.Context(), someID, claim(1))
	if !errors.Is(err, atmost.ErrAmbiguous) {
		t.Errorf("the step whose sync failed: %v, want an ambiguous error", err)
	}
	if len(fatal) != 1 || !errors.Is(fatal[0], syscall.EIO) && !strings.Contains(fatal[0].Error(), "store") {
		t.Errorf("Fatal was called with %v", fatal)
	}
	for _, id := range []atmost.ID{someID, {Key: "before"}, {Key: "new"}} {
		for _, event := range []atmost.Event{claim(1), finish(1, completed)} {
			if _, err := s.Apply(t.Context(), id, event); err == nil || errors.Is(err, atmost.ErrAmbiguous) || atmost.CodeOf(err) != atmost.CodeInternal {
				t.Errorf("Apply on a dead store: %v", err)
			}
		}
		if r, err := s.Lookup(t.Context(), id); err == nil {
			t.Errorf("a dead store answered %v", r.State)
		}
	}
	if got, err := s.List(t.Context(), atmost.Query{State: atmost.Processing, Limit: 10}); err == nil {
		t.Errorf("a dead store listed %v", got)
	}
	clock.Advance(time.Hour)
	if got, err := s.Sweep(t.Context(), 10); err == nil {
		t.Errorf("a dead store swept %v", got)
	}
	if len(fatal) != 1 {
		t.Errorf("Fatal was called %d times", len(fatal))
	}
	_ = s.Close()

	after := open(t, "store", pebblestore.Options{FS: memory.CrashClone(vfs.CrashCloneCfg{}), Clock: storetest.NewClock()})
	defer after.Close()
	if r := lookup(t, after, atmost.ID{Key: "before"}); r.State != atmost.Processing {
		t.Errorf("what was acknowledged before is %v", r.State)
	}
}

// TestReadErrorsAreErrors: what cannot be read is never absent.
func TestReadErrorsAreErrors(t *testing.T) {
	var disk tap
	memory := vfs.NewMem()
	o := pebblestore.Options{FS: disk.wrap(memory), Clock: storetest.NewClock(), CacheSize: 1, Logger: slog.New(slog.DiscardHandler)}
	s := open(t, "store", o)
	apply(t, s, someID, claimByClient(1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, "store", o) // the record is in a table now
	defer s.Close()
	disk.set(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") {
			return syscall.EIO
		}
		return nil
	})
	r, err := s.Lookup(t.Context(), someID)
	if err != nil && (errors.Is(err, atmost.ErrAmbiguous) || atmost.CodeOf(err) != atmost.CodeInternal) {
		t.Errorf("Lookup: %v", err)
	}
	if err == nil && r.State != atmost.Processing {
		t.Errorf("an unreadable record was taken for %v", r.State)
	}
	if step, err := s.Apply(t.Context(), someID, claim(2)); err == nil && claim(2).Won(step.Record) {
		t.Error("an unreadable record was claimed again")
	}
	disk.set(nil)
	if r := lookup(t, s, someID); r.State != atmost.Processing {
		t.Errorf("when it can be read again it is %v", r.State)
	}
}

func TestFullDiskRefusesOnlyNewAttempts(t *testing.T) {
	clock, disk := storetest.NewClock(), vfs.NewMem()
	s := open(t, "store", pebblestore.Options{FS: disk, Clock: clock, DiskReserve: 1000})
	defer s.Close()
	again := atmost.ID{Key: "again"}
	apply(t, s, someID, claim(1))
	apply(t, s, again, claim(1))
	apply(t, s, again, finish(1, notExecuted))

	disk.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 999})
	clock.Advance(time.Second)
	for _, id := range []atmost.ID{again, {Key: "new"}} {
		if _, err := s.Apply(t.Context(), id, claim(2)); !errors.Is(err, atmost.ErrFull) || errors.Is(err, atmost.ErrAmbiguous) {
			t.Errorf("a new attempt on a full disk: %v", err)
		}
	}
	if r := lookup(t, s, again); r.State != atmost.NotExecuted || !s.Stats().DiskLow {
		t.Errorf("the refused claim left %v", r.State)
	}
	apply(t, s, someID, claim(1))
	apply(t, s, someID, &atmost.Renew{Token: token(1), Lease: time.Hour})
	apply(t, s, someID, finish(1, completed))
	apply(t, s, someID, claim(2))

	disk.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1000})
	if _, err := s.Apply(t.Context(), again, claim(2)); !errors.Is(err, atmost.ErrFull) {
		t.Errorf("the disk was looked at twice in a second: %v", err)
	}
	clock.Advance(time.Second)
	apply(t, s, again, claim(2))
}

// The tests below run this test binary again, as the process that is to end or to be excluded.
const childEnv = "ATMOST_PEBBLESTORE_CHILD"

// child runs TestChild as another process, and returns what it wrote and its exit code.
func child(t *testing.T, what, dir string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childEnv+"="+what, childEnv+"_DIR="+dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func TestChild(t *testing.T) {
	dir := os.Getenv(childEnv + "_DIR")
	var disk tap
	o := pebblestore.Options{FS: disk.wrap(vfs.Default)}
	switch os.Getenv(childEnv) {
	case "sync":
		s := open(t, dir, o)
		apply(t, s, someID, claim(1))
		disk.set(func(op errorfs.Op) error {
			if isLogSync(op) {
				return syscall.EIO
			}
			return nil
		})
		_, _ = s.Apply(t.Context(), someID, finish(1, completed))
		t.Fatal("the process goes on")
	case "rotate":
		o.Tune = func(p *pebble.Options) { p.MemTableSize = 256 << 10 }
		s := open(t, dir, o)
		disk.set(func(op errorfs.Op) error {
			if (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite) && strings.HasSuffix(op.Path, ".log") {
				return syscall.ENOSPC
			}
			return nil
		})
		big := completed
		big.Result = bytes.Repeat([]byte("x"), 60<<10)
		for n := range 100 {
			id := atmost.ID{Key: "k" + string(rune('0'+n))}
			apply(t, s, id, claim(1))
			apply(t, s, id, finish(1, big))
		}
		t.Fatal("the process goes on")
	case "open":
		s, err := pebblestore.Open(dir, pebblestore.Options{})
		if err != nil {
			os.Stdout.WriteString(err.Error())
			os.Exit(3)
		}
		t.Fatal(s.Close())
	default:
		t.Skip("only run by other tests")
	}
}

func TestFailedSyncEndsTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	out, code := child(t, "sync", dir)
	if code != 1 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "the process ends") || !strings.Contains(out, dir) {
		t.Errorf("exit status %d, having written:\n%s", code, out)
	}
	s := open(t, dir, pebblestore.Options{})
	defer s.Close()
	if r := lookup(t, s, someID); r.State != atmost.Unknown && r.State != atmost.Completed {
		t.Errorf("after the end the attempt is %v", r.State)
	}
}

func TestFullDiskAtLogRotationEndsTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	out, code := child(t, "rotate", dir)
	if code != 1 || !strings.Contains(out, "the process ends") || !strings.Contains(out, syscall.ENOSPC.Error()) {
		t.Errorf("exit status %d, having written:\n%s", code, out)
	}
	s := open(t, dir, pebblestore.Options{})
	defer s.Close()
}

func TestDirectoryIsOneProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "store")
	s := open(t, dir, pebblestore.Options{})
	out, code := child(t, "open", dir)
	if code != 3 || !strings.Contains(out, dir+" is in use by another process") {
		t.Errorf("exit status %d, having written:\n%s", code, out)
	}
	if _, err := pebblestore.Open(dir, pebblestore.Options{}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("the same process opened it twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out, code := child(t, "open", dir); code == 3 {
		t.Errorf("after Close: %s", out)
	}
}

func apply(t testing.TB, s atmost.Store, id atmost.ID, event atmost.Event) atmost.Step {
	t.Helper()
	step, err := s.Apply(t.Context(), id, event)
	if err != nil {
		t.Fatalf("Apply(%v, %T): %v", id, event, err)
	}
	return step
}

func lookup(t testing.TB, s atmost.Store, id atmost.ID) atmost.Record {
	t.Helper()
	r, err := s.Lookup(t.Context(), id)
	if err != nil {
		t.Fatalf("Lookup(%v): %v", id, err)
	}
	return r
}

// TestCrashesLetNothingExpireEarly: the time of a store that crashes again and again runs ahead, and its keys are kept all the same.
func TestCrashesLetNothingExpireEarly(t *testing.T) {
	memory, clock := vfs.NewCrashableMem(), storetest.NewClock()
	options := func() pebblestore.Options { return pebblestore.Options{FS: memory, Clock: clock, Tune: quiet} }
	s := open(t, "store", options())
	kept := &atmost.Claim{Operation: "op", Token: atmost.NewToken(), Lease: time.Minute, Policy: atmost.Policy{ResultRetention: 20 * time.Second, KeyRetention: 20 * time.Second}}
	apply(t, s, someID, kept)
	apply(t, s, someID, &atmost.Finish{Token: kept.Token, Outcome: completed})
	for range 50 {
		lookup(t, s, someID)
		memory = memory.CrashClone(vfs.CrashCloneCfg{})
		_ = s.Close()
		s = open(t, "store", options())
	}
	if r := lookup(t, s, someID); r.State != atmost.Completed {
		t.Errorf("after 50 crashes in no time it is %v", r.State)
	}
	clock.Advance(20 * time.Second)
	if r := lookup(t, s, someID); r.State != atmost.Absent {
		t.Errorf("after its retention it is %v", r.State)
	}
	memory = memory.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close()
	clock.Step(-10 * time.Second)
	s = open(t, "store", options())
	defer s.Close()
	if r := lookup(t, s, someID); r.State != atmost.Absent {
		t.Errorf("it came back, as %v", r.State)
	}
}

// TestKeyExpiresAfterItsResult: that the result had expired was told, and is on disk; that the key has is another matter. (Seed 1197 of
// package simtest.)
func TestKeyExpiresAfterItsResult(t *testing.T) {
	policies := map[string]*atmost.Claim{
		"completed": {Operation: "op", Token: token(1), Lease: time.Minute, Policy: atmost.Policy{ResultRetention: time.Minute, KeyRetention: time.Hour}},
		"lapsed": {Operation: "op", Token: token(1), Lease: time.Minute, Policy: atmost.Policy{
			OnUnknown: atmost.RetryUnknown, ExecutedBy: atmost.ByClient, ResultRetention: time.Minute, KeyRetention: time.Hour,
		}},
	}
	for name, c := range policies {
		t.Run(name, func(t *testing.T) {
			memory, clock := vfs.NewCrashableMem(), storetest.NewClock()
			s := open(t, "store", pebblestore.Options{FS: memory, Clock: clock, Tune: quiet})
			apply(t, s, someID, c)
			if name == "completed" {
				apply(t, s, someID, &atmost.Finish{Token: c.Token, Outcome: completed})
			}
			for _, d := range []time.Duration{2 * time.Minute, 2 * time.Hour} {
				clock.Advance(d)
				lookup(t, s, someID)
			}
			if r := lookup(t, s, someID); r.State != atmost.Absent {
				t.Fatalf("after its retention it is %v", r.State)
			}
			memory = memory.CrashClone(vfs.CrashCloneCfg{})
			_ = s.Close()
			clock.Step(-2 * time.Hour)
			s = open(t, "store", pebblestore.Options{FS: memory, Clock: clock, Tune: quiet})
			defer s.Close()
			if r := lookup(t, s, someID); r.State != atmost.Absent {
				t.Errorf("it came back, as %v", r.State)
			}
		})
	}
}

// TestWhatWasSweptStaysAway: a crash undoes what the sweeper wrote, which is not synced, and the wall clock is set back.
func TestWhatWasSweptStaysAway(t *testing.T) {
	memory, clock := vfs.NewCrashableMem(), storetest.NewClock()
	s := open(t, "store", pebblestore.Options{FS: memory, Clock: clock, Tune: quiet})
	c := &atmost.Claim{Operation: "op", Token: atmost.NewToken(), Lease: time.Minute, Policy: atmost.Policy{ResultRetention: time.Second, KeyRetention: time.Second}}
	apply(t, s, someID, c)
	apply(t, s, someID, &atmost.Finish{Token: c.Token, Outcome: completed})
	clock.Advance(3 * time.Minute)
	if swept, err := s.Sweep(t.Context(), 10); err != nil || swept.Forgotten != 1 {
		t.Fatalf("swept %+v, %v", swept, err)
	}
	memory = memory.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close()
	clock.Step(-3 * time.Minute)
	s = open(t, "store", pebblestore.Options{FS: memory, Clock: clock, Tune: quiet})
	defer s.Close()
	if r := lookup(t, s, someID); r.State != atmost.Absent {
		t.Errorf("it came back, as %v", r.State)
	}
}

// TestRestartOfManyIsDurable: the last of several batches may be full or nearly empty.
func TestRestartOfManyIsDurable(t *testing.T) {
	for _, n := range []int{333, 334, 335} {
		memory := vfs.NewCrashableMem()
		s := open(t, "store", pebblestore.Options{FS: memory, Tune: quiet})
		id := func(i int) atmost.ID { return atmost.ID{Key: fmt.Sprint("k", i)} }
		for i := range n {
			apply(t, s, id(i), claim(1))
		}
		memory = memory.CrashClone(vfs.CrashCloneCfg{})
		_ = s.Close()
		s = open(t, "store", pebblestore.Options{FS: memory, Tune: quiet})
		told := lookup(t, s, id(0))
		memory = memory.CrashClone(vfs.CrashCloneCfg{})
		_ = s.Close()
		s = open(t, "store", pebblestore.Options{FS: memory, Tune: quiet, Clock: storetest.NewClock()})
		if again := lookup(t, s, id(0)); told.State != atmost.Unknown || again.UpdatedAt != told.UpdatedAt {
			t.Errorf("%d records: in doubt since %v, and after a crash since %v", n, told.UpdatedAt, again.UpdatedAt)
		}
		_ = s.Close()
	}
}

// TestTooFullToOpen: a disk without room for what opening writes is told in one error, instead of being tried again for ever.
func TestTooFullToOpen(t *testing.T) {
	full := diskUsageFS{FS: vfs.NewMem(), free: 1 << 20}
	_, err := pebblestore.Open("store", pebblestore.Options{FS: full, Tune: quiet})
	if err == nil || !strings.Contains(err.Error(), "has 1048576 bytes free") {
		t.Errorf("opened with %v", err)
	}
}

// TestGuardOnAFullDisk: what cannot be written is said, and not tried for ever.
func TestGuardOnAFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	s, err := pebblestore.Open("store", pebblestore.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Checkpoint(t.Context(), "backup", operator), s.Close()); err != nil {
		t.Fatal(err)
	}
	full := pebblestore.Options{FS: diskUsageFS{fs, 1000}}
	by := atmost.Actor{Name: "ada", Reason: "r"}
	if err := pebblestore.Guard("store", by, full); err == nil || !strings.Contains(err.Error(), "has 1000 bytes free") {
		t.Errorf("guarded: %v", err)
	}
	if err := pebblestore.Restore("backup", "restored", full); err == nil || !strings.Contains(err.Error(), "has 1000 bytes free") {
		t.Errorf("restored: %v", err)
	}
	if err := pebblestore.Guard("store", by, pebblestore.Options{FS: fs}); err != nil {
		t.Error(err)
	}
}

type diskUsageFS struct {
	vfs.FS
	free uint64
}

func (f diskUsageFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.free}, nil
}
