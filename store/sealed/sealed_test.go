package sealed

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/fingerprint"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// line is a line of a key file: the same id and n make the same secret.
func line(id string, n byte) string {
	return id + " " + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, keySize)) + "\n"
}

func keysOf(t testing.TB, lines ...string) *Keys {
	t.Helper()
	k, err := ParseKeys([]byte(strings.Join(lines, "")))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ringOf(t testing.TB, lines ...string) *Ring { return NewRing(keysOf(t, lines...)) }

func namesOf(t testing.TB, n byte) *Names {
	t.Helper()
	names, err := NewNames(keysOf(t, line("names", n)))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func openOver(t testing.TB, inner atmost.Store, o Options) atmost.Store {
	t.Helper()
	s, err := Open(t.Context(), inner, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestConformance: whatever is hidden, the contract is kept.
func TestConformance(t *testing.T) {
	ring := ringOf(t, line("a", 1))
	t.Run("Results/Memory", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Harness {
			clock := storetest.NewClock()
			return storetest.Harness{Store: openOver(t, memstore.New(memstore.Options{Clock: clock}), Options{Results: ring}), Clock: clock}
		})
	})
	t.Run("Results/Pebble", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Harness {
			clock, fs := storetest.NewClock(), vfs.NewMem()
			open := func() atmost.Store { return openOver(t, openPebble(t, clock, fs), Options{Results: ring}) }
			return storetest.Harness{Store: open(), Clock: clock, Reopen: open}
		})
	})
	t.Run("Everything/Memory", func(t *testing.T) {
		names := namesOf(t, 2)
		storetest.Run(t, func(t *testing.T) storetest.Harness {
			clock := storetest.NewClock()
			s := openOver(t, memstore.New(memstore.Options{Clock: clock}), Options{Results: ring, Names: names})
			return storetest.Harness{Store: remembering{s, names, new(sync.Map)}, Clock: clock}
		})
	})
}

func openPebble(t testing.TB, clock atmost.Clock, fs vfs.FS) *pebblestore.Store {
	t.Helper()
	inner, err := pebblestore.Open("store", pebblestore.Options{Clock: clock, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	return inner
}

// remembering is a store with digests that tells whose they are, and keeps to the order of the keys, as the suite wants it.
type remembering struct {
	atmost.Store
	names *Names
	seen  *sync.Map // by what is stored
}

func (s remembering) reveal(id *atmost.ID) {
	if known, ok := s.seen.Load(*id); ok {
		*id = known.(atmost.ID)
	}
}

func (s remembering) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	s.seen.Store(s.names.stored(id), id)
	inner := s.Store.(interface { // which takes also what is to be probed
		apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error)
	})
	return inner.apply(ctx, id, event)
}

func (s remembering) List(ctx context.Context, q atmost.Query) (atmost.Page, error) {
	all := q
	all.After, all.Limit, all.Key = atmost.ID{}, 1_000_000, nil
	page, err := s.Store.List(ctx, all)
	for i := range page.Records {
		s.reveal(&page.Records[i].ID)
	}
	page.Records = slices.DeleteFunc(page.Records, func(r atmost.Record) bool {
		return compare(r.ID, q.After) <= 0 || q.Key != nil && *q.Key != r.ID.Key
	})
	slices.SortFunc(page.Records, func(a, b atmost.Record) int { return compare(a.ID, b.ID) })
	if page.More = len(page.Records) > q.Limit; page.More {
		page.Records = page.Records[:q.Limit]
		page.Next = page.Records[q.Limit-1].ID
	}
	return page, err
}

func (s remembering) Sweep(ctx context.Context, limit int) (atmost.Swept, error) {
	swept, err := s.Store.Sweep(ctx, limit)
	for i := range swept.Lapsed {
		s.reveal(&swept.Lapsed[i].ID)
	}
	return swept, err
}

func (s remembering) Audit(ctx context.Context, before uint64, limit int) ([]atmost.AuditEntry, error) {
	entries, err := s.Store.Audit(ctx, before, limit)
	for i := range entries {
		s.reveal(&entries[i].ID)
	}
	return entries, err
}

func compare(a, b atmost.ID) int {
	return cmp.Or(strings.Compare(a.Scope, b.Scope), strings.Compare(a.Key, b.Key))
}

// world is a store in memory, what stands before it, and the keys in force.
type world struct {
	*testing.T
	clock *storetest.ManualClock
	inner *memstore.Store
	ring  *Ring
	store atmost.Store
}

func newWorld(t *testing.T, ring *Ring, names *Names) *world {
	w := &world{T: t, clock: storetest.NewClock(), ring: ring}
	w.inner = memstore.New(memstore.Options{Clock: w.clock})
	w.store = openOver(t, w.inner, Options{Results: ring, Names: names})
	return w
}

var (
	someID = atmost.ID{Scope: "s", Key: "k"}
	result = []byte(`{"card":"4111111111111111"}`)
	person = atmost.Actor{Name: "ada", Reason: "ticket 7"}
)

func token(n byte) atmost.Token { return atmost.Token{n, 15: 1} }

func claim(n byte) *atmost.Claim {
	return &atmost.Claim{
		Operation: "charge", Fingerprint: fingerprint.Fingerprint{Algorithm: "a", Digest: [32]byte{1}}, Token: token(n), Lease: time.Minute,
		Policy: atmost.Policy{ResultRetention: time.Hour, KeyRetention: time.Hour},
	}
}

func finish(n byte, state atmost.State, result []byte) *atmost.Finish {
	return &atmost.Finish{Token: token(n), Outcome: atmost.Outcome{State: state, Result: result}}
}

func (w *world) ok(s atmost.Store, id atmost.ID, event atmost.Event) atmost.Step {
	w.Helper()
	step, err := s.Apply(w.Context(), id, event)
	if err != nil {
		w.Fatalf("%T: %v", event, err)
	}
	return step
}

// rotate replaces the keys in force.
func (w *world) rotate(lines ...string) {
	w.Helper()
	if _, err := w.ring.Set(keysOf(w, lines...)); err != nil {
		w.Fatal(err)
	}
}

// completed has id executed by the attempt n.
func (w *world) completed(id atmost.ID, n byte) {
	w.Helper()
	w.ok(w.store, id, claim(n))
	if got := w.ok(w.store, id, finish(n, atmost.Completed, result)).Record.Result; !bytes.Equal(got, result) {
		w.Fatalf("the report was answered with %q", got)
	}
}

// atRest is what inner has as the result of id.
func (w *world) atRest(id atmost.ID) []byte {
	w.Helper()
	r, err := w.inner.Lookup(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	return r.Result
}

// TestAtRest: what is stored tells nothing of the result, and is another for each key, attempt and outcome, but the same for
// the same.
func TestAtRest(t *testing.T) {
	w := newWorld(t, ringOf(t, line("a", 1)), nil)
	other, settled := atmost.ID{Key: "sk"}, atmost.ID{Key: "settled"}
	w.completed(someID, 1)
	w.completed(other, 1)
	w.ok(w.store, settled, claim(1))
	w.ok(w.store, settled, finish(1, atmost.Unknown, nil))
	w.ok(w.store, settled, &atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Failed, Result: result}, By: &person})
	texts := [][]byte{w.atRest(someID), w.atRest(other), w.atRest(settled)}
	for _, id := range []atmost.ID{someID, other, settled} {
		if r, err := w.store.Lookup(t.Context(), id); err != nil || !bytes.Equal(r.Result, result) {
			t.Errorf("%v has %q, %v", id, r.Result, err)
		}
	}
	w.clock.Advance(time.Hour)
	w.completed(someID, 2)
	texts = append(texts, w.atRest(someID))
	for i, text := range texts {
		if text[0] != magic || len(text) != headSize+1+nonceSize+len(result)+tagSize || bytes.Contains(text, []byte("4111")) {
			t.Errorf("stored %q", text)
		}
		for _, before := range texts[:i] {
			if head := headSize + 1; bytes.Equal(before[head:head+nonceSize], text[head:head+nonceSize]) {
				t.Error("two texts have one nonce")
			}
		}
	}
	if again := w.ok(w.store, someID, finish(2, atmost.Completed, result)); again.Changed || !bytes.Equal(again.Record.Result, result) {
		t.Errorf("a repeated report: %+v", again)
	}
}

// TestNoJSON: a result that no JSON value could be is returned as it was reported, though it begins as what is sealed does.
func TestNoJSON(t *testing.T) {
	w := newWorld(t, ringOf(t, line("a", 1)), nil)
	odd := []byte{magic, version, 0}
	w.ok(w.store, someID, claim(1))
	for range 2 {
		if step := w.ok(w.store, someID, finish(1, atmost.Completed, odd)); !bytes.Equal(step.Record.Result, odd) {
			t.Errorf("answered with %q", step.Record.Result)
		}
	}
	if r, err := w.store.Lookup(t.Context(), someID); err != nil || !bytes.Equal(r.Result, odd) {
		t.Errorf("%q, %v", r.Result, err)
	}
}

// TestNoOutcome: a result that is reported with no outcome is none's, and is hidden and returned all the same.
func TestNoOutcome(t *testing.T) {
	w := newWorld(t, ringOf(t, line("a", 1)), nil)
	for i, state := range []atmost.State{atmost.Unknown, atmost.NotExecuted} {
		id, retried := atmost.ID{Key: fmt.Sprint(i)}, claim(1)
		retried.Policy.OnUnknown = atmost.RetryUnknown
		w.ok(w.store, id, retried)
		w.ok(w.store, id, finish(1, state, result))
		if r, err := w.store.Lookup(t.Context(), id); err != nil || !bytes.Equal(r.Result, result) || r.State != atmost.NotExecuted {
			t.Errorf("%+v, %v", r, err)
		}
		if got := w.atRest(id); !isSealed(got) {
			t.Errorf("stored %q", got)
		}
	}
}

// TestOwner: a result is opened as what it was sealed as, and as nothing else, and sealing it again makes the same bytes.
func TestOwner(t *testing.T) {
	keys := keysOf(t, line("a", 1))
	var owners []owner
	for _, id := range []atmost.ID{{Scope: "s", Key: "k"}, {Key: "sk"}, {Scope: "sk"}, {Scope: "s", Key: "l"}} {
		for _, state := range []atmost.State{atmost.Completed, atmost.Failed} {
			for _, attempt := range [][]byte{byNumber(1), byNumber(2), bytes.Repeat([]byte{1}, 16)} {
				owners = append(owners, ownerOf(id, state, attempt))
			}
		}
	}
	keystreams := map[string]bool{}
	for i, of := range owners {
		sealed := keys.first.seal(of, result)
		if !bytes.Equal(sealed, keys.first.seal(of, result)) {
			t.Error("sealed again it is another")
		}
		nonce := func(sealed []byte) string { return string(sealed[headSize+1:][:nonceSize]) }
		if other := keys.first.seal(of, []byte(`{"card":"4111111111111112"}`)); nonce(other) == nonce(sealed) {
			t.Error("two results have one nonce")
		}
		zero := make([]byte, nonceSize) // with which each must encrypt in a way of its own
		keystreams[string(keys.first.cipher(of).Seal(nil, zero, result, nil))] = true
		for j, as := range owners {
			if opened, err := keys.open(as, sealed); (err == nil) != (i == j) || i == j && !bytes.Equal(opened, result) {
				t.Errorf("owner %d of %d: %q, %v", j, i, opened, err)
			}
		}
	}
	if len(keystreams) != len(owners) {
		t.Errorf("%d keys for %d owners", len(keystreams), len(owners))
	}
}

// TestRotation: what was sealed before, or never, is read as ever, and a report is judged by what it says, however it was sealed.
func TestRotation(t *testing.T) {
	inner := memstore.New(memstore.Options{})
	ring := ringOf(t, line("a", 1))
	w := &world{T: t, inner: inner, ring: ring, store: openOver(t, inner, Options{})}
	never := atmost.ID{Key: "never"}
	w.completed(never, 1)
	if got := w.atRest(never); !bytes.Equal(got, result) {
		t.Fatalf("without keys %q is stored", got)
	}
	w.store = openOver(t, inner, Options{Results: ring})
	w.completed(someID, 1)
	w.rotate("# rotated\n\n", line("b", 2), line("a", 1))
	late := atmost.ID{Key: "late"}
	w.completed(late, 1)
	if got := w.atRest(late); string(got[2:4]) != "\x01b" {
		t.Errorf("the first key does not seal: %q", got)
	}
	for _, id := range []atmost.ID{never, someID, late} {
		before := w.atRest(id)
		step := w.ok(w.store, id, finish(1, atmost.Completed, result))
		if step.Changed || !bytes.Equal(step.Record.Result, result) || step.Record.State != atmost.Completed || step.Now == 0 || step.Record.ID != id {
			t.Errorf("%v: a repeated report: %+v", id, step)
		}
		for _, report := range []*atmost.Finish{
			finish(1, atmost.Completed, []byte("2")), finish(1, atmost.Failed, result), finish(1, atmost.Completed, nil), finish(1, atmost.NotExecuted, nil),
			{Token: token(1), Outcome: atmost.Outcome{State: atmost.Completed, Result: result, UpstreamStatus: 201}},
		} {
			if _, err := w.store.Apply(t.Context(), id, report); atmost.CodeOf(err) != atmost.CodeAlreadyFinished {
				t.Errorf("%v: a report of something else: %v", id, err)
			}
		}
		if r, err := w.store.Lookup(t.Context(), id); err != nil || !bytes.Equal(r.Result, result) {
			t.Errorf("%v has %q, %v", id, r.Result, err)
		}
		if step := w.ok(w.store, id, claim(9)); !bytes.Equal(step.Record.Result, result) {
			t.Errorf("%v is replayed as %q", id, step.Record.Result)
		}
		if !bytes.Equal(before, w.atRest(id)) {
			t.Errorf("%v was sealed anew", id)
		}
	}
}

// set stores raw as the result of id, in a store of its own, as somebody could who writes to it.
func (w *world) set(id atmost.ID, raw []byte) {
	w.Helper()
	inner := memstore.New(memstore.Options{Clock: w.clock})
	w.ok(inner, id, claim(1))
	w.ok(inner, id, finish(1, atmost.Completed, raw))
	w.inner, w.store = inner, openOver(w, inner, Options{Results: w.ring})
}

// refused expects an error of the store, which is no refusal of a rule and tells no result.
func (w *world) refused(err error, r atmost.Record, want string) {
	w.Helper()
	var refusal *atmost.Error
	if err == nil || errors.As(err, &refusal) || errors.Is(err, atmost.ErrAmbiguous) || !strings.Contains(err.Error(), want) || len(r.Result) > 0 || r.State != atmost.Absent {
		w.Errorf("record with %q, error %v; want %s", r.Result, err, want)
	}
}

// TestUnopened: a result that cannot be opened is never answered with, in no way, and no rule is broken for it.
func TestUnopened(t *testing.T) {
	w := newWorld(t, ringOf(t, line("a", 1)), nil)
	w.completed(someID, 1)
	raw := w.atRest(someID)
	moved := atmost.ID{Scope: "s", Key: "other"}
	check := func(id atmost.ID, raw []byte, want string) {
		t.Helper()
		w.set(id, raw)
		r, err := w.store.Lookup(t.Context(), id)
		w.refused(err, r, want)
		for _, event := range []atmost.Event{claim(1), claim(2), finish(1, atmost.Completed, []byte("2")), &atmost.Probed{Attempt: 1}} {
			step, err := w.store.Apply(t.Context(), id, event)
			w.refused(err, step.Record, want)
		}
	}
	for i := range raw {
		if i == 0 {
			continue // then it is as it came
		}
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		want := "changed where it is stored"
		switch i {
		case 1:
			want = "newer version"
		case 3:
			changed[i] = 'z'
			want = "encrypted with the key z, which is not in the key file"
		}
		check(someID, changed, want)
	}
	for n := 1; n < len(raw); n++ {
		check(someID, raw[:n], "sealed: a result was")
	}
	check(moved, raw, "moved there from another record")
	w.ring = nil
	check(someID, raw, "there is no key file")
	w.ring = ringOf(t, line("b", 1))
	check(someID, raw, "encrypted with the key a, which is not in the key file")

	// The rules go on: what needs no result is answered, and an operator can drop it.
	other := claim(2)
	other.Fingerprint.Digest[0]++
	step, err := w.store.Apply(t.Context(), someID, other)
	if atmost.CodeOf(err) != atmost.CodePayloadMismatch || step.Record.Result != nil || step.Record.State != atmost.Completed {
		t.Errorf("another payload: %+v, %v", step, err)
	}
	if step := w.ok(w.store, someID, &atmost.Erase{By: person}); step.Record.NotKept != atmost.Erased || step.Record.Result != nil {
		t.Errorf("erased: %+v", step)
	}
	if r, err := w.store.Lookup(t.Context(), someID); err != nil || atmost.CodeOf(r.Err()) != atmost.CodeResultNotKept {
		t.Errorf("after that: %+v, %v", r, err)
	}
}

// TestUnopenedContradiction: a contradiction is seen, and told, also where the record that it is about cannot be opened. Who waits is
// told nothing then.
func TestUnopenedContradiction(t *testing.T) {
	w := newWorld(t, ringOf(t, line("a", 1)), nil)
	w.ok(w.store, someID, claim(1))
	w.ok(w.store, someID, finish(1, atmost.Unknown, nil))
	w.ok(w.store, someID, &atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Completed, Result: result}})
	w.rotate(line("b", 2))
	step, err := w.store.Apply(t.Context(), someID, finish(1, atmost.Failed, result))
	if atmost.CodeOf(err) != atmost.CodeLeaseLost || !step.Changed || !step.Contradiction || step.Record.State != atmost.Absent || step.Record.Result != nil {
		t.Errorf("%+v, %v", step, err)
	}
	w.rotate(line("a", 1))
	if r, err := w.store.Lookup(t.Context(), someID); err != nil || r.Contradictions != 1 || !bytes.Equal(r.Result, result) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestEngine: through the engine it is STORE_UNAVAILABLE, and logged with its cause.
func TestEngine(t *testing.T) {
	w := newWorld(t, ringOf(t, line("a", 1)), nil)
	var mu sync.Mutex
	var logged []string
	e, err := atmost.New(t.Context(), w.store, atmost.Options{
		Operations: map[string]atmost.Operation{"charge": {Executor: executor{}}},
		Events: atmost.Events{StoreFailed: func(doing string, err error) {
			mu.Lock()
			defer mu.Unlock()
			logged = append(logged, doing+": "+err.Error())
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.Background())
	call := atmost.Call{ID: someID, Operation: "charge", Payload: []byte("1")}
	for _, replayed := range []bool{false, true} {
		if a, err := e.Execute(t.Context(), call); err != nil || a.Replayed != replayed || !bytes.Equal(a.Record.Result, result) {
			t.Errorf("%+v, %v", a, err)
		}
	}
	w.rotate(line("b", 2))
	if a, err := e.Execute(t.Context(), call); atmost.CodeOf(err) != atmost.CodeStoreUnavailable || a.Record.Result != nil {
		t.Errorf("%+v, %v", a, err)
	}
	if r, err := e.Status(t.Context(), someID, 0); atmost.CodeOf(err) != atmost.CodeStoreUnavailable || r.Result != nil {
		t.Errorf("%+v, %v", r, err)
	}
	mu.Lock()
	defer mu.Unlock()
	const cause = "sealed: a result is encrypted with the key a, which is not in the key file"
	if want := []string{"claim: " + cause, "look up: " + cause}; !slices.Equal(logged, want) {
		t.Errorf("logged %q", logged)
	}
}

type executor struct{}

func (executor) Execute(context.Context, atmost.Attempt) atmost.Outcome {
	return atmost.Outcome{State: atmost.Completed, Result: result}
}

// The kinds of stores that there are, by what they have beyond a Store.
type (
	bare     struct{ atmost.Store }
	sharedBy struct{ atmost.Store }
	guarded  struct {
		*memstore.Store
		scopes []string
	}
)

func (s sharedBy) Settled(ctx context.Context, ids []atmost.ID) (settled []atmost.Record, err error) {
	for _, id := range ids {
		r, err := s.Lookup(ctx, id)
		if err != nil {
			return nil, err
		}
		if r.State != atmost.Absent && r.State != atmost.Processing {
			settled = append(settled, r)
		}
	}
	return settled, nil
}

func (s *guarded) Guarded() bool { return len(s.scopes) == 0 }

func (s *guarded) Admit(_ context.Context, scope string, _ atmost.Actor) (*atmost.AuditEntry, error) {
	s.scopes = append(s.scopes, scope)
	return &atmost.AuditEntry{ID: atmost.ID{Scope: scope}}, nil
}

func (s *guarded) AdmitAll(ctx context.Context, by atmost.Actor) (*atmost.AuditEntry, error) {
	return s.Admit(ctx, "*", by)
}

// TestOptionalInterfaces: an engine sees of a store what it has, and no more.
func TestOptionalInterfaces(t *testing.T) {
	inner := memstore.New(memstore.Options{})
	for _, c := range []struct {
		store          atmost.Store
		names          *Names
		watched, keyed bool
	}{
		{inner, nil, false, true},
		{bare{inner}, nil, false, false},
		{sharedBy{inner}, nil, true, false},
		{struct {
			sharedBy
			atmost.Keyed
		}{sharedBy{inner}, inner}, nil, true, true},
		{bare{memstore.New(memstore.Options{})}, namesOf(t, 1), true, false},
		{memstore.New(memstore.Options{}), namesOf(t, 1), true, true},
	} {
		s := openOver(t, c.store, Options{Names: c.names})
		_, watched := s.(atmost.Watcher)
		keyed, isKeyed := s.(atmost.Keyed)
		if watched != c.watched || isKeyed != c.keyed {
			t.Errorf("over a %T: watched %v, keyed %v", c.store, watched, isKeyed)
		}
		if isKeyed && keyed.Secret() != c.store.(atmost.Keyed).Secret() {
			t.Error("the secret is another")
		}
		g := s.(atmost.Guard)
		one, err := g.Admit(t.Context(), "s", person)
		all, failed := g.AdmitAll(t.Context(), person)
		if g.Guarded() || one != nil || all != nil || err != nil || failed != nil {
			t.Error("a store that is no guard is one")
		}
	}
	g := &guarded{Store: inner}
	s := openOver(t, g, Options{}).(atmost.Guard)
	if !s.Guarded() {
		t.Error("the guard is lost")
	}
	one, err := s.Admit(t.Context(), "x", person)
	all, failed := s.AdmitAll(t.Context(), person)
	if s.Guarded() || one == nil || one.ID.Scope != "x" || all == nil || err != nil || failed != nil {
		t.Errorf("admitted are %+v, %v, and %+v, %v", one, err, all, failed)
	}
	if !slices.Equal(g.scopes, []string{"x", "*"}) {
		t.Errorf("admitted %v", g.scopes)
	}
}

// TestSettled: those who wait get what was sealed, and one record that cannot be opened keeps nobody else waiting.
func TestSettled(t *testing.T) {
	for _, names := range []*Names{nil, namesOf(t, 3)} {
		inner := memstore.New(memstore.Options{})
		ring := ringOf(t, line("a", 1))
		w := &world{T: t, inner: inner, ring: ring, store: openOver(t, sharedBy{inner}, Options{Results: ring, Names: names})}
		ids := []atmost.ID{{Key: "1"}, {Key: "2"}, {Key: "running"}, {Key: "absent"}}
		w.completed(ids[0], 1)
		w.rotate(line("b", 2))
		w.completed(ids[1], 1)
		w.ok(w.store, ids[2], claim(1))
		if names != nil {
			ids = append(ids, names.stored(ids[1])) // which is no key of anybody's
		}
		for lines, want := range map[string][]atmost.ID{
			line("b", 2) + line("a", 1): {ids[0], ids[1]}, line("b", 2): {ids[1]},
		} {
			w.rotate(lines)
			records, err := w.store.(atmost.Watcher).Settled(t.Context(), ids)
			if got := len(records); got != len(want) || (err == nil) != (len(want) == 2) {
				t.Fatalf("%d records, %v", got, err)
			}
			for _, r := range records {
				if !slices.Contains(want, r.ID) || !bytes.Equal(r.Result, result) {
					t.Errorf("%+v", r)
				}
			}
		}
	}
}

// TestRace: results are sealed and opened while keys are replaced.
func TestRace(t *testing.T) {
	w := newWorld(t, ringOf(t, line("a", 1)), nil)
	both := []*Keys{keysOf(t, line("a", 1), line("b", 2)), keysOf(t, line("b", 2), line("a", 1))}
	var work sync.WaitGroup
	for g := range 4 {
		work.Go(func() {
			for i := range 200 {
				id := atmost.ID{Key: fmt.Sprint(g, i)}
				for _, event := range []atmost.Event{claim(1), finish(1, atmost.Completed, result), finish(1, atmost.Completed, result), claim(2)} {
					step, err := w.store.Apply(t.Context(), id, event)
					if err != nil || step.Record.State == atmost.Completed && !bytes.Equal(step.Record.Result, result) {
						t.Errorf("%T: %+v, %v", event, step, err)
					}
				}
				if _, err := w.ring.Set(both[i%2]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
}

// FuzzOpen: whatever is stored, what is opened was sealed.
func FuzzOpen(f *testing.F) {
	keys := keysOf(f, line("a", 1), line("long-id_0.", 2))
	of := ownerOf(someID, atmost.Completed, []byte{1})
	for _, k := range keys.byID {
		f.Add(k.seal(of, result))
	}
	f.Add([]byte{magic, version, 255})
	f.Add([]byte{magic})
	f.Fuzz(func(t *testing.T, raw []byte) {
		opened, err := keys.open(of, raw)
		if err != nil {
			if opened != nil {
				t.Error("an error, and a result")
			}
			return
		}
		if with := keys.byID[string(raw[headSize:headSize+int(raw[2])])]; !bytes.Equal(with.seal(of, opened), raw) {
			t.Errorf("%q opens as %q", raw, opened)
		}
	})
}
