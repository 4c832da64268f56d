package sealed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// TestDigests: what is stored tells no key, answers have the key that was sent, and a digest that is listed names its record.
func TestDigests(t *testing.T) {
	names := namesOf(t, 3)
	w := newWorld(t, ringOf(t, line("a", 1)), names)
	same := atmost.ID{Scope: "t", Key: someID.Key} // in another scope
	for _, id := range []atmost.ID{someID, same} {
		w.completed(id, 1)
		if r, err := w.store.Lookup(t.Context(), id); err != nil || r.ID != id || !bytes.Equal(r.Result, result) {
			t.Errorf("%+v, %v", r, err)
		}
		if r, err := w.inner.Lookup(t.Context(), id); err != nil || r.State != atmost.Absent {
			t.Errorf("stored under its key: %+v, %v", r, err)
		}
		r, err := w.inner.Lookup(t.Context(), names.stored(id))
		if err != nil || r.State != atmost.Completed || strings.Contains(fmt.Sprintf("%+v", r), someID.Key+" ") {
			t.Errorf("stored as %+v, %v", r, err)
		}
	}
	if names.stored(someID).Key == names.stored(same).Key || names.stored(someID) == namesOf(t, 4).stored(someID) {
		t.Error("one digest for two")
	}
	page, err := w.store.List(t.Context(), atmost.Query{Limit: 10})
	if err != nil || len(page.Records) != 2 {
		t.Fatalf("%+v, %v", page, err)
	}
	for _, r := range page.Records {
		if !isName(r.ID.Key) {
			t.Errorf("listed as %v", r.ID)
		}
		found, err := w.store.Lookup(ByDigest(t.Context()), r.ID)
		if err != nil || found.ID != r.ID || !bytes.Equal(found.Result, result) {
			t.Errorf("by its digest: %+v, %v", found, err)
		}
		if found, err := w.store.Lookup(t.Context(), r.ID); err != nil || found.State != atmost.Absent || found.ID != r.ID {
			t.Errorf("a client has the digest: %+v, %v", found, err)
		}
	}
	if r, err := w.store.Lookup(ByDigest(t.Context()), someID); err != nil || !bytes.Equal(r.Result, result) {
		t.Errorf("an operator has the key: %+v, %v", r, err)
	}
	ask := func(q atmost.Query) ([]atmost.Record, error) {
		q.Limit = 10
		page, err := w.store.List(t.Context(), q)
		return page.Records, err
	}
	digest := names.stored(someID).Key
	for _, q := range []atmost.Query{{Scope: &someID.Scope, Key: &someID.Key}, {Key: &digest}, {Scope: &someID.Scope}} {
		if records, err := ask(q); err != nil || len(records) != 1 || records[0].ID != names.stored(someID) {
			t.Errorf("%+v, %v", records, err)
		}
	}
	if _, err := ask(atmost.Query{Key: &someID.Key}); atmost.CodeOf(err) != atmost.CodeInvalidRequest {
		t.Errorf("a key without its scope: %v", err)
	}

	// What clients do under a digest is refused, so that operators can name records by theirs.
	for _, event := range []atmost.Event{claim(1), finish(1, atmost.Completed, result), &atmost.Renew{Token: token(1), Lease: time.Hour}} {
		if _, err := w.store.Apply(t.Context(), names.stored(someID), event); atmost.CodeOf(err) != atmost.CodeInvalidKey {
			t.Errorf("%T under a digest: %v", event, err)
		}
	}
	step := w.ok(w.store, names.stored(someID), &atmost.Erase{By: person})
	if step.Record.ID != names.stored(someID) || step.Record.NotKept != atmost.Erased {
		t.Errorf("erased by its digest: %+v", step)
	}
	step = w.ok(w.store, same, &atmost.Erase{By: person})
	if step.Record.ID != same || step.Audit == nil || step.Audit.ID != same {
		t.Errorf("erased by its key: %+v", step)
	}
	entries, err := w.store.Audit(t.Context(), 0, 10)
	if err != nil || len(entries) != 2 || entries[0].ID != names.stored(same) || entries[1].ID != names.stored(someID) {
		t.Errorf("the audit trail has %+v, %v", entries, err)
	}
}

// TestCompared: by its digest a record is compared as a whole. Where a payload differs is only told by the key, of which it is a secret.
func TestCompared(t *testing.T) {
	names := namesOf(t, 3)
	w := newWorld(t, nil, names)
	e, err := atmost.New(t.Context(), w.store, atmost.Options{Operations: map[string]atmost.Operation{"charge": {Executor: executor{}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.Background())
	if _, err := e.Execute(t.Context(), atmost.Call{ID: someID, Operation: "charge", Payload: []byte(`{"amount":1,"to":"a"}`)}); err != nil {
		t.Fatal(err)
	}
	for id, where := range map[atmost.ID]string{someID: "[/amount]", names.stored(someID): "[]"} {
		other, err := e.Compare(ByDigest(t.Context()), id, "charge", []byte(`{"amount":2,"to":"a"}`))
		if err != nil || other.Same || fmt.Sprint(other.Differs) != where {
			t.Errorf("%v: %+v, %v", id, other, err)
		}
		same, err := e.Compare(ByDigest(t.Context()), id, "charge", []byte(`{"to":"a","amount":1}`))
		if err != nil || !same.Same {
			t.Errorf("%v: %+v, %v", id, same, err)
		}
	}
}

// TestClaimed: a reporter who has the record that it claimed has it under its key; the store's own record has a digest.
func TestClaimed(t *testing.T) {
	var got *atmost.Finish
	inner := memstore.New(memstore.Options{})
	spy := applying{inner, func(event atmost.Event) {
		if f, ok := event.(*atmost.Finish); ok {
			got = f
		}
	}}
	names := namesOf(t, 3)
	w := &world{T: t, inner: inner, store: openOver(t, spy, Options{Names: names})}
	claimed := w.ok(w.store, someID, claim(1)).Record
	report := finish(1, atmost.Completed, result)
	report.Claimed = &claimed
	w.ok(w.store, someID, report)
	if got.Claimed.ID != names.stored(someID) || claimed.ID != someID || report.Claimed != &claimed {
		t.Errorf("the store was told of %v", got.Claimed.ID)
	}
}

// applying tells of each event.
type applying struct {
	atmost.Store
	see func(atmost.Event)
}

func (s applying) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	s.see(event)
	return s.Store.Apply(ctx, id, event)
}

// TestOneWay: a store has keys or digests of one secret, from its first record on. Nothing can be run again by changing that.
func TestOneWay(t *testing.T) {
	plain, digests, others := Options{}, Options{Names: namesOf(t, 3)}, Options{Names: namesOf(t, 4)}
	for _, c := range []struct {
		first, then Options
		want        string
	}{
		{plain, plain, ""},
		{digests, digests, ""},
		{plain, digests, "it has keys as they are"},
		{digests, plain, "it has digests"},
		{digests, others, "made with another secret"},
	} {
		clock, fs := storetest.NewClock(), vfs.NewMem()
		inner := openPebble(t, clock, fs)
		s := openOver(t, inner, c.first)
		w := &world{T: t, clock: clock, store: s}
		w.completed(someID, 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for range 3 { // it does not wear off: not when keys expire, nor when it has been refused
			clock.Advance(30 * 24 * time.Hour)
			inner = openPebble(t, clock, fs)
			s, err := Open(t.Context(), inner, c.then)
			switch {
			case c.want == "" && err != nil, c.want != "" && (!errors.Is(err, ErrNames) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %s", err, c.want)
			case err == nil:
				if swept, err := s.Sweep(t.Context(), 10); err != nil || swept.Dropped+len(swept.Lapsed) > 0 {
					t.Errorf("%+v, %v", swept, err)
				}
				if page, err := s.List(t.Context(), atmost.Query{Limit: 10}); err != nil || len(page.Records) > 0 {
					t.Errorf("%+v, %v", page, err)
				}
			}
			if err := inner.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestBegunBefore: a store of a release that wrote down nothing has keys as they are, if it has any.
func TestBegunBefore(t *testing.T) {
	inner := memstore.New(memstore.Options{})
	w := &world{T: t, inner: inner}
	w.ok(inner, atmost.ID{Key: "self-test 1"}, claim(1))
	if _, err := Open(t.Context(), inner, Options{Names: namesOf(t, 3)}); err != nil {
		t.Errorf("with nothing but a self-test in it: %v", err)
	}
	for _, n := range []int{0, 250} {
		before := memstore.New(memstore.Options{})
		for i := range n {
			w.ok(before, atmost.ID{Key: fmt.Sprint("self-test ", i)}, claim(1))
		}
		w.ok(before, someID, claim(1))
		if _, err := Open(t.Context(), before, Options{Names: namesOf(t, 3)}); !errors.Is(err, ErrNames) {
			t.Errorf("after %d self-tests: %v", n, err)
		}
		if r, err := before.Lookup(t.Context(), marker); err != nil || r.State != atmost.Absent {
			t.Errorf("the refused left %+v, %v", r, err)
		}
		if _, err := Open(t.Context(), before, Options{}); err != nil {
			t.Errorf("as it is: %v", err)
		}
	}
}

// TestAtOnce: of processes that differ, and begin with an empty store together, some agree and all others are refused.
func TestAtOnce(t *testing.T) {
	for range 20 {
		inner := memstore.New(memstore.Options{})
		options := []Options{{}, {Names: namesOf(t, 3)}, {Names: namesOf(t, 4)}}
		errs := make([]error, 30)
		var work sync.WaitGroup
		for i := range errs {
			work.Go(func() { _, errs[i] = Open(t.Context(), inner, options[i%3]) })
		}
		work.Wait()
		won := 0
		for i := range options {
			if errs[i] == nil {
				won++
			}
			for j := i; j < len(errs); j += 3 {
				if (errs[j] == nil) != (errs[i] == nil) || errs[j] != nil && !errors.Is(errs[j], ErrNames) {
					t.Errorf("%v beside %v", errs[j], errs[i])
				}
			}
		}
		if won != 1 {
			t.Fatalf("%d ways to store keys in one store", won)
		}
	}
}

// TestInterrupted: a process that ended before the marker was whole has settled all that counts, and the next one ends it.
func TestInterrupted(t *testing.T) {
	clock := storetest.NewClock()
	inner := memstore.New(memstore.Options{Clock: clock})
	faulty := storetest.Faulty(inner)
	faulty.Next(storetest.Unavailable, storetest.Of[*atmost.Finish])
	names := Options{Names: namesOf(t, 3)}
	if _, err := Open(t.Context(), faulty, names); !errors.Is(err, storetest.ErrInjected) {
		t.Fatal(err)
	}
	for _, pause := range []time.Duration{0, time.Hour} { // within its lease, and after that
		clock.Advance(pause)
		if _, err := Open(t.Context(), inner, Options{}); !errors.Is(err, ErrNames) {
			t.Errorf("after %v: %v", pause, err)
		}
	}
	openOver(t, inner, names)
	if r, err := inner.Lookup(t.Context(), marker); err != nil || r.State != atmost.Completed {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Open(t.Context(), faulty, names); err != nil {
		t.Error(err)
	}
	faulty.SetDown(true)
	if _, err := Open(t.Context(), faulty, names); !errors.Is(err, storetest.ErrInjected) {
		t.Errorf("a store that is away: %v", err)
	}
}

// closed is a store that takes nothing new, for a reason, until that is lifted.
type closed struct {
	*memstore.Store
	reason error
}

func (s *closed) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	r, _ := s.Lookup(ctx, id)
	if _, claim := event.(*atmost.Claim); claim && s.reason != nil && r.State == atmost.Absent {
		return atmost.Step{Record: atmost.Record{ID: id}}, s.reason
	}
	return s.Store.Apply(ctx, id, event)
}

// TestRefusesNew: a store that takes nothing new can be opened, as what it has must be answered, and is asked before it takes something
// again.
func TestRefusesNew(t *testing.T) {
	for _, reason := range []error{&atmost.Error{Code: atmost.CodeOutcomeUnknown}, fmt.Errorf("disk: %w", atmost.ErrFull)} {
		inner := &closed{Store: memstore.New(memstore.Options{}), reason: reason}
		s := openOver(t, inner, Options{Names: namesOf(t, 3)})
		late := openOver(t, inner, Options{})
		if _, err := s.Apply(t.Context(), someID, claim(1)); !errors.Is(err, reason) {
			t.Errorf("claimed: %v", err)
		}
		inner.reason = nil
		if _, err := s.Apply(t.Context(), someID, claim(1)); err != nil {
			t.Errorf("claimed: %v", err)
		}
		if step, err := late.Apply(t.Context(), someID, claim(1)); !errors.Is(err, ErrNames) || step.Changed {
			t.Errorf("two ways to store keys in one store: %+v, %v", step, err)
		}
	}
}

// TestAdmittedScope: a guarded store takes keys of a scope that was admitted by itself, but not the marker, which has none. Until it
// does nothing begins, or it would begin once more in a process that stores keys in another way.
func TestAdmittedScope(t *testing.T) {
	clock, fs := storetest.NewClock(), vfs.NewMem()
	known := atmost.ID{Scope: "s", Key: "known"} // of a time before there were markers
	inner := openPebble(t, clock, fs)
	w := &world{T: t, clock: clock}
	w.ok(inner, known, claim(1))
	w.ok(inner, known, finish(1, atmost.Completed, result))
	if err := inner.Close(); err != nil {
		t.Fatal(err)
	}
	if err := pebblestore.Guard("store", person, pebblestore.Options{Clock: clock, FS: fs}); err != nil {
		t.Fatal(err)
	}
	inner = openPebble(t, clock, fs)
	s := openOver(t, inner, Options{})
	defer s.Close()
	if _, err := s.(atmost.Guard).Admit(t.Context(), "s", person); err != nil {
		t.Fatal(err)
	}
	if step, err := s.Apply(t.Context(), someID, claim(1)); atmost.CodeOf(err) != atmost.CodeOutcomeUnknown || step.Changed {
		t.Errorf("begun without a marker: %+v, %v", step, err)
	}
	if step := w.ok(s, known, claim(2)); step.Changed || !bytes.Equal(step.Record.Result, result) {
		t.Errorf("what is known is answered with %+v", step)
	}
	if _, err := s.(atmost.Guard).Admit(t.Context(), "", person); err != nil {
		t.Fatal(err)
	}
	if step := w.ok(s, someID, claim(1)); !step.Changed {
		t.Errorf("with a marker: %+v", step)
	}
	if _, err := Open(t.Context(), inner, Options{Names: namesOf(t, 3)}); !errors.Is(err, ErrNames) {
		t.Errorf("in another way: %v", err)
	}
}

// TestFullForAMoment: the store has room again between the question how keys are stored and the claim.
func TestFullForAMoment(t *testing.T) {
	inner := &closed{Store: memstore.New(memstore.Options{}), reason: atmost.ErrFull}
	s := openOver(t, applying{inner, func(event atmost.Event) {
		if c, ok := event.(*atmost.Claim); ok && c.Operation == "charge" { // which is not the marker's
			inner.reason = nil
		}
	}}, Options{})
	if step, err := s.Apply(t.Context(), someID, claim(1)); !errors.Is(err, atmost.ErrFull) || step.Changed {
		t.Errorf("%+v, %v", step, err)
	}
}

// TestMarkerIsNobodys: nobody who is let through to the store can change what the marker says.
func TestMarkerIsNobodys(t *testing.T) {
	w := newWorld(t, nil, nil)
	for _, event := range []atmost.Event{&atmost.Forget{By: person}, &atmost.Erase{By: person}, claim(1), finish(1, atmost.Failed, nil)} {
		w.clock.Advance(time.Second)
		if _, err := w.store.Apply(t.Context(), marker, event); atmost.CodeOf(err) != atmost.CodeInvalidKey {
			t.Errorf("%T: %v", event, err)
		}
	}
}

// TestProbes: what is to be probed is refused, as its key will not be known.
func TestProbes(t *testing.T) {
	probed := claim(1)
	probed.Policy.OnUnknown = atmost.ProbeUnknown
	w := newWorld(t, nil, namesOf(t, 3))
	if step, err := w.store.Apply(t.Context(), someID, probed); !errors.Is(err, errProbe) || step.Changed {
		t.Errorf("%+v, %v", step, err)
	}
	plain := newWorld(t, nil, nil)
	w.ok(plain.store, someID, probed)
}

// TestOwnKeys: what the service claims for itself is known as its own, and in nobody's way, whatever is done with keys.
func TestOwnKeys(t *testing.T) {
	w := newWorld(t, nil, namesOf(t, 3))
	own := atmost.ID{Key: "self-test 1"}
	w.ok(w.store, own, claim(1))
	page, err := w.store.List(t.Context(), atmost.Query{Limit: 10})
	if err != nil || len(page.Records) != 1 || page.Records[0].ID != own {
		t.Errorf("listed: %+v, %v", page.Records, err)
	}
}

func TestNewNames(t *testing.T) {
	if _, err := NewNames(keysOf(t, line("a", 1), line("b", 2))); err == nil || !strings.Contains(err.Error(), "2 keys") {
		t.Errorf("%v", err)
	}
}

// TestWaiting: who waits for a key is told when an operator settles it by its digest.
func TestWaiting(t *testing.T) {
	names := namesOf(t, 3)
	inner := looking{memstore.New(memstore.Options{}), make(chan atmost.ID, 100)}
	e, err := atmost.New(t.Context(), openOver(t, inner, Options{Names: names}), atmost.Options{Operations: map[string]atmost.Operation{"charge": {}}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.Background())
	c, err := e.Claim(t.Context(), atmost.ClaimCall{Call: atmost.Call{ID: someID, Operation: "charge", Payload: []byte("1")}, Lease: time.Minute})
	if err != nil || !c.Won || c.Record.ID != someID {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := e.Fail(t.Context(), someID, c.Lease.Token, atmost.Failure{Code: "x", Message: "y", Executed: atmost.ExecutedUnknown}); err != nil {
		t.Fatal(err)
	}
	told := make(chan atmost.Record, 1)
	begin := time.Now()
	go func() {
		r, err := e.Status(context.WithoutCancel(t.Context()), someID, time.Minute)
		if err != nil {
			t.Error(err)
		}
		told <- r
	}()
	for seen := 0; seen < 2; { // once to see that it is unknown, and once more when it waits
		if id := <-inner.looked; id == names.stored(someID) {
			seen++
		}
	}
	outcome := atmost.Outcome{State: atmost.Completed, Result: result}
	if _, err := e.Resolve(t.Context(), names.stored(someID), atmost.Resolve{Attempt: 1, Outcome: outcome, By: &person}); err != nil {
		t.Fatal(err)
	}
	if r := <-told; r.State != atmost.Completed || r.ID != someID || time.Since(begin) > 50*time.Second {
		t.Errorf("told %+v after %v", r, time.Since(begin))
	}
}

// looking tells of each look-up.
type looking struct {
	atmost.Store
	looked chan atmost.ID
}

func (s looking) Lookup(ctx context.Context, id atmost.ID) (atmost.Record, error) {
	defer func() {
		select {
		case s.looked <- id:
		default:
		}
	}()
	return s.Store.Lookup(ctx, id)
}
