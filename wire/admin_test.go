package wire_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

func TestAdminID(t *testing.T) {
	for id, want := range map[atmost.ID]string{
		{Key: "k"}:                            "AGs",
		{Scope: "t", Key: "k"}:                "dABr",
		{Scope: "~", Key: `/?#%"\`}:           "fgAvPyMlIlw",
		{Key: "k" + strings.Repeat("x", 254)}: "",
	} {
		got := wire.AdminID(id)
		if want != "" && got != want {
			t.Errorf("%v is %s, want %s", id, got, want)
		}
		if back, err := wire.ParseAdminID(got); err != nil || back != id {
			t.Errorf("%v became %v, %v", id, back, err)
		}
	}
	for _, s := range []string{"", "AA", "AG", "AGs=", "AGt", "AG s", "A\nGs", "YQ", "AGsAaw", "ACA", "AP8", "AG" + strings.Repeat("x", 400), "../x"} {
		if id, err := wire.ParseAdminID(s); atmost.CodeOf(err) != atmost.CodeInvalidRequest {
			t.Errorf("%q is %v, %v", s, id, err)
		}
	}
	selfTest := atmost.ID{Key: "self-test 1"}
	if id, ok := wire.ParseAdminCursor(wire.AdminID(selfTest)); !ok || id != selfTest {
		t.Errorf("a cursor became %v, %v", id, ok)
	}
}

func FuzzAdminID(f *testing.F) {
	for _, seed := range []string{"AGs", "dABr", "AA", "A\nGs", "AGt"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := wire.ParseAdminID(s)
		if err == nil && (id.Validate() != nil || wire.AdminID(id) != s) {
			t.Errorf("%q is %v, which is %q", s, id, wire.AdminID(id))
		}
		cursor, ok := wire.ParseAdminCursor(s)
		if ok && wire.AdminID(cursor) != s || err == nil && (!ok || cursor != id) {
			t.Errorf("%q as a cursor is %v, %v", s, cursor, ok)
		}
	})
}

// What Go's encoder makes of a request's body is read as it was.
func TestAdminBodies(t *testing.T) {
	empty, name, failure := "", "a", &wire.AdminError{Code: "c", Message: "it's <b> \"odd\" é\u2028"}
	change := wire.AdminChange{ExpectedAttempt: 1<<32 - 1, Actor: "ada", Reason: "<why> é"}
	same(t, change, wire.ParseAdminChange)
	same(t, wire.AdminChange{Actor: "a", Reason: "r"}, wire.ParseAdminChange)
	same(t, wire.AdminResolve{ExpectedAttempt: 1, Outcome: "o", Result: json.RawMessage(`{"n":1.10}`), Actor: "a", Reason: "r"}, wire.ParseAdminResolve)
	same(t, wire.AdminResolve{ExpectedAttempt: 1, Outcome: "o", Result: json.RawMessage(`null`), Actor: "a", Reason: "r"}, wire.ParseAdminResolve)
	same(t, wire.AdminResolve{ExpectedAttempt: 2, Outcome: "o", Error: failure, Actor: "a", Reason: "r"}, wire.ParseAdminResolve)
	same(t, wire.AdminCompare{Operation: "o", Payload: json.RawMessage(`[1e400]`)}, wire.ParseAdminCompare)
	same(t, wire.AdminAdmit{Scopes: []string{"", "t"}, Actor: "a", Reason: "r"}, wire.ParseAdminAdmit)
	same(t, wire.AdminAdmit{All: true, Actor: "a", Reason: "r"}, wire.ParseAdminAdmit)
	same(t, wire.AdminBulk{Action: "erase", Actor: "a", Reason: "r"}, wire.ParseAdminBulk)
	same(t, wire.AdminBulk{
		Filter: wire.AdminFilter{State: "s", Operation: &name, Scope: &empty, Key: &name, OlderThan: "1h"}, Action: "resolve", DryRun: true, Rate: 1000,
		Cursor: "c", Outcome: "o", Result: json.RawMessage(`7`), Error: failure, Actor: "a", Reason: "r",
	}, wire.ParseAdminBulk)
}

func same[T any](t *testing.T, body T, parse func([]byte) (T, error)) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parse(b)
	if diff := cmp.Diff(body, got); err != nil || diff != "" {
		t.Errorf("%s: %v (-want +got):\n%s", b, err, diff)
	}
}

// A result is read as it was sent.
func TestAdminResultIsVerbatim(t *testing.T) {
	const result = `{ "b" : 1.10 , "a":[ 9007199254740993, 1e400 ], "c":"\u00e9<" }`
	r, err := wire.ParseAdminResolve([]byte(` {"result": ` + result + ` ,"expected_attempt": 1,"outcome":"completed","actor":"\u0061da","reason":"r"} `))
	if err != nil || string(r.Result) != result || r.Actor != "ada" {
		t.Errorf("%+v, %v", r, err)
	}
	shown := wire.AppendAdminRecord([]byte("before "), wire.AdminRecord{AdminKey: wire.AdminKey{ID: "AGs", Message: "<&>"}, Result: r.Result})
	if !strings.HasPrefix(string(shown), `before {"id":"AGs",`) || !strings.HasSuffix(string(shown), `,"result":`+result+`}`) ||
		!strings.Contains(string(shown), `"message":"<&>"`) || !json.Valid(shown[len("before "):]) {
		t.Errorf("it is shown as %s", shown)
	}
	if shown := wire.AppendAdminRecord(nil, wire.AdminRecord{}); strings.Contains(string(shown), "result") || !json.Valid(shown) {
		t.Errorf("it is shown as %s", shown)
	}
	if got := string(wire.AppendAdmin([]byte("before "), wire.AdminGuarded{Guarded: true})); got != `before {"guarded":true}` {
		t.Error(got)
	}
}

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{"0s": 0, "24h": 24 * time.Hour, "1h30m0.5s": 90*time.Minute + time.Second/2, "5ms": 5 * time.Millisecond} {
		if got, err := wire.ParseDuration(s); err != nil || got != want {
			t.Errorf("%q is %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0", "1d", "-1s", "+1s", "1us", ".5s", "1.s", "s", "1 s", "99999999999h"} {
		if got, err := wire.ParseDuration(s); atmost.CodeOf(err) != atmost.CodeInvalidRequest {
			t.Errorf("%q is %v, %v", s, got, err)
		}
	}
}

// FuzzDuration: what is taken is written in numbers and units alone, and what Go understands by it.
func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"24h", "1h30m0.5s", "5ms", "", "0", "-1s", "1us", ".5s", "99999999999h", "1h1h"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := wire.ParseDuration(s)
		if err != nil && atmost.CodeOf(err) != atmost.CodeInvalidRequest {
			t.Errorf("%q: %v", s, err)
		}
		if want, wrong := time.ParseDuration(s); err == nil && (wrong != nil || d != want || d < 0 || strings.Trim(s, "0123456789.hms") != "") {
			t.Errorf("%q is %v; Go says %v, %v", s, d, want, wrong)
		}
	})
}

// FuzzAdminBodies: every parser takes or refuses whatever it is given, and what it takes was JSON.
func FuzzAdminBodies(f *testing.F) {
	for _, seed := range []string{
		`{"expected_attempt":1,"outcome":"failed","error":{"code":"c","message":"m"},"actor":"a","reason":"r"}`, `{"actor":"a","reason":"r"}`,
		`{"operation":"o","payload":1}`, `{"scopes":["a",""],"all":false,"actor":"a","reason":"r"}`,
		`{"filter":{"scope":""},"action":"erase","rate":1,"dry_run":true,"cursor":"c","actor":"a","reason":"r"}`, `{"scopes":[`, ``, `[]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		check := func(_ any, err error) {
			if err == nil && !json.Valid(body) || err != nil && atmost.CodeOf(err) != atmost.CodeInvalidRequest {
				t.Errorf("%q: %v", body, err)
			}
		}
		check(any1(wire.ParseAdminChange(body)))
		check(any1(wire.ParseAdminResolve(body)))
		check(any1(wire.ParseAdminCompare(body)))
		check(any1(wire.ParseAdminAdmit(body)))
		check(any1(wire.ParseAdminBulk(body)))
		check(any1(wire.ParseAdminBackup(body)))
	})
}

func any1[T any](v T, err error) (any, error) { return v, err }
