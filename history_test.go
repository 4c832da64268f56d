package atmost_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

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
