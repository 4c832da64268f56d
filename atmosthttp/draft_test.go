package atmosthttp_test

// The rules of draft-ietf-httpapi-idempotency-key-header, one test each.

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
)

// Section 2.1: the key is a Structured Field String. It is also taken bare, as most clients send it, and means the same.
func TestKeyIsAString(t *testing.T) {
	c := counting()
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c)
	for _, key := range []string{`"8e03978e-40d5-43dd-bc93-6894a57f9324"`, "8e03978e-40d5-43dd-bc93-6894a57f9324"} {
		if w := serve(h, post(key, "{}")); w.Code != http.StatusCreated {
			t.Errorf("%s: got %d %s", key, w.Code, w.Body)
		}
	}
	if n := c.ran.Load(); n != 1 {
		t.Errorf("the handler ran %d times, want 1", n)
	}
	for _, key := range []string{`"a", "b"`, `"a`, `"a";p=1`, "a b", " ", "ä", strings.Repeat("k", 256)} {
		isProblem(t, serve(h, post(key, "{}")), http.StatusBadRequest, "INVALID_IDEMPOTENCY_KEY")
	}
	twice := post("a", "{}")
	twice.Header.Add("Idempotency-Key", "b")
	isProblem(t, serve(h, twice), http.StatusBadRequest, "INVALID_IDEMPOTENCY_KEY")
	if n := c.ran.Load(); n != 1 {
		t.Errorf("the handler ran %d times, want 1", n)
	}
}

// Section 2.7: where a key is required, a request without one is 400.
func TestMissingKey(t *testing.T) {
	c := counting()
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{RequireKey: true}, c)
	isProblem(t, serve(h, post("", "{}")), http.StatusBadRequest, "MISSING_IDEMPOTENCY_KEY")
	if n := c.ran.Load(); n != 0 {
		t.Errorf("the handler ran %d times, want 0", n)
	}
	h = wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c)
	for range 2 { // where it is not, each runs
		if w := serve(h, post("", "{}")); w.Code != http.StatusCreated || w.Header().Get("Idempotency-Replayed") != "" {
			t.Errorf("got %d %v", w.Code, w.Header())
		}
	}
	if n := c.ran.Load(); n != 2 {
		t.Errorf("the handler ran %d times, want 2", n)
	}
}

// Section 2.7: a key that is used again with another payload is 422. Section 2.4: what makes a payload is the service's to say.
func TestReuseWithAnotherPayload(t *testing.T) {
	c := counting()
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{Methods: []string{"POST", "PUT"}}, c)
	change := func(change func(*http.Request)) *http.Request {
		r := post("k", `{"amount":1.10,"to":"x"}`)
		change(r)
		return r
	}
	serve(h, change(func(*http.Request) {}))
	for name, c := range map[string]struct {
		*http.Request
		differs []string // in a body of JSON
	}{
		"number":       {post("k", `{"amount":1.1,"to":"x"}`), []string{"/amount"}},
		"string":       {post("k", `{"amount":1.10,"to":"y"}`), []string{"/to"}},
		"more":         {post("k", `{"amount":1.10,"to":"x","a/b":[]}`), []string{"/a~1b"}},
		"less":         {post("k", `{"to":"x"}`), []string{""}},
		"no JSON":      {post("k", `{"amount":1.1`), nil},
		"no parts":     {post("k", `1.1`), nil},
		"no body":      {post("k", ``), nil},
		"method":       {change(func(r *http.Request) { r.Method = http.MethodPut }), nil},
		"path":         {change(func(r *http.Request) { r.RequestURI = "/refunds?x=1" }), nil},
		"query":        {change(func(r *http.Request) { r.RequestURI = "/charges?x=2" }), nil},
		"content type": {change(func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }), nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := serve(h, c.Request)
			isProblem(t, w, http.StatusUnprocessableEntity, "PAYLOAD_MISMATCH")
			differs(t, w, c.differs...)
		})
	}
	same := post("k", ` { "to" : "\u0078", "amount" : 1.10 } `)
	same.Header.Set("User-Agent", "another")
	if w := serve(h, same); w.Code != http.StatusCreated || w.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("the same in other words: got %d %s", w.Code, w.Body)
	}
	if n := c.ran.Load(); n != 1 {
		t.Errorf("the handler ran %d times, want 1", n)
	}
}

// Section 2.7: while the first request is being processed, another with its key is 409. It can be repeated, so it has Retry-After.
func TestStillRunning(t *testing.T) {
	started, goOn := make(chan struct{}), make(chan struct{})
	c := &counted{do: func(http.ResponseWriter, *http.Request) { close(started); <-goOn }}
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c)
	first := make(chan *httptest.ResponseRecorder)
	go func() { first <- serve(h, post("k", "{}")) }()
	within(t, started)
	w := serve(h, post("k", "{}"))
	isProblem(t, w, http.StatusConflict, atmosthttp.Processing)
	if w.Header().Get("Retry-After") == "" || w.Header().Get("Idempotency-Retry") != "poll" {
		t.Errorf("its headers are %v", w.Header())
	}
	isProblem(t, serve(h, post("k", `{"other":1}`)), http.StatusUnprocessableEntity, "PAYLOAD_MISMATCH")
	close(goOn)
	if w := within(t, first); w.Code != http.StatusOK || w.Header().Get("Idempotency-Replayed") != "false" {
		t.Errorf("the first got %d %v", w.Code, w.Header())
	}
	if n := c.ran.Load(); n != 1 {
		t.Errorf("the handler ran %d times, want 1", n)
	}
}

// Section 2.6: a retry of a request that was processed gets its result, success or error.
func TestRetryGetsTheResult(t *testing.T) {
	for _, status := range []int{200, 201, 202, 204, 301, 400, 401, 403, 404, 409, 422, 429} {
		c := &counted{do: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }}
		h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c)
		for _, replayed := range []string{"false", "true"} {
			w := serve(h, post("k", "{}"))
			if w.Code != status || w.Header().Get("Idempotency-Replayed") != replayed {
				t.Errorf("%d: got %d %v, want replayed %s", status, w.Code, w.Header(), replayed)
			}
		}
		if n := c.ran.Load(); n != 1 {
			t.Errorf("%d: the handler ran %d times, want 1", status, n)
		}
	}
}

// What the draft leaves open: an error that may hide a success. The first caller gets it; nothing runs again, and the answer can be
// told from the one to a request that is still running.
func TestOutcomeUnknown(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504, 408, 499} {
		c := &counted{do: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			http.Error(w, "sorry", status)
		}}
		h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c)
		w := serve(h, post("k", "{}"))
		if w.Code != status || w.Body.String() != "sorry\n" || w.Header().Get("Retry-After") != "7" || w.Header().Get("Idempotency-Executed") != "unknown" {
			t.Errorf("%d: the first got %d %v %s", status, w.Code, w.Header(), w.Body)
		}
		w = serve(h, post("k", "{}"))
		isProblem(t, w, http.StatusConflict, "OUTCOME_UNKNOWN")
		if _, has := w.Header()["Retry-After"]; has {
			t.Errorf("%d: the second has Retry-After", status)
		}
		if n := c.ran.Load(); n != 1 {
			t.Errorf("%d: the handler ran %d times, want 1", status, n)
		}
	}
	if atmosthttp.ProblemType(atmosthttp.Processing) == atmosthttp.ProblemType(atmost.CodeOutcomeUnknown) {
		t.Error("both have one type")
	}
}

// A 409 that tells when to ask again is not the request's result.
func TestAConflictThatPasses(t *testing.T) {
	c := &counted{do: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusConflict)
	}}
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c)
	if w := serve(h, post("k", "{}")); w.Code != http.StatusConflict || w.Header().Get("Retry-After") != "1" || w.Header().Get("Idempotency-Executed") != "unknown" {
		t.Errorf("the first got %d %v", w.Code, w.Header())
	}
	isProblem(t, serve(h, post("k", "{}")), http.StatusConflict, "OUTCOME_UNKNOWN")
}

// Section 2.5: how long a key is kept is the service's to say; after that it is new, and before it a result may be gone.
func TestExpiry(t *testing.T) {
	clock := newClock()
	e := engineAt(t, clock)
	c := counting()
	h := wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{}, c)
	serve(h, post("k", "{}"))
	clock.add(atmost.DefaultResultRetention)
	isProblem(t, serve(h, post("k", "{}")), http.StatusGone, "RESULT_NOT_KEPT")
	clock.add(atmost.DefaultKeyRetention)
	if w := serve(h, post("k", "{}")); w.Code != http.StatusCreated || c.ran.Load() != 2 {
		t.Errorf("got %d after %d runs", w.Code, c.ran.Load())
	}
}
