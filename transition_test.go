package atmost_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/fingerprint"
)

// rules is every (state, event). All records but the absent ones are in attempt 2, after an attempt that was taken for not
// executed. A cell tells what follows:
//
//	P C F N U A  the record changes to processing, completed, failed, not_executed, unknown, absent
//	+          it changes, its state does not
//	-          accepted, nothing changes
//	lost done conf oper load alg   refused with LEASE_LOST, ALREADY_FINISHED, STATE_CONFLICT, OPERATION_MISMATCH, PAYLOAD_MISMATCH,
//	           STORE_UNAVAILABLE
//	~          the report was late
//	!          it is a contradiction, which is counted even where the report is refused
const rules = `
state                 claim again otherop other otheralg renew renewold A     B     fail  not   abandon oldA  oldfail oldnot stranger resolveA resolvefail resolvenot resolveold restart resolveP probed probedold erase eraseold forget
absent                P     P     P       P     P        lost  lost     lost  lost  lost  lost  lost    lost  lost    lost   lost     conf     conf        conf       conf       -       conf     -      -         conf  conf     conf
forgotten             P     P     P       P     P        lost  lost     lost  lost  lost  lost  lost    lost  lost    lost   lost     conf     conf        conf       conf       -       conf     -      -         conf  conf     conf
processing            -     -     oper    load  alg      +     lost     C     C     F     N     U       lost! lost!   lost   lost     conf     conf        conf       conf       U       conf     -      -         conf  conf     conf
processing-retry      -     -     oper    load  alg      +     lost     C     C     F     N     N       lost! lost!   lost   lost     conf     conf        conf       conf       N       conf     -      -         conf  conf     conf
processing-client     -     -     oper    load  alg      +     lost     C     C     F     N     U       lost! lost!   lost   lost     conf     conf        conf       conf       -       conf     -      -         conf  conf     conf
lapsed                -     -     oper    load  alg      lost  lost     C~    C~    F~    N~    -       lost! lost!   lost   lost     C        F           N          conf       -       C        +      -         conf  conf     conf
lapsed-retry          P     -     oper    load  alg      lost  lost     C~!   C~!   F~!   N~    -       lost! lost!   lost   lost     conf     conf        conf       conf       -       conf     -      -         conf  conf     A
unknown               -     -     oper    load  alg      lost  lost     C~    C~    F~    N~    -       lost! lost!   lost   lost     C        F           N          conf       -       C        +      -         conf  conf     conf
completed             -     -     oper    load  alg      lost  lost     -     done  done  done  done    lost! lost!   lost   lost     conf     conf        conf       conf       -       conf     -      -         +     conf     A
completed-resolved    -     -     oper    load  alg      lost  lost     -     -     lost! lost! -       lost! lost!   lost   lost     conf     conf        conf       conf       -       conf     -      -         +     conf     A
completed-tombstone   -     -     oper    load  alg      lost  lost     -     -     done  done  done    lost! lost!   lost   lost     conf     conf        conf       conf       -       conf     -      -         -     conf     A
failed                -     -     oper    load  alg      lost  lost     done  done  -     done  done    lost! lost!   lost   lost     conf     conf        conf       conf       -       conf     -      -         +     conf     A
failed-resolved       -     -     oper    load  alg      lost  lost     lost! lost! -     lost! -       lost! lost!   lost   lost     conf     conf        conf       conf       -       conf     -      -         +     conf     A
failed-tombstone      -     -     oper    load  alg      lost  lost     done  done  -     done  done    lost! lost!   lost   lost     conf     conf        conf       conf       -       conf     -      -         -     conf     A
not_executed          P     -     oper    load  alg      lost  lost     done  done  done  -     done    lost! lost!   lost   lost     conf     conf        conf       conf       -       conf     -      -         conf  conf     A
not_executed-presumed P     -     oper    load  alg      lost  lost     C~!   C~!   F~!   N~    -       lost! lost!   lost   lost     conf     conf        conf       conf       -       conf     -      -         conf  conf     A
not_executed-resolved P     -     oper    load  alg      lost  lost     C~!   C~!   F~!   N~    -       lost! lost!   lost   lost     conf     conf        conf       conf       -       conf     -      -         conf  conf     A
`

var (
	print1   = fingerprint.Fingerprint{Algorithm: "one", Digest: [32]byte{1}}
	print2   = fingerprint.Fingerprint{Algorithm: "one", Digest: [32]byte{2}}
	otherAlg = fingerprint.Fingerprint{Algorithm: "two", Digest: [32]byte{1}}

	oldToken, token, newToken, stranger = atmost.Token{1}, atmost.Token{2}, atmost.Token{3}, atmost.Token{4}

	outcomeA = atmost.Outcome{State: atmost.Completed, Result: []byte(`"A"`), UpstreamStatus: 200}
	outcomeB = atmost.Outcome{State: atmost.Completed, Result: []byte(`"B"`), UpstreamStatus: 200}
	failure  = atmost.Outcome{State: atmost.Failed, Result: []byte(`"no"`), UpstreamStatus: 402, Message: "declined"}
	noEffect = atmost.Outcome{State: atmost.NotExecuted, Message: "refused"}
	doubt    = atmost.Outcome{State: atmost.Unknown, UpstreamStatus: 502, Message: "bad gateway"}
)

var operator = atmost.Actor{Name: "ada", Reason: "the bank says so"}

func claimOf(token atmost.Token, policy atmost.Policy) *atmost.Claim {
	return &atmost.Claim{Operation: "op", Fingerprint: print1, Token: token, Lease: time.Minute, Policy: policy}
}

// at is a moment so many seconds after the tests' beginning.
func at(seconds int64) atmost.Instant {
	t := atmost.Time(seconds * 1e6)
	return atmost.Instant{Now: t, Expiry: t}
}

// situation makes the record of a row, as it stands at second 30; the deadline of its second attempt is at 61 unless it lapsed.
func situation(t *testing.T, name string) atmost.Record {
	t.Helper()
	policy := atmost.Policy{ResultRetention: time.Hour, KeyRetention: 2 * time.Hour}
	state, how, _ := strings.Cut(name, "-")
	if how == "retry" || how == "presumed" {
		policy.OnUnknown = atmost.RetryUnknown
	}
	if how == "client" {
		policy.ExecutedBy = atmost.ByClient
	}
	if how == "tombstone" {
		policy.ResultRetention = time.Second
	}
	second := claimOf(token, policy)
	if state == "lapsed" {
		second.Lease = 10 * time.Second
	}
	r := atmost.Record{ID: atmost.ID{Key: "k"}}
	if state == "absent" {
		return r
	}
	steps := []atmost.Event{
		claimOf(oldToken, atmost.Policy{ResultRetention: time.Hour, KeyRetention: time.Hour}),
		&atmost.Finish{Token: oldToken, Outcome: doubt},
		&atmost.Resolve{Attempt: 1, Outcome: noEffect},
		second,
	}
	outcome := map[string]atmost.Outcome{
		"unknown": doubt, "completed": outcomeA, "failed": failure, "not_executed": noEffect, "forgotten": noEffect,
	}[state]
	switch {
	case how == "resolved":
		steps = append(steps, &atmost.Finish{Token: token, Outcome: doubt}, &atmost.Resolve{Attempt: 2, Outcome: outcome})
	case how == "presumed":
		steps = append(steps, &atmost.Finish{Token: token, Outcome: doubt})
	case outcome.State != atmost.Absent:
		steps = append(steps, &atmost.Finish{Token: token, Outcome: outcome})
	}
	for i, e := range steps {
		step, err := atmost.Transition(r, e, at(int64(i/3)))
		if err != nil || !step.Changed {
			t.Fatalf("situation %s: step %d: %+v, %v", name, i, step, err)
		}
		r = step.Record
	}
	return r
}

func eventOf(t *testing.T, name string) atmost.Event {
	t.Helper()
	policy := atmost.Policy{ResultRetention: time.Minute, KeyRetention: time.Hour}
	claim := claimOf(newToken, policy)
	finish := func(token atmost.Token, o atmost.Outcome) atmost.Event {
		return &atmost.Finish{Token: token, Outcome: o}
	}
	resolve := func(attempt uint32, o atmost.Outcome) atmost.Event {
		return &atmost.Resolve{Attempt: attempt, Outcome: o}
	}
	switch name {
	case "claim":
		return claim
	case "again":
		claim.Token = token
		return claim
	case "otherop":
		claim.Operation = "another"
		return claim
	case "other":
		claim.Fingerprint = print2
		return claim
	case "otheralg":
		claim.Fingerprint = otherAlg
		return claim
	case "renew":
		return &atmost.Renew{Token: token, Lease: 2 * time.Minute}
	case "renewold":
		return &atmost.Renew{Token: oldToken, Lease: 2 * time.Minute}
	case "A":
		return finish(token, outcomeA)
	case "B":
		return finish(token, outcomeB)
	case "fail":
		return finish(token, failure)
	case "not":
		return finish(token, noEffect)
	case "abandon":
		return finish(token, doubt)
	case "oldA":
		return finish(oldToken, outcomeA)
	case "oldfail":
		return finish(oldToken, failure)
	case "oldnot":
		return finish(oldToken, noEffect)
	case "stranger":
		return finish(stranger, outcomeA)
	case "resolveA":
		return resolve(2, outcomeA)
	case "resolvefail":
		return resolve(2, failure)
	case "resolvenot":
		return resolve(2, noEffect)
	case "resolveold":
		return resolve(1, outcomeA)
	case "restart":
		return atmost.Restart{}
	case "resolveP":
		return &atmost.Resolve{Attempt: 2, Outcome: outcomeA, By: &operator}
	case "probed":
		return &atmost.Probed{Attempt: 2, Message: "no answer"}
	case "probedold":
		return &atmost.Probed{Attempt: 1, Message: "no answer"}
	case "erase":
		return &atmost.Erase{By: operator}
	case "eraseold":
		return &atmost.Erase{Attempt: 1, By: operator}
	case "forget":
		return &atmost.Forget{Attempt: 2, By: operator}
	}
	t.Fatalf("no event %q", name)
	return nil
}

var cellCodes = map[string]atmost.Code{
	"lost": atmost.CodeLeaseLost, "done": atmost.CodeAlreadyFinished, "oper": atmost.CodeOperationMismatch,
	"conf": atmost.CodeStateConflict, "load": atmost.CodePayloadMismatch, "alg": atmost.CodeStoreUnavailable,
}

var cellStates = map[string]atmost.State{
	"P": atmost.Processing, "C": atmost.Completed, "F": atmost.Failed, "N": atmost.NotExecuted, "U": atmost.Unknown,
	"A": atmost.Absent,
}

func TestTransitionRules(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(rules), "\n")
	events := strings.Fields(lines[0])[1:]
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		if len(cells) != len(events)+1 {
			t.Fatalf("row %s has %d cells", cells[0], len(cells)-1)
		}
		for i, cell := range cells[1:] {
			t.Run(cells[0]+"/"+events[i], func(t *testing.T) {
				now := at(30)
				if cells[0] == "forgotten" {
					now = at(7300)
				}
				r := situation(t, cells[0])
				before := atmost.Age(r, now)
				kept := r
				step, err := atmost.Transition(r, eventOf(t, events[i]), now)
				if diff := cmp.Diff(kept, r); diff != "" {
					t.Errorf("the argument was modified: %s", diff)
				}
				checkCell(t, cell, before, step, err)
				if step.Now != now.Now {
					t.Errorf("judged at %v, want %v", step.Now, now.Now)
				}
			})
		}
	}
}

func checkCell(t *testing.T, cell string, before atmost.Record, step atmost.Step, err error) {
	t.Helper()
	late, contradiction := strings.Contains(cell, "~"), strings.Contains(cell, "!")
	kind := strings.TrimRight(cell, "~!")
	if got := atmost.CodeOf(err); got != cellCodes[kind] {
		t.Fatalf("code %q, want %q", got, cellCodes[kind])
	}
	if step.Late != late || step.Contradiction != contradiction {
		t.Errorf("late %v, contradiction %v", step.Late, step.Contradiction)
	}
	state, moves := cellStates[kind]
	if changed := moves || kind == "+" || contradiction; step.Changed != changed {
		t.Errorf("changed %v", step.Changed)
	}
	if !moves {
		state = before.State
	}
	if step.Record.State != state {
		t.Errorf("state %v, want %v", step.Record.State, state)
	}
	if !step.Changed {
		if diff := cmp.Diff(before, step.Record); diff != "" {
			t.Errorf("not changed, but: %s", diff)
		}
	}
	if counted := step.Record.Contradictions != before.Contradictions; counted != contradiction {
		t.Errorf("contradictions went from %d to %d", before.Contradictions, step.Record.Contradictions)
	}
}

func TestClaimStartsAnAttempt(t *testing.T) {
	policy := atmost.Policy{OnUnknown: atmost.ProbeUnknown, ResultRetention: time.Hour, KeyRetention: time.Hour}
	step, err := atmost.Transition(atmost.Record{ID: atmost.ID{Key: "k"}, Fence: 77e6}, claimOf(token, policy), at(5))
	if err != nil {
		t.Fatal(err)
	}
	want := atmost.Record{
		ID: atmost.ID{Key: "k"}, Operation: "op", Fingerprint: print1, Policy: policy, Attempt: 1, Fence: 77e6 + 1,
		Token: token, Deadline: 65e6, Outcome: atmost.Outcome{State: atmost.Processing}, CreatedAt: 5e6, UpdatedAt: 5e6,
	}
	if diff := cmp.Diff(want, step.Record); diff != "" {
		t.Error(diff)
	}
}

func TestAContradictionIsCountedOnceForEachAttempt(t *testing.T) {
	r := situation(t, "completed")
	for range 3 {
		step, _ := atmost.Transition(r, &atmost.Finish{Token: oldToken, Outcome: failure}, at(30))
		r = step.Record
	}
	if r.Contradictions != 1 {
		t.Errorf("counted %d", r.Contradictions)
	}
}

// TestRetention holds each of a record's two ends of retention, the moment before and the moment itself.
func TestRetention(t *testing.T) {
	policy := atmost.Policy{ResultRetention: 10 * time.Second, KeyRetention: 20 * time.Second}
	for _, outcome := range []atmost.Outcome{outcomeA, failure, noEffect} {
		r := atmost.Record{}
		for i, e := range []atmost.Event{claimOf(token, policy), &atmost.Finish{Token: token, Outcome: outcome}} {
			step, err := atmost.Transition(r, e, at(int64(i)))
			if err != nil {
				t.Fatal(err)
			}
			r = step.Record
		}
		justBefore := func(seconds int64) atmost.Instant {
			return atmost.Instant{Now: at(seconds).Now - 1, Expiry: at(seconds).Expiry - 1}
		}
		if diff := cmp.Diff(r, atmost.Age(r, justBefore(11))); diff != "" {
			t.Errorf("%v: changed before its result's retention ended: %s", outcome.State, diff)
		}
		tomb := atmost.Age(r, at(11))
		if outcome.State.Final() && (tomb.NotKept != atmost.Expired || tomb.Result != nil || tomb.Message != "" || tomb.State != outcome.State) {
			t.Errorf("%v: not a tombstone: %+v", outcome.State, tomb)
		}
		if diff := cmp.Diff(tomb, atmost.Age(r, justBefore(21))); diff != "" {
			t.Errorf("%v: changed before its key's retention ended: %s", outcome.State, diff)
		}
		if gone := atmost.Age(r, at(21)); gone.State != atmost.Absent || gone.Fence != r.Fence {
			t.Errorf("%v: not forgotten: %+v", outcome.State, gone)
		}
		frozen := atmost.Instant{Now: at(1000).Now, Expiry: at(2).Expiry}
		if diff := cmp.Diff(r, atmost.Age(r, frozen)); diff != "" {
			t.Errorf("%v: expired while expiry was suspended: %s", outcome.State, diff)
		}
	}
}

func TestNothingExpiresWhileProcessingOrUnknown(t *testing.T) {
	for _, name := range []string{"processing", "unknown"} {
		r := atmost.Age(situation(t, name), at(1e9))
		if r.State != atmost.Unknown {
			t.Errorf("%s: %v after ages", name, r.State)
		}
	}
}

func TestTooLargeIsToldAsLongAsTheKey(t *testing.T) {
	r := situation(t, "completed")
	r.Result, r.NotKept = nil, atmost.TooLarge
	if got := atmost.Age(r, at(3700)).NotKept; got != atmost.TooLarge {
		t.Errorf("after its retention the result is %q", got)
	}
}

// TestTransitionInvariants drives a record through any sequence of events and holds it to what no event may break.
func TestTransitionInvariants(t *testing.T) {
	tokens := []atmost.Token{oldToken, token, newToken, stranger}
	outcomes := []atmost.Outcome{outcomeA, outcomeB, failure, noEffect, doubt}
	rapid.Check(t, func(t *rapid.T) {
		r, now := atmost.Record{ID: atmost.ID{Key: "k"}}, int64(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now += rapid.SampledFrom([]int64{0, 1, 59, 61, 3601}).Draw(t, "pass")
			before := atmost.Age(r, at(now))
			tok := rapid.SampledFrom(tokens).Draw(t, "token")
			o := rapid.SampledFrom(outcomes).Draw(t, "outcome")
			var event atmost.Event
			switch rapid.IntRange(0, 4).Draw(t, "event") {
			case 0:
				event = claimOf(tok, atmost.Policy{
					OnUnknown:       rapid.SampledFrom([]atmost.OnUnknown{atmost.HoldUnknown, atmost.RetryUnknown}).Draw(t, "policy"),
					ResultRetention: time.Hour, KeyRetention: 2 * time.Hour,
				})
			case 1:
				event = &atmost.Renew{Token: tok, Lease: time.Minute}
			case 2:
				event = &atmost.Finish{Token: tok, Outcome: o}
			case 3:
				if o.State == atmost.Unknown {
					o = noEffect
				}
				event = &atmost.Resolve{Attempt: before.Attempt, Outcome: o}
			case 4:
				event = &atmost.Probed{Attempt: before.Attempt, Message: "no answer"}
			}
			step, err := atmost.Transition(r, event, at(now))
			checkInvariants(t, before, event, step, err)
			if step.Changed {
				r = step.Record
			}
		}
	})
}

func checkInvariants(t *rapid.T, before atmost.Record, event atmost.Event, step atmost.Step, err error) {
	after := step.Record
	started := after.Attempt != before.Attempt
	switch {
	case after.Fence < before.Fence || started && after.Fence <= before.Fence:
		t.Fatalf("the fence went from %d to %d", before.Fence, after.Fence)
	case started && before.State != atmost.Absent && (before.State != atmost.NotExecuted || after.Attempt != before.Attempt+1):
		t.Fatalf("attempt %d followed attempt %d of a %v record", after.Attempt, before.Attempt, before.State)
	case started && after.State != atmost.Processing:
		t.Fatalf("an attempt started, and the record is %v", after.State)
	case before.State.Final() && (after.State != before.State || string(after.Result) != string(before.Result)):
		t.Fatalf("a final outcome changed: %+v to %+v", before.Outcome, after.Outcome)
	case before.State == atmost.Processing && !started && after.Deadline < before.Deadline && after.State == atmost.Processing:
		t.Fatalf("the deadline went back from %d to %d", before.Deadline, after.Deadline)
	case !step.Changed && !cmp.Equal(before, after):
		t.Fatalf("changed without saying so: %s", cmp.Diff(before, after))
	case len(after.Past) > atmost.MaxPast:
		t.Fatalf("%d past attempts", len(after.Past))
	case len(after.History.Entries) > atmost.MaxHistory:
		t.Fatalf("%d entries of history", len(after.History.Entries))
	case !started && len(after.Timeline()) < len(before.Timeline()) && after.History.Dropped == 0 && before.State != atmost.Processing:
		t.Fatalf("what was known is lost:\n%+v\n%+v", before.Timeline(), after.Timeline())
	}
	var refusal *atmost.Error
	if err != nil && !errors.As(err, &refusal) {
		t.Fatalf("%T is no *Error", err)
	}
	if f, ok := event.(*atmost.Finish); ok && err == nil && !f.Token.Matches(before.Token) {
		t.Fatalf("a stranger's report was accepted")
	}
}

func TestRenewNeverTakesTimeAway(t *testing.T) {
	r := situation(t, "processing")
	step, err := atmost.Transition(r, &atmost.Renew{Token: token, Lease: time.Second}, at(30))
	if err != nil || step.Changed || step.Record.Deadline != r.Deadline {
		t.Errorf("%+v, %v", step, err)
	}
}

func TestPastAttemptsAreBounded(t *testing.T) {
	policy := atmost.Policy{OnUnknown: atmost.RetryUnknown, ResultRetention: time.Hour, KeyRetention: time.Hour}
	r := atmost.Record{}
	for i := range byte(atmost.MaxPast + 3) {
		tok := atmost.Token{1, i}
		for _, e := range []atmost.Event{claimOf(tok, policy), &atmost.Finish{Token: tok, Outcome: doubt}} {
			step, err := atmost.Transition(r, e, at(1))
			if err != nil {
				t.Fatal(err)
			}
			r = step.Record
		}
	}
	if n := len(r.Past); n != atmost.MaxPast || r.Past[n-1].Token != (atmost.Token{1, atmost.MaxPast + 1}) {
		t.Errorf("%d are remembered: %v", n, r.Past)
	}
}
