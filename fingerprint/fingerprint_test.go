package fingerprint

import (
	"errors"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// golden pins json1 for ever: the digests come from Python's hashlib over canonical forms written by hand. A test that fails
// here means that stored fingerprints no longer compare, and is never to be answered by changing the digest.
var golden = []struct{ operation, payload, digest string }{
	{"payment.charge", ` null `, "d2bedc9909e07c918cc611801434b357a2c6892fa80c381c2bc6a8f7aa578b6f"},
	{"payment.charge", "{\n\t}\r\n", "776ae9c4bd016b3eb4658f7d8acaa37a2eb6c9f523a0b7834680a5b1fbf1a935"},
	{"payment.charge", `{"currency": "EUR", "amount": 100}`, "a1d2e0a52eee9c5ffbeb8c2bfd9950faa16fb0a4bbe56817f360139f41c7c90a"},
	{
		"payment.charge", `{"b": {"c": {"d": null}}, "a": [ {"y":2,"x":1}, [ ], { } ]}`,
		"114d23f574061abf10dc38dffdda1fb4f5de9837e0f720e2a223cf322c37a265",
	},
	{ // numbers as written
		"n", `[9007199254740993, 1.10, 1e400, -0, 1E5, 1e5, 0, -0.0, 1e+5, 123456789012345678901234567890]`,
		"50b5277c3b1294fa88e7f3f505f8c64654474473b26cdc3b3862485da2b184fe",
	},
	{ // RFC 8785, section 3.2.2.2
		"s", `"\u0041\/\"\\\u0008\u000C\u000a\u000D\u0009\u0000\u001F\u007f\u00e9\u20AC\u2028\uD83D\uDE00\u003c\u003E&"`,
		"af9a544cb07dfba453c75ef1eb99397005563e16c3683c2b1c5383d2ddae886a",
	},
	{ // RFC 8785, section 3.2.3: members by UTF-16 code units, so U+1F600 before U+FB33
		"s", `{"€":5,"\r":1,"\ufb33":7,"1":2,"😀":6,"\u0080":3,"ö":4}`,
		"ab01d35080a40a6b017933e855b60bd4f46b14d792151f03f74c9af7dbfcf09e",
	},
	{"s", `{"b":3,"aa":2,"":0,"a":1}`, "295f3611204c4b91a7efc84fdbe67c219708acf95a5f19c2b1dc464d847b40fd"},
	{"", `null`, "485cc04fc8a4855d043328c9da46b633560a32497576c267ee86c5945a8f4cb4"},
	{"zahlung.ä", `true`, "03865a36d7e8df5def0539b1ac6dfea53cf8d223bd71f1af889022e41eeb8542"},
}

func TestGolden(t *testing.T) {
	for _, g := range golden {
		if got, want := mustOf(t, g.operation, g.payload).String(), "json1:"+g.digest; got != want {
			t.Errorf("Of(%q, %s) = %s, want %s", g.operation, g.payload, got, want)
		}
	}
}

// Each line lists payloads that ask for the same.
func TestSame(t *testing.T) {
	for _, same := range [][]string{
		{`{"a":1,"b":2}`, ` { "b" : 2 , "a" : 1 } `, "{\"\\u0061\":1,\r\n\t\"\\u0062\":2}"},
		{`"A"`, `"\u0041"`},
		{`"/"`, `"\/"`, `"\u002f"`, `"\u002F"`},
		{`"\b\f\n\r\t"`, `"\u0008\u000c\u000A\u000D\u0009"`},
		{`"😀"`, `"\ud83d\ude00"`, `"\uD83D\uDE00"`},
		{"\"\u2028\"", `"\u2028"`},
	} {
		for _, p := range same[1:] {
			if mustOf(t, "op", p) != mustOf(t, "op", same[0]) {
				t.Errorf("%s and %s differ", p, same[0])
			}
		}
	}
}

// Every two of these ask for something different.
func TestDifferent(t *testing.T) {
	different := []string{
		`9007199254740993`, `9007199254740992`, `9007199254740992.0`,
		`1.1`, `1.10`, `1`, `1.0`, `1e0`, `1E0`, `10e-1`, `"1"`, `[1]`, `1e5`, `1E5`, `1e+5`, `1e05`, `100000`,
		`1e400`, `1e401`, `-1e400`, `1.7976931348623157e308`, `0`, `-0`, `0.0`, `-0.0`, `0e0`, `1e-400`,
		`0.1`, `0.1000000000000000055511151231257827`,
		`null`, `"null"`, `true`, `false`, `""`, `" "`, `[]`, `{}`, `[[]]`, `[null]`, `[[],[]]`,
		`[1,2]`, `[2,1]`, `[12]`, `{"a":1,"b":2}`, `{"a":2,"b":1}`, `{"a":1}`, `{"A":1}`, `{"a":{"b":2}}`, `{"a":null}`,
		`"é"`, `"e\u0301"`, `"\u0000"`, `"\ufeff"`, `"\\u0041"`, `"A"`,
	}
	seen := map[Fingerprint]string{}
	for _, p := range different {
		f := mustOf(t, "op", p)
		if other, dup := seen[f]; dup {
			t.Errorf("%s and %s have one fingerprint", p, other)
		}
		seen[f] = p
	}
}

// Where the operation ends and the payload begins must not be a matter of opinion.
func TestOperationIsDelimited(t *testing.T) {
	seen := map[Fingerprint]string{}
	for _, c := range []struct{ operation, payload string }{
		{"a", `1`}, {"b", `1`}, {"a1", `1`}, {"a", `11`}, {"", `1`}, {"", `11`}, {"1", `1`}, {"a\x00", `1`}, {"json1", `1`}, {"A", `1`},
	} {
		f := mustOf(t, c.operation, c.payload)
		if other, dup := seen[f]; dup {
			t.Errorf("%q %s and %s have one fingerprint", c.operation, c.payload, other)
		}
		seen[f] = c.operation + " " + c.payload
	}
}

func TestInvalidPayload(t *testing.T) {
	for _, p := range []string{
		``, ` `, `{`, `}`, `[1,]`, `{"a":1,}`, `{"a"}`, `{a:1}`, `{1:1}`, `nul`, `Null`, `NaN`, `01`, `+1`, `1.`, `.5`, `0x1`, `1e`, `-`,
		`'a'`, `"a`, "\"\n\"", `"\x41"`, `"\u004"`, `// c` + "\n1", "\ufeff1",
		`{"a":1,"a":1}`, `{"a":1,"\u0061":2}`, `[{"x":{"b":1,"b":2}}]`, // duplicates
		`"\ud800"`, `"\udc00\ud800"`, `{"\ud800":1}`, // lone surrogates
		"\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", // not UTF-8
		`1 1`, `{}{}`, `1,`, `null x`, "1\x00", // trailing
		strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001),
	} {
		f, _, err := Of(JSON1, "op", []byte(p))
		if !errors.Is(err, ErrInvalidPayload) || f != (Fingerprint{}) {
			t.Errorf("Of(%.40q) = %v, %v", p, f, err)
		}
	}
}

func TestErrorQuotesNothing(t *testing.T) {
	for payload, want := range map[string]string{
		`{"secret":1,"secret":2}`:       "the payload is not one valid JSON value: duplicate member name at byte 12",
		`{"secret":{"a":secret}}`:       "the payload is not one valid JSON value: malformed at byte 15",
		`{"secret":"` + "\xff" + `"}`:   "the payload is not one valid JSON value: malformed at byte 11",
		`{"secret":"unexpected ending"`: "the payload is not one valid JSON value: malformed at byte 29",
	} {
		if _, _, err := Of(JSON1, "op", []byte(payload)); err == nil || err.Error() != want {
			t.Errorf("Of(%s): %v, want %s", payload, err, want)
		}
	}
}

func TestUnknownAlgorithm(t *testing.T) {
	for _, alg := range []Algorithm{"", "json2", "JSON1", "json1 "} {
		if f, _, err := Of(alg, "op", []byte(`1`)); !errors.Is(err, ErrUnknownAlgorithm) || f != (Fingerprint{}) {
			t.Errorf("Of(%q) = %v, %v", alg, f, err)
		}
	}
}

func TestParse(t *testing.T) {
	f := mustOf(t, "op", `1`)
	later := Fingerprint{Algorithm: "json99", Digest: f.Digest}
	for _, f := range []Fingerprint{f, later} {
		if got, err := Parse(f.String()); err != nil || got != f {
			t.Errorf("Parse(%q) = %v, %v", f, got, err)
		}
	}
	digest := strings.Repeat("0a", 32)
	for _, s := range []string{
		"", ":", "json1", "json1:", ":" + digest, digest, "json1:" + digest[1:], "json1:" + digest + "0", "json1:" + digest + "00",
		"json1:" + strings.ToUpper(digest), "JSON1:" + digest, "json 1:" + digest, "json1: " + digest[1:], "json1::" + digest[1:],
		"json1:" + strings.Repeat("0g", 32), strings.Repeat("a", 17) + ":" + digest, Fingerprint{}.String(), "js\xffn:" + digest,
	} {
		if f, err := Parse(s); err == nil || f != (Fingerprint{}) {
			t.Errorf("Parse(%q) = %v, %v", s, f, err)
		}
	}
}

func TestPayloadIsNotModified(t *testing.T) {
	const payload = ` {"b": "\u0041", "a": [1.10, {"z":1,"y":2}]} `
	p := []byte(payload)
	before := mustOf(t, "op", payload)
	if _, _, err := Of(JSON1, "op", p[:len(p):len(p)]); err != nil || string(p) != payload {
		t.Fatalf("the payload became %s (%v)", p, err)
	}
	for i := range p { // nor does anything refer to it afterwards
		p[i] = 'x'
	}
	if mustOf(t, "op", payload) != before {
		t.Error("the fingerprint changed with an earlier payload's buffer")
	}
}

func TestConcurrent(t *testing.T) {
	want := mustOf(t, "op", small)
	for range 8 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for range 50 {
				if mustOf(t, "op", small) != want || mustOf(t, "op", medium) == want {
					t.Fatal("payloads of concurrent calls mixed")
				}
			}
		})
	}
}

// Only the canonical form is allocated while the pools are warm; 1 is for what a garbage collection takes from them.
func TestAllocations(t *testing.T) {
	info, _ := debug.ReadBuildInfo()
	if slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector makes sync.Pool drop at random")
	}
	p := []byte(small)
	if n := testing.AllocsPerRun(1000, func() { _, _, _ = Of(JSON1, "payment.charge", p) }); n > 2 {
		t.Errorf("%v allocations for a small payload", n)
	}
}

const small = `{"amount": 1999, "currency": "EUR", "customer": {"id": "c_8123", "email": "a@example.com"}, "items": [{"sku": "A1", "n": 2}]}`

var medium = `[` + strings.Repeat(small+",", 80) + `null]` // about 10 kB

func BenchmarkOf(b *testing.B) {
	for name, payload := range map[string]string{"small": small, "medium": medium, "sorted": `{"a":1,"b":2,"c":3}`} {
		b.Run(name, func(b *testing.B) {
			p := []byte(payload)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Of(JSON1, "payment.charge", p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func mustOf(t testing.TB, operation, payload string) Fingerprint {
	t.Helper()
	f, _, err := Of(Current, operation, []byte(payload))
	if err != nil {
		t.Fatalf("Of(%q, %s): %v", operation, payload, err)
	}
	return f
}
