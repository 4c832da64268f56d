package atmosthttp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
)

// What a mux strips of a path before the middleware still makes a difference.
func TestBelowStripPrefix(t *testing.T) {
	e := newEngine(t, atmost.Operation{})
	mux := http.NewServeMux()
	for _, prefix := range []string{"/charges", "/refunds"} {
		mux.Handle(prefix+"/", http.StripPrefix(prefix, wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{}, http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, prefix+" "+r.URL.Path) }))))
	}
	send := func(target string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, target, nil)
		r.Header.Set("Idempotency-Key", "k")
		return serve(mux, r)
	}
	for _, target := range []string{"/charges/42?a", "http://example.com/charges/42?a"} { // one request, whichever form a proxy gives it
		if w := send(target); w.Body.String() != "/charges /42" {
			t.Errorf("%s: got %d %s", target, w.Code, w.Body)
		}
	}
	for _, target := range []string{"/refunds/42?a", "/charges/42?b"} {
		isProblem(t, send(target), http.StatusUnprocessableEntity, "PAYLOAD_MISMATCH")
	}
}

// A request that did not come through a server has only a URL.
func TestRequestsFromTheProcess(t *testing.T) {
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, counting())
	for _, tc := range []struct {
		path   string
		status int
	}{{"/charges", http.StatusCreated}, {"/refunds", http.StatusUnprocessableEntity}} {
		r := post("k", "{}")
		r.RequestURI, r.URL.Path = "", tc.path
		if w := serve(h, r); w.Code != tc.status {
			t.Errorf("%s: got %d %s", tc.path, w.Code, w.Body)
		}
	}
}

// Of two content types it cannot be told which one an API believes.
func TestTwoContentTypes(t *testing.T) {
	c := counting()
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c)
	r := post("k", "{}")
	r.Header.Add("Content-Type", "text/plain")
	isProblem(t, serve(h, r), http.StatusBadRequest, "INVALID_REQUEST")
	if n := c.ran.Load(); n != 0 {
		t.Errorf("the handler ran %d times", n)
	}
}

// A scope that cannot be one is a mistake of the service, so it is told.
func TestAScopeThatIsNone(t *testing.T) {
	for _, scope := range []string{"\u00dcn\u00efted", "account 7", strings.Repeat("s", atmost.MaxKeyLength+1)} {
		var told error
		h := wrap(t, newEngine(t, atmost.Operation{}), func(*http.Request) (string, error) { return scope, nil },
			atmosthttp.Options{OnError: func(_ *http.Request, err error) { told = err }}, counting())
		if isProblem(t, serve(h, post("k", "{}")), http.StatusBadRequest, "INVALID_REQUEST"); told == nil {
			t.Errorf("%s: nobody was told", scope)
		}
	}
}
