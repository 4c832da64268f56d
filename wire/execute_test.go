package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

func nested(open, closing string, n int) string {
	return strings.Repeat(open, n) + strings.Repeat(closing, n)
}

// executes maps valid bodies to their parts.
var executes = map[string]struct{ operation, payload string }{
	`{"operation":"payment.charge","payload":{"amount": 1.10}}`:      {"payment.charge", `{"amount": 1.10}`},
	"\r\n{ \"payload\" :\t[ 1 , 2 ] , \"operation\" : \"a\" } \n":    {"a", `[ 1 , 2 ]`},
	`{"operation":"a","payload":null}`:                               {"a", `null`},
	`{"operation":"a","payload":9007199254740993}`:                   {"a", `9007199254740993`},
	`{"operation":"a","payload": "\u0041\/" }`:                       {"a", `"\u0041\/"`},
	`{"\u006fperation":"\u0061\n\ud83d\ude00","p\u0061yload":1}`:     {"a\n😀", `1`},
	`{"operation":"a","payload":{"operation":1,"x":{"payload":2}}}`:  {"a", `{"operation":1,"x":{"payload":2}}`},
	`{"operation":"` + strings.Repeat("é", 127) + `x","payload":""}`: {strings.Repeat("é", 127) + "x", `""`},
	`{"operation":"a","payload":` + nested("[", "]", 127) + `}`:      {"a", nested("[", "]", 127)},
	`{"operation":"a","payload":["\"` + nested("[", "{", 200) + `\\",` + strings.Repeat("[],{},", 200) + `0]}`: {
		"a", `["\"` + nested("[", "{", 200) + `\\",` + strings.Repeat("[],{},", 200) + `0]`,
	},
}

// notExecutes are bodies that are refused, each with a part of the message.
var notExecutes = map[string]string{
	``:                                "the body is empty",
	" \n":                             "the body is empty",
	`null`:                            "is not a JSON object",
	`[]`:                              "is not a JSON object",
	`"x"`:                             "is not a JSON object",
	`1`:                               "is not a JSON object",
	`x`:                               "is not valid JSON, at byte 0",
	"\ufeff{}":                        "is not valid JSON, at byte 0",
	`{}`:                              "no member operation",
	`{"operation":"a"}`:               "no member payload",
	`{"payload":1}`:                   "no member operation",
	`{"operation":"","payload":1}`:    "operation is empty",
	`{"operation":1,"payload":1}`:     "operation is not a string",
	`{"operation":null,"payload":1}`:  "operation is not a string",
	`{"operation":["a"],"payload":1}`: "operation is not a string",
	`{"operation":"` + strings.Repeat("é", 128) + `","payload":1}`:  "256 bytes long, the limit is 255",
	`{"operation":"a","payload":1,"x":2}`:                           `unknown member "x";`,
	`{"Operation":"a","payload":1}`:                                 `unknown member "Operation";`,
	`{"operation":"a","PAYLOAD":1}`:                                 `unknown member "PAYLOAD";`,
	`{"operation":"a","payload":1,"":2}`:                            `unknown member "";`,
	`{"\u001b[31m\"é":2}`:                                           `unknown member "\x1b[31m\"\u00e9";`,
	`{"` + strings.Repeat("x", 41) + `":2}`:                         `unknown member "` + strings.Repeat("x", 40) + `" and so on;`,
	`{"operation":"a","operation":"a","payload":1}`:                 "duplicate member name, at byte 17",
	`{"operation":"a","payload":1,"\u0070ayload":1}`:                "duplicate member name, at byte 29",
	`{"operation":"a","payload":{"b":1,"b":1}}`:                     "duplicate member name, at byte 34",
	`{"operation":"a","payload":{"b":1,"\u0062":1}}`:                "duplicate member name, at byte 34",
	"{\"operation\":\"\xff\",\"payload\":1}":                        "is not valid UTF-8, at byte 14",
	"{\"operation\":\"a\",\"payload\":\"x\xed\xa0\x80\"}":           "is not valid UTF-8, at byte 29",
	"{\"\xc0\x80\":1}":                                              "is not valid UTF-8, at byte 2",
	`{"operation":"a","payload":"\ud800"}`:                          "is not valid JSON, at byte 28",
	`{"operation":"\udc00","payload":1}`:                            "is not valid JSON, at byte 14",
	`{"operation":"a","payload":1`:                                  "ends before its JSON value does, at byte 28",
	`{"operation":"a","payload":`:                                   "ends before its JSON value does, at byte 27",
	`{"operation":"a","payl`:                                        "ends before its JSON value does, at byte 22",
	`{`:                                                             "ends before its JSON value does, at byte 1",
	`{"operation":"a","payload":1}}`:                                "more than one JSON value; the first ends at byte 29",
	`{"operation":"a","payload":1} {}`:                              "more than one JSON value; the first ends at byte 29",
	`{"operation":"a","payload":1},`:                                "more than one JSON value",
	`{"operation":"a","payload":1}` + "\x00":                        "more than one JSON value",
	`{"operation":"a","payload":1,}`:                                "is not valid JSON",
	`{,"operation":"a","payload":1}`:                                "is not valid JSON",
	`{"operation":"a" "payload":1}`:                                 "is not valid JSON",
	`{"operation","a","payload":1}`:                                 "is not valid JSON",
	`{"operation":"a","payload":}`:                                  "is not valid JSON",
	`{"operation":"a","payload":01}`:                                "is not valid JSON",
	`{"operation":"a","payload":NaN}`:                               "is not valid JSON",
	`{"operation":"a","payload":'x'}`:                               "is not valid JSON",
	`{operation:"a"}`:                                               "is not valid JSON",
	`{1:2}`:                                                         "is not valid JSON",
	`{"operation":"a","payload":[1}]`:                               "is not valid JSON",
	`{"operation":"a","payload":` + nested("[", "]", 128) + `}`:     "nests deeper than 128 levels at byte 154",
	`{"operation":"a","payload":` + nested(`{"a":`, `}`, 128) + `}`: "nests deeper than 128 levels",
	strings.Repeat("[", 1<<20):                                      "nests deeper than 128 levels at byte 128",
}

func TestParseExecute(t *testing.T) {
	for body, want := range executes {
		operation, payload, err := wire.ParseExecute([]byte(body))
		if err != nil || operation != want.operation || string(payload) != want.payload {
			t.Errorf("%s: %q, %s, %v", body, operation, payload, err)
		}
	}
}

func TestParseExecuteRefuses(t *testing.T) {
	for body, want := range notExecutes {
		operation, payload, err := wire.ParseExecute([]byte(body))
		var e *atmost.Error
		if !errors.As(err, &e) || e.Code != atmost.CodeInvalidRequest || !strings.Contains(e.Message, want) || operation != "" || payload != nil {
			t.Errorf("%.100q: %q, %q, %v; want …%s…", body, operation, payload, err, want)
		}
	}
}

func TestPayloadIsPartOfBody(t *testing.T) {
	body := []byte(`{"payload": {"a":1} ,"operation":"op"}`)
	operation, payload, err := wire.ParseExecute(body)
	if err != nil || &payload[0] != &body[12] || cap(payload) != len(payload) {
		t.Fatalf("%q, %d of %d bytes, %v", payload, len(payload), cap(payload), err)
	}
	// A later request reuses the parser; neither what it left behind nor a change of the body may reach the first's operation.
	for i := range body {
		body[i] = 'x'
	}
	if _, _, err := wire.ParseExecute([]byte(`{"operation":"other","payload":0}`)); err != nil || operation != "op" {
		t.Errorf("the operation became %q: %v", operation, err)
	}
}

func TestParseExecuteConcurrently(t *testing.T) {
	for i := range 8 {
		body := fmt.Appendf(nil, `{"operation":"op%d","payload":[%d]}`, i, i)
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for range 200 {
				operation, payload, err := wire.ParseExecute(body)
				if err != nil || operation != fmt.Sprint("op", i) || string(payload) != fmt.Sprintf("[%d]", i) {
					t.Fatalf("%q, %s, %v", operation, payload, err)
				}
			}
		})
	}
}

func TestParseExecuteAllocatesTheOperation(t *testing.T) {
	info, _ := debug.ReadBuildInfo()
	if slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector makes sync.Pool drop at random")
	}
	body := []byte(`{"operation":"payment.charge","payload":{"amount":1999,"currency":"EUR"}}`)
	if n := testing.AllocsPerRun(1000, func() { _, _, _ = wire.ParseExecute(body) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParseExecute compares with a parser made of encoding/json and of rules in plain sight.
func FuzzParseExecute(f *testing.F) {
	for body := range executes {
		f.Add([]byte(body))
	}
	for body := range notExecutes {
		if len(body) < 1000 {
			f.Add([]byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		sent := bytes.Clone(body)
		operation, payload, err := wire.ParseExecute(body)
		if !bytes.Equal(sent, body) {
			t.Fatal("the body was modified")
		}
		wantOperation, wantPayload, wantErr := referenceExecute(body)
		if operation != wantOperation || !bytes.Equal(payload, wantPayload) || (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: got %q, %s, %v; want %q, %s, %v", body, operation, payload, err, wantOperation, wantPayload, wantErr)
		}
		if err != nil && atmost.CodeOf(err) != atmost.CodeInvalidRequest {
			t.Fatal(err)
		}
	})
}

func referenceExecute(body []byte) (operation string, payload []byte, err error) {
	if !utf8.Valid(body) || !json.Valid(body) {
		return "", nil, errors.New("not JSON")
	}
	if loneSurrogate(string(body)) {
		return "", nil, errors.New("lone surrogate")
	}
	if err := checkValue(json.NewDecoder(bytes.NewReader(body)), 0); err != nil {
		return "", nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return "", nil, err
	}
	payload, hasPayload := members["payload"]
	var name *string
	if err := json.Unmarshal(members["operation"], &name); err != nil || name == nil || *name == "" || len(*name) > 255 {
		return "", nil, errors.New("no good operation")
	}
	if !hasPayload || len(members) != 2 {
		return "", nil, errors.New("members missing or unknown")
	}
	return *name, payload, nil
}

// checkValue reads a value and refuses duplicate names and more than 128 levels.
func checkValue(d *json.Decoder, depth int) error {
	d.UseNumber()
	tok, err := d.Token()
	if err != nil {
		return err
	}
	delim, isDelim := tok.(json.Delim)
	if !isDelim {
		return nil
	}
	if depth == 128 {
		return errors.New("too deep")
	}
	names := map[string]bool{}
	for d.More() {
		if delim == '{' {
			tok, _ := d.Token()
			if names[tok.(string)] {
				return errors.New("duplicate name")
			}
			names[tok.(string)] = true
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// loneSurrogate finds an escape in valid JSON that is half of a pair.
func loneSurrogate(s string) bool {
	unit := func(s string) rune {
		if !strings.HasPrefix(s, `\u`) {
			return 0
		}
		n, _ := strconv.ParseUint(s[2:6], 16, 16)
		return rune(n)
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		if u := unit(s[i:]); utf16.IsSurrogate(u) {
			if utf16.DecodeRune(u, unit(s[i+6:])) == utf8.RuneError {
				return true
			}
			i += 11
			continue
		}
		i++
	}
	return false
}

func BenchmarkParseExecute(b *testing.B) {
	const item = `{"sku": "A1", "n": 2, "price": 19.99, "tags": ["a", "b"]}`
	for name, items := range map[string]int{"small": 1, "medium": 180, "large": 18000} {
		b.Run(name, func(b *testing.B) {
			body := []byte(`{"operation": "payment.charge", "payload": {"currency": "EUR", "items": [` +
				strings.Repeat(item+", ", items-1) + item + `]}}`)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := wire.ParseExecute(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
