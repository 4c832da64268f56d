package server_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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
				s.checkBody(a, `{"error":{"code":"PAYLOAD_MISMATCH","message":"this key was used with another payload","details":{"differs":["/amount"]}}}`)
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

// A mismatch names where the payload is another, and never what it was: no answer, no log and no record has a value or a digest, but
// for the record's own.
func TestMismatchIsExplained(t *testing.T) {
	s := start(t, clients(atmost.Operation{}))
	const (
		asked   = `{"amount":12507712,"card":{"number":"4000-0000-1111","cvc":"s3cr3t-old"},"lines":[{"sku":"sku-A1"},{"sku":"sku-B2"}]}`
		wording = `{"error":{"code":"PAYLOAD_MISMATCH","message":"this key was used with another payload"%s}}`
	)
	executed, claimed := `{"operation":"charge","payload":%s}`, `{"operation":"report","payload":%s,"lease":"100s"}`
	s.check(s.execute("charge", fmt.Sprintf(executed, asked)), isExecuted("1"))
	s.check(s.post("claim", "report", fmt.Sprintf(claimed, asked)), isClaimed("1"))
	var told strings.Builder
	for _, c := range []struct{ payload, details string }{
		{`{"amount":99998888,"card":{"number":"4000-0000-1111","cvc":"s3cr3t-old"},"lines":[{"sku":"sku-A1"},{"sku":"sku-B2"}]}`, `["/amount"]`},
		{`{"lines":[{"sku":"sku-A1"},{"sku":"sku-X9"}],"card":{"cvc":"s3cr3t-new","number":"4000-0000-1111"},"amount":12507712}`, `["/card/cvc","/lines/1/sku"]`},
		{`{"amount":12507712,"card":{"number":"4000-0000-1111","cvc":"s3cr3t-old"},"lines":[{"sku":"sku-A1"}]}`, `["/lines"]`},
		{`{"card":{"number":"4000-0000-1111","cvc":"s3cr3t-old"},"lines":[{"sku":"sku-A1"},{"sku":"sku-B2"}]}`, `[""]`},
		{`{"a/b~ \u00e9\"<":0,"amount":12507712,"card":{"number":"4000-0000-1111","cvc":"s3cr3t-old"},"lines":[{"sku":"sku-A1"},{"sku":"sku-B2"}]}`, `["/a~1b~0 é\"<"]`},
		{`99998888`, ``},
		{`"digest"`, ``},
	} {
		details := ""
		if c.details != "" {
			details = `,"details":{"differs":` + c.details + `}`
		}
		for _, a := range []answer{
			s.execute("charge", fmt.Sprintf(executed, c.payload)),
			s.post("claim", "charge", fmt.Sprintf(`{"operation":"charge","payload":%s,"lease":"100s"}`, c.payload)),
			s.post("claim", "report", fmt.Sprintf(claimed, c.payload)),
			s.execute("report", fmt.Sprintf(`{"operation":"report","payload":%s}`, c.payload)),
		} {
			s.check(a, isMismatch("PAYLOAD_MISMATCH"))
			s.checkBody(a, fmt.Sprintf(wording, details))
			told.WriteString(a.body)
			fmt.Fprint(&told, a.header)
		}
	}
	told.WriteString(s.log.String())
	for _, key := range []string{"charge", "report"} {
		told.WriteString(s.status(key).body)
		r, err := s.store.Lookup(t.Context(), atmost.ID{Key: key})
		if err != nil || len(r.Paths) != 10*4 {
			t.Errorf("the record has the paths %x, %v", r.Paths, err)
		}
		for digest := range slices.Chunk(r.Paths, 4) {
			for _, form := range []string{string(digest), fmt.Sprintf("%x", digest), base64.RawStdEncoding.EncodeToString(digest)} {
				if strings.Contains(told.String(), form) {
					t.Errorf("a digest was told, as %q", form)
				}
			}
		}
	}
	for _, value := range []string{"12507712", "99998888", "4000-0000", "s3cr3t", "sku-"} {
		if strings.Contains(told.String(), value) {
			t.Errorf("the value %s was told: %s", value, told.String())
		}
	}
}

// What is told is bounded, whatever is sent.
func TestMismatchIsBounded(t *testing.T) {
	s := start(t, one(answers(completed("1"))))
	s.check(s.execute("k", `{"operation":"charge","payload":{}}`), isExecuted("1"))
	name := strings.Repeat("n", 240)
	members := make([]string, 1000)
	for i := range members {
		members[i] = fmt.Sprintf(`"%s%04d":1`, name, i)
		if i%3 == 0 {
			members[i] = fmt.Sprintf(`"%s%04d%s":1`, name, i, name) // too long to be told
		}
	}
	a := s.execute("k", `{"operation":"charge","payload":{`+strings.Join(members, ",")+`}}`)
	s.check(a, isMismatch("PAYLOAD_MISMATCH"))
	var body struct {
		Error struct{ Details struct{ Differs []string } }
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || len(body.Error.Details.Differs) != 16 || len(a.body) > 16*256+200 {
		t.Errorf("%d bytes, %d paths, %v", len(a.body), len(body.Error.Details.Differs), err)
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
