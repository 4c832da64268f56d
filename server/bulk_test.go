package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/storetest"
	"github.com/atmost-dev/atmost/wire"
)

func TestBulkResolve(t *testing.T) {
	s, o := several(t)
	const rest = `"action":"resolve","outcome":"completed","result": {"n": 1.10} ,` + by + `}`
	dry := read[wire.AdminBulkResult](o, o.change("/bulk", `{"filter":{"state":"unknown"},"dry_run":true,`+rest, 200))
	if want := (wire.AdminBulkResult{Matched: 2}); dry != want {
		t.Errorf("it would be %+v", dry)
	}
	if r := o.shown("", "b"); r.State != "unknown" {
		t.Errorf("a dry run made a record %s", r.State)
	}
	done := read[wire.AdminBulkResult](o, o.change("/bulk", `{"filter":{"state":"unknown","scope":"t","key":"b","older_than":"1h","operation":"refund"},`+rest, 200))
	if want := (wire.AdminBulkResult{Matched: 1, Changed: 1}); done != want {
		t.Errorf("it was %+v", done)
	}
	a := s.execute("b", `{"operation":"refund","payload":1}`, "Idempotency-Scope", "t")
	s.checkBody(a, `{"status":"completed","result":{"n": 1.10}}`)
	if r := o.shown("t", "b"); told(r) != "1 claimed; 1 reported unknown; 1 resolved completed ada" {
		t.Errorf("it went through %q", told(r))
	}
	s.check(s.execute("b", `{"operation":"refund","payload":1}`), isUnknown())
	done = read[wire.AdminBulkResult](o, o.change("/bulk",
		`{"filter":{"state":"unknown"},"action":"resolve","outcome":"failed","error":{"code":"c","message":"m"},`+by+`}`, 200))
	if want := (wire.AdminBulkResult{Matched: 1, Changed: 1}); done != want {
		t.Errorf("it was %+v", done)
	}
	s.checkBody(s.execute("b", `{"operation":"refund","payload":1}`), `{"error":{"code":"EXECUTION_FAILED","message":"m","details":{"result":{"code":"c","message":"m"}}}}`)
	trail := read[wire.AdminAudit](o, o.get("/audit", 200))
	if len(trail.Entries) != 2 || trail.Entries[0].Key != "b" || trail.Entries[0].Scope != "" || trail.Entries[0].Reason != "the bank says so" {
		t.Errorf("the audit trail is %+v", trail)
	}
}

func TestBulkErase(t *testing.T) {
	s, o := several(t)
	erase := func(filter string) wire.AdminBulkResult {
		t.Helper()
		return read[wire.AdminBulkResult](o, o.change("/bulk", `{"filter":`+filter+`,"action":"erase",`+by+`}`, 200))
	}
	if done, want := erase(`{"state":"completed","scope":"t"}`), (wire.AdminBulkResult{Matched: 1, Changed: 1}); done != want {
		t.Errorf("it was %+v", done)
	}
	if done, want := erase(`{"older_than":"1h"}`), (wire.AdminBulkResult{Matched: 2, Changed: 2}); done != want { // /a and /c: t/a is erased
		t.Errorf("it was %+v", done)
	}
	if done, want := erase(`{"older_than":"0s"}`), (wire.AdminBulkResult{}); done != want {
		t.Errorf("it was %+v", done)
	}
	var states []string
	for _, k := range read[wire.AdminKeys](o, o.get("/keys", 200)).Keys {
		states = append(states, k.State+" "+k.NotKept)
	}
	if want := []string{"completed erased", "unknown ", "failed erased", "not_executed ", "processing ", "completed erased", "unknown "}; !slices.Equal(states, want) {
		t.Errorf("the records are %q", states)
	}
	s.check(s.execute("a", `{"operation":"charge","payload":1}`), facts{
		Status: 410, Code: "RESULT_NOT_KEPT", Executed: "yes", Retry: "no", Attempt: "1", Replayed: "true", Expires: expires,
	})
}

func TestBulkIsRefused(t *testing.T) {
	_, o := operated(t, one(silent))
	before := o.store.calls.Load()
	for body, part := range map[string]string{
		`{"action":"erase",` + by + `}`:                                                              "filter",
		`{"filter":{"state":"unknown"},` + by + `}`:                                                  "action",
		`{"filter":[],"action":"erase",` + by + `}`:                                                  "the member filter is not a JSON object",
		`{"filter":{},"action":"erase",` + by + `}`:                                                  "an empty filter",
		`{"filter":{"stat":"unknown"},"action":"erase",` + by + `}`:                                  "unknown member",
		`{"filter":{"scope":"a","scope":"b"},"action":"erase",` + by + `}`:                           "duplicate",
		`{"filter":{"scope":null},"action":"erase",` + by + `}`:                                      "scope is not a string",
		`{"filter":{"scope":"a b"},"action":"erase",` + by + `}`:                                     "scope",
		`{"filter":{"state":""},"action":"erase",` + by + `}`:                                        "state is empty",
		`{"filter":{"state":"gone"},"action":"erase",` + by + `}`:                                    "no such state",
		`{"filter":{"state":"unknown"},"action":"erase",` + by + `}`:                                 "only results can be erased",
		`{"filter":{"state":"processing"},"action":"erase",` + by + `}`:                              "only results can be erased",
		`{"filter":{"older_than":"1d"},"action":"erase",` + by + `}`:                                 "older_than is not a duration",
		`{"filter":{"key":"k"},"action":"forget",` + by + `}`:                                        "the action is not resolve or erase",
		`{"filter":{"key":"k"},"action":"erase","actor":"ada"}`:                                      "reason",
		`{"filter":{"key":"k"},"action":"erase","dry_run":true,"actor":" ","reason":"r"}`:            "actor is missing",
		`{"filter":{"key":"k"},"action":"erase","outcome":"completed",` + by + `}`:                   "for the action resolve",
		`{"filter":{"key":"k"},"action":"erase","result":1,` + by + `}`:                              "for the action resolve",
		`{"filter":{"key":"k"},"action":"erase","rate":0,` + by + `}`:                                "rate is not a whole number",
		`{"filter":{"key":"k"},"action":"erase","rate":1001,` + by + `}`:                             "the rate is over 1000",
		`{"filter":{"key":"k"},"action":"erase","rate":1e1,` + by + `}`:                              "rate is not a whole number",
		`{"filter":{"key":"k"},"action":"erase","cursor":"!",` + by + `}`:                            "cursor",
		`{"filter":{"key":"k"},"action":"erase","dry_run":"yes",` + by + `}`:                         "dry_run is not true or false",
		`{"filter":{"key":"k"},"action":"erase","expected_attempt":1,` + by + `}`:                    "unknown member",
		`{"filter":{},"action":"resolve","outcome":"completed",` + by + `}`:                          "the filter's state has to be unknown",
		`{"filter":{"state":"completed"},"action":"resolve","outcome":"completed",` + by + `}`:       "the filter's state has to be unknown",
		`{"filter":{"state":"unknown"},"action":"resolve",` + by + `}`:                               "the outcome is not",
		`{"filter":{"state":"unknown"},"action":"resolve","outcome":"unknown",` + by + `}`:           "the outcome is not",
		`{"filter":{"state":"unknown"},"action":"resolve","outcome":"failed","result":1,` + by + `}`: "there is a result",
	} {
		o.refuses(o.change("/bulk", body, 400), atmost.CodeInvalidRequest, part)
	}
	o.untouched(before)
}

// A record that moved on after it was seen is left as it is.
func TestBulkDoesNotChangeWhatMovedOn(t *testing.T) {
	s, o := operated(t, config{operations: map[string]atmost.Operation{"charge": {Executor: answers(atmost.Outcome{State: atmost.Unknown}, atmost.Outcome{State: atmost.Unknown, Message: "again"})}}})
	for _, key := range []string{"a", "b", "c", "d"} {
		s.check(s.execute(key, charge), isUnknown())
	}
	resolve := func(key string, attempt uint32, outcome atmost.State) {
		person := atmost.Actor{Name: "eve", Reason: "was faster"}
		if _, err := s.engine.Resolve(t.Context(), atmost.ID{Key: key}, atmost.Resolve{Attempt: attempt, Outcome: atmost.Outcome{State: outcome}, By: &person}); err != nil {
			t.Error(err)
		}
	}
	meanwhile := func() {
		resolve("a", 1, atmost.Completed)
		resolve("b", 1, atmost.NotExecuted)
		if _, err := s.engine.Execute(t.Context(), atmost.Call{ID: atmost.ID{Key: "b"}, Operation: "charge", Payload: []byte(`{"amount":1250}`)}); atmost.CodeOf(err) != atmost.CodeOutcomeUnknown {
			t.Errorf("the second attempt: %v", err)
		}
		resolve("c", 1, atmost.NotExecuted)
		s.clock.Advance(time.Second)
		if _, err := s.engine.Forget(t.Context(), atmost.ID{Key: "c"}, atmost.Forget{By: atmost.Actor{Name: "eve", Reason: "was faster"}}); err != nil {
			t.Error(err)
		}
	}
	s.store.listed.Store(&meanwhile)
	done := read[wire.AdminBulkResult](o, o.change("/bulk", `{"filter":{"state":"unknown","operation":"charge"},"action":"resolve","outcome":"failed",`+by+`}`, 200))
	if want := (wire.AdminBulkResult{Matched: 4, Changed: 1, Refused: 3}); done != want {
		t.Errorf("it was %+v", done)
	}
	if a, b, d := o.shown("", "a"), o.shown("", "b"), o.shown("", "d"); a.State != "completed" || b.State != "unknown" || b.Attempt != 2 || d.State != "failed" {
		t.Errorf("the records are %s, %s (attempt %d), %s", a.State, b.State, b.Attempt, d.State)
	}
}

// inBulk runs test in virtual time with n records that are unknown. ask posts a bulk request, and tells how long that took.
func inBulk(t *testing.T, n int, test func(t *testing.T, s *service, ask func(ctx context.Context, body string) (answer, time.Duration))) {
	contract, err := theAdminContract()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := assemble(t, config{operations: map[string]atmost.Operation{"charge": {Executor: silent, MaxPending: 10_000}}}, storetest.NewClock())
		defer s.engine.Close(context.Background())
		for i := range n {
			_, _ = s.engine.Execute(t.Context(), atmost.Call{ID: atmost.ID{Key: fmt.Sprintf("k%05d", i)}, Operation: "charge", Payload: []byte("1")})
		}
		h := s.adminHandler()
		test(t, s, func(ctx context.Context, body string) (answer, time.Duration) {
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/admin/v1/bulk", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			begin := time.Now()
			h.ServeHTTP(w, r)
			took := time.Since(begin)
			a := answer{w.Code, w.Result().Header, w.Body.String()}
			if err := errors.Join(contract.request(r, []byte(body)), contract.response(r, a)); err != nil {
				t.Error(err)
			}
			return a, took
		})
	})
}

// All is changed in parts, each of which is bounded in number and time, at no higher rate than was asked for.
func TestBulkIsBounded(t *testing.T) {
	for rate, parts := range map[string][]int{"1000": {1000, 100, -1}, "": {1000, 100, -1}, "60": {600, 500, -1}, "1": {10, 10}} {
		inBulk(t, 1100, func(t *testing.T, s *service, ask func(context.Context, string) (answer, time.Duration)) {
			persecond := 100
			if rate != "" {
				_, _ = fmt.Sscan(rate, &persecond)
			}
			cursor := ""
			for i, part := range parts {
				body := `{"filter":{"state":"unknown"},"action":"resolve","outcome":"completed",` + by
				if rate != "" {
					body += `,"rate":` + rate
				}
				if cursor != "" {
					body += `,"cursor":"` + cursor + `"`
				}
				a, took := ask(t.Context(), body+"}")
				if part == -1 {
					if a.status != 200 || cursor != "" {
						t.Errorf("rate %s: at the end the answer is %d %s", rate, a.status, a.body)
					}
					continue
				}
				s.T = t
				got := read[wire.AdminBulkResult](s, a)
				cursor = got.NextCursor
				least := time.Duration(got.Changed-1) * (time.Second / time.Duration(persecond))
				if got.Changed < part-3 || got.Changed > part+3 || got.Matched != got.Changed || got.Refused != 0 || took < least || took > 10*time.Second {
					t.Errorf("rate %s: part %d is %+v, and took %v", rate, i, got, took)
				}
			}
		})
	}
}

func TestADryRunIsBounded(t *testing.T) {
	inBulk(t, 1100, func(t *testing.T, s *service, ask func(context.Context, string) (answer, time.Duration)) {
		takes := func(d time.Duration) {
			list := func() { <-time.After(d) }
			s.store.listed.Store(&list)
		}
		a, took := ask(t.Context(), `{"filter":{"state":"unknown"},"action":"resolve","outcome":"completed","dry_run":true,"rate":1,`+by+`}`)
		if s.T = t; read[wire.AdminBulkResult](s, a) != (wire.AdminBulkResult{Matched: 1100}) || took != 0 {
			t.Errorf("it was %s, and took %v", a.body, took)
		}
		takes(4 * time.Second)
		a, took = ask(t.Context(), `{"filter":{"operation":"charge","state":"unknown"},"action":"resolve","outcome":"completed","dry_run":true,`+by+`}`)
		if got := read[wire.AdminBulkResult](s, a); got.Matched != 1100 || took != 8*time.Second {
			t.Errorf("it was %s, and took %v", a.body, took)
		}
		takes(11 * time.Second)
		a, took = ask(t.Context(), `{"filter":{"operation":"charge","state":"unknown"},"action":"resolve","outcome":"completed","dry_run":true,`+by+`}`)
		if got := read[wire.AdminBulkResult](s, a); got.Matched != 1000 || got.NextCursor == "" || took != 11*time.Second {
			t.Errorf("it was %s, and took %v", a.body, took)
		}
	})
}

// Nothing more is changed when the client has gone.
func TestBulkStopsWhenTheClientGoesAway(t *testing.T) {
	inBulk(t, 50, func(t *testing.T, s *service, ask func(context.Context, string) (answer, time.Duration)) {
		ctx, cancel := context.WithTimeout(t.Context(), 4500*time.Millisecond)
		defer cancel()
		if _, took := ask(ctx, `{"filter":{"state":"unknown"},"action":"resolve","outcome":"completed","rate":1,`+by+`}`); took != 4500*time.Millisecond {
			t.Errorf("it went on for %v", took)
		}
		page, err := s.engine.List(t.Context(), atmost.Query{State: atmost.Completed, Limit: 100})
		if err != nil || len(page.Records) != 5 {
			t.Errorf("%d records were changed, %v", len(page.Records), err)
		}
	})
}

// What was done is told also if the store fails in the middle; whoever goes on is told of that.
func TestBulkWithAStoreThatFails(t *testing.T) {
	inBulk(t, 50, func(t *testing.T, s *service, ask func(context.Context, string) (answer, time.Duration)) {
		var calls atomic.Int64
		fail := func() error {
			if calls.Add(1) > 20 {
				return errors.New("down")
			}
			return nil
		}
		s.store.fail.Store(&fail)
		const body = `{"filter":{"state":"unknown"},"action":"resolve","outcome":"completed","rate":1000,` + by
		a, _ := ask(t.Context(), body+"}")
		s.T = t
		got := read[wire.AdminBulkResult](s, a)
		if got.Changed == 0 || got.Changed >= 20 || got.Matched != got.Changed || got.NextCursor == "" {
			t.Fatalf("it was %s", a.body)
		}
		if a, _ := ask(t.Context(), body+`,"cursor":"`+got.NextCursor+`"}`); a.status != 503 {
			t.Errorf("the next part is answered %d %s", a.status, a.body)
		}
		s.store.fail.Store(nil)
		a, _ = ask(t.Context(), body+`,"cursor":"`+got.NextCursor+`"}`)
		if rest := read[wire.AdminBulkResult](s, a); rest.Changed != 50-got.Changed || rest.NextCursor != "" {
			t.Errorf("after %d the rest was %s", got.Changed, a.body)
		}
	})
}
