package atmost_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/store/storetest"
)

var ada = atmost.Actor{Name: "ada", Reason: "the bank says so"}

// desk is an engine as operators use it, and a client of it, whose operations are "op", of which nobody knows how it ends, "done",
// which completes, and "work", which clients perform.
type desk struct {
	*testing.T
	*atmost.Engine
	store  *storetest.FaultyStore
	clock  *storetest.ManualClock
	events *tally
}

// atDesks runs test over each kind of store.
func atDesks(t *testing.T, test func(d *desk)) {
	for name, open := range map[string]func(*storetest.ManualClock) (atmost.Store, error){
		"memstore": func(clock *storetest.ManualClock) (atmost.Store, error) {
			return memstore.New(memstore.Options{Clock: clock}), nil
		},
		"pebblestore": func(clock *storetest.ManualClock) (atmost.Store, error) {
			return pebblestore.Open("store", pebblestore.Options{Clock: clock, FS: vfs.NewMem()})
		},
	} {
		t.Run(name, func(t *testing.T) {
			clock := storetest.NewClock()
			store, err := open(clock)
			if err != nil {
				t.Fatal(err)
			}
			atDesk(t, clock, store, test)
		})
	}
}

// atDesk runs test over a store, and closes it.
func atDesk(t *testing.T, clock *storetest.ManualClock, store atmost.Store, test func(d *desk)) {
	t.Helper()
	d := &desk{T: t, clock: clock, store: storetest.Faulty(store), events: &tally{counts: map[string]int{}}}
	var opened atmost.Store = d.store
	if guard, ok := store.(atmost.Guard); ok {
		opened = struct {
			*storetest.FaultyStore
			atmost.Guard
		}{d.store, guard}
	}
	events := d.events.events()
	events.Settled = func(r atmost.Record, by *atmost.Actor) {
		d.events.add(fmt.Sprint("settled ", r.State, " by ", by.Name))
	}
	var err error
	d.Engine, err = atmost.New(t.Context(), opened, atmost.Options{
		Operations: map[string]atmost.Operation{
			"op":   {Executor: outcome(atmost.Outcome{State: atmost.Unknown, Message: "no answer"})},
			"done": {Executor: outcome(completed(1))},
			"work": {Timeout: time.Minute, OnUnknown: atmost.HoldUnknown},
		},
		Clock: clock, Events: events,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		d.Close(context.Background())
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	test(d)
}

// outcome is an executor that always ends so.
type outcome atmost.Outcome

func (o outcome) Execute(context.Context, atmost.Attempt) atmost.Outcome { return atmost.Outcome(o) }

// run has an operation executed for a key, and wants it in state.
func (d *desk) run(id atmost.ID, operation string, state atmost.State) atmost.Answer {
	d.Helper()
	a, _ := d.Execute(d.Context(), atmost.Call{ID: id, Operation: operation, Payload: []byte(`{"amount":1}`)})
	if a.Record.State != state {
		d.Fatalf("%v is %v, want %v", id, a.Record.State, state)
	}
	return a
}

func key(k string) atmost.ID { return atmost.ID{Key: k} }

// refused wants an error of a code.
func (d *desk) refused(err error, code atmost.Code) {
	d.Helper()
	if atmost.CodeOf(err) != code {
		d.Errorf("the error is %v, want %q", err, code)
	}
}

// trail is the whole audit trail, the oldest first.
func (d *desk) trail() []string {
	d.Helper()
	entries, err := d.Audit(d.Context(), 0, atmost.MaxPage)
	if err != nil {
		d.Fatal(err)
	}
	var lines []string
	for _, e := range entries {
		lines = append(lines, fmt.Sprintf("%v %s/%s %d %v %v %s", e.Action, e.ID.Scope, e.ID.Key, e.Attempt, e.Before, e.After, e.Actor.Name))
	}
	slices.Reverse(lines)
	return lines
}

func TestResolvingByHand(t *testing.T) {
	atDesks(t, func(d *desk) {
		resolve := func(k string, attempt uint32, o atmost.Outcome) (atmost.Record, error) {
			return d.Resolve(d.Context(), key(k), atmost.Resolve{Attempt: attempt, Outcome: o, By: &ada})
		}
		for k, o := range map[string]atmost.Outcome{
			"a": {State: atmost.Completed}, "b": {State: atmost.Completed, Result: []byte(`{"n": 1.10}`)}, "c": {State: atmost.Failed}, "d": {State: atmost.NotExecuted},
		} {
			d.run(key(k), "op", atmost.Unknown)
			r, err := resolve(k, 2, o)
			if d.refused(err, atmost.CodeStateConflict); r.State != atmost.Unknown || r.Attempt != 1 {
				d.Errorf("beside the refusal the record is %+v", r)
			}
			if r, err = resolve(k, 1, o); err != nil || r.State != o.State || r.SettledBy != atmost.ByResolve {
				d.Errorf("the record is %+v, %v", r, err)
			}
			_, err = resolve(k, 1, o)
			d.refused(err, atmost.CodeStateConflict)
			if n := d.events.get("settled " + o.State.String() + " by ada"); n == 0 {
				d.Error("nobody was told")
			}
		}
		for k, want := range map[string]string{"a": `null`, "b": `{"n": 1.10}`} {
			if got := d.run(key(k), "op", atmost.Completed).Record.Result; string(got) != want {
				d.Errorf("%s is replayed as %s", k, got)
			}
		}
		_, err := resolve("none", 1, atmost.Outcome{State: atmost.Completed})
		d.refused(err, atmost.CodeKeyNotFound)
		d.run(key("e"), "op", atmost.Unknown)
		for _, state := range []atmost.State{atmost.Absent, atmost.Processing, atmost.Unknown, 99} {
			_, err := resolve("e", 1, atmost.Outcome{State: state})
			d.refused(err, atmost.CodeInvalidRequest)
		}
		for _, state := range []atmost.State{atmost.Completed, atmost.Failed} {
			_, err := resolve("e", 1, atmost.Outcome{State: state, Result: []byte(`{"n":`)})
			d.refused(err, atmost.CodeInvalidRequest)
		}
		_, err = d.Resolve(d.Context(), key("e"), atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Completed}})
		d.refused(err, atmost.CodeInvalidRequest)
		_, err = d.Resolve(d.Context(), key("e"), atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Completed}, By: &atmost.Actor{Name: "ada"}})
		d.refused(err, atmost.CodeInvalidRequest)
		_, err = resolve("a b", 1, atmost.Outcome{State: atmost.Completed})
		d.refused(err, atmost.CodeInvalidKey)
		if r, err := d.Status(d.Context(), key("e"), 0); err != nil || r.State != atmost.Unknown {
			d.Errorf("the record is %v, %v", r.State, err)
		}
		if got := d.trail(); len(got) != 4 {
			d.Errorf("the trail is %q", got)
		}
	})
}

// Of several who settle one attempt at once, one does.
func TestResolvingAtOnce(t *testing.T) {
	atDesks(t, func(d *desk) {
		d.run(key("k"), "op", atmost.Unknown)
		var mu sync.Mutex
		var work sync.WaitGroup
		won := 0
		for i := range 8 {
			work.Go(func() {
				o := atmost.Outcome{State: atmost.Completed, Result: []byte{byte('0' + i)}}
				r, err := d.Resolve(d.Context(), key("k"), atmost.Resolve{Attempt: 1, Outcome: o, By: &ada})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if d.refused(err, atmost.CodeStateConflict); r.State != atmost.Completed {
					d.Errorf("beside the refusal the record is %+v", r)
				}
			})
		}
		work.Wait()
		if got := d.trail(); won != 1 || len(got) != 1 {
			d.Errorf("%d won, the trail is %q", won, got)
		}
	})
}

func TestErasingAndForgetting(t *testing.T) {
	atDesks(t, func(d *desk) {
		d.run(key("k"), "done", atmost.Completed)
		d.run(key("u"), "op", atmost.Unknown)
		d.clock.Advance(time.Second)
		for _, id := range []atmost.ID{key("u"), key("none"), key("")} {
			want := map[string]atmost.Code{"u": atmost.CodeStateConflict, "none": atmost.CodeKeyNotFound, "": atmost.CodeInvalidKey}[id.Key]
			_, err := d.Erase(d.Context(), id, atmost.Erase{By: ada})
			d.refused(err, want)
			_, err = d.Forget(d.Context(), id, atmost.Forget{By: ada})
			d.refused(err, want)
		}
		_, err := d.Erase(d.Context(), key("k"), atmost.Erase{Attempt: 2, By: ada})
		d.refused(err, atmost.CodeStateConflict)
		_, err = d.Erase(d.Context(), key("k"), atmost.Erase{})
		d.refused(err, atmost.CodeInvalidRequest)
		_, err = d.Forget(d.Context(), key("k"), atmost.Forget{By: atmost.Actor{Name: "a\nb", Reason: "r"}})
		d.refused(err, atmost.CodeInvalidRequest)
		for range 2 {
			r, err := d.Erase(d.Context(), key("k"), atmost.Erase{Attempt: 1, By: ada})
			if err != nil || r.State != atmost.Completed || r.NotKept != atmost.Erased || r.Erasable() {
				d.Errorf("the record is %+v, %v", r, err)
			}
		}
		a := d.run(key("k"), "done", atmost.Completed)
		d.refused(a.Record.Err(), atmost.CodeResultNotKept)
		if r, err := d.Forget(d.Context(), key("k"), atmost.Forget{By: ada}); err != nil || r.State != atmost.Absent {
			d.Errorf("the record is %+v, %v", r, err)
		}
		if a := d.run(key("k"), "done", atmost.Completed); a.Replayed || a.Record.Attempt != 1 {
			d.Errorf("after it was forgotten the key is answered %+v", a)
		}
		if got, want := d.trail(), []string{"erase /k 1 completed completed ada", "forget /k 1 completed absent ada"}; !slices.Equal(got, want) {
			d.Errorf("the trail is %q", got)
		}
	})
}

func TestListing(t *testing.T) {
	atDesks(t, func(d *desk) {
		for _, scope := range []string{"", "s", "t"} {
			for _, k := range []string{"a", "z"} {
				d.run(atmost.ID{Scope: scope, Key: k}, map[string]string{"a": "op", "z": "done"}[k], map[string]atmost.State{"a": atmost.Unknown, "z": atmost.Completed}[k])
			}
		}
		list := func(q atmost.Query) string {
			d.Helper()
			var names []string
			for pages := 0; ; pages++ {
				page, err := d.List(d.Context(), q)
				if err != nil || pages > 100 {
					d.Fatalf("%d pages, %v", pages, err)
				}
				for _, r := range page.Records {
					if r.Result != nil {
						d.Error("a list holds results")
					}
					names = append(names, r.ID.Scope+"/"+r.ID.Key)
				}
				if len(page.Records) > max(q.Limit, 1) {
					d.Errorf("a page of %d holds %d", q.Limit, len(page.Records))
				}
				if q.After = page.Next; !page.More {
					return strings.Join(names, " ")
				}
			}
		}
		empty, s, op := "", "s", "op"
		for want, q := range map[string]atmost.Query{
			"/a /z s/a s/z t/a t/z": {Limit: 1}, // the self-test's record is between them, and is not shown
			"s/a s/z":               {Scope: &s, Limit: 1},
			"/a /z":                 {Scope: &empty, Limit: 100},
			"/a s/a t/a":            {Operation: &op, Limit: 2},
			"/z s/z t/z":            {State: atmost.Completed},
			"s/z t/a t/z":           {After: atmost.ID{Scope: "s", Key: "a"}, Limit: -1},
			"":                      {Scope: &s, After: atmost.ID{Scope: "t", Key: "a"}, Limit: 1 << 30},
		} {
			if got := list(q); got != want {
				d.Errorf("%+v lists %q, want %q", q, got, want)
			}
		}
		if got := list(atmost.Query{Scope: &empty, After: atmost.ID{Scope: "t", Key: "a"}, State: atmost.Unknown}); got != "" {
			d.Errorf("beyond the scope there is %q", got)
		}
		spaced, long, nul := "a b", strings.Repeat("x", 256), "\x00"
		for i, q := range []atmost.Query{
			{Scope: &spaced},
			{Key: &empty},
			{Key: &long},
			{Operation: &empty},
			{Operation: &nul},
			{State: 6},
			{Age: -1},
			{After: key("\x00")},
			{After: key(long)},
			{After: atmost.ID{Scope: "é", Key: "k"}},
		} {
			_, err := d.List(d.Context(), q)
			if d.refused(err, atmost.CodeInvalidRequest); err != nil && strings.Contains(err.Error(), spaced) {
				d.Errorf("query %d is told: %v", i, err)
			}
		}
	})
}

func TestTheAuditTrailByParts(t *testing.T) {
	atDesks(t, func(d *desk) {
		for i := range 5 {
			id := key(fmt.Sprint("k", i))
			d.run(id, "done", atmost.Completed)
			if _, err := d.Erase(d.Context(), id, atmost.Erase{By: ada}); err != nil {
				d.Fatal(err)
			}
		}
		for _, c := range []struct {
			before uint64
			limit  int
			want   string
		}{
			{0, 2, "54"},
			{4, 2, "32"},
			{2, 2, "1"},
			{1, 2, ""},
			{0, 0, "5"},
			{0, -1, "5"},
			{6, 1 << 40, "54321"},
			{math.MaxInt64, 1, "5"},
			{math.MaxInt64 + 2, 1, "5"},
			{math.MaxUint64, 9, "54321"},
		} {
			entries, err := d.Audit(d.Context(), c.before, c.limit)
			got := ""
			for _, e := range entries {
				got += fmt.Sprint(e.Number)
			}
			if err != nil || got != c.want {
				d.Errorf("%d before %d: %q, %v; want %q", c.limit, c.before, got, err, c.want)
			}
		}
	})
}

func TestComparing(t *testing.T) {
	atDesks(t, func(d *desk) {
		d.run(key("k"), "op", atmost.Unknown)
		for _, c := range []struct {
			operation, payload string
			want               atmost.Comparison
		}{
			{"op", `{"amount":1}`, atmost.Comparison{SameOperation: true, Same: true}},
			{"op", ` { "\u0061mount" : 1 } `, atmost.Comparison{SameOperation: true, Same: true}},
			{"op", `{"amount":1.0}`, atmost.Comparison{SameOperation: true}},
			{"other", `{"amount":1}`, atmost.Comparison{}},
		} {
			got, err := d.Compare(d.Context(), key("k"), c.operation, []byte(c.payload))
			if err != nil || got.Same != c.want.Same || got.SameOperation != c.want.SameOperation {
				d.Errorf("%s %s: %+v, %v", c.operation, c.payload, got, err)
			}
		}
		_, err := d.Compare(d.Context(), key("none"), "op", []byte("1"))
		d.refused(err, atmost.CodeKeyNotFound)
		_, err = d.Compare(d.Context(), key("k"), "op", []byte("{"))
		d.refused(err, atmost.CodeInvalidRequest)
	})
}

func TestOperationsAreTold(t *testing.T) {
	atDesks(t, func(d *desk) {
		o := d.Operations()
		if len(o) != 3 || o["op"].Executor == nil || o["op"].Timeout != atmost.DefaultTimeout || o["work"].Executor != nil || o["work"].Timeout != time.Minute {
			d.Errorf("the operations are %+v", o)
		}
		delete(o, "op") // is the caller's
		if len(d.Operations()) != 3 {
			d.Error("the engine lost an operation")
		}
		if err := d.SetOperations(nil); err != nil || len(d.Operations()) != 0 {
			d.Errorf("after they were replaced: %v, %v", d.Operations(), err)
		}
	})
}

func TestAdmitting(t *testing.T) {
	fs, clock := vfs.NewMem(), storetest.NewClock()
	o := pebblestore.Options{Clock: clock, FS: fs}
	store, err := pebblestore.Open("store", o)
	if err == nil {
		err = store.Close()
	}
	if err = errors.Join(err, pebblestore.Guard("store", ada, o)); err != nil {
		t.Fatal(err)
	}
	if store, err = pebblestore.Open("store", o); err != nil {
		t.Fatal(err)
	}
	atDesk(t, clock, store, func(d *desk) {
		in := func(scope string) atmost.ID { return atmost.ID{Scope: scope, Key: "k"} }
		if d.run(in("s"), "done", atmost.Absent); !d.Guarded() {
			d.Fatal("the store is not guarded")
		}
		_, err := d.Resolve(d.Context(), in("s"), atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Completed}, By: &ada})
		d.refused(err, atmost.CodeKeyNotFound)
		d.refused(d.Admit(d.Context(), []string{"s", "a b"}, ada), atmost.CodeInvalidRequest) // nothing of it is done
		d.refused(d.Admit(d.Context(), nil, atmost.Actor{Name: "ada"}), atmost.CodeInvalidRequest)
		d.run(in("s"), "done", atmost.Absent)
		d.refused(d.Admit(d.Context(), []string{"s", ""}, ada), "")
		d.refused(d.Admit(d.Context(), []string{"s"}, ada), "") // changes nothing
		d.run(in("s"), "done", atmost.Completed)
		d.run(in(""), "done", atmost.Completed)
		d.run(in("t"), "done", atmost.Absent)
		if !d.Guarded() {
			d.Error("two scopes were admitted, and no other is guarded any more")
		}
		d.refused(d.Admit(d.Context(), nil, ada), "")
		d.run(in("t"), "done", atmost.Completed)
		d.refused(d.Admit(d.Context(), nil, ada), "")
		if d.Guarded() {
			d.Error("the store is guarded, still")
		}
		if got, want := d.trail(), []string{"guard / 0 absent absent ada", "admit s/ 0 absent absent ada", "admit / 0 absent absent ada", "admit_all / 0 absent absent ada"}; !slices.Equal(got, want) {
			d.Errorf("the trail is %q", got)
		}
		for _, told := range []string{"changed admit 2 by ada", "changed admit 3 by ada", "changed admit_all 4 by ada"} {
			if d.events.get(told) != 1 {
				d.Errorf("told %v", d.events.counts)
			}
		}
	})
	atDesk(t, clock, memstore.New(memstore.Options{Clock: clock}), func(d *desk) {
		if d.refused(d.Admit(d.Context(), nil, ada), ""); d.Guarded() || len(d.trail()) != 0 {
			d.Error("a store that has no guard is guarded")
		}
	})
}

// Each change is told once, as it is in the audit trail; what changes nothing is not.
func TestChangesAreTold(t *testing.T) {
	atDesks(t, func(d *desk) {
		d.run(key("k"), "op", atmost.Unknown)
		for range 2 {
			_, _ = d.Resolve(d.Context(), key("k"), atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Completed}, By: &ada})
			_, _ = d.Erase(d.Context(), key("k"), atmost.Erase{By: ada})
		}
		d.clock.Advance(time.Second)
		for range 2 {
			_, _ = d.Forget(d.Context(), key("k"), atmost.Forget{By: ada})
		}
		for _, told := range []string{"changed resolve 1 by ada", "changed erase 2 by ada", "changed forget 3 by ada"} {
			if d.events.get(told) != 1 {
				d.Errorf("not told once: %s\n%v", told, d.events.counts)
			}
		}
		if got := d.trail(); len(got) != 3 {
			d.Errorf("the trail is %q", got)
		}
	})
}

// What the store does not know to have happened is told so; what it cannot do has not happened.
func TestOperatorsWithoutAStore(t *testing.T) {
	atDesks(t, func(d *desk) {
		d.run(key("k"), "op", atmost.Unknown)
		resolve := func() (atmost.Record, error) {
			return d.Resolve(d.Context(), key("k"), atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Completed}, By: &ada})
		}
		d.store.SetDown(true)
		_, err := resolve()
		d.refused(err, atmost.CodeStoreUnavailable)
		_, err = d.List(d.Context(), atmost.Query{})
		d.refused(err, atmost.CodeStoreUnavailable)
		_, err = d.Audit(d.Context(), 0, 1)
		d.refused(err, atmost.CodeStoreUnavailable)
		_, err = d.Compare(d.Context(), key("k"), "op", []byte("1"))
		d.refused(err, atmost.CodeStoreUnavailable)
		_, err = d.Erase(d.Context(), key("k"), atmost.Erase{By: ada})
		d.refused(err, atmost.CodeStoreUnavailable)
		_, err = d.Forget(d.Context(), key("k"), atmost.Forget{By: ada})
		d.refused(err, atmost.CodeStoreUnavailable)
		d.store.SetDown(false)
		for _, doing := range []string{"resolve", "list", "audit", "look up", "erase", "forget"} {
			if d.events.get("store failed to "+doing) != 1 {
				d.Errorf("told %v", d.events.counts)
			}
		}
		if d.events.get("settled completed by ada") != 0 {
			d.Errorf("told %v", d.events.counts)
		}
		d.store.Next(storetest.AmbiguousDone, storetest.Of[*atmost.Resolve])
		_, err = resolve()
		if d.refused(err, atmost.CodeStoreUnavailable); !strings.Contains(err.Error(), "look at the record") {
			d.Errorf("it is told: %v", err)
		}
		r, err := resolve()
		if d.refused(err, atmost.CodeStateConflict); r.State != atmost.Completed {
			d.Errorf("the record is %v", r.State)
		}
		if got := d.trail(); len(got) != 1 {
			d.Errorf("the trail is %q", got)
		}

		d.Close(context.Background())
		_, err = resolve()
		_, listing := d.List(d.Context(), atmost.Query{})
		_, auditing := d.Audit(d.Context(), 0, 1)
		_, comparing := d.Compare(d.Context(), key("k"), "op", []byte("1"))
		_, erasing := d.Erase(d.Context(), key("k"), atmost.Erase{By: ada})
		_, forgetting := d.Forget(d.Context(), key("k"), atmost.Forget{By: ada})
		for _, err := range []error{err, listing, auditing, comparing, erasing, forgetting, d.Admit(d.Context(), nil, ada)} {
			d.refused(err, atmost.CodeShuttingDown)
		}
	})
}

// Whoever waits is told when a person settles it, at once.
func TestAPersonsWordWakesWhoWaits(t *testing.T) {
	inBubble(t, atmost.Operation{}, atmost.Options{}, func(b *bench) {
		b.target.do = func(context.Context, atmost.Attempt) atmost.Outcome { return doubt }
		a, err := b.execute(call("k"))
		b.says(a, err, atmost.CodeOutcomeUnknown, atmost.Unknown)
		begin := b.clock.Now()
		woken := make(chan time.Duration)
		go func() {
			r, err := b.Status(b.Context(), key("k"), time.Minute)
			if err != nil || r.State != atmost.NotExecuted {
				b.Errorf("the one who waited was told %v, %v", r.State, err)
			}
			woken <- b.clock.Now().Sub(begin)
		}()
		pass(7 * time.Second)
		if _, err := b.Resolve(b.Context(), key("k"), atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.NotExecuted}, By: &ada}); err != nil {
			b.Error(err)
		}
		if took := <-woken; took != 7*time.Second {
			b.Errorf("it waited for %v", took)
		}
	})
}

// A replay is an answer that another request has made, whoever performs the operation.
func TestReplaysAreCounted(t *testing.T) {
	atDesks(t, func(d *desk) {
		for i := range 4 {
			if n := d.Replays(key("k")); n != max(0, i-1) {
				d.Errorf("after %d answers there were %d replays", i, n)
			}
			d.run(key("k"), "done", atmost.Completed)
		}
		d.run(key("u"), "op", atmost.Unknown)
		d.run(key("u"), "op", atmost.Unknown)
		if n := d.Replays(key("u")); n != 0 {
			d.Errorf("an outcome that is unknown was replayed %d times", n)
		}
		claim := atmost.ClaimCall{Call: atmost.Call{ID: key("w"), Operation: "work", Payload: []byte("1")}, Lease: time.Minute, Token: atmost.NewToken()}
		for range 3 {
			if _, err := d.Claim(d.Context(), claim); err != nil {
				d.Fatal(err)
			}
			if _, err := d.Complete(d.Context(), key("w"), claim.Token, []byte("1")); err != nil {
				d.Fatal(err)
			}
		}
		if n := d.Replays(key("w")); n != 2 {
			d.Errorf("a client's result was replayed %d times", n)
		}
	})
}

// Doubts are those at the end of the last round.
func TestDoubts(t *testing.T) {
	o := atmost.Options{Housekeeping: atmost.MaxHousekeeping} // so that little time in bubbles is spent on it
	inBubble(t, atmost.Operation{}, o, func(b *bench) {
		is := func(count int, oldest time.Duration) {
			b.Helper()
			if got := b.Doubts(); got.Count != count || got.Oldest < oldest || got.Oldest > oldest+3*atmost.MaxHousekeeping {
				b.Errorf("%+v, want %d and %v", got, count, oldest)
			}
		}
		is(0, 0)
		b.unknowns("a", 300, atmost.HoldUnknown) // more than one listing holds
		pass(10 * time.Minute)
		b.unknowns("b", 5, atmost.HoldUnknown)
		pass(atmost.MaxHousekeeping + time.Second)
		is(305, 10*time.Minute)
		pass(atmost.MaxHousekeeping)
		is(305, 10*time.Minute)
		for i := range 300 {
			event := atmost.Resolve{Attempt: 1, Outcome: outcomeA, By: &ada}
			if _, err := b.Resolve(b.Context(), key(fmt.Sprintf("a%05d", i)), event); err != nil {
				b.Fatal(err)
			}
		}
		pass(time.Minute)
		is(5, time.Minute)
		b.store.SetDown(true) // what was seen last is told
		pass(time.Minute)
		b.store.SetDown(false)
		is(5, time.Minute)
	})
}
