package pebblestore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/store/storetest"
)

// A world is a store on a disk that can be looked at as a crash at any of its write operations would leave it, and what
// its callers asked for and were told before that.
type world struct {
	t     *testing.T
	clock *storetest.ManualClock
	disk  *vfs.MemFS
	fs    vfs.FS
	store *pebblestore.Store

	mu      sync.Mutex
	ops     int  // write operations so far
	crashAt int  // the crash happens before this one
	crashed bool // from then on nobody is told anything
	clones  map[int]*vfs.MemFS
	now     atmost.Time // of the crash
	toldAt  atmost.Time // of the last answer before it
	told    map[atmost.ID]atmost.Record
	audits  int                                 // answered changes that are in the audit trail
	asked   map[atmost.ID]map[atmost.Event]bool // under way
	fences  map[atmost.ID]int64
}

// shares are the parts of what is not synced that a crash leaves, in percent.
var shares = []int{0, 50, 100}

func newWorld(t *testing.T, crashAt int) *world {
	w := &world{
		t: t, clock: storetest.NewClock(), disk: vfs.NewCrashableMem(), crashAt: crashAt,
		clones: map[int]*vfs.MemFS{}, told: map[atmost.ID]atmost.Record{}, asked: map[atmost.ID]map[atmost.Event]bool{},
		fences: map[atmost.ID]int64{},
	}
	w.fs = errorfs.Wrap(w.disk, errorfs.InjectorFunc(w.before))
	return w
}

// before is called before each file-system operation.
func (w *world) before(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ops++
	if w.ops == w.crashAt {
		w.crash()
	}
	return nil
}

// crash is called with the lock held.
func (w *world) crash() {
	w.crashed = true
	w.now = atmost.TimeOf(w.clock.Now())
	for _, share := range shares {
		w.clones[share] = w.disk.CrashClone(vfs.CrashCloneCfg{
			UnsyncedDataPercent: share, RNG: rand.New(rand.NewPCG(uint64(w.crashAt), 1)),
		})
	}
}

func (w *world) open() {
	w.t.Helper()
	w.store = open(w.t, "store", pebblestore.Options{Clock: w.clock, FS: w.fs, Tune: quiet})
}

var operator = atmost.Actor{Name: "ada", Reason: "the bank says so"}

// quiet keeps Pebble from reorganizing files on its own.
func quiet(p *pebble.Options) { p.DisableAutomaticCompactions = true }

func (w *world) reopen() {
	w.t.Helper()
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
	w.open()
}

// do asks for a step. It may be called by several goroutines.
func (w *world) do(key string, event atmost.Event) {
	id := atmost.ID{Scope: "s", Key: key}
	w.mu.Lock()
	if !w.crashed {
		if w.asked[id] == nil {
			w.asked[id] = map[atmost.Event]bool{}
		}
		w.asked[id][event] = true
	}
	before := w.told[id]
	w.mu.Unlock()
	step, err := w.store.Apply(w.t.Context(), id, event)
	if err != nil && atmost.CodeOf(err) == atmost.CodeInternal {
		w.t.Errorf("Apply(%s, %T): %v", key, event, err)
	}
	if w.tell(step.Record, event, before); step.Audit != nil {
		w.countAudit()
	}
}

func (w *world) countAudit() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.crashed {
		w.audits++
	}
}

func (w *world) look(key string) {
	id := atmost.ID{Scope: "s", Key: key}
	w.mu.Lock()
	before := w.told[id]
	w.mu.Unlock()
	r, err := w.store.Lookup(w.t.Context(), id)
	if err != nil {
		w.t.Errorf("Lookup(%s): %v", key, err)
	}
	w.tell(r, nil, before)
}

// tell notes an answer to a call that began when the last that was told of its key was before. If more was told meanwhile,
// the answer counts only if it is surely newer: it may have been read earlier.
func (w *world) tell(r atmost.Record, event atmost.Event, before atmost.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.crashed {
		return
	}
	w.toldAt = atmost.TimeOf(w.clock.Now())
	if event != nil {
		delete(w.asked[r.ID], event)
	}
	last := w.told[r.ID]
	overtaken := last.Fence != before.Fence || last.UpdatedAt != before.UpdatedAt || last.State != before.State
	if !overtaken || r.Fence > last.Fence || r.Fence == last.Fence && last.State == atmost.Processing {
		w.told[r.ID] = r
	}
	w.fences[r.ID] = max(w.fences[r.ID], r.Fence)
}

func (w *world) sweep() {
	swept, err := w.store.Sweep(w.t.Context(), 100)
	if err != nil {
		w.t.Errorf("Sweep: %v", err)
	}
	for _, r := range swept.Lapsed {
		w.tell(r, nil, w.told[r.ID])
	}
}

// scenarios are what a store goes through while it is crashed at every operation.
var scenarios = map[string]func(w *world){
	"Open":  func(w *world) { w.open(); w.do("a", claim(1)); w.reopen(); w.do("b", claim(1)); w.reopen() },
	"Claim": func(w *world) { w.open(); w.do("a", claim(1)); w.do("a", claim(1)); w.do("a", claim(2)) },
	"Finish": func(w *world) {
		w.open()
		w.do("a", claim(1))
		w.do("a", finish(1, completed))
		w.look("a")
		w.do("b", claim(1))
		w.do("b", finish(1, failed))
		w.do("b", finish(1, failed))
	},
	"Renew": func(w *world) {
		w.open()
		w.do("a", claimByClient(1))
		for range 4 {
			w.clock.Advance(10 * time.Second)
			w.do("a", &atmost.Renew{Token: token(1), Lease: time.Minute})
		}
	},
	"Again": func(w *world) {
		w.open()
		for n := 1; n < 5; n++ {
			w.do("a", claim(n))
			w.do("a", finish(n, notExecuted))
		}
		w.do("a", claim(5))
		w.do("a", finish(5, completed))
	},
	"Lapse": func(w *world) {
		w.open()
		w.do("a", claimByClient(1))
		w.do("b", claimByClient(1))
		w.clock.Advance(time.Minute)
		w.look("a")
		w.sweep()
		w.look("b")
		w.do("a", finish(1, completed))
		w.do("b", claim(2))
	},
	"Settle": func(w *world) {
		w.open()
		for _, key := range []string{"a", "b"} {
			w.do(key, claim(1))
			w.do(key, finish(1, unknown))
		}
		w.do("a", &atmost.Resolve{Attempt: 1, Outcome: notExecuted})
		w.do("a", claim(2))
		w.do("b", &atmost.Resolve{Attempt: 1, Outcome: failed})
		w.do("b", finish(1, completed)) // refused, and leaves a trace
	},
	"Operate": func(w *world) {
		w.open()
		w.do("a", claim(1))
		w.do("a", finish(1, unknown))
		w.do("a", &atmost.Probed{Attempt: 1, Message: "no answer"})
		w.do("a", &atmost.Resolve{Attempt: 1, Outcome: completed, By: &operator})
		w.do("a", &atmost.Erase{By: operator})
		w.clock.Advance(time.Millisecond)
		w.do("a", &atmost.Forget{By: operator})
		w.do("a", claim(2))
		w.do("a", finish(2, failed))
		w.do("a", &atmost.Erase{By: operator})
	},
	"Expire": func(w *world) {
		w.open()
		w.do("a", claim(1))
		w.do("a", finish(1, completed))
		w.do("b", claim(1))
		w.do("b", finish(1, notExecuted))
		w.clock.Advance(2 * time.Hour)
		w.look("a")
		w.sweep()
		w.look("a")
		w.clock.Advance(48 * time.Hour)
		w.look("b")
		w.sweep()
		w.look("a")
		w.do("a", claim(2))
		w.do("a", finish(2, failed))
	},
	"Concurrent": func(w *world) {
		w.open()
		var running sync.WaitGroup
		for n := range 4 {
			running.Go(func() {
				w.do("a", claim(n+1))
				w.look("b")
				w.do("b", claim(n+1))
				w.look("a")
				w.do("b", finish(n+1, completed))
				w.look("b")
			})
		}
		running.Wait()
	},
	"Restart": func(w *world) {
		w.open()
		for n := range 3 {
			w.do(fmt.Sprint("mine", n), claim(1))
			w.do(fmt.Sprint("theirs", n), claimByClient(1))
		}
		w.reopen()
		w.look("mine0")
		w.do("mine1", finish(1, completed))
		w.do("theirs0", finish(1, completed))
		w.reopen()
	},
}

// TestCrash goes through each scenario once for each write operation that it makes, crashes before it, and opens what is left.
func TestCrash(t *testing.T) {
	for name, scenario := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			points := 0
			for n := 1; ; n++ {
				w := newWorld(t, n)
				scenario(w)
				if err := w.store.Close(); err != nil {
					t.Fatal(err)
				}
				if !w.crashed {
					break
				}
				points++
				for _, share := range shares {
					w.verify(share)
				}
				if t.Failed() {
					t.Fatalf("crashed at operation %d", n)
				}
			}
			t.Logf("%d crash points", points)
		})
	}
}

// verify opens what a crash left, with the wall clock set back, and holds it to what was told before. A disk that keeps any
// half of a directory's new entries, other than a journalled file system does, can lose Pebble's newest manifest and keep what
// points to it: then the store must not open.
func (w *world) verify(share int) {
	w.t.Helper()
	clock := storetest.NewClock()
	clock.Step(w.now.Std().Sub(clock.Now()) - time.Hour)
	s, err := pebblestore.Open("store", pebblestore.Options{Clock: clock, FS: w.clones[share], Tune: quiet})
	if share == 50 && errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		w.t.Errorf("%d%% of what was not synced is left: %v", share, err)
		return
	}
	defer s.Close()
	ids := map[atmost.ID]bool{}
	for id := range w.told {
		ids[id] = true
	}
	for id := range w.asked {
		ids[id] = true
	}
	for id := range ids {
		w.verifyRecord(s, id, share)
	}
	for _, state := range []atmost.State{atmost.Processing, atmost.Unknown} {
		page, err := s.List(w.t.Context(), atmost.Query{State: state, Limit: 100})
		if err != nil {
			w.t.Error(err)
		}
		for _, r := range page.Records {
			if !ids[r.ID] {
				w.t.Errorf("%d%%: %v is listed, nobody asked for it", share, r.ID)
			}
		}
	}
}

func (w *world) verifyRecord(s *pebblestore.Store, id atmost.ID, share int) {
	w.t.Helper()
	got, err := s.Lookup(w.t.Context(), id)
	if err != nil {
		w.t.Error(err)
		return
	}
	told, ok := w.told[id]
	if !ok {
		told = atmost.Record{ID: id}
	}
	trail, err := s.Audit(w.t.Context(), 0, 100)
	if err != nil {
		w.t.Error(err)
	}
	is := summarize(got, len(trail))
	want := w.possible(told, w.asked[id])
	if !slices.Contains(want, is) {
		w.t.Errorf("%d%%: %v is\n\t%+v, it can only be one of\n\t%+v", share, id.Key, is, want)
		return
	}
	c := claim(99)
	step, err := s.Apply(w.t.Context(), id, c)
	free := got.State == atmost.Absent || got.State == atmost.NotExecuted
	if err != nil || c.Won(step.Record) != free {
		w.t.Errorf("%d%%: %v is %v, a new claim got %v, %v", share, id.Key, got.State, step.Record.State, err)
	}
	if free && step.Record.Fence <= w.fences[id] {
		w.t.Errorf("%d%%: %v was claimed with fence %d after %d", share, id.Key, step.Record.Fence, w.fences[id])
	}
}

// summary is all of a record that does not depend on the moment of the restart.
type summary struct {
	State               atmost.State
	Result, Message     string
	NotKept             atmost.NotKept
	Token               atmost.Token
	Attempt             uint32
	Fence               int64
	CreatedAt, Deadline atmost.Time
	Contradictions      uint32
	Past, History       string
	Audits              int // in the whole trail
}

func summarize(r atmost.Record, audits int) summary {
	if r.State == atmost.Absent {
		return summary{Audits: audits}
	}
	var history strings.Builder
	for _, e := range r.Timeline() {
		fmt.Fprint(&history, e.What, e.Attempt, e.Outcome, e.Actor, " ")
	}
	s := summary{
		History: history.String(), Audits: audits,

		State: r.State, Result: string(r.Result), Message: r.Message, NotKept: r.NotKept, Token: r.Token,
		Attempt: r.Attempt, Fence: r.Fence, CreatedAt: r.CreatedAt, Contradictions: r.Contradictions, Past: fmt.Sprint(r.Past),
	}
	if r.State == atmost.Processing {
		s.Deadline = r.Deadline
	}
	return s
}

// possible is how a record can stand after a restart: with each of the steps that were under way, or without, and at
// the time of the last answer or of the crash. If no answer was given since the one, the store need not know of the other.
func (w *world) possible(told atmost.Record, asked map[atmost.Event]bool) []summary {
	var all []summary
	for _, now := range []atmost.Time{w.toldAt, w.now} {
		at := atmost.Instant{Now: now, Expiry: now}
		restarted, _ := atmost.Transition(told, atmost.Restart{}, at) // maybe before the event
		var steps []atmost.Step
		for _, before := range []atmost.Record{told, restarted.Record} {
			steps = append(steps, atmost.Step{Record: before})
			for event := range asked {
				if step, _ := atmost.Transition(before, event, at); step.Changed {
					steps = append(steps, step)
				}
			}
		}
		for _, s := range steps {
			audits := w.audits
			if s.Audit != nil {
				audits++
			}
			step, _ := atmost.Transition(s.Record, atmost.Restart{}, at)
			all = append(all, summarize(step.Record, audits))
		}
	}
	return all
}
