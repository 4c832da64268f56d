package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/fingerprint"
)

// reporter is what *testing.T and *rapid.T have in common.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// subject is a store under test beside the model of what it must answer. Its methods are for one goroutine; what the
// concurrent cases do to the store directly is unknown to the model.
type subject struct {
	reporter
	Harness
	ctx     context.Context
	model   map[atmost.ID]atmost.Record
	audit   []atmost.AuditEntry    // what the trail must hold, but for the numbers
	claimed map[held]atmost.Record // by the claims that won
}

// held is a lease, whoever has it.
type held struct {
	id    atmost.ID
	token atmost.Token
}

func newSubject(t *testing.T, h Harness) *subject {
	s := &subject{reporter: t}
	s.begin(t.Context(), h)
	t.Cleanup(s.close)
	return s
}

func (s *subject) begin(ctx context.Context, h Harness) {
	s.Harness, s.ctx = h, ctx
	s.audit = nil
	s.model, s.claimed = map[atmost.ID]atmost.Record{}, map[held]atmost.Record{}
}

func (s *subject) close() {
	s.Helper()
	if err := s.Store.Close(); err != nil {
		s.Errorf("Close: %v", err)
	}
}

// reopen closes the store and opens what it kept. The model's records are restarted as an embedded store's must be.
func (s *subject) reopen() {
	s.Helper()
	s.close()
	s.Store = s.Reopen()
	if s.Shared {
		return
	}
	for id, r := range s.model {
		if step, _ := atmost.Transition(r, atmost.Restart{}, s.at()); step.Changed {
			s.model[id] = step.Record
		}
	}
}

func (s *subject) at() atmost.Instant {
	now := atmost.TimeOf(s.Clock.Now())
	return atmost.Instant{Now: now, Expiry: now}
}

func (s *subject) stored(id atmost.ID) atmost.Record {
	if r, ok := s.model[id]; ok {
		return r
	}
	return atmost.Record{ID: id}
}

// apply does event and compares the answer with the model's.
func (s *subject) apply(id atmost.ID, event atmost.Event) (atmost.Step, error) {
	s.Helper()
	want, wantErr := atmost.Transition(s.stored(id), event, s.at())
	got, err := s.Store.Apply(s.ctx, id, event)
	var refusal *atmost.Error
	if err != nil && !errors.As(err, &refusal) {
		s.Fatalf("Apply(%v, %T) failed: %v", id, event, err)
	}
	if atmost.CodeOf(err) != atmost.CodeOf(wantErr) {
		s.Fatalf("Apply(%v, %T): error %v, want %v", id, event, err, wantErr)
	}
	if diff := diffSteps(want, got); diff != "" {
		s.Fatalf("Apply(%v, %T) (-want +got):\n%s", id, event, diff)
	}
	if want.Changed {
		s.model[id] = want.Record
	}
	if want.Audit != nil {
		s.audit = append(s.audit, *want.Audit)
	}
	if c, ok := event.(*atmost.Claim); ok && err == nil && c.Won(got.Record) {
		s.claimed[held{id, c.Token}] = got.Record
	}
	return got, err
}

// withClaimed is finish by a reporter who has kept the answer to its claim, if it won.
func (s *subject) withClaimed(id atmost.ID, event *atmost.Finish) *atmost.Finish {
	if r, ok := s.claimed[held{id, event.Token}]; ok {
		event.Claimed = &r
	}
	return event
}

// ok does an event that must not be refused and must leave the record in state.
func (s *subject) ok(id atmost.ID, event atmost.Event, state atmost.State) atmost.Step {
	s.Helper()
	step, err := s.apply(id, event)
	if err != nil || step.Record.State != state {
		s.Fatalf("Apply(%v, %T) = %v, %v; want %v", id, event, step.Record.State, err, state)
	}
	return step
}

// unchanged is ok for an event that must change nothing.
func (s *subject) unchanged(id atmost.ID, event atmost.Event, state atmost.State) atmost.Step {
	s.Helper()
	step := s.ok(id, event, state)
	if step.Changed {
		s.Fatalf("Apply(%v, %T) changed the record", id, event)
	}
	return step
}

// refused does an event that must be refused with code, and the record must be as it was unless the step says otherwise.
func (s *subject) refused(id atmost.ID, event atmost.Event, code atmost.Code) atmost.Step {
	s.Helper()
	step, err := s.apply(id, event)
	if atmost.CodeOf(err) != code {
		s.Fatalf("Apply(%v, %T): error %v, want %v", id, event, err, code)
	}
	s.lookup(id)
	return step
}

// lookup compares the record of id with the model's.
func (s *subject) lookup(id atmost.ID) atmost.Record {
	s.Helper()
	got, err := s.Store.Lookup(s.ctx, id)
	if err != nil {
		s.Fatalf("Lookup(%v): %v", id, err)
	}
	if diff := diffRecords(atmost.Age(s.stored(id), s.at()), got); diff != "" {
		s.Fatalf("Lookup(%v) (-want +got):\n%s", id, diff)
	}
	return got
}

// found is a lookup that must find the record in state.
func (s *subject) found(id atmost.ID, state atmost.State) atmost.Record {
	s.Helper()
	r := s.lookup(id)
	if r.State != state {
		s.Fatalf("Lookup(%v): state %v, want %v", id, r.State, state)
	}
	return r
}

// sweep sweeps until no more is found, at most limit records a time, and adds up what was.
func (s *subject) sweep(limit int) atmost.Swept {
	s.Helper()
	var sum atmost.Swept
	for range 10_000 {
		got, err := s.Store.Sweep(s.ctx, limit)
		if err != nil {
			s.Fatalf("Sweep: %v", err)
		}
		if n := len(got.Lapsed) + got.Dropped + got.Forgotten; n > limit {
			s.Fatalf("Sweep(%d) swept %d records", limit, n)
		}
		sum.Lapsed = append(sum.Lapsed, got.Lapsed...)
		sum.Dropped += got.Dropped
		sum.Forgotten += got.Forgotten
		if !got.More {
			return sum
		}
	}
	s.Fatalf("Sweep finds more for ever")
	return sum
}

// diffSteps compares two answers.
func diffSteps(want, got atmost.Step) string {
	want.Record, got.Record = comparable(want.Record), comparable(got.Record)
	want.Audit, got.Audit = unnumbered(want.Audit), unnumbered(got.Audit)
	if reflect.DeepEqual(want, got) {
		return "" // much faster than cmp
	}
	return gocmp.Diff(want, got, cmpOptions)
}

func diffRecords(want, got atmost.Record) string {
	return diffSteps(atmost.Step{Record: want}, atmost.Step{Record: got})
}

// cmpOptions compare tokens as they are: by Token.Equal the zero token equals none.
var cmpOptions = gocmp.Options{
	gocmp.Comparer(bytes.Equal),
	gocmp.Comparer(func(a, b atmost.Token) bool { return a == b }),
}

// comparable drops what makes no difference: the fence of an absent record, and empty beside nil.
func comparable(r atmost.Record) atmost.Record {
	if r.State == atmost.Absent {
		r.Fence = 0
	}
	if len(r.Past) == 0 {
		r.Past = nil
	}
	if len(r.Result) == 0 {
		r.Result = nil
	}
	if len(r.Paths) == 0 {
		r.Paths = nil
	}
	if len(r.History.Entries) == 0 {
		r.History.Entries = nil
	}
	return r
}

// unnumbered is an entry without what is the store's to say.
func unnumbered(e *atmost.AuditEntry) *atmost.AuditEntry {
	if e == nil {
		return nil
	}
	v := *e
	v.Number = 0
	return &v
}

func compareIDs(a, b atmost.ID) int {
	return cmp.Or(strings.Compare(a.Scope, b.Scope), strings.Compare(a.Key, b.Key))
}

func idsOf(records []atmost.Record) []atmost.ID {
	ids := make([]atmost.ID, len(records))
	for i, r := range records {
		ids[i] = r.ID
	}
	return ids
}

func sortedIDs(ids []atmost.ID) []atmost.ID {
	return slices.SortedFunc(slices.Values(ids), compareIDs)
}

// What most cases ask with.
const (
	lease           = 30 * time.Second
	resultRetention = time.Hour
	keyRetention    = 24 * time.Hour
)

var someID = atmost.ID{Scope: "tenant", Key: "order-1"}

func token(n int) atmost.Token { return atmost.Token{byte(n >> 8), byte(n), 15: 1} }

func claim(n int) *atmost.Claim {
	return &atmost.Claim{
		Operation:   "charge",
		Fingerprint: fingerprint.Fingerprint{Algorithm: "a1", Digest: [32]byte{7}},
		Token:       token(n),
		Lease:       lease,
		Policy:      atmost.Policy{ResultRetention: resultRetention, KeyRetention: keyRetention},
	}
}

func claimWith(n int, onUnknown atmost.OnUnknown, by atmost.ExecutedBy) *atmost.Claim {
	c := claim(n)
	c.Policy.OnUnknown, c.Policy.ExecutedBy = onUnknown, by
	return c
}

func completed(result string) atmost.Outcome {
	return atmost.Outcome{State: atmost.Completed, Result: []byte(result), UpstreamStatus: 201}
}

var (
	failed      = atmost.Outcome{State: atmost.Failed, Result: []byte(`{"error":"declined"}`), UpstreamStatus: 402, Message: "declined"}
	notExecuted = atmost.Outcome{State: atmost.NotExecuted, Message: "connection refused"}
	unknown     = atmost.Outcome{State: atmost.Unknown, Message: "connection reset"}
)

func finish(n int, o atmost.Outcome) *atmost.Finish {
	return &atmost.Finish{Token: token(n), Outcome: o}
}
