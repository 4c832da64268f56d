package wire_test

import (
	"bufio"
	"errors"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

func keyHeader(values ...string) http.Header { return http.Header{wire.HeaderKey: values} }

func scopeHeader(values ...string) http.Header {
	return http.Header{wire.HeaderKey: {"k"}, wire.HeaderScope: values}
}

// names maps values of either header to the name they spell.
var names = map[string]string{
	`abc`:                                    `abc`,
	`"abc"`:                                  `abc`,
	`a`:                                      `a`,
	`!#$%&'()*+-./:<=>?@~`:                   `!#$%&'()*+-./:<=>?@~`,
	`8e03978e-40d5-43e8-bc93-6894a57f9324`:   `8e03978e-40d5-43e8-bc93-6894a57f9324`,
	`"8e03978e-40d5-43e8-bc93-6894a57f9324"`: `8e03978e-40d5-43e8-bc93-6894a57f9324`,
	`"a,b;c=1"`:                              `a,b;c=1`,
	`"\""`:                                   `"`,
	`"\\\"\\"`:                               `\"\`,
	`:YWJj:`:                                 `:YWJj:`,
	`?1`:                                     `?1`,
	`12`:                                     `12`,
	strings.Repeat("k", 255):                 strings.Repeat("k", 255),
	`"` + strings.Repeat(`\"`, 255) + `"`:    strings.Repeat(`"`, 255),
}

// notNames are values that spell none, each with a part of the message that says so.
var notNames = map[string]string{
	``:                                   "is empty",
	`""`:                                 "is empty",
	`a b`:                                "position 2 that is not visible ASCII",
	` abc`:                               "position 1 that is not",
	`abc `:                               "position 4 that is not",
	"a\tb":                               "position 2 that is not",
	"a\x00":                              "position 2 that is not",
	"a\x7f":                              "position 2 that is not",
	`clé`:                                "position 3 that is not",
	"\xff":                               "position 1 that is not",
	`a,b`:                                "position 2; send one name",
	`a, b`:                               "position 2; send one name",
	`a;p=1`:                              "position 2; send one name",
	`a\b`:                                "position 2; send one name",
	`a"`:                                 "position 2; send one name",
	`'a','b'`:                            "position 4; send one name",
	`"a", "b"`:                           "exactly one string",
	`"a","b"`:                            "exactly one string",
	`"a";p=1`:                            "exactly one string",
	`"a";p`:                              "exactly one string",
	`"a";`:                               "exactly one string",
	`"a`:                                 "exactly one string",
	`"`:                                  "exactly one string",
	`"a"b`:                               "exactly one string",
	`"a"b"`:                              "exactly one string",
	`"a\b"`:                              "exactly one string",
	`"a\"`:                               "exactly one string",
	"\"a\tb\"":                           "exactly one string",
	`"é"`:                                "exactly one string",
	`"a b"`:                              "position 2 that is not visible",
	strings.Repeat("k", 256):             "is 256 characters long",
	`"` + strings.Repeat("k", 256) + `"`: "is 256 characters long",
}

func TestNames(t *testing.T) {
	for value, want := range names {
		if id, err := wire.ID(keyHeader(value)); err != nil || id != (atmost.ID{Key: want}) {
			t.Errorf("key %s: %v, %v", value, id, err)
		}
		if id, err := wire.ID(scopeHeader(value)); err != nil || id != (atmost.ID{Scope: want, Key: "k"}) {
			t.Errorf("scope %s: %v, %v", value, id, err)
		}
	}
}

func TestNotNames(t *testing.T) {
	for value, want := range notNames {
		wantError(t, keyHeader(value), atmost.CodeInvalidKey, want)
		wantError(t, scopeHeader(value), atmost.CodeInvalidRequest, want)
	}
}

func TestHeaderLines(t *testing.T) {
	wantError(t, http.Header{}, atmost.CodeMissingKey, "no Idempotency-Key header")
	wantError(t, http.Header{wire.HeaderScope: {"s"}}, atmost.CodeMissingKey, "no Idempotency-Key header")
	wantError(t, keyHeader("a", "b"), atmost.CodeInvalidKey, "was sent 2 times")
	wantError(t, keyHeader("a", "a"), atmost.CodeInvalidKey, "was sent 2 times")
	wantError(t, keyHeader("a", ""), atmost.CodeInvalidKey, "was sent 2 times")
	wantError(t, scopeHeader("a", "a", "a"), atmost.CodeInvalidRequest, "the Idempotency-Scope header was sent 3 times")
}

// What package http makes of a request's text is what ID expects.
func TestRequestText(t *testing.T) {
	read := func(headers string) http.Header {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: h\r\n" + headers + "\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		return r.Header
	}
	if id, err := wire.ID(read("idempotency-KEY: \t abc  \r\nIDEMPOTENCY-scope:s\r\n")); err != nil || id != (atmost.ID{Scope: "s", Key: "abc"}) {
		t.Errorf("%v, %v", id, err)
	}
	wantError(t, read("Idempotency-Key: a\r\nidempotency-key: a\r\n"), atmost.CodeInvalidKey, "2 times")
	wantError(t, read("Idempotency-Key:\r\n"), atmost.CodeInvalidKey, "is empty")
}

func wantError(t *testing.T, h http.Header, code atmost.Code, message string) {
	t.Helper()
	id, err := wire.ID(h)
	var e *atmost.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, message) || id != (atmost.ID{}) {
		t.Errorf("%q: %v, %v; want %s: …%s…", h, id, err, code, message)
	}
}

func TestErrorsDoNotQuoteTheValue(t *testing.T) {
	for _, value := range []string{`hunter2, x`, `"hunter2`, "hunter2\x01", `"hunter2";p`, "hunter2" + strings.Repeat("x", 255)} {
		if _, err := wire.ID(keyHeader(value)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestHeaderValueRoundTrip(t *testing.T) {
	visible := make([]rune, 0, 0x7e-0x20)
	for c := rune(0x21); c <= 0x7e; c++ {
		visible = append(visible, c)
	}
	name := rapid.StringOfN(rapid.SampledFrom(visible), 1, atmost.MaxKeyLength, -1)
	rapid.Check(t, func(t *rapid.T) {
		want := atmost.ID{Scope: name.Draw(t, "scope"), Key: name.Draw(t, "key")}
		h := http.Header{wire.HeaderKey: {atmost.HeaderValue(want.Key)}, wire.HeaderScope: {atmost.HeaderValue(want.Scope)}}
		if got, err := wire.ID(h); err != nil || got != want {
			t.Fatalf("%q: %v, %v", h, got, err)
		}
	})
}

func TestBareNamesAllocateNothing(t *testing.T) {
	h := http.Header{wire.HeaderKey: {"8e03978e-40d5-43e8-bc93-6894a57f9324"}, wire.HeaderScope: {"tenant-7"}}
	if n := testing.AllocsPerRun(100, func() { _, _ = wire.ID(h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzID(f *testing.F) {
	for value := range names {
		f.Add(value, "s")
		f.Add("k", value)
	}
	for value := range notNames {
		f.Add(value, "s")
		f.Add("k", value)
	}
	f.Fuzz(func(t *testing.T, key, scope string) {
		id, err := wire.ID(http.Header{wire.HeaderKey: {key}, wire.HeaderScope: {scope}})
		if err != nil {
			if c := atmost.CodeOf(err); c != atmost.CodeInvalidKey && c != atmost.CodeInvalidRequest || id != (atmost.ID{}) {
				t.Fatalf("%v, %v", id, err)
			}
			return
		}
		if err := id.Validate(); err != nil || id.Scope == "" {
			t.Fatalf("%q, %q gave %v: %v", key, scope, id, err)
		}
		h := http.Header{wire.HeaderKey: {atmost.HeaderValue(id.Key)}, wire.HeaderScope: {atmost.HeaderValue(id.Scope)}}
		if again, err := wire.ID(h); err != nil || again != id {
			t.Fatalf("%v became %v: %v", id, again, err)
		}
		if key[0] != '"' && id.Key != key || scope[0] != '"' && id.Scope != scope {
			t.Fatalf("bare %q, %q became %v", key, scope, id)
		}
	})
}

func BenchmarkID(b *testing.B) {
	for name, key := range map[string]string{"bare": `8e03978e-40d5-43e8-bc93-6894a57f9324`, "quoted": `"8e03978e-40d5-43e8-bc93-6894a57f9324"`} {
		b.Run(name, func(b *testing.B) {
			h := keyHeader(key)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.ID(h); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
