package atmostclient_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
)

const minute = time.Minute

func work(key string) atmost.ClaimCall {
	c := atmost.ClaimCall{Call: charge(key), Lease: minute}
	c.Operation = "work"
	return c
}

// TestLeaseCalls: each answer is lost once, and then what it was.
func TestLeaseCalls(t *testing.T) {
	for name, script := range map[string][]step{
		"no faults": nil, "lost answers": {lost, pass, lost, pass, pass, lost, pass, lost},
	} {
		t.Run(name, func(t *testing.T) {
			inService(t, atmost.Operation{}, script, func(s *service) {
				c := work("k")
				got, err := s.client.Claim(s.Context(), c)
				l := got.Lease
				if err != nil || !got.Won || got.Record.State != atmost.Processing || l.Attempt != 1 || l.Fence == 0 || l.Token == (atmost.Token{}) || l.ExpiresIn < 59*time.Second || l.ExpiresIn > minute {
					t.Fatalf("%+v, %v", got, err)
				}
				other, err := s.client.Claim(s.Context(), c)
				if err != nil || other.Won || other.Record.State != atmost.Processing || other.Record.Attempt != 1 {
					t.Errorf("%+v, %v", other, err)
				}
				renewed, err := s.client.Renew(s.Context(), c.ID, l.Token, 2*minute)
				if err != nil || renewed.Token != l.Token || renewed.Attempt != 1 || renewed.ExpiresIn < 118*time.Second || renewed.ExpiresIn > 2*minute {
					t.Errorf("%+v, %v", renewed, err)
				}
				if a, err := s.client.Complete(s.Context(), c.ID, atmost.NewToken(), nil); atmost.CodeOf(err) != atmost.CodeLeaseLost || a.Record.State != atmost.Absent {
					t.Errorf("%+v, %v", a, err)
				}
				a, err := s.client.Complete(s.Context(), c.ID, l.Token, []byte(`{"n": 1.10}`))
				if err != nil || a.Record.State != atmost.Completed || string(a.Record.Result) != `{"n": 1.10}` || a.Record.ResultExpires == 0 {
					t.Errorf("%+v, %v", a, err)
				}
				again, err := s.client.Claim(s.Context(), c)
				if err != nil || again.Won || !again.Replayed || string(again.Record.Result) != `{"n": 1.10}` {
					t.Errorf("%+v, %v", again, err)
				}
			})
		})
	}
}

// pass is a step: nothing special.
func pass(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }

// TestALeaseCountsFromTheTryThatGotIt, not from those that were lost before.
func TestALeaseCountsFromTheTryThatGotIt(t *testing.T) {
	inService(t, atmost.Operation{}, []step{says(atmost.CodeOverloaded, "50")}, func(s *service) {
		c := work("k")
		begin := time.Now()
		got, err := s.client.Claim(s.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.client.Status(s.Context(), c.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		end := r.CreatedAt.Std().Add(minute)
		if told := begin.Add(got.Lease.ExpiresIn); told.After(end) || told.Before(end.Add(-2*time.Second)) {
			t.Errorf("it is told to end %v after the end", told.Sub(end))
		}
	})
}

func TestFailures(t *testing.T) {
	for _, tc := range []struct {
		executed atmost.Executed
		state    atmost.State
		code     atmost.Code
	}{
		{atmost.ExecutedYes, atmost.Failed, atmost.CodeExecutionFailed},
		{atmost.ExecutedNo, atmost.NotExecuted, ""},
		{atmost.ExecutedUnknown, atmost.Unknown, atmost.CodeOutcomeUnknown},
	} {
		inService(t, atmost.Operation{}, nil, func(s *service) {
			c := work("k")
			c.Token = atmost.NewToken()
			if _, err := s.client.Claim(s.Context(), c); err != nil {
				t.Fatal(err)
			}
			f := atmost.Failure{Code: "<no>", Message: "é \"x\"\n\xff", Executed: tc.executed}
			a, err := s.client.Fail(s.Context(), c.ID, c.Token, f)
			if err != nil || a.Record.State != tc.state || a.Record.Presumed() || atmost.CodeOf(a.Record.Err()) == atmost.CodeOutcomeUnknown != (tc.state == atmost.Unknown) {
				t.Errorf("%+v, %v", a, err)
			}
			c.Token = atmost.NewToken()
			again, err := s.client.Claim(s.Context(), c)
			if atmost.CodeOf(err) != tc.code || err != nil && !strings.Contains(err.Error(), "é \"x\"\n\ufffd") {
				t.Errorf("%+v, %v", again, err)
			}
			if tc.state == atmost.Failed && string(again.Record.Result) != `{"code":"<no>","message":"é \"x\"\n`+"\ufffd"+`"}` {
				t.Errorf("failed with %s", again.Record.Result)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	inService(t, atmost.Operation{}, nil, func(s *service) {
		_, err := s.client.Status(s.Context(), atmost.ID{Key: "k"}, 0)
		var e *atmost.Error
		if !errors.As(err, &e) || e.Code != atmost.CodeKeyNotFound || e.Executed() != atmost.ExecutedUnknown {
			t.Errorf("%v", err)
		}
		s.asked(1)
		c := work("k")
		c.Token = atmost.NewToken()
		began := atmost.TimeOf(time.Now())
		if _, err := s.client.Claim(s.Context(), c); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(30*time.Second, func() {
			_, _ = s.client.Fail(s.Context(), c.ID, c.Token, atmost.Failure{Code: "x", Message: "no answer", Executed: atmost.ExecutedUnknown})
		})
		r, err := s.client.Status(s.Context(), c.ID, 20*time.Second)
		want := atmost.Record{ID: c.ID, Operation: "work", Attempt: 1, Outcome: atmost.Outcome{State: atmost.Processing}, CreatedAt: began, UpdatedAt: began}
		if diff := cmp.Diff(want, r); diff != "" || err != nil {
			t.Errorf("%s%v", diff, err)
		}
		r, err = s.client.Status(s.Context(), c.ID, minute)
		want.Outcome, want.SettledBy, want.UpdatedAt = atmost.Outcome{State: atmost.Unknown, Message: "no answer"}, atmost.ByNobody, began.Add(30*time.Second)
		if diff := cmp.Diff(want, r); diff != "" || err != nil || r.Err().Error() != "OUTCOME_UNKNOWN: the outcome is unknown: no answer" {
			t.Errorf("%s%v, %v", diff, err, r.Err())
		}
		if took := time.Since(s.begin); took != 80*time.Second {
			t.Errorf("it waited until %v", took)
		}
	})
}
