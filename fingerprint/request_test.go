package fingerprint

import (
	"bytes"
	"errors"
	"testing"
)

// goldenRequests pins http1 for ever, as golden does json1. The digests come from Python's hashlib.
var goldenRequests = []struct {
	request Request
	digest  string
}{
	{
		Request{"POST", "/v1/charges", "", "application/json", []byte(` {"b": 9007199254740993, "\u0061mount": 1.10}`)},
		"6f78d59dc76d2de0cbd684d2018366a448f76c41496de9046365ccba1ffd26ae",
	},
	{
		Request{"POST", "/v1/charges", "a=1&b=%20", `Application/VND.x+JSON;Charset="utf-8"`, []byte(`{"amount":1.10,"b":9007199254740993}`)},
		"bab137ca1aedd17de5ae7db645c760895963543c045b517af2786da79d31c3f0",
	},
	{Request{"POST", "/", "", "application/json", []byte(`{"a":1,"a":2}`)}, "cc164025a08a6edc394a0844f54e17c8a591ad859a1059d3ab67c10acb698431"},
	{Request{"PUT", "/a%2Fb", "", "text/plain", []byte(`{"a": 1}`)}, "09fe1135e2806c0d043414b24d7a53db3aee53fb91413a022de2ecd2fd601a69"},
	{Request{"DELETE", "/", "", "", nil}, "54ad17bede56b4dfb0b04622f259c69d2a0247777e304b1e9ce490ed32eea334"},
	{Request{"POST", "/", "", "application/json", nil}, "6d066d7223f63d179d264a81e2ab6b030fbf5c4f017d1a90d93e7012e54fb581"},
	{Request{"POST", "/", "", "no;type;", []byte{0xff, 0}}, "751d80584cb7c5ada6161e44ce05c9ef178da657d647c786e0358719907c35fd"},
}

func mustOfRequest(t testing.TB, r Request) Fingerprint {
	t.Helper()
	f, err := OfRequest(HTTP1, r)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestGoldenRequests(t *testing.T) {
	for _, g := range goldenRequests {
		if got, want := mustOfRequest(t, g.request).String(), "http1:"+g.digest; got != want {
			t.Errorf("%+v: got %s, want %s", g.request, got, want)
		}
	}
}

func TestDifferentRequests(t *testing.T) {
	seen := map[Fingerprint]Request{}
	for _, r := range []Request{
		{"POST", "/a", "b", "c", []byte("d")},
		{"POS", "T/a", "b", "c", []byte("d")},
		{"POST", "/ab", "", "c", []byte("d")},
		{"POST", "/a", "bc", "", []byte("d")},
		{"POST", "/a", "b", "", []byte("cd")},
		{"POST", "/a", "b", "cd", nil},
		{"POST", "/a", "", "text/plain", []byte("1")},
		{"POST", "/a", "", "application/json", []byte("1")},
		{"POST", "/a", "", "application/json", []byte("1.0")},
		{"POST", "/a", "", "application/json", []byte("x1")},
		{"POST", "/a", "", "application/json", []byte("x 1")},
		{"POST", "/a", "", "application/json; charset=utf-8", []byte("1")},
		{"POST", "/a", "", "text/plain", []byte(" 1")},
	} {
		f := mustOfRequest(t, r)
		if other, dup := seen[f]; dup {
			t.Errorf("%+v and %+v have one fingerprint", r, other)
		}
		seen[f] = r
	}
}

func TestRequestsOfUnknownAlgorithms(t *testing.T) {
	if _, err := OfRequest(JSON1, Request{}); !errors.Is(err, ErrUnknownAlgorithm) {
		t.Errorf("got %v", err)
	}
	if _, _, err := Of(HTTP1, "", []byte("null")); !errors.Is(err, ErrUnknownAlgorithm) {
		t.Errorf("got %v", err)
	}
}

// FuzzRequest changes one part of a request: so does the fingerprint, unless it is JSON in other words. Nothing is modified, nothing
// fails.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "/a", "b=1", "application/json", []byte(`{"a":1.10}`), []byte(`{ "a" : 1.10 }`))
	f.Add("PUT", "", "", "text/html;charset", []byte{0xff}, []byte("x"))
	f.Fuzz(func(t *testing.T, method, path, query, contentType string, body, other []byte) {
		r := Request{method, path, query, contentType, body}
		sent := bytes.Clone(body)
		want := mustOfRequest(t, r)
		if !bytes.Equal(sent, body) || mustOfRequest(t, r) != want {
			t.Fatalf("%+v is not what it was", r)
		}
		for _, changed := range []Request{
			{method + "x", path, query, contentType, body},
			{method, path + "x", query, contentType, body},
			{method, path, query + "x", contentType, body},
			{method + path, "", query, contentType, body},
		} {
			same := changed.Method == method && changed.Path == path && changed.Query == query
			if mustOfRequest(t, changed) == want && !same {
				t.Errorf("%+v and %+v have one fingerprint", changed, r)
			}
		}
		r.Body = other
		if bytes.Equal(other, body) || mustOfRequest(t, r) != want {
			return
		}
		a, _, errA := Of(JSON1, "", body)
		b, _, errB := Of(JSON1, "", other)
		if errA != nil || errB != nil || a != b {
			t.Errorf("%q and %q have one fingerprint", body, other)
		}
	})
}
