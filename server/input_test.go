package server_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// untouched checks that nothing was asked of the store since before.
func (s *service) untouched(before int64) {
	s.Helper()
	if got := s.store.calls.Load(); got != before {
		s.Errorf("the store was called %d times", got-before)
	}
}

func TestKeySyntax(t *testing.T) {
	s := start(t, one(answers(completed("1"))))
	before := s.store.calls.Load()
	s.check(s.refused("", charge), isRefused(400, "MISSING_IDEMPOTENCY_KEY"))
	long := strings.Repeat("k", 256)
	for _, key := range []string{
		"a b", "a,b", "a;b", `a\b`, `a"b`, `"a`, `"a"b`, `"a";p=1`, `"a", "b"`, `"a b"`, `"\a"`, `""`, "é", "a\tb", long, `"` + long + `"`,
	} {
		a := s.refused(key, charge)
		s.check(a, isRefused(400, "INVALID_IDEMPOTENCY_KEY"))
		if strings.Contains(a.body, key) && len(key) > 2 {
			t.Errorf("the answer repeats the key %q: %s", key, a.body)
		}
	}
	s.check(s.refused("k", charge, "Idempotency-Key", "k"), isRefused(400, "INVALID_IDEMPOTENCY_KEY"))
	r := s.request(http.MethodPost, "/v1/idempotency/execute", "", charge, nil)
	r.Header["Idempotency-Key"] = []string{""}
	s.check(s.send(r, charge, false), isRefused(400, "INVALID_IDEMPOTENCY_KEY"))
	s.check(s.refused("k", charge, "Idempotency-Scope", "a b"), isRefused(400, "INVALID_REQUEST"))
	s.check(s.refused("k", charge, "Idempotency-Scope", ""), isRefused(400, "INVALID_REQUEST"))
	s.check(s.refused("k", charge, "Idempotency-Scope", "a", "Idempotency-Scope", "a"), isRefused(400, "INVALID_REQUEST"))
	s.untouched(before)

	for _, key := range []string{"k", long[1:], "5e4c2a8e-3c50-4f4a-9d0b-0a3e1d4a7f11", "!#$%&'()*+-./:<=>?@[]^_`{|}~", `"a,b;c\\d\"e"`} {
		s.execute(key, charge)
	}
	s.check(s.execute(`"k"`, charge), isReplayed("1"))
	s.check(s.refused(` k`, charge), isReplayed("1")) // white space around a field's value is no part of it
	s.check(s.execute(`"`+long[1:]+`"`, charge), isReplayed("1"))
}

func TestContentType(t *testing.T) {
	s := start(t, one(answers(completed("1"))))
	before := s.store.calls.Load()
	for _, value := range []string{
		"text/plain", "application/jsonp", "application/vnd.api+json", "application/json, application/json", "json", "application/json; charset", "*/*",
	} {
		r := s.request(http.MethodPost, "/v1/idempotency/execute", "k", charge, nil)
		r.Header["Content-Type"] = []string{value}
		s.check(s.send(r, charge, false), isRefused(415, "UNSUPPORTED_MEDIA_TYPE"))
	}
	s.check(s.refused("k", charge, "Content-Type", "application/json"), isRefused(415, "UNSUPPORTED_MEDIA_TYPE"))
	r := s.request(http.MethodPost, "/v1/idempotency/execute", "k", charge, nil)
	r.Header.Del("Content-Type")
	s.check(s.send(r, charge, false), isRefused(415, "UNSUPPORTED_MEDIA_TYPE"))
	s.untouched(before)

	for _, value := range []string{"application/json;charset=utf-8", `Application/JSON ; charset="utf-8"; v=1`, "application/json;"} {
		r := s.request(http.MethodPost, "/v1/idempotency/execute", "k", charge, nil)
		r.Header["Content-Type"] = []string{value}
		if a := s.send(r, charge, true); a.status != http.StatusOK {
			t.Errorf("%s is answered %d", value, a.status)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	c := one(answers(completed("1")))
	c.maxBody = 4096
	s := start(t, c)
	before := s.store.calls.Load()
	fits := charge + strings.Repeat(" ", 4096-len(charge))
	post := func(body string, chunked bool) answer {
		r := s.request(http.MethodPost, "/v1/idempotency/execute", "k", body, nil)
		if chunked {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), -1
		}
		return s.send(r, body, true)
	}
	for _, chunked := range []bool{false, true} {
		a := post(fits+" ", chunked)
		s.check(a, isRefused(413, "PAYLOAD_TOO_LARGE"))
		if !strings.Contains(a.body, " 4096 bytes") {
			t.Errorf("the limit is not told: %s", a.body)
		}
	}
	s.untouched(before)
	s.check(post(fits, false), isExecuted("1"))
	s.check(post(fits, true), isReplayed("1"))
}

func TestDefaultBodyLimit(t *testing.T) {
	s := start(t, one(answers(completed("1"))))
	const head, tail = `{"operation":"charge","payload":"`, `"}`
	fits := head + strings.Repeat("x", 1<<20-len(head)-len(tail)) + tail
	s.check(s.execute("k", fits), isExecuted("1"))
	s.check(s.execute("l", fits+" "), isRefused(413, "PAYLOAD_TOO_LARGE"))
}

func TestMalformedBody(t *testing.T) {
	s := start(t, one(answers(completed("1"))))
	before := s.store.calls.Load()
	payload := func(p string) string { return `{"operation":"charge","payload":` + p + `}` }
	nested := func(depth int) string { return payload(strings.Repeat("[", depth) + strings.Repeat("]", depth)) }
	for _, body := range []string{
		"", " ", "null", "1", `"charge"`, "[]", "[" + charge + "]", "{}", "{", "}", "\ufeff" + charge, "\x00" + charge,
		`{"operation":"charge"}`, `{"payload":1}`, `{"operation":"charge","payload":1,"more":1}`, `{"operation":"charge","payload":1,"Payload":1}`,
		`{"Operation":"charge","payload":1}`, `{"operation":1,"payload":1}`, `{"operation":null,"payload":1}`, `{"operation":"","payload":1}`,
		`{"operation":["charge"],"payload":1}`, `{"operation":"` + strings.Repeat("o", 256) + `","payload":1}`,
		`{"operation":"charge","payload":1,"operation":"charge"}`, `{"operation":"charge","payload":1,"payload":1}`, `{"payload":1,"p\u0061yload":1,"operation":"charge"}`,
		charge + charge, charge + "x", charge + "\x00", charge + ",", charge[:len(charge)-1], charge[:10],
		payload(``), payload(`'a'`), payload(`undefined`), payload(`NaN`), payload(`Infinity`), payload(`01`), payload(`+1`), payload(`.5`), payload(`1.`), payload(`1e`),
		payload(`0x1`), payload(`-`), payload(`tru`), payload(`True`), payload(`[1,]`), payload(`{"a":1,}`), payload(`{a:1}`), payload(`{"a" 1}`), payload(`[1 2]`),
		payload(`"`), payload("\"\n\""), payload(`"\x"`), payload(`"\u12"`), payload(`/**/1`), payload(`1//`),
		payload(`{"a":1,"a":1}`), payload(`[{"a":{"b":1,"b":2}}]`), payload(`{"a":1,"\u0061":2}`),
		payload("\"\xff\""), payload("\"\xc3\""), payload("{\"\xed\xa0\x80\":1}"), payload(`"\ud800"`), payload(`"\udc00x"`),
		nested(128), nested(5000), strings.Repeat("[", 100_000), strings.Repeat(`{"payload":`, 1000),
	} {
		a := s.refused("k", body)
		s.check(a, isRefused(400, "INVALID_REQUEST"))
		if a.status != 400 {
			t.Errorf("the body was %.60q", body)
		}
	}
	s.untouched(before)
	for i, body := range []string{
		nested(127), payload(`null`), payload(`"\ud83d\ude00"`), payload(`""`), payload(`{"":{"":0}}`), payload(`[{"a":1},{"a":1}]`), payload(`"` + strings.Repeat("[", 200) + `"`),
		"\r\n\t " + charge + "\n",
	} {
		s.check(s.execute("ok-"+string(rune('a'+i)), body), isExecuted("1"))
	}
}

func TestStatusInput(t *testing.T) {
	s := start(t, one(answers(completed("1"))))
	before := s.store.calls.Load()
	get := func(key string, headers ...string) answer {
		return s.send(s.request(http.MethodGet, "/v1/idempotency/status", key, "", headers), "", false)
	}
	s.check(get(""), isRefused(400, "MISSING_IDEMPOTENCY_KEY"))
	s.check(get("a b"), isRefused(400, "INVALID_IDEMPOTENCY_KEY"))
	s.check(get("k", "Idempotency-Key", "k"), isRefused(400, "INVALID_IDEMPOTENCY_KEY"))
	s.check(get("k", "Idempotency-Scope", `"`), isRefused(400, "INVALID_REQUEST"))
	s.untouched(before)
}
