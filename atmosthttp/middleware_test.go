package atmosthttp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
)

func TestOptions(t *testing.T) {
	e := newEngine(t, atmost.Operation{})
	for want, make := range map[string]func() error{
		"nobody to hold the keys": func() error {
			_, err := atmosthttp.New(nil, atmosthttp.NoScope, atmosthttp.Options{})
			return err
		},
		"there is no Scope": func() error { _, err := atmosthttp.New(e, nil, atmosthttp.Options{}); return err },
		"an option is negative": func() error {
			_, err := atmosthttp.New(e, atmosthttp.NoScope, atmosthttp.Options{Timeout: -1})
			return err
		},
		`methods: "GET" is none of`: func() error {
			_, err := atmosthttp.New(e, atmosthttp.NoScope, atmosthttp.Options{Methods: []string{"GET"}})
			return err
		},
		"not_executed_status: 500 never proves": func() error {
			_, err := atmosthttp.New(e, atmosthttp.NoScope, atmosthttp.Options{NotExecutedStatus: []int{500}})
			return err
		},
		"headers: set-cookie is never replayed": func() error {
			_, err := atmosthttp.New(e, atmosthttp.NoScope, atmosthttp.Options{Headers: []string{"X-Total", "set-cookie"}})
			return err
		},
	} {
		if err := make(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestHeadersThatAreNeverReplayed(t *testing.T) {
	for _, name := range []string{
		"Set-Cookie", "Set-Cookie2", "Retry-After", "Authorization", "Proxy-Authorization", "WWW-Authenticate", "Authentication-Info",
		"X-Auth-Token", "X-Api-Key", "X-CSRF-Token", "Session-Id", "Date", "Content-Length", "Transfer-Encoding", "Connection",
		"Idempotency-Replayed", "Request-Id", "",
	} {
		if _, err := atmosthttp.NewReplayed(name); err == nil {
			t.Errorf("%q can be replayed", name)
		}
	}
}

// A replay has the status, the listed headers and the body, byte for byte, and nothing else.
func TestReplayIsTheSame(t *testing.T) {
	for name, body := range map[string][]byte{
		"none": nil, "text": []byte("a\u2028\"\\\x00é\r\n"), "bytes": {0xff, 0xfe, 0, 1}, "JSON": []byte(`{"n":9007199254740993, "f":1.10}`),
		"no type, on purpose": []byte("<html>"), "HTML by its looks": []byte("<html><script>&</script>"),
	} {
		t.Run(name, func(t *testing.T) {
			c := &counted{do: func(w http.ResponseWriter, _ *http.Request) {
				h := w.Header()
				if name == "JSON" {
					h.Set("Content-Type", "application/vnd.x+json; charset=utf-8")
				}
				if name == "no type, on purpose" {
					h["Content-Type"] = nil
				}
				h.Set("Location", "/charges/1")
				h.Add("Link", `</a>; rel="a"`)
				h.Add("Link", `</b>; rel="b"`)
				h.Set("ETag", `"1"`)
				h.Set("Content-Language", "de")
				h.Set("Content-Encoding", "")
				h.Set("X-Total", "12")
				h.Set("X-Other", "13")
				h.Set("Set-Cookie", "session=secret")
				h.Set("Retry-After", "9")
				h.Set("WWW-Authenticate", "Basic")
				w.WriteHeader(http.StatusAccepted)
				h.Set("ETag", "too late")
				if len(body) > 0 {
					_, _ = w.Write(body[:1])
					_, _ = w.Write(body[1:])
				}
			}}
			h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{Headers: []string{"x-total"}}, c)
			srv := httptest.NewServer(h)
			defer srv.Close()
			var answers []*http.Response
			for range 3 {
				resp, got := send(t, srv, "k")
				if !bytes.Equal(got, body) || resp.StatusCode != http.StatusAccepted {
					t.Errorf("got %d %q, want 202 %q", resp.StatusCode, got, body)
				}
				answers = append(answers, resp)
			}
			first := answers[0].Header.Clone()
			if first.Get("Set-Cookie") != "session=secret" || first.Get("Retry-After") != "9" || first.Get("ETag") != `"1"` {
				t.Errorf("the first caller's headers are %v", first)
			}
			for _, gone := range []string{"X-Other", "Set-Cookie", "Retry-After", "Www-Authenticate", "Date", "Request-Id"} {
				first.Del(gone)
			}
			first.Set("Idempotency-Replayed", "true")
			for _, again := range answers[1:] {
				again.Header.Del("Date")
				again.Header.Del("Request-Id")
				if diff := cmp.Diff(first, again.Header); diff != "" {
					t.Error(diff)
				}
			}
			if n := c.ran.Load(); n != 1 {
				t.Errorf("the handler ran %d times, want 1", n)
			}
		})
	}
}

// send posts to a server with a key, and reads the answer.
func send(t testing.TB, srv *httptest.Server, key string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Idempotency-Key", key)
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func TestTwoCallersAtOnce(t *testing.T) {
	const callers = 32
	c := counting()
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c)
	var (
		running sync.WaitGroup
		bodies  = make(chan string, callers)
	)
	for range callers {
		running.Go(func() {
			w := serve(h, post("k", "{}"))
			switch w.Code {
			case http.StatusCreated:
				bodies <- w.Body.String()
			case http.StatusConflict:
			default:
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
	}
	running.Wait()
	close(bodies)
	for body := range bodies {
		if want := "{\"got\":\"{}\",\"run\":1}\n"; body != want {
			t.Errorf("got %s, want %s", body, want)
		}
	}
	if n := c.ran.Load(); n != 1 {
		t.Errorf("the handler ran %d times, want 1", n)
	}
}

func TestOtherMethodsAreUntouched(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"} {
		var seen http.ResponseWriter
		c := &counted{do: func(w http.ResponseWriter, _ *http.Request) { seen = w }}
		h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{RequireKey: true}, c)
		for range 2 {
			r := httptest.NewRequest(method, "/", nil)
			r.Header.Set("Idempotency-Key", "k")
			w := serve(h, r)
			if len(w.Header()) > 0 || seen != http.ResponseWriter(w) {
				t.Errorf("%s: got %v by %T", method, w.Header(), seen)
			}
		}
		if n := c.ran.Load(); n != 2 {
			t.Errorf("%s: the handler ran %d times, want 2", method, n)
		}
	}
}

// What comes next may take a method in lower case for the one in upper case, so it must not get around the key.
func TestMethodsInLowerCase(t *testing.T) {
	c := counting()
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c)
	for _, key := range []string{"k", ""} {
		r := post(key, "{}")
		r.Method = "Post"
		isProblem(t, serve(h, r), http.StatusBadRequest, "INVALID_REQUEST")
	}
	if n := c.ran.Load(); n != 0 {
		t.Errorf("the handler ran %d times", n)
	}
}

// Applied twice, the middleware does its work once: the inner one's key is held already, by the outer one.
func TestTwice(t *testing.T) {
	c := counting()
	e := newEngine(t, atmost.Operation{})
	h := wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{}, wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{Operation: "inner"}, c))
	for _, replayed := range []string{"false", "true"} {
		w := serve(h, post("k", "{}"))
		if w.Code != http.StatusCreated || w.Body.String() != "{\"got\":\"{}\",\"run\":1}\n" || w.Header().Get("Idempotency-Replayed") != replayed {
			t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
		}
	}

	// Another request that a handler makes, to a handler in the process, has a key of its own to hold.
	inner := wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{}, c)
	h = wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 2 {
			inner.ServeHTTP(httptest.NewRecorder(), post("of-its-own", "{}").WithContext(r.Context()))
		}
	}))
	if w := serve(h, post("another", "{}")); w.Code != http.StatusOK || c.ran.Load() != 2 {
		t.Errorf("got %d after %d runs", w.Code, c.ran.Load())
	}
}

func TestScopes(t *testing.T) {
	c := counting()
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.HeaderScope("x-tenant"), atmosthttp.Options{}, c)
	for _, tenant := range []string{"a", "b", "a", "b"} {
		r := post("k", "{}")
		r.Header.Set("X-Tenant", tenant)
		if w := serve(h, r); w.Code != http.StatusCreated {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	}
	if n := c.ran.Load(); n != 2 {
		t.Errorf("the handler ran %d times, want once for each tenant", n)
	}
	for _, tenants := range [][]string{nil, {""}, {"a", "b"}, {"a b"}, {"a,b"}, {strings.Repeat("t", 256)}} {
		r := post("k", "{}")
		r.Header["X-Tenant"] = tenants
		isProblem(t, serve(h, r), http.StatusBadRequest, "INVALID_REQUEST")
	}
	if w := serve(h, post("", "{}")); w.Code != http.StatusCreated {
		t.Errorf("a request that has no key needs no scope, but got %d", w.Code)
	}
	var told error
	failing := func(*http.Request) (string, error) { return "", errors.New("a secret") }
	h = wrap(t, newEngine(t, atmost.Operation{}), failing, atmosthttp.Options{OnError: func(_ *http.Request, err error) { told = err }}, c)
	if w := serve(h, post("k", "{}")); w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), "secret") || told == nil {
		t.Errorf("got %d %s, and told %v", w.Code, w.Body, told)
	}
}

func TestStatusesThatSayThatNothingHappened(t *testing.T) {
	c := &counted{}
	c.do = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader([]int{0, 401, 429, 501}[c.ran.Load()]) }
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{NotExecutedStatus: []int{401, 429}, FinalStatus: []int{501}}, c)
	for i, want := range []int{401, 429, 501, 501} {
		w := serve(h, post("k", "{}"))
		if w.Code != want || w.Header().Get("Idempotency-Replayed") != []string{"false", "false", "false", "true"}[i] {
			t.Errorf("%d: got %d %v", i, w.Code, w.Header())
		}
	}
	if n := c.ran.Load(); n != 3 {
		t.Errorf("the handler ran %d times, want 3", n)
	}
}

func TestLargeBodies(t *testing.T) {
	c := counting()
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{MaxBody: 10, MaxResult: 1 << 10}, c)
	isProblem(t, serve(h, post("k", `"012345678"`)), http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
	unsized := post("k", "")
	unsized.Body, unsized.ContentLength = io.NopCloser(strings.NewReader(`"012345678"`)), -1
	isProblem(t, serve(h, unsized), http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
	if n := c.ran.Load(); n != 0 {
		t.Errorf("the handler ran %d times, want 0", n)
	}
	if w := serve(h, post("", `"012345678"`)); w.Code != http.StatusCreated {
		t.Errorf("without a key it is %d", w.Code)
	}
	if w := serve(h, post("k", `"01234567"`)); w.Code != http.StatusCreated {
		t.Errorf("within the limit it is %d", w.Code)
	}
}

// A response that is too large to keep reaches the first caller whole. Then the key is answered, and nothing runs.
func TestLargeResponses(t *testing.T) {
	for size, status := range map[int]int{1024: http.StatusOK, 1025: http.StatusGone} {
		c := &counted{do: func(w http.ResponseWriter, _ *http.Request) {
			for range size {
				_, _ = w.Write([]byte("x"))
			}
		}}
		h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{MaxResult: 1024}, c)
		if w := serve(h, post("k", "{}")); w.Code != http.StatusOK || w.Body.Len() != size || w.Header().Get("Idempotency-Replayed") != "false" {
			t.Errorf("the first got %d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
		}
		for range 2 {
			w := serve(h, post("k", "{}"))
			if w.Code != status {
				t.Errorf("then %d %s", w.Code, w.Body)
			}
			if status == http.StatusGone {
				isProblem(t, w, status, "RESULT_NOT_KEPT")
				h := w.Header()
				if h.Get("Idempotency-Executed") != "yes" || h.Get("Idempotency-Retry") != "no" || h.Get("Idempotency-Attempt") != "1" ||
					h.Get("Idempotency-Replayed") != "true" || h.Get("Idempotency-Expires") == "" {
					t.Errorf("its headers are %v", h)
				}
			}
		}
		if n := c.ran.Load(); n != 1 {
			t.Errorf("the handler ran %d times, want 1", n)
		}
	}
}

// A service elsewhere may take less than the middleware would keep.
func TestAResultThatIsRefusedForItsSize(t *testing.T) {
	e := &faulty{Claimer: newEngine(t, atmost.Operation{}), report: func(result []byte) error {
		if len(result) > 200 {
			return &atmost.Error{Code: atmost.CodePayloadTooLarge}
		}
		return nil
	}}
	c := &counted{do: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 200)) }}
	h := wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{}, c)
	if w := serve(h, post("k", "{}")); w.Code != http.StatusOK || w.Body.Len() != 200 {
		t.Errorf("the first got %d %s", w.Code, w.Body)
	}
	isProblem(t, serve(h, post("k", "{}")), http.StatusGone, "RESULT_NOT_KEPT")
}

// What a handler flushes reaches the client while the handler runs, and is replayed as a whole.
func TestFlush(t *testing.T) {
	goOn := make(chan struct{})
	c := &counted{do: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "one\n")
		w.(http.Flusher).Flush()
		<-goOn
		w.Header().Set("ETag", "too late")
		_, _ = io.WriteString(w, "two\n")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Sum", "2")
	}}
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c)
	srv := httptest.NewServer(h)
	defer srv.Close()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, strings.NewReader("{}"))
	r.Header.Set("Idempotency-Key", "k")
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := bufio.NewReader(resp.Body)
	if line, err := body.ReadString('\n'); line != "one\n" || err != nil {
		t.Fatalf("got %q, %v", line, err)
	}
	again, _ := send(t, srv, "k")
	if again.StatusCode != http.StatusConflict {
		t.Errorf("meanwhile another got %d", again.StatusCode)
	}
	close(goOn)
	if rest, err := io.ReadAll(body); string(rest) != "two\n" || err != nil || resp.Trailer.Get("X-Sum") != "2" {
		t.Errorf("then %q, %v, %v", rest, err, resp.Trailer)
	}
	again, whole := send(t, srv, "k")
	if string(whole) != "one\ntwo\n" || again.Header.Get("Content-Type") != "text/event-stream" || again.Header.Get("ETag") != "" {
		t.Errorf("the replay is %q %v", whole, again.Header)
	}
	if n := c.ran.Load(); n != 1 {
		t.Errorf("the handler ran %d times, want 1", n)
	}
}

// After a panic, which goes on as if there were no middleware, nobody knows what the handler did.
func TestPanic(t *testing.T) {
	c := &counted{do: func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		panic("a bug")
	}}
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c)
	func() {
		defer func() {
			if p := recover(); p != "a bug" {
				t.Errorf("it panicked with %v", p)
			}
		}()
		serve(h, post("k", "{}"))
	}()
	isProblem(t, serve(h, post("k", "{}")), http.StatusConflict, "OUTCOME_UNKNOWN")
	if n := c.ran.Load(); n != 1 {
		t.Errorf("the handler ran %d times, want 1", n)
	}
}

// A client that hangs up ends nothing: the handler's context lives, it can write, and its answer is there for the next request.
func TestHangUp(t *testing.T) {
	started, gone := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	c := &counted{do: func(w http.ResponseWriter, r *http.Request) {
		close(started)
		<-gone
		_, err := io.WriteString(w, "done")
		ended <- errors.Join(err, r.Context().Err())
	}}
	middleware := wrap(t, newEngine(t, atmost.Operation{DuplicateWait: 10 * time.Second}), atmosthttp.NoScope, atmosthttp.Options{}, c)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.ran.Load() == 0 {
			context.AfterFunc(r.Context(), func() { close(gone) })
		}
		middleware.ServeHTTP(w, r)
	}))
	defer srv.Close()
	ctx, hangUp := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, strings.NewReader("{}"))
	r.Header.Set("Idempotency-Key", "k")
	answered := make(chan error)
	go func() {
		resp, err := srv.Client().Do(r)
		if err == nil {
			_ = resp.Body.Close()
		}
		answered <- err
	}()
	within(t, started)
	hangUp()
	if err := within(t, answered); err == nil {
		t.Error("the client did not hang up")
	}
	if err := within(t, ended); err != nil {
		t.Errorf("the handler noticed: %v", err)
	}
	resp, body := send(t, srv, "k")
	if string(body) != "done" || resp.Header.Get("Idempotency-Replayed") != "true" || c.ran.Load() != 1 {
		t.Errorf("got %d %q %v after %d runs", resp.StatusCode, body, resp.Header, c.ran.Load())
	}
}

// The handler's context ends after the time-out, though its lease is renewed all the while.
func TestTimeoutAndRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineAt(t, newBubble())
		var took time.Duration
		c := &counted{do: func(w http.ResponseWriter, r *http.Request) {
			began := time.Now()
			<-r.Context().Done()
			took = time.Since(began)
			w.WriteHeader(http.StatusOK) // it had its effect after all
		}}
		h := wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{Timeout: 10 * time.Minute}, c)
		if w := serve(h, post("k", "{}")); w.Code != http.StatusOK || took != 10*time.Minute {
			t.Errorf("got %d after %v", w.Code, took)
		}
		if w := serve(h, post("k", "{}")); w.Code != http.StatusOK || c.ran.Load() != 1 {
			t.Errorf("got %d %s after %d runs", w.Code, w.Body, c.ran.Load())
		}
	})
}

// A handler that does not heed the end of its context keeps its lease all the same: nobody else runs meanwhile.
func TestALateHandlerKeepsItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counted{}
		h := wrap(t, engineWith(t, atmost.Operation{OnUnknown: atmost.RetryUnknown}, newBubble()), atmosthttp.NoScope, atmosthttp.Options{Timeout: time.Second}, c)
		c.do = func(w http.ResponseWriter, r *http.Request) {
			if c.ran.Load() > 1 {
				return
			}
			time.Sleep(10 * time.Minute)
			if r.Context().Err() == nil {
				t.Error("its context goes on")
			}
			isProblem(t, serve(h, post("k", "{}")), http.StatusConflict, atmosthttp.Processing)
			_, _ = io.WriteString(w, "late")
		}
		for range 2 {
			if w := serve(h, post("k", "{}")); w.Code != http.StatusOK || w.Body.String() != "late" || c.ran.Load() != 1 {
				t.Errorf("got %d %s after %d runs", w.Code, w.Body, c.ran.Load())
			}
		}
	})
}

// A lease that cannot be renewed ends, and with it the handler's context. What the handler answers then is a late report.
func TestLostLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := &atmost.Error{Code: atmost.CodeStoreUnavailable}
		e := &faulty{Claimer: engineAt(t, newBubble()), renew: func() error { return down }}
		c := &counted{}
		h := wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{Timeout: time.Hour}, c)
		c.do = func(w http.ResponseWriter, r *http.Request) {
			began := time.Now()
			<-r.Context().Done()
			if took := time.Since(began); took < 29*time.Second || took > 32*time.Second {
				t.Errorf("it took %v", took)
			}
			time.Sleep(3 * time.Second)
			isProblem(t, serve(h, post("k", "{}")), http.StatusConflict, "OUTCOME_UNKNOWN")
			_, _ = io.WriteString(w, "late")
		}
		for range 2 {
			if w := serve(h, post("k", "{}")); w.Code != http.StatusOK || w.Body.String() != "late" {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		}
		if n := c.ran.Load(); n != 1 {
			t.Errorf("the handler ran %d times, want 1", n)
		}
	})
}

// An answer is not given before it is durable: when the store is away for long, the caller is told that the outcome is unknown.
func TestAnswersAreDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := error(&atmost.Error{Code: atmost.CodeStoreUnavailable, Err: errors.New("no disk")})
		e := &faulty{Claimer: engineAt(t, newBubble()), report: func([]byte) error { return down }}
		c := counting()
		var told error
		var id string
		h := wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{OnError: func(r *http.Request, err error) {
			told, id = err, atmosthttp.RequestID(r.Context())
		}}, c)
		w := serve(h, post("k", "{}"))
		isProblem(t, w, http.StatusConflict, "OUTCOME_UNKNOWN")
		if w.Header().Get("Idempotency-Executed") != "unknown" || told == nil || id != w.Header().Get("Request-Id") {
			t.Errorf("its headers are %v, and told was %v of %s", w.Header(), told, id)
		}
		isProblem(t, serve(h, post("k", "{}")), http.StatusConflict, atmosthttp.Processing)

		// Away for a while, it is asked again.
		back := time.Now().Add(5 * time.Second)
		e.report = func([]byte) error {
			if time.Now().Before(back) {
				return down
			}
			return nil
		}
		for _, replayed := range []string{"false", "true"} {
			if w := serve(h, post("k2", "{}")); w.Code != http.StatusCreated || w.Header().Get("Idempotency-Replayed") != replayed {
				t.Errorf("got %d %v", w.Code, w.Header())
			}
		}
	})
}

// An engine that was closed will not take a report however often it is repeated, so the caller is told at once.
func TestNobodyWaitsForAnEngineThatWasClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := engineAt(t, newBubble())
		c := &counted{do: func(http.ResponseWriter, *http.Request) { e.Close(context.Background()) }}
		began := time.Now()
		w := serve(wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{}, c), post("k", "{}"))
		isProblem(t, w, http.StatusConflict, "OUTCOME_UNKNOWN")
		if took := time.Since(began); took != 0 {
			t.Errorf("after %v", took)
		}
	})
}

// What was flushed cannot be taken back, so it is broken off.
func TestAFlushedAnswerThatIsNotDurableIsBrokenOff(t *testing.T) {
	log.SetOutput(io.Discard)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	e := &faulty{Claimer: newEngine(t, atmost.Operation{}), report: func([]byte) error { return &atmost.Error{Code: atmost.CodeLeaseLost} }}
	c := &counted{do: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "one")
		w.(http.Flusher).Flush()
	}}
	srv := httptest.NewServer(wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{}, c))
	defer srv.Close()
	if body, err := begin(t, srv, "k"); err == nil {
		t.Errorf("it came to its end: %s", body)
	}
}

// begin posts to a server with a key, and reads an answer that may break off.
func begin(t testing.TB, srv *httptest.Server, key string) ([]byte, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Idempotency-Key", key)
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// A handler sees the request as it was, but that the client could read a compressed answer: others, who cannot, may get it too.
func TestTheHandlersRequest(t *testing.T) {
	c := &counted{do: func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode([]any{r.Method, r.URL.String(), string(body), r.ContentLength, err, r.Header.Get("Idempotency-Key"), r.Header["Accept-Encoding"]})
	}}
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c)
	const want = `["POST","/charges?x=1"," { }",4,null,"k",null]` + "\n"
	r := post("k", " { }")
	r.Header.Set("Accept-Encoding", "gzip")
	if w := serve(h, r); w.Body.String() != want {
		t.Errorf("got %s, want %s", w.Body, want)
	}
}

// A result that is no response was settled by a probe or a person.
func TestResultsThatAreNoResponse(t *testing.T) {
	e := newEngine(t, atmost.Operation{})
	h := wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{}, counting())
	for key, result := range map[string]string{
		"a": `{"charge":1}`, "b": `null`, "c": `{"http":1,"status":7}`, "d": `{"http":1,"status":200,"header":{"X":"y"}}`,
	} {
		settle(t, e, key, result)
		if w := serve(h, post(key, "{}")); w.Code != http.StatusOK || w.Body.String() != result || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("got %d %s %v, want %s", w.Code, w.Body, w.Header(), result)
		}
	}
	settle(t, e, "e", `{"http":2,"status":200,"more":1}`)
	isProblem(t, serve(h, post("e", "{}")), http.StatusServiceUnavailable, "STORE_UNAVAILABLE")
}

// settle completes a request with key and no handler.
func settle(t testing.TB, e *atmost.Engine, key, result string) {
	t.Helper()
	rules := atmosthttp.Rules{Scope: atmosthttp.NoScope, MaxBody: 100}
	k, _, err := rules.Read(httptest.NewRecorder(), post(key, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	claimed, err := e.Claim(t.Context(), atmost.ClaimCall{
		Call: atmost.Call{ID: k.ID, Operation: atmosthttp.DefaultOperation, Payload: k.Payload}, Lease: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Complete(t.Context(), k.ID, claimed.Lease.Token, []byte(result)); err != nil {
		t.Fatal(err)
	}
}

// slow is a claimer whose answer to a claim comes late, however short the patience, as to a process that was stopped meanwhile.
type slow struct {
	atmost.Claimer
	by time.Duration
}

func (s *slow) Claim(ctx context.Context, call atmost.ClaimCall) (atmost.Claimed, error) {
	c, err := s.Claimer.Claim(ctx, call)
	<-time.After(s.by)
	return c, err
}

// A handler does not begin when its lease is over already, and nothing has happened then.
func TestTooLateToBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, c := &slow{engineAt(t, newBubble()), 40 * time.Second}, counting()
		h := wrap(t, e, atmosthttp.NoScope, atmosthttp.Options{}, c)
		w := serve(h, post("k", "{}"))
		isProblem(t, w, http.StatusServiceUnavailable, "EXECUTION_NOT_STARTED")
		if w.Header().Get("Idempotency-Executed") != "no" || c.ran.Load() != 0 {
			t.Errorf("%v, after %d runs", w.Header(), c.ran.Load())
		}
		e.by = 0
		if w := serve(h, post("k", "{}")); w.Code != http.StatusCreated || c.ran.Load() != 1 {
			t.Errorf("got %d %s after %d runs", w.Code, w.Body, c.ran.Load())
		}
	})
}
