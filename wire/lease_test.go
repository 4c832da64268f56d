package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

const digits = "0123456789abcdef0123456789abcdef"

var digitsToken = atmost.Token{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}

// leaseBodies maps valid bodies to what is read of them, in the words of parsed.
var leaseBodies = map[string]string{
	`{"operation":"a","payload":{"n": 1.10},"lease":"30s"}`:                                                               `claim a {"n": 1.10} 30s`,
	` {"lease_token":"` + digits + `" ,"lease":"1h0m0.5s","payload": null,"op\u0065ration":"a"}`:                          `claim a null 1h0m0.5s ` + digits,
	`{"operation":"a","payload":1,"lease":"0s"}`:                                                                          `claim a 1 0s`,
	`{"lease_token":"` + digits + `","lease":"1m30s"}`:                                                                    `renew 1m30s ` + digits,
	`{"lease":"1500ms","lease_token":"\u0030` + digits[1:] + `"}`:                                                         `renew 1.5s ` + digits,
	`{"lease_token":"` + digits + `","result": [9007199254740993 , 1.10] }`:                                               `complete [9007199254740993 , 1.10] ` + digits,
	`{"lease_token":"` + digits + `","result":null}`:                                                                      `complete null ` + digits,
	`{"lease_token":"` + digits + `","result":` + nested("[", "]", 127) + `}`:                                             `complete ` + nested("[", "]", 127) + ` ` + digits,
	`{"lease_token":"` + digits + `","error":{"code":"no","message":"é\u0000"},"executed":"yes"}`:                         `fail "no" "é\x00" yes ` + digits,
	`{"executed":"\u006eo","error": {"message":"","code":"no"} ,"lease_token":"` + digits + `"}`:                          `fail "no" "" no ` + digits,
	`{"lease_token":"` + digits + `","error":{"code":"","message":""},"executed":"maybe"}`:                                `fail "" "" maybe ` + digits,
	`{"operation":"` + strings.Repeat("x", 255) + `","payload":1,"lease":"1s"}`:                                           `claim ` + strings.Repeat("x", 255) + ` 1 1s`,
	`{"operation":"a","payload":1,"lease":"1s","lease_token":"ffffffffffffffffffffffffffffffff"}`:                         `claim a 1 1s ffffffffffffffffffffffffffffffff`,
	`{"lease_token":"00000000000000000000000000000001","result":{"lease_token":"x","result":{"error":1},"result2":[{}]}}`: `complete {"lease_token":"x","result":{"error":1},"result2":[{}]} 00000000000000000000000000000001`,
	`{"operation":"a","payload":{"lease":1,"lease_token":2},"lease":"1000000h","lease_token":"` + digits + `"}`:           `claim a {"lease":1,"lease_token":2} 1000000h0m0s ` + digits,
	`{"error":{"code":"` + strings.Repeat("x", 999) + `","message":"m"},"executed":"","lease_token":"` + digits + `"}`:    `fail "` + strings.Repeat("x", 999) + `" "m"  ` + digits,
}

// parsed says what kind of body it is that one of the parsers accepts, and what is read of it.
func parsed(body []byte) []string {
	var all []string
	say := func(err error, t atmost.Token, format string, args ...any) {
		if err != nil {
			return
		}
		s := fmt.Sprintf(format, args...)
		if t != (atmost.Token{}) {
			s += " " + string(wire.AppendToken(nil, t))
		}
		all = append(all, s)
	}
	c, err := wire.ParseClaim(body)
	say(err, c.Token, "claim %s %s %v", c.Operation, c.Payload, c.Lease)
	t, lease, err := wire.ParseRenew(body)
	say(err, t, "renew %v", lease)
	t, result, err := wire.ParseComplete(body)
	say(err, t, "complete %s", result)
	t, f, err := wire.ParseFail(body)
	say(err, t, "fail %q %q %s", f.Code, f.Message, f.Executed)
	return all
}

func TestParseLeaseBodies(t *testing.T) {
	for body, want := range leaseBodies {
		if got := parsed([]byte(body)); len(got) != 1 || got[0] != want {
			t.Errorf("%s\nis read as %q, want %q", body, got, want)
		}
	}
}

func TestResultIsPartOfBody(t *testing.T) {
	body := []byte(`{"result": {"a":1} ,"lease_token":"` + digits + `"}`)
	token, result, err := wire.ParseComplete(body)
	if err != nil || token != digitsToken || &result[0] != &body[11] || cap(result) != len(result) {
		t.Fatalf("%q, %d of %d bytes, %v", result, len(result), cap(result), err)
	}
}

// notLeaseBodies are bodies that are refused, by the name of the call, each with a part of the message.
var notLeaseBodies = []struct{ call, body, want string }{
	{"claim", ``, "send a JSON object with the members operation, payload, lease and lease_token"},
	{"claim", `[]`, "not a JSON object"},
	{"claim", `{"operation":"a","payload":1}`, "has no member lease; send how long"},
	{"claim", `{"operation":"a","lease":"1s"}`, "has no member payload"},
	{"claim", `{"payload":1,"lease":"1s"}`, "has no member operation"},
	{"claim", `{"operation":"a","payload":1,"lease":"1s","x":1}`, `unknown member "x"; it may have operation, payload, lease and lease_token only`},
	{"claim", `{"operation":"a","payload":1,"lease":"1s","lease":"1s"}`, "duplicate member name"},
	{"claim", `{"operation":"a","payload":1,"lease":"1s","lease_token":null}`, "not a token"},
	{"claim", `{"operation":"","payload":1,"lease":"1s"}`, "operation is empty"},
	{"claim", `{"operation":"a","payload":` + nested("[", "]", 128) + `,"lease":"1s"}`, "nests deeper"},
	{"claim", `{"operation":"a","payload":1,"lease":"1s"} 1`, "more than one JSON value"},
	{"renew", `{"lease":"1s"}`, "has no member lease_token; send the token"},
	{"renew", `{"lease_token":"` + digits + `"}`, "has no member lease;"},
	{"renew", `{"lease_token":"` + digits + `","lease":"1s","operation":"a"}`, `unknown member "operation"; it may have lease_token and lease only`},
	{"complete", `{"lease_token":"` + digits + `"}`, "has no member result"},
	{"complete", `{"result":1}`, "has no member lease_token"},
	{"complete", `{"lease_token":"` + digits + `","result":"\ud800"}`, "is not valid JSON"},
	{"complete", `{"lease_token":"` + digits + `","result":{"a":1,"a":1}}`, "duplicate member name"},
	{"fail", `{"lease_token":"` + digits + `","executed":"no"}`, "has no member error"},
	{"fail", `{"lease_token":"` + digits + `","error":{"code":"a","message":"b"}}`, "has no member executed"},
	{"fail", `{"lease_token":"` + digits + `","error":"x","executed":"no"}`, "the member error is not a JSON object; send one with the members code and message"},
	{"fail", `{"lease_token":"` + digits + `","error":{"code":"a"},"executed":"no"}`, "the member error has no member message"},
	{"fail", `{"lease_token":"` + digits + `","error":{"message":"a"},"executed":"no"}`, "the member error has no member code"},
	{"fail", `{"lease_token":"` + digits + `","error":{"code":"a","message":"b","x":1},"executed":"no"}`, `the member error has an unknown member "x"; it may have code and message only`},
	{"fail", `{"lease_token":"` + digits + `","error":{"code":1,"message":"b"},"executed":"no"}`, "code is not a string"},
	{"fail", `{"lease_token":"` + digits + `","error":{"code":"a","message":null},"executed":"no"}`, "message is not a string"},
	{"fail", `{"lease_token":"` + digits + `","error":{"code":"a","message":"b"},"executed":true}`, "executed is not a string"},
	{"fail", `{"lease_token":1,"error":{"code":"a","message":"b"},"executed":"no"}`, "not a token"},
}

func TestParseLeaseBodiesRefuses(t *testing.T) {
	for _, c := range notLeaseBodies {
		check(t, c.call, c.body, c.want)
	}
	for _, lease := range []string{
		`30`, `null`, `"30"`, `""`, `"1"`, `"1 s"`, `" 1s"`, `"1s "`, `"-1s"`, `"+1s"`, `".5s"`, `"5.s"`, `"1d"`, `"1S"`, `"1us"`, `"1ns"`, `"1µs"`,
		`"s"`, `"1e3s"`, `"99999999999999999999h"`, `["1s"]`, `{"s":1}`,
	} {
		check(t, "claim", `{"operation":"a","payload":1,"lease":`+lease+`}`, "lease is not a duration")
		check(t, "renew", `{"lease_token":"`+digits+`","lease":`+lease+`}`, "lease is not a duration")
	}
	for _, token := range []string{
		`1`, `null`, `""`, `"` + digits[1:] + `"`, `"` + digits + `0"`, `"` + strings.ToUpper(digits) + `"`, `" ` + digits[1:] + `"`,
		`"g` + digits[1:] + `"`, `"` + strings.Repeat("0", 32) + `"`, `["` + digits + `"]`,
	} {
		for call, rest := range map[string]string{
			"claim": `"operation":"a","payload":1,"lease":"1s"`, "renew": `"lease":"1s"`, "complete": `"result":1`,
			"fail": `"error":{"code":"a","message":"b"},"executed":"no"`,
		} {
			check(t, call, `{`+rest+`,"lease_token":`+token+`}`, "not a token")
		}
	}
}

// check has the parser of a call refuse body, without a word of what is in it.
func check(t *testing.T, call, body, want string) {
	t.Helper()
	var err error
	var empty bool
	switch b := []byte(body); call {
	case "claim":
		var c atmost.ClaimCall
		c, err = wire.ParseClaim(b)
		empty = c.Operation == "" && c.Payload == nil && c.Lease == 0 && c.Token == atmost.Token{}
	case "renew":
		var token atmost.Token
		var lease time.Duration
		token, lease, err = wire.ParseRenew(b)
		empty = token == atmost.Token{} && lease == 0
	case "complete":
		var token atmost.Token
		var result []byte
		token, result, err = wire.ParseComplete(b)
		empty = token == atmost.Token{} && result == nil
	case "fail":
		var token atmost.Token
		var f atmost.Failure
		token, f, err = wire.ParseFail(b)
		empty = token == atmost.Token{} && f == atmost.Failure{}
	}
	var e *atmost.Error
	if !errors.As(err, &e) || e.Code != atmost.CodeInvalidRequest || !strings.Contains(e.Message, want) || strings.Contains(e.Message, digits[1:]) || !empty {
		t.Errorf("%s %.200s: %v; want …%s…", call, body, err, want)
	}
}

func TestAppendLease(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", 1: "0", 999_999: "0", time.Millisecond: "0.001", 29_700 * time.Millisecond: "29.7", 29_699_999_999: "29.699",
		time.Hour: "3600", time.Hour - 1: "3599.999", 990 * time.Millisecond: "0.99", 8*time.Second + 290*time.Millisecond: "8.29",
	} {
		l := atmost.Lease{Token: digitsToken, Attempt: 4294967295, Fence: 1795435200000000, ExpiresIn: d}
		if got, want := string(wire.AppendClaimed([]byte("before "), l)), `before {"status":"claimed","lease":{"token":"`+digits+`","attempt":4294967295,"fence":1795435200000000,"expires_in":`+want+`}}`; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		if got, want := string(wire.AppendRenewed([]byte("before "), l)), `before {"status":"processing","expires_in":`+want+`}`; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	if got := string(wire.AppendFailed([]byte("before "), atmost.NotExecuted)); got != `before {"status":"not_executed"}` {
		t.Error(got)
	}
}

// FuzzParseLease compares all four parsers with ones made of encoding/json and of rules in plain sight.
func FuzzParseLease(f *testing.F) {
	for body := range leaseBodies {
		f.Add([]byte(body))
	}
	for _, c := range notLeaseBodies {
		f.Add([]byte(c.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		sent := bytes.Clone(body)
		got, want := parsed(body), referenceLease(body)
		if !bytes.Equal(sent, body) {
			t.Fatal("the body was modified")
		}
		if len(got) > 1 || strings.Join(got, "") != want {
			t.Fatalf("%q\nis read as %q, want %q", body, got, want)
		}
	})
}

var (
	tokenRule = regexp.MustCompile(`^[0-9a-f]{32}$`)
	leaseRule = regexp.MustCompile(`^(\d+(\.\d+)?(h|m|s|ms))+$`)
)

// referenceLease says what parsed must, "" for a body that no parser accepts.
func referenceLease(body []byte) string {
	if !json.Valid(body) || loneSurrogate(string(body)) || bytes.ContainsRune(bytes.ToValidUTF8(body, []byte("\x00")), 0) ||
		checkValue(json.NewDecoder(bytes.NewReader(body)), 0) != nil {
		return ""
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(body, &m) != nil || m == nil {
		return ""
	}
	str := func(raw json.RawMessage) (s string, ok bool) {
		var p *string
		if json.Unmarshal(raw, &p) != nil || p == nil {
			return "", false
		}
		return *p, true
	}
	token, hasToken := str(m["lease_token"])
	lease, hasLease := str(m["lease"])
	d, err := time.ParseDuration(lease)
	hasLease = hasLease && err == nil && leaseRule.MatchString(lease)
	hasToken = hasToken && tokenRule.MatchString(token) && strings.Trim(token, "0") != ""
	_, anyToken := m["lease_token"]
	operation, hasOperation := str(m["operation"])
	switch {
	case m["payload"] != nil && hasOperation && operation != "" && len(operation) <= 255 && hasLease && (!anyToken && len(m) == 3 || hasToken && len(m) == 4):
		return strings.TrimSuffix(fmt.Sprintf("claim %s %s %v %s", operation, m["payload"], d, token), " ")
	case hasToken && hasLease && len(m) == 2:
		return fmt.Sprintf("renew %v %s", d, token)
	case hasToken && m["result"] != nil && len(m) == 2:
		return fmt.Sprintf("complete %s %s", m["result"], token)
	}
	executed, hasExecuted := str(m["executed"])
	var inner map[string]json.RawMessage
	if !hasToken || !hasExecuted || len(m) != 3 || json.Unmarshal(m["error"], &inner) != nil || len(inner) != 2 {
		return ""
	}
	code, hasCode := str(inner["code"])
	message, hasMessage := str(inner["message"])
	if !hasCode || !hasMessage {
		return ""
	}
	return fmt.Sprintf("fail %q %q %s %s", code, message, executed, token)
}
