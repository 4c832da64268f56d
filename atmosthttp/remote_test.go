package atmosthttp_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmostclient"
	"github.com/atmost-dev/atmost/atmosthttp"
	api "github.com/atmost-dev/atmost/server"
)

// remote is the engine's service as a client of it sees it.
func remote(t *testing.T, e *atmost.Engine) atmost.Claimer {
	t.Helper()
	service := httptest.NewServer(api.New(e, api.Options{}))
	t.Cleanup(service.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := atmostclient.New(service.URL, atmostclient.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRemote: over a remote service everything is as over an engine.
func TestRemote(t *testing.T) {
	engine := newEngine(t, atmost.Operation{})
	for name, claimer := range map[string]atmost.Claimer{"engine": engine, "service": remote(t, engine)} {
		t.Run(name, func(t *testing.T) {
			key := func(k string) string { return name + "-" + k }
			h := counting()
			mw := wrap(t, claimer, atmosthttp.NoScope, atmosthttp.Options{MaxResult: 512}, h)

			first, again := serve(mw, post(key("replay"), `{"a":1}`)), serve(mw, post(key("replay"), `{ "a": 1 }`))
			if first.Code != http.StatusCreated || again.Code != first.Code || again.Body.String() != first.Body.String() ||
				again.Header().Get("Idempotency-Replayed") != "true" || again.Header().Get("Content-Type") != "application/json" {
				t.Errorf("first %d %s, again %d %v %s", first.Code, first.Body, again.Code, again.Header(), again.Body)
			}
			other := serve(mw, post(key("replay"), `{"a":2}`))
			isProblem(t, other, http.StatusUnprocessableEntity, string(atmost.CodePayloadMismatch))
			if name == "engine" {
				differs(t, other, "/a")
			} else { // to a service elsewhere the body is not sent
				differs(t, other)
			}

			count := h.do
			h.do = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1024)) }
			if w := serve(mw, post(key("large"), `{}`)); w.Code != http.StatusOK || w.Body.Len() != 1024 {
				t.Errorf("the first caller got %d, %d bytes", w.Code, w.Body.Len())
			}
			isProblem(t, serve(mw, post(key("large"), `{}`)), http.StatusGone, string(atmost.CodeResultNotKept))

			h.do = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
			if w := serve(mw, post(key("doubt"), `{}`)); w.Code != http.StatusBadGateway {
				t.Errorf("the first caller got %d", w.Code)
			}
			isProblem(t, serve(mw, post(key("doubt"), `{}`)), http.StatusConflict, string(atmost.CodeOutcomeUnknown))

			begun, end := make(chan struct{}), make(chan struct{})
			h.do = func(w http.ResponseWriter, r *http.Request) {
				close(begun)
				<-end
				count(w, r)
			}
			slow := make(chan *httptest.ResponseRecorder)
			go func() { slow <- serve(mw, post(key("slow"), `{}`)) }()
			within(t, begun)
			w := serve(mw, post(key("slow"), `{}`))
			close(end)
			if w.Code != http.StatusConflict || w.Header().Get("Retry-After") == "" {
				t.Errorf("a duplicate meanwhile got %d %v", w.Code, w.Header())
			}
			if w := within(t, slow); w.Code != http.StatusCreated {
				t.Errorf("the first caller got %d", w.Code)
			}
			if n := h.ran.Load(); n != 4 {
				t.Errorf("the handler ran %d times, want once for each key", n)
			}
		})
	}
}
