package atmost_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/atmost-dev/atmost"
)

// stamped is a timeline with its times in seconds.
func stamped(r atmost.Record) string {
	var told []string
	for _, e := range r.Timeline() {
		told = append(told, strings.TrimSpace(fmt.Sprintf("%g %d %v %v %s", float64(e.At)/1e6, e.Attempt, e.What, e.Outcome, e.Actor)))
	}
	return strings.Join(told, "\n")
}

func TestTimeline(t *testing.T) {
	hold := atmost.Policy{ResultRetention: time.Hour, KeyRetention: time.Hour}
	retry := hold
	retry.OnUnknown = atmost.RetryUnknown
	type step struct {
		at    int64
		event atmost.Event
	}
	finish := func(token atmost.Token, o atmost.Outcome) atmost.Event {
		return &atmost.Finish{Token: token, Outcome: o}
	}
	cases := map[string]struct {
		steps []step
		until int64
		want  []string
	}{
		"absent": {},
		"completed": {
			steps: []step{{1, claimOf(token, hold)}, {2, finish(token, outcomeA)}},
			want:  []string{"1 1 claimed absent", "2 1 reported completed"},
		},
		"renewed and running": {
			steps: []step{{1, claimOf(token, hold)}, {30, &atmost.Renew{Token: token, Lease: time.Minute}}, {50, &atmost.Renew{Token: token, Lease: time.Minute}}},
			until: 60,
			want:  []string{"1 1 claimed absent", "50 1 renewed absent"},
		},
		"lapsed on reading": {
			steps: []step{{1, claimOf(token, hold)}, {30, &atmost.Renew{Token: token, Lease: time.Minute}}},
			until: 500,
			want:  []string{"1 1 claimed absent", "30 1 renewed absent", "90 1 lapsed unknown"},
		},
		"probed, resolved and contradicted": {
			steps: []step{
				{1, claimOf(token, hold)},
				{2, finish(token, doubt)},
				{3, &atmost.Probed{Attempt: 1, Message: "no answer"}},
				{4, &atmost.Probed{Attempt: 1, Message: "no answer"}},
				{5, &atmost.Probed{Attempt: 1, Message: "refused"}},
				{6, &atmost.Resolve{Attempt: 1, Outcome: failure, By: &operator}},
				{7, finish(token, outcomeA)},
			},
			want: []string{
				"1 1 claimed absent", "2 1 reported unknown", "4 1 probed absent", "5 1 probed absent", "6 1 resolved failed ada",
				"7 1 contradicted completed",
			},
		},
		"resolved by a probe": {
			steps: []step{{1, claimOf(token, hold)}, {2, finish(token, doubt)}, {3, &atmost.Resolve{Attempt: 1, Outcome: outcomeA}}},
			want:  []string{"1 1 claimed absent", "2 1 reported unknown", "3 1 resolved completed"},
		},
		"late": {
			steps: []step{{1, claimOf(token, hold)}, {100, finish(token, outcomeA)}},
			want:  []string{"1 1 claimed absent", "61 1 lapsed unknown", "100 1 reported_late completed"},
		},
		"retried": {
			steps: []step{{1, claimOf(oldToken, retry)}, {100, claimOf(token, retry)}, {101, finish(oldToken, outcomeA)}, {102, finish(token, outcomeA)}},
			want: []string{
				"1 1 claimed absent", "61 1 lapsed not_executed", "100 2 claimed absent", "101 0 contradicted completed", "102 2 reported completed",
			},
		},
		"erased": {
			steps: []step{{1, claimOf(token, hold)}, {2, finish(token, failure)}, {3, &atmost.Erase{By: operator}}},
			want:  []string{"1 1 claimed absent", "2 1 reported failed", "3 1 erased absent ada"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := atmost.Record{ID: atmost.ID{Key: "k"}}
			for _, s := range c.steps {
				step, err := atmost.Transition(r, s.event, at(s.at))
				if err != nil && atmost.CodeOf(err) != atmost.CodeLeaseLost {
					t.Fatal(err)
				}
				r = step.Record
				c.until = max(c.until, s.at)
			}
			if diff := cmp.Diff(strings.Join(c.want, "\n"), stamped(atmost.Age(r, at(c.until)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// An error's message may tell of what is to be erased; who erased it, and why, is to be known.
func TestEraseLeavesNoMessages(t *testing.T) {
	r := atmost.Record{ID: atmost.ID{Key: "k"}}
	secret := failure
	secret.Message = "card 4242 was declined"
	for _, e := range []atmost.Event{
		claimOf(token, atmost.Policy{ResultRetention: time.Hour}), &atmost.Finish{Token: token, Outcome: doubt},
		&atmost.Finish{Token: token, Outcome: secret}, &atmost.Erase{By: operator},
	} {
		step, err := atmost.Transition(r, e, at(1))
		if err != nil {
			t.Fatal(err)
		}
		r = step.Record
	}
	told := fmt.Sprintf("%+v", r)
	if strings.Contains(told, "4242") || strings.Contains(told, string(secret.Result)) || !strings.Contains(told, operator.Reason) {
		t.Errorf("left is %s", told)
	}
}

// A client that repeats its report says nothing new, however often it does: what is known of the record stays.
func TestARepeatedContradictionChangesNothing(t *testing.T) {
	r := situation(t, "failed-resolved")
	before := stamped(r)
	for i := range 3 * atmost.MaxHistory {
		for _, o := range []atmost.Outcome{outcomeA, noEffect} {
			step, err := atmost.Transition(r, &atmost.Finish{Token: token, Outcome: o}, at(30))
			if atmost.CodeOf(err) != atmost.CodeLeaseLost || step.Changed != (i == 0) || step.Contradiction != (i == 0) {
				t.Fatalf("report %d of %v: %+v, %v", i, o.State, step, err)
			}
			r = step.Record
		}
	}
	want := before + "\n30 2 contradicted completed\n30 2 contradicted not_executed"
	if diff := cmp.Diff(want, stamped(r)); diff != "" || r.Contradictions != 2 {
		t.Errorf("%d contradictions (-want +got):\n%s", r.Contradictions, diff)
	}
}

// TestHistoryKeepsWhatCounts has more happen than there is room for, to an attempt that comes after many.
func TestHistoryKeepsWhatCounts(t *testing.T) {
	var r atmost.Record
	happen := func(second int64, e atmost.Event) {
		step, err := atmost.Transition(r, e, at(second))
		if code := atmost.CodeOf(err); code != "" && code != atmost.CodeLeaseLost {
			t.Fatal(err)
		}
		r = step.Record
	}
	hold := atmost.Policy{ResultRetention: time.Hour, KeyRetention: time.Hour}
	for i := range int64(40) {
		happen(i, claimOf(atmost.Token{9, byte(i)}, hold))
		happen(i, &atmost.Finish{Token: atmost.Token{9, byte(i)}, Outcome: noEffect})
	}
	happen(100, claimOf(token, hold))
	happen(101, &atmost.Renew{Token: token, Lease: 2 * time.Minute})
	for i := range int64(100) {
		happen(300+i, &atmost.Probed{Attempt: 41, Message: fmt.Sprint("no answer ", i)})
	}
	if told := stamped(r); !strings.HasSuffix(told, "221 41 lapsed unknown\n399 41 probed absent") {
		t.Errorf("the last answer is not told:\n%s", told)
	}
	happen(500, &atmost.Resolve{Attempt: 41, Outcome: failure, By: &operator})
	happen(501, &atmost.Finish{Token: token, Outcome: outcomeA})
	happen(502, &atmost.Erase{By: operator})
	want := "100 41 claimed absent\n221 41 lapsed unknown\n500 41 resolved failed ada\n501 41 contradicted completed\n502 41 erased absent ada"
	told := stamped(r)
	if !strings.HasSuffix(told, want) || strings.Contains(told, "probed") || len(r.History.Entries) != atmost.MaxHistory {
		t.Errorf("%d entries:\n%s", len(r.History.Entries), told)
	}
	if r.History.Dropped == 0 || !strings.HasPrefix(told, "26 27 reported") {
		t.Errorf("%d were dropped, the oldest is not the first of them:\n%s", r.History.Dropped, told)
	}
}

// Nobody reported what was resolved, whatever the history has lost.
func TestWhatWasResolvedWasNotReported(t *testing.T) {
	r := situation(t, "completed-resolved")
	r.History = atmost.History{Dropped: 7}
	if told := stamped(r); strings.Contains(told, "reported") {
		t.Errorf("told is:\n%s", told)
	}
}

func TestNotesAreText(t *testing.T) {
	for _, message := range []string{"x" + strings.Repeat("ü", atmost.MaxNote), "\xff" + strings.Repeat("ü", atmost.MaxNote)} {
		late := outcomeA
		late.Message = message
		for _, e := range []atmost.Event{&atmost.Probed{Attempt: 2, Message: message}, &atmost.Finish{Token: token, Outcome: late}} {
			step, err := atmost.Transition(situation(t, "unknown"), e, at(30))
			if err != nil {
				t.Fatal(err)
			}
			entries := step.Record.Timeline()
			note := entries[len(entries)-1].Note
			if !utf8.ValidString(note) || len(note) > atmost.MaxNote || len(note) < atmost.MaxNote-2 {
				t.Errorf("%T: the note has %d bytes: %q", e, len(note), note)
			}
			again, err := atmost.Transition(step.Record, e, at(31))
			if err != nil || len(again.Record.History.Entries) != len(step.Record.History.Entries) {
				t.Errorf("%T: what was repeated was noted twice: %+v, %v", e, again.Record.History, err)
			}
		}
	}
}

// The messages of outcomes go with the result, and none comes after it. What people wrote stays.
func TestMessagesGoWithTheResult(t *testing.T) {
	secret := func(o atmost.Outcome) atmost.Outcome {
		o.Message = "card 4242"
		return o
	}
	events := []atmost.Event{
		claimOf(token, atmost.Policy{ResultRetention: time.Minute, KeyRetention: time.Hour}), &atmost.Finish{Token: token, Outcome: secret(doubt)},
		&atmost.Probed{Attempt: 1, Message: "card 4242"}, &atmost.Resolve{Attempt: 1, Outcome: secret(failure), By: &operator},
		&atmost.Finish{Token: token, Outcome: secret(outcomeA)},
	}
	var r atmost.Record
	for i, e := range events {
		step, err := atmost.Transition(r, e, at(int64(i)))
		if err != nil && atmost.CodeOf(err) != atmost.CodeLeaseLost {
			t.Fatal(err)
		}
		r = step.Record
	}
	if told := fmt.Sprintf("%+v", r); !strings.Contains(told, "4242") {
		t.Fatalf("nothing is told: %s", told)
	}
	erased, err := atmost.Transition(r, &atmost.Erase{By: operator}, at(10))
	if err != nil {
		t.Fatal(err)
	}
	for name, gone := range map[string]atmost.Record{"expired": atmost.Age(r, at(100)), "erased": erased.Record} {
		late, err := atmost.Transition(gone, &atmost.Finish{Token: token, Outcome: secret(noEffect)}, at(100))
		if atmost.CodeOf(err) != atmost.CodeLeaseLost || !late.Contradiction {
			t.Fatalf("%s: %+v, %v", name, late, err)
		}
		if told := fmt.Sprintf("%+v", late.Record); strings.Contains(told, "4242") || !strings.Contains(told, operator.Reason) {
			t.Errorf("%s: left is %s", name, told)
		}
	}
	if told := fmt.Sprintf("%+v", r); !strings.Contains(told, "4242") {
		t.Error("the argument was modified")
	}
}

func drawHistory(t *rapid.T) atmost.History {
	h := atmost.History{Dropped: rapid.Uint32().Draw(t, "dropped")}
	for range rapid.IntRange(0, atmost.MaxHistory).Draw(t, "entries") {
		h.Entries = append(h.Entries, atmost.Entry{
			At: atmost.Time(rapid.Int64().Draw(t, "at")), What: atmost.What(rapid.Byte().Draw(t, "what")), Attempt: rapid.Uint32().Draw(t, "attempt"),
			Outcome: atmost.State(rapid.ByteRange(0, 5).Draw(t, "outcome")),
			Actor:   rapid.String().Draw(t, "actor"), Note: rapid.String().Draw(t, "note"),
		})
	}
	return h
}

func TestHistoryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		b, err := h.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got atmost.History
		if err := got.UnmarshalBinary(b); err != nil || !cmp.Equal(h, got) {
			t.Fatalf("%v: %s", err, cmp.Diff(h, got))
		}
		for n := range b {
			if n > 0 && got.UnmarshalBinary(b[:n]) == nil {
				t.Fatalf("the first %d of %d bytes were decoded as %+v", n, len(b), got)
			}
		}
		if got.UnmarshalBinary(append(b, 0)) == nil && len(b) > 0 {
			t.Fatalf("a surplus byte was ignored")
		}
	})
}

func FuzzHistory(f *testing.F) {
	b, _ := atmost.History{Entries: []atmost.Entry{{At: 1, What: atmost.WasClaimed, Attempt: 1}}}.AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var h, again atmost.History
		if h.UnmarshalBinary(b) != nil {
			return
		}
		b, _ = h.AppendBinary(nil)
		if err := again.UnmarshalBinary(b); err != nil || !cmp.Equal(h, again) {
			t.Errorf("%v: %s", err, cmp.Diff(h, again))
		}
	})
}

func TestActor(t *testing.T) {
	for _, a := range []atmost.Actor{operator, {Name: "Ada Lovelace", Reason: "größer – 7 €"}} {
		if err := a.Validate(); err != nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
	for _, a := range []atmost.Actor{
		{},
		{Name: "ada"},
		{Reason: "why"},
		{Name: " ", Reason: "why"},
		{Name: "ada", Reason: "two\nlines"},
		{Name: "\xff", Reason: "why"},
		{Name: strings.Repeat("a", atmost.MaxActor+1), Reason: "why"},
		{Name: "ada", Reason: strings.Repeat("a", atmost.MaxNote+1)},
	} {
		if err := a.Validate(); atmost.CodeOf(err) != atmost.CodeInvalidRequest {
			t.Errorf("%+v: %v", a, err)
		}
	}
}
