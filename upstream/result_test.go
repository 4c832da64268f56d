package upstream

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

var conversions = map[string]struct{ contentType, body, want string }{
	"JSON":                      {"application/json", `{"a":9007199254740993,"b":1.10}`, `{"a":9007199254740993,"b":1.10}`},
	"JSON, white space":         {"application/json; charset=utf-8", "\r\n\t [1 , 2]\n", "\r\n\t [1 , 2]\n"},
	"JSON, huge number":         {"application/json", "1e400", "1e400"},
	"JSON, names twice":         {"application/json", `{"a":1,"a":2}`, `{"a":1,"a":2}`},
	"JSON, lone surrogate":      {"application/json", `"\ud800"`, `"\ud800"`},
	"JSON, escapes":             {"application/json", `"\u003c\/"`, `"\u003c\/"`},
	"JSON by suffix":            {"application/problem+json", `{}`, `{}`},
	"JSON, upper case":          {"Application/JSON", `{}`, `{}`},
	"JSON, bad parameter":       {"application/json; charset", `{}`, `{}`},
	"JSON by suffix of text":    {"text/x+json", `{}`, `{}`},
	"JSON that is not":          {"application/json", "nope", `{"content_type":"application/json","base64":"bm9wZQ=="}`},
	"JSON cut":                  {"application/json", `{"a":`, `{"content_type":"application/json","base64":"eyJhIjo="}`},
	"JSON, trailing data":       {"application/json", `{}{}`, `{"content_type":"application/json","base64":"e317fQ=="}`},
	"JSON, white space only":    {"application/json", " ", `{"content_type":"application/json","base64":"IA=="}`},
	"JSON, not UTF-8":           {"application/json", "\"\xff\"", `{"content_type":"application/json","base64":"Iv8i"}`},
	"JSON, byte order mark":     {"application/json", "\ufeff{}", `{"content_type":"application/json","base64":"77u/e30="}`},
	"text":                      {"text/plain", "a<b> \"q\" \x00\u2028ü\n", `"a<b> \"q\" \u0000\u2028ü\n"`},
	"text, UTF-8":               {"text/html; charset=UTF-8", "ü", `"ü"`},
	"text, Latin-1":             {"text/plain; charset=iso-8859-1", "ab", `{"content_type":"text/plain; charset=iso-8859-1","base64":"YWI="}`},
	"text, not UTF-8":           {"text/plain", "\xff", `{"content_type":"text/plain","base64":"/w=="}`},
	"text that looks like JSON": {"text/plain", "{}", `"{}"`},
	"nothing":                   {"application/json", "", "null"},
	"nothing, of some type":     {"image/png", "", "null"},
	"other":                     {"image/png", "\x89P", `{"content_type":"image/png","base64":"iVA="}`},
	"no type":                   {"", "{}", `{"content_type":"","base64":"e30="}`},
	"type that is none":         {"json", "{}", `{"content_type":"json","base64":"e30="}`},
	"type that is not UTF-8":    {"a/b;\xff<", "{}", `{"content_type":"a/b;` + `\ufffd` + `<","base64":"e30="}`},
}

func TestConvert(t *testing.T) {
	for name, tc := range conversions {
		t.Run(name, func(t *testing.T) {
			if got := string(convert(tc.contentType, []byte(tc.body))); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func FuzzConvert(f *testing.F) {
	for _, tc := range conversions {
		f.Add(tc.contentType, []byte(tc.body))
	}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		got := convert(contentType, body)
		envelope := []byte(`{"status":"completed","result":` + string(got) + `}`)
		if !json.Valid(envelope) || !utf8.Valid(envelope) {
			t.Fatalf("not JSON: %q", got)
		}
		if string(got) == string(body) {
			return // byte for byte
		}
		var o opaque
		var s string
		switch {
		case json.Unmarshal(got, &s) == nil && s == string(body): // text, or null
		case json.Unmarshal(got, &o) == nil:
			if b, err := base64.StdEncoding.DecodeString(o.Base64); err != nil || string(b) != string(body) {
				t.Fatalf("%q does not hold %q", got, body)
			}
			if o.ContentType != strings.ToValidUTF8(contentType, "\ufffd") && utf8.ValidString(contentType) {
				t.Fatalf("%q does not hold the type %q", got, contentType)
			}
		default:
			t.Fatalf("%q became %q", body, got)
		}
	})
}
