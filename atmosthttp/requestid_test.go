package atmosthttp_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
)

// A handler can name the request in its own log as the answer does, and whatever is in front of the middleware has named it before.
func TestRequestID(t *testing.T) {
	var seen []string
	c := &counted{}
	c.do = func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, atmosthttp.RequestID(r.Context())) }
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c)
	first, replay, untouched := serve(h, post("k", "{}")), serve(h, post("k", "{}")), serve(h, post("", "{}"))
	a, b := first.Header().Get("Request-Id"), replay.Header().Get("Request-Id")
	if a == "" || b == "" || a == b {
		t.Errorf("two requests have the ids %q and %q", a, b)
	}
	if len(seen) != 2 || seen[0] != a || seen[1] != "" || untouched.Header()["Request-Id"] != nil {
		t.Errorf("the handler saw %q; %q had no key", seen, untouched.Header())
	}
	w := httptest.NewRecorder()
	w.Header().Set("Request-Id", "theirs")
	h.ServeHTTP(w, post("l", "{}"))
	if seen[2] != "theirs" || w.Header().Get("Request-Id") != "theirs" {
		t.Errorf("the handler saw %q, the client %q", seen[2], w.Header())
	}
}
