package server_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/storetest"
	"github.com/atmost-dev/atmost/wire"
)

// post makes one of the lease calls.
func (s *service) post(call, key, body string, headers ...string) answer {
	s.Helper()
	return s.send(s.request(http.MethodPost, "/v1/idempotency/"+call, key, body, headers), body, true)
}

// wrong makes one in a way that the contract does not allow.
func (s *service) wrong(call, key, body string, headers ...string) answer {
	s.Helper()
	return s.send(s.request(http.MethodPost, "/v1/idempotency/"+call, key, body, headers), body, false)
}

const (
	tokenA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	tokenB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

	report      = `{"operation":"report","payload":{"month":11}}`
	claim       = `{"operation":"report","payload":{"month":11},"lease":"100s"}`
	claimA      = `{"operation":"report","payload":{"month":11},"lease":"100s","lease_token":"` + tokenA + `"}`
	claimB      = `{"operation":"report","payload":{"month":11},"lease":"100s","lease_token":"` + tokenB + `"}`
	renewA      = `{"lease_token":"` + tokenA + `","lease":"100s"}`
	completeA   = `{"lease_token":"` + tokenA + `","result": {"n": 1.10} }`
	failA       = `{"lease_token":"` + tokenA + `","error":{"code":"no_such_month","message":"there is \"no\" month 13"},"executed":"yes"}`
	notDoneA    = `{"lease_token":"` + tokenA + `","error":{"code":"refused","message":"the connection was refused"},"executed":"no"}`
	inDoubtA    = `{"lease_token":"` + tokenA + `","error":{"code":"timeout","message":"no answer came"},"executed":"unknown"}`
	failureBody = `{"error":{"code":"EXECUTION_FAILED","message":"there is \"no\" month 13","details":{"result":{"code":"no_such_month","message":"there is \"no\" month 13"}}}}`
)

// clients is the configuration of a service with an operation that clients perform, report, and one that it executes, charge.
func clients(report atmost.Operation) config {
	return config{operations: map[string]atmost.Operation{"report": report, "charge": {Executor: answers(completed("1"))}}}
}

func isClaimed(attempt string) facts {
	return facts{Status: 201, Executed: "unknown", Retry: "poll", Attempt: attempt}
}

func isHeld(attempt string) facts {
	f := isClaimed(attempt)
	f.Status = 200
	return f
}

func isLost(code string) facts {
	f := facts{Status: 409, Code: code, Executed: "unknown", Retry: "poll"}
	if code == "ALREADY_FINISHED" {
		f.Executed = "yes"
	}
	return f
}

func TestLease(t *testing.T) {
	s := start(t, clients(atmost.Operation{}))
	a := s.post("claim", "k", claimA)
	s.check(a, isClaimed("1"))
	s.checkBody(a, `{"status":"claimed","lease":{"token":"`+tokenA+`","attempt":1,"fence":1795435200000000,"expires_in":99}}`)
	a = s.post("claim", "k", claim)
	s.check(a, isProcessing("1"))
	s.checkBody(a, `{"status":"processing"}`)
	s.check(s.execute("k", report), isProcessing("1"))

	s.clock.Advance(50 * time.Second)
	a = s.post("claim", "k", claimA)
	s.check(a, isClaimed("1"))
	s.checkBody(a, `{"status":"claimed","lease":{"token":"`+tokenA+`","attempt":1,"fence":1795435200000000,"expires_in":49.5}}`)
	a = s.post("renew", "k", renewA)
	s.check(a, isHeld("1"))
	s.checkBody(a, `{"status":"processing","expires_in":99}`)

	const body = `{"status":"completed","result":{"n": 1.10}}`
	for i, call := range []func() answer{
		func() answer { return s.post("complete", "k", completeA) },
		func() answer { return s.post("complete", "k", completeA) },
		func() answer { return s.post("claim", "k", claim) },
		func() answer { return s.post("claim", "k", claimA) },
		func() answer { return s.execute("k", report) },
	} {
		a := call()
		want := isReplayed("1")
		if i == 0 {
			want = isExecuted("1")
		}
		want.Expires = "Tue, 24 Nov 2026 12:00:50 GMT"
		s.check(a, want)
		s.checkBody(a, body)
	}
	s.check(s.post("renew", "k", renewA), isLost("LEASE_LOST"))
	s.check(s.post("complete", "k", `{"lease_token":"`+tokenA+`","result":1}`), isLost("ALREADY_FINISHED"))
	s.check(s.post("fail", "k", notDoneA), isLost("ALREADY_FINISHED"))
	s.check(s.post("complete", "k", `{"lease_token":"`+tokenB+`","result":1}`), isLost("LEASE_LOST"))
}

func TestLeaseTokenIsDrawn(t *testing.T) {
	s := start(t, clients(atmost.Operation{}))
	seen := map[string]bool{}
	for _, key := range []string{"a", "b"} {
		a := s.post("claim", key, claim)
		s.check(a, isClaimed("1"))
		token := regexp.MustCompile(`[0-9a-f]{32}`).FindString(a.body)
		if token == "" || seen[token] {
			t.Errorf("claimed %s", a.body)
		}
		seen[token] = true
		s.check(s.post("complete", key, `{"lease_token":"`+token+`","result":null}`), isExecuted("1"))
	}
}

// Equal keys of different scopes have nothing to do with each other.
func TestLeaseScopes(t *testing.T) {
	s := start(t, clients(atmost.Operation{}))
	for _, scope := range []string{"a", "b"} {
		s.check(s.post("claim", "k", claimA, "Idempotency-Scope", scope), isClaimed("1"))
		s.check(s.post("renew", "k", renewA, "Idempotency-Scope", scope), isHeld("1"))
	}
	s.check(s.post("renew", "k", renewA), isLost("LEASE_LOST"))
	s.check(s.post("complete", "k", completeA), isLost("LEASE_LOST"))
	s.check(s.post("fail", "k", failA), isLost("LEASE_LOST"))
	s.check(s.post("complete", "k", completeA, "Idempotency-Scope", "a"), isExecuted("1"))
	s.check(s.post("fail", "k", notDoneA, "Idempotency-Scope", "b"), facts{Status: 200, Executed: "no", Retry: "same-key", After: "1", Attempt: "1"})
}

func TestLeaseFails(t *testing.T) {
	failed := facts{Status: 424, Code: "EXECUTION_FAILED", Executed: "yes", Retry: "no", Attempt: "1", Replayed: "true", Expires: expires}
	reported := facts{Status: 200, Executed: "yes", Retry: "no", Attempt: "1", Replayed: "false", Expires: expires}
	for name, c := range map[string]struct {
		policy   atmost.OnUnknown
		report   string
		reported facts
		status   string
		after    facts
		body     string
	}{
		"yes": {
			report: failA, reported: reported, status: "failed", after: failed, body: failureBody,
		},
		"no": {
			report: notDoneA, reported: facts{Status: 200, Executed: "no", Retry: "same-key", After: "1", Attempt: "1"}, status: "not_executed",
			after: facts{Status: 503, Code: "EXECUTION_NOT_STARTED", Executed: "no", Retry: "same-key", After: "1", Attempt: "1"},
			body:  `{"error":{"code":"EXECUTION_NOT_STARTED","message":"the connection was refused"}}`,
		},
		"unknown": {
			report: inDoubtA, reported: facts{Status: 200, Executed: "unknown", Retry: "poll", Attempt: "1"}, status: "unknown",
			after: facts{Status: 409, Code: "OUTCOME_UNKNOWN", Executed: "unknown", Retry: "poll", Attempt: "1"},
			body:  `{"error":{"code":"OUTCOME_UNKNOWN","message":"the outcome is unknown: no answer came"}}`,
		},
		"unknown, to be repeated": {
			policy: atmost.RetryUnknown,
			report: inDoubtA, reported: facts{Status: 200, Executed: "unknown", Retry: "same-key", After: "1", Attempt: "1"}, status: "not_executed",
			after: facts{Status: 503, Code: "EXECUTION_NOT_STARTED", Executed: "unknown", Retry: "same-key", After: "1", Attempt: "1"},
			body:  `{"error":{"code":"EXECUTION_NOT_STARTED","message":"it is not known how the last attempt ended; this operation may be repeated, so the next request with this key runs it again"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, clients(atmost.Operation{OnUnknown: c.policy}))
			s.check(s.post("claim", "k", claimA), isClaimed("1"))
			a := s.post("fail", "k", c.report)
			s.check(a, c.reported)
			s.checkBody(a, `{"status":"`+c.status+`"}`)
			a = s.execute("k", report)
			s.check(a, c.after)
			s.checkBody(a, c.body)
			for range 2 { // no claim with the token of an attempt that has ended starts another
				again := c.body
				if c.status == "not_executed" {
					again = strings.Replace(again, `"}}`, `; the token of this claim was that attempt's, and another attempt takes a new token"}}`, 1)
				}
				a = s.post("claim", "k", claimA)
				s.check(a, c.after)
				s.checkBody(a, again)
			}
			a = s.post("claim", "k", claimB)
			if c.status == "not_executed" {
				s.check(a, isClaimed("2"))
				return
			}
			s.check(a, c.after)
			s.checkBody(a, c.body)
		})
	}
}

// What somebody has settled meanwhile is not unknown because the client does not know.
func TestLeaseIsSettledOtherwise(t *testing.T) {
	s := start(t, clients(atmost.Operation{}))
	s.post("claim", "k", claimA)
	s.post("fail", "k", inDoubtA)
	if _, err := s.store.Apply(t.Context(), atmost.ID{Key: "k"}, &atmost.Resolve{Attempt: 1, Outcome: completed("1")}); err != nil {
		t.Fatal(err)
	}
	a := s.post("fail", "k", inDoubtA)
	s.check(a, isReplayed("1"))
	s.checkBody(a, `{"status":"completed"}`)
	s.check(s.post("fail", "k", failA), isLost("LEASE_LOST"))
}

func TestLeaseLapses(t *testing.T) {
	s := start(t, clients(atmost.Operation{}))
	s.check(s.post("claim", "k", claimA), isClaimed("1"))
	s.clock.Advance(100 * time.Second)
	for _, body := range []string{claim, claimA, claimB} {
		a := s.post("claim", "k", body)
		s.check(a, facts{Status: 409, Code: "OUTCOME_UNKNOWN", Executed: "unknown", Retry: "poll", Attempt: "1"})
		s.checkBody(a, `{"error":{"code":"OUTCOME_UNKNOWN","message":"the outcome is unknown: its lease ended without a report; it may have been executed"}}`)
	}
	s.check(s.post("renew", "k", renewA), isLost("LEASE_LOST"))
	if a := s.post("complete", "k", completeA); a.status != 200 || a.header.Get("Idempotency-Replayed") != "false" {
		t.Errorf("the late report is answered %d %s", a.status, a.body)
	}
	s.clock.Advance(24 * time.Hour)
	for _, a := range []answer{s.post("claim", "k", claim), s.post("complete", "k", completeA)} {
		if f := a.facts(); f.Status != 410 || f.Code != "RESULT_NOT_KEPT" || f.Executed != "yes" {
			t.Errorf("after its time the result is answered %+v", f)
		}
	}
}

// A duplicate that waits is answered when the client's report is durable.
func TestLeaseWakesDuplicates(t *testing.T) {
	for name, c := range map[string]struct{ call, body, code string }{
		"completed": {"complete", completeA, ""}, "failed": {"fail", failA, "EXECUTION_FAILED"},
		"not executed": {"fail", notDoneA, "EXECUTION_NOT_STARTED"}, "unknown": {"fail", inDoubtA, "OUTCOME_UNKNOWN"},
	} {
		t.Run(name, func(t *testing.T) {
			config := clients(atmost.Operation{})
			config.looked = make(chan struct{})
			s := start(t, config)
			s.check(s.post("claim", "k", claimA), isClaimed("1"))
			second := later(func() answer { return s.post("claim", "k", claim, "Prefer", "wait=60") })
			<-config.looked // it looks once it waits
			select {
			case a := <-second:
				t.Fatalf("the duplicate did not wait: %d %s", a.status, a.body)
			default:
			}
			s.post(c.call, "k", c.body)
			if f := (<-second).facts(); f.Code != c.code || f.Applied != "wait=60" || f.Attempt != "1" {
				t.Errorf("the duplicate was told %+v", f)
			}
		})
	}
}

func TestWhatMayBeClaimed(t *testing.T) {
	s := start(t, clients(atmost.Operation{}))
	charging := `{"operation":"charge","payload":{"amount":1250},"lease":"1s"}`
	a := s.post("claim", "new", charging)
	s.check(a, facts{Status: 422, Code: "OPERATION_NOT_CLAIMABLE", Executed: "unknown", Retry: "no"})
	unlisted := `{"operation":"unheard.of","payload":1,"lease":"1s"}`
	s.check(s.post("claim", "new", unlisted), isRefused(422, "OPERATION_NOT_CONFIGURED"))
	s.check(s.execute("new", report), isRefused(422, "OPERATION_NOT_CONFIGURED"))

	s.check(s.execute("executed", charge), isExecuted("1"))
	s.check(s.post("claim", "executed", charging), isReplayed("1"))
	s.check(s.post("claim", "executed", claim), isMismatch("OPERATION_MISMATCH"))
	s.check(s.post("claim", "executed", strings.Replace(charging, "1250", "1250.0", 1)), isMismatch("PAYLOAD_MISMATCH"))

	if err := s.engine.SetUnlisted(&atmost.Operation{}); err != nil {
		t.Fatal(err)
	}
	s.check(s.post("claim", "unlisted", unlisted), isClaimed("1"))
	s.check(s.post("claim", "executed", unlisted), isMismatch("OPERATION_MISMATCH"))
}

// What is wrong with a report says nothing about the operation that its sender may have executed.
func TestLeaseCallsRefuse(t *testing.T) {
	s := start(t, clients(atmost.Operation{}))
	before := s.store.calls.Load()
	for call, body := range map[string]string{"claim": claimA, "renew": renewA, "complete": completeA, "fail": failA} {
		executed := "unknown"
		if call == "claim" {
			executed = "no"
		}
		for _, c := range []struct {
			status    int
			code      string
			key, body string
			headers   []string
		}{
			{400, "MISSING_IDEMPOTENCY_KEY", "", body, nil},
			{400, "INVALID_IDEMPOTENCY_KEY", "a b", body, nil},
			{400, "INVALID_REQUEST", "k", body, []string{"Idempotency-Scope", "é"}},
			{400, "INVALID_REQUEST", "k", "{}", nil},
			{400, "INVALID_REQUEST", "k", strings.Replace(body, `{`, `{"x":1,`, 1), nil},
			{400, "INVALID_REQUEST", "k", strings.Replace(body, tokenA, strings.ToUpper(tokenA), 1), nil},
			{400, "INVALID_REQUEST", "k", strings.Replace(body, tokenA, strings.Repeat("0", 32), 1), nil},
			{400, "INVALID_REQUEST", "k", strings.NewReplacer("100s", "999ms", `"yes"`, `"maybe"`, `"result"`, `"Result"`).Replace(body), nil},
			{400, "INVALID_REQUEST", "k", strings.NewReplacer("100s", "1h1ms", `"no_such_month"`, `""`, `"result"`, `"x"`).Replace(body), nil},
			{413, "PAYLOAD_TOO_LARGE", "k", body + strings.Repeat(" ", 1<<20), nil},
			{415, "UNSUPPORTED_MEDIA_TYPE", "k", body, []string{"Content-Type", "text/plain"}},
		} {
			a := s.wrong(call, c.key, c.body, c.headers...)
			s.check(a, facts{Status: c.status, Code: c.code, Executed: executed, Retry: "no"})
		}
	}
	s.untouched(before)
}

func TestLeaseCallsWithoutStore(t *testing.T) {
	s := start(t, clients(atmost.Operation{}))
	s.check(s.post("claim", "k", claimA), isClaimed("1"))
	calls := func(code string) {
		t.Helper()
		for call, body := range map[string]string{"claim": claimB, "renew": renewA, "complete": completeA, "fail": failA} {
			a := s.post(call, "k", body)
			s.check(a, notNow(503, code))
			if code == "STORE_UNAVAILABLE" {
				s.logs(a, "disk on fire")
			}
		}
	}
	down := func() error { return errors.New("disk on fire") }
	s.store.fail.Store(&down)
	calls("STORE_UNAVAILABLE")
	s.store.fail.Store(nil)
	s.engine.Close(context.WithoutCancel(t.Context()))
	calls("SHUTTING_DOWN")
}

func TestLeaseCallsPanic(t *testing.T) {
	s := start(t, clients(atmost.Operation{}))
	s.store.panics.Store(true)
	for call, body := range map[string]string{"claim": claimB, "renew": renewA, "complete": completeA, "fail": failA} {
		s.check(s.post(call, "k", body), notNow(500, "INTERNAL"))
	}
}

func TestLeaseOfGuardedStore(t *testing.T) {
	s := start(t, clients(atmost.Operation{}))
	guarded := func() error {
		return &atmost.Error{Code: atmost.CodeOutcomeUnknown, Message: "this key may have been forgotten"}
	}
	s.store.fail.Store(&guarded)
	a := s.post("claim", "k", claim)
	s.check(a, facts{Status: 409, Code: "OUTCOME_UNKNOWN", Executed: "unknown", Retry: "poll"})
	s.store.fail.Store(nil)
	s.check(s.post("complete", "k", completeA), isLost("LEASE_LOST"))
}

func TestLeaseOverload(t *testing.T) {
	g := newGate()
	c := clients(atmost.Operation{})
	c.operations["charge"] = atmost.Operation{Executor: g}
	c.maxPending = 1
	s := start(t, c)
	s.check(s.post("claim", "held", claimA), isClaimed("1"))
	running := later(func() answer { return s.execute("running", charge) })
	<-g.started
	s.check(s.post("claim", "new", claim), notNow(429, "OVERLOADED"))
	s.check(s.post("claim", "held", claim), isProcessing("1"))
	s.check(s.post("claim", "held", claimA), isClaimed("1"))
	s.check(s.post("renew", "held", renewA), isHeld("1"))
	s.check(s.post("complete", "held", completeA), isExecuted("1"))
	g.outcome <- completed("1")
	s.check(<-running, isExecuted("1"))
}

// FuzzLeaseCalls sends any body to each call, for a key that is new and for one whose lease is held.
func FuzzLeaseCalls(f *testing.F) {
	for _, body := range []string{
		claim, claimA, claimB, renewA, completeA, failA, notDoneA, inDoubtA, "{}", "", "[", `{"operation":"charge","payload":1,"lease":"1s"}`,
		strings.Replace(failA, "no_such_month", "\\u0000", 1), strings.Replace(completeA, "1.10", "1e999", 1),
	} {
		f.Add(body, "wait=0")
	}
	contract, err := theContract()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body, prefer string) {
		s := assemble(t, clients(atmost.Operation{}), storetest.NewClock())
		defer s.engine.Close(context.Background())
		exchange := func(call, key, body string) {
			r := httptest.NewRequest(http.MethodPost, "/v1/idempotency/"+call, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set(wire.HeaderKey, key)
			r.Header[wire.HeaderPrefer] = []string{"wait=0", prefer} // the first counts
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, r)
			a := answer{w.Code, w.Result().Header, w.Body.String()}
			code := atmost.Code(a.facts().Code)
			if a.status == 500 || code == "" && a.status > 202 || code != "" && (!slices.Contains(atmost.Codes(), code) || wire.Status(code) != a.status) {
				t.Errorf("%s: %d %s", call, a.status, a.body)
			}
			if err := contract.response(r, a); err != nil {
				t.Errorf("%s: the answer %d breaks the contract: %v\n%s", call, a.status, err, a.body)
			}
			if a.status < 300 && contract.request(r, []byte(body)) != nil {
				t.Errorf("%s: a request that breaks the contract is accepted: %s", call, body)
			}
		}
		exchange("claim", "held", claimA)
		for _, call := range []string{"claim", "renew", "fail", "complete"} {
			exchange(call, "held", body)
			exchange(call, "new", body)
		}
	})
}
