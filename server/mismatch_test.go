package server_test

import (
	"context"
	"testing"

	"github.com/atmost-dev/atmost"
)

func TestSpellingMakesNoDifference(t *testing.T) {
	s := start(t, one(answers(completed(`1`))))
	s.check(s.execute("k", `{"operation":"charge","payload":{"a":"é/","n":[1.10,2],"o":{"x":null,"y":true}}}`), isExecuted("1"))
	s.check(s.execute("k", ` {"payload" : {"o":{"y":true, "x":null},`+"\r\n\t"+`"n":[1.10,2],"\u0061":"\u00e9\/"} ,"operation":"ch\u0061rge"} `), isReplayed("1"))
}

func TestOtherPayload(t *testing.T) {
	s := start(t, one(answers(completed(`1`))))
	for i, pair := range [][2]string{
		{`1.10`, `1.1`},
		{`1`, `1.0`},
		{`1`, `1e0`},
		{`9007199254740993`, `9007199254740992`},
		{`1e400`, `1e401`},
		{`-0`, `0`},
		{`[1,2]`, `[2,1]`},
		{`{"a":null}`, `{}`},
		{`"a"`, `"A"`},
		{`"é"`, `"e\u0301"`},
		{`null`, `"null"`},
	} {
		key := string(rune('a' + i))
		s.check(s.execute(key, `{"operation":"charge","payload":`+pair[0]+`}`), isExecuted("1"))
		a := s.execute(key, `{"operation":"charge","payload":`+pair[1]+`}`)
		s.check(a, isMismatch("PAYLOAD_MISMATCH"))
	}
}

const refund = `{"operation":"refund","payload":{"amount":1250}}`

// While the first request runs, after it, and whatever it ended with, a key is not free for another use.
func TestMismatch(t *testing.T) {
	for _, outcome := range []atmost.Outcome{
		completed("1"),
		{State: atmost.Failed, Message: "no"},
		{State: atmost.NotExecuted, Message: "refused"},
		{State: atmost.Unknown, Message: "lost"},
	} {
		t.Run(outcome.State.String(), func(t *testing.T) {
			g := newGate()
			o := atmost.Operation{Executor: g}
			s := start(t, config{operations: map[string]atmost.Operation{"charge": o, "refund": o}})
			mismatch := func() {
				t.Helper()
				a := s.execute("k", refund)
				s.check(a, isMismatch("OPERATION_MISMATCH"))
				s.checkBody(a, `{"error":{"code":"OPERATION_MISMATCH","message":"this key was used for another operation"}}`)
				a = s.execute("k", `{"operation":"charge","payload":{"amount":1251}}`)
				s.check(a, isMismatch("PAYLOAD_MISMATCH"))
				s.checkBody(a, `{"error":{"code":"PAYLOAD_MISMATCH","message":"this key was used with another payload"}}`)
			}
			first := make(chan answer, 1)
			go func() { first <- s.execute("k", charge) }()
			<-g.started
			mismatch()
			g.outcome <- outcome
			<-first
			mismatch()
			if g.ran.Load() != 1 {
				t.Errorf("%d executions", g.ran.Load())
			}
		})
	}
}

// What is stored is answered from whatever the configuration says now; only new keys need an operation.
func TestOperationNotConfigured(t *testing.T) {
	s := start(t, config{operations: map[string]atmost.Operation{
		"charge": {Executor: does(func(_ context.Context, a atmost.Attempt) atmost.Outcome {
			if a.ID.Key == "not-executed" {
				return atmost.Outcome{State: atmost.NotExecuted, Message: "refused"}
			}
			return completed("1")
		})},
		"report": {}, // not by the service
	}})
	unconfigured := isRefused(422, "OPERATION_NOT_CONFIGURED")
	s.check(s.execute("new", `{"operation":"Charge","payload":1}`), unconfigured)
	s.check(s.execute("new", `{"operation":"report","payload":1}`), unconfigured)

	s.check(s.execute("k", charge), isExecuted("1"))
	notStarted := facts{Status: 503, Code: "EXECUTION_NOT_STARTED", Executed: "no", Retry: "same-key", After: "1", Attempt: "1"}
	s.check(s.execute("not-executed", charge), notStarted)
	if err := s.engine.SetOperations(nil); err != nil {
		t.Fatal(err)
	}
	s.check(s.execute("k", charge), isReplayed("1"))
	s.check(s.execute("not-executed", charge), notStarted)
	s.check(s.execute("k", refund), isMismatch("OPERATION_MISMATCH"))
	s.check(s.execute("other", charge), unconfigured)
}
