package atmosthttp_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
)

func quiet(t *testing.T) {
	log.SetOutput(io.Discard)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
}

// An answer that is passed on before it is durable is not complete before that, though the handler told its length: it can be broken
// off.
func TestWhatIsPassedOnHasNoLength(t *testing.T) {
	quiet(t)
	for name, answer := range map[string]http.HandlerFunc{
		"flushed": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3")
			_, _ = io.WriteString(w, "one")
			w.(http.Flusher).Flush()
		},
		"over the limit": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000000")
			_, _ = io.WriteString(w, strings.Repeat("x", 1000000))
		},
		"without a body": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
			w.(http.Flusher).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			lost := error(&atmost.Error{Code: atmost.CodeLeaseLost})
			e := &faulty{Claimer: newEngine(t, atmost.Operation{}), report: func([]byte) error { return lost }}
			srv := httptest.NewServer(wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{MaxResult: 100}, answer))
			defer srv.Close()
			if name == "without a body" { // which cannot be broken off, so it is not passed on
				if resp, _ := send(t, srv, "k"); resp.StatusCode != http.StatusConflict {
					t.Errorf("got %d", resp.StatusCode)
				}
				return
			}
			if body, err := begin(t, srv, "k"); err == nil {
				t.Errorf("it came to its end: %d bytes", len(body))
			}
		})
	}
}

// An answer that is not as long as the handler said breaks off, as without the middleware, and is not replayed as if it were whole.
func TestAnAnswerOfAnotherLength(t *testing.T) {
	quiet(t)
	for name, tc := range map[string]struct {
		body  string
		flush bool
		err   error
	}{
		"shorter": {"one", false, nil}, "shorter, and flushed": {"one", true, nil}, "longer": {"one, two", false, http.ErrContentLength},
	} {
		t.Run(name, func(t *testing.T) {
			c := &counted{do: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "5")
				if _, err := io.WriteString(w, tc.body); !errors.Is(err, tc.err) {
					t.Errorf("the handler was told %v", err)
				}
				if tc.flush {
					w.(http.Flusher).Flush()
				}
			}}
			srv := httptest.NewServer(wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c))
			defer srv.Close()
			if body, err := begin(t, srv, "k"); err == nil {
				t.Errorf("it came to its end: %s", body)
			}
			r := post("k", "")
			r.Header.Del("Content-Type")
			r.RequestURI, r.URL.Path, r.URL.RawQuery = "/", "/", ""
			isProblem(t, serve(srv.Config.Handler, r), http.StatusConflict, "OUTCOME_UNKNOWN")
			if n := c.ran.Load(); n != 1 {
				t.Errorf("the handler ran %d times, want 1", n)
			}
		})
	}
}

// A length that is none counts as not said, as net/http has it.
func TestALengthThatIsNone(t *testing.T) {
	c := &counted{do: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "-1")
		_, _ = io.WriteString(w, "one")
	}}
	srv := httptest.NewServer(wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c))
	defer srv.Close()
	for range 2 {
		if resp, body := send(t, srv, "k"); string(body) != "one" || resp.ContentLength != 3 {
			t.Errorf("got %s, of %d bytes", body, resp.ContentLength)
		}
	}
}

// What is flushed before the first byte goes without a type, as net/http has it, and so does its replay.
func TestFlushBeforeTheFirstByte(t *testing.T) {
	c := &counted{do: func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "<html>")
	}}
	srv := httptest.NewServer(wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c))
	defer srv.Close()
	for range 2 {
		resp, body := send(t, srv, "k")
		if _, has := resp.Header["Content-Type"]; has || string(body) != "<html>" {
			t.Errorf("got %s, %v", body, resp.Header)
		}
	}
}

// A status that is none panics in the handler's own call, so before anything is stored.
func TestInvalidStatus(t *testing.T) {
	for _, status := range []int{-1, 0, 42, 1000} {
		h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			defer func() {
				if recover() == nil {
					t.Errorf("%d is a status", status)
				}
				w.WriteHeader(http.StatusTeapot)
			}()
			w.WriteHeader(status)
		}))
		if w := serve(h, post("k", "{}")); w.Code != http.StatusTeapot {
			t.Errorf("got %d", w.Code)
		}
	}
}

// Deadlines reach the connection: a handler that streams to a client that does not read is not held up for good.
func TestDeadlines(t *testing.T) {
	quiet(t)
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c := http.NewResponseController(w)
		if err := errors.Join(c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Unix(1, 0))); err != nil {
			t.Error(err)
		}
		if _, _, err := c.Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("it can be hijacked: %v", err)
		}
	}))
	srv := httptest.NewServer(h)
	defer srv.Close()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, http.NoBody)
	r.Header.Set("Idempotency-Key", "k")
	r.GetBody = nil
	if resp, err := srv.Client().Do(r); err == nil {
		resp.Body.Close()
		t.Errorf("it was answered with %d after the deadline", resp.StatusCode)
	}
}
