package atmosthttp_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
)

// golden pins how responses are stored, for ever.
var golden = map[string]atmosthttp.Response{
	`{"http":1,"status":204,"header":{},"text":""}`: {Status: 204},
	`{"http":1,"status":201,"header":{"Content-Type":["text/plain"],"Link":["<a>","\"b\""]},"text":"a\n\"é\\"}`: {
		Status: 201, Header: http.Header{"Link": {"<a>", `"b"`}, "Content-Type": {"text/plain"}}, Body: []byte("a\n\"é\\"),
	},
	`{"http":1,"status":200,"header":{},"base64":"/wA="}`: {Status: 200, Body: []byte{0xff, 0}},
	`{"http":1,"status":422,"header":{"Etag":["1"]},"too_large":true}`: {
		Status: 422, Header: http.Header{"Etag": {"1"}}, TooLarge: true,
	},
}

func TestStoredResponses(t *testing.T) {
	for stored, r := range golden {
		if got := string(r.Append(nil)); got != stored {
			t.Errorf("got  %s\nwant %s", got, stored)
		}
		got, ok, err := atmosthttp.ParseResponse([]byte(stored))
		if diff := cmp.Diff(r, got, cmpopts.EquateEmpty()); diff != "" || !ok || err != nil {
			t.Errorf("%s: %v, %v, %s", stored, ok, err, diff)
		}
	}
}

// FuzzResponse stores any body and header value, and reads them again.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("a\"\\\u2028"), "X", 200)
	f.Add([]byte{0xff}, "\x00", 599)
	f.Fuzz(func(t *testing.T, body []byte, value string, status int) {
		r := atmosthttp.Response{Status: 200 + status&0xff, Header: http.Header{"Content-Type": {value, "x"}, "Link": {value}}, Body: body}
		stored := r.Append(nil)
		if !json.Valid(stored) {
			t.Fatalf("not JSON: %s", stored)
		}
		got, ok, err := atmosthttp.ParseResponse(stored)
		if err != nil || !ok || got.Status != r.Status || string(got.Body) != string(body) || len(got.Header) != 2 {
			t.Fatalf("%s: %v, %v, %+v", stored, ok, err, got)
		}
	})
}

// FuzzStoredResponse reads anything: what is taken for a response is JSON that says what encoding/json reads in it.
func FuzzStoredResponse(f *testing.F) {
	for stored := range maps.Keys(golden) {
		f.Add([]byte(stored))
	}
	f.Add([]byte(`{"http":2,"status":200}`))
	f.Fuzz(func(t *testing.T, stored []byte) {
		got, ok, err := atmosthttp.ParseResponse(stored)
		if !ok || err != nil || !json.Valid(stored) {
			return
		}
		var want struct {
			Status   int
			Text     string
			Base64   []byte
			TooLarge bool `json:"too_large"`
		}
		if err := json.Unmarshal(stored, &want); err != nil {
			t.Fatalf("%s: %v", stored, err)
		}
		if got.Status != want.Status || got.TooLarge != want.TooLarge || string(got.Body) != want.Text+string(want.Base64) {
			t.Errorf("%s: got %+v, want %+v", stored, got, want)
		}
	})
}

// FuzzKey puts anything into the headers: the request runs, once, or it is refused with a problem.
func FuzzKey(f *testing.F) {
	for _, key := range []string{"k", `"k"`, `"k`, "", "a,b", "\xff", ` "a"`, `"a\"b"`} {
		f.Add(key, "t")
	}
	e := newEngine(f, atmost.Operation{})
	f.Fuzz(func(t *testing.T, key, tenant string) {
		c := counting()
		h := wrap(t, e, atmosthttp.HeaderScope("X-Tenant"), atmosthttp.Options{RequireKey: true}, c)
		var codes [2]int
		for i := range codes {
			r := post("", "{}")
			r.Header["Idempotency-Key"], r.Header["X-Tenant"] = []string{key}, []string{tenant}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if codes[i] = w.Code; w.Code != http.StatusCreated && w.Code != http.StatusBadRequest {
				t.Errorf("%q of %q: got %d %s", key, tenant, w.Code, w.Body)
			}
		}
		if n := c.ran.Load(); n > 1 || codes[0] != codes[1] {
			t.Errorf("%q of %q: %v after %d runs", key, tenant, codes, n)
		}
	})
}
