package atmosthttp_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
)

// server is the other end of a Transport: it has one answer after the other, and keeps what it was sent.
type server struct {
	answers []any // errors and functions that make an answer
	keys    []string
	bodies  []string
	at      []time.Time
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		b, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		body = string(b)
	}
	s.keys, s.bodies, s.at = append(s.keys, r.Header.Get("Idempotency-Key")), append(s.bodies, body), append(s.at, time.Now())
	answer := s.answers[min(len(s.keys), len(s.answers))-1]
	if err, ok := answer.(error); ok {
		return nil, err
	}
	return answer.(func() *http.Response)(), nil
}

// status answers with a status and headers.
func status(code int, headers ...string) func() *http.Response {
	return func() *http.Response {
		h := http.Header{}
		for i := 0; i < len(headers); i += 2 {
			h.Set(headers[i], headers[i+1])
		}
		return &http.Response{StatusCode: code, Header: h, Body: http.NoBody}
	}
}

func request(ctx context.Context, method, url, body string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	return r
}

var errLost = errors.New("the connection was lost")

func TestTransport(t *testing.T) {
	const listed, other = "https://api.example.com/v1", "https://other.example.com/v1"
	unreadable := func(ctx context.Context) *http.Request {
		r := request(ctx, "POST", listed, "body")
		r.GetBody = nil
		return r
	}
	for name, tc := range map[string]struct {
		request func(context.Context) *http.Request // default: a POST to a listed origin
		answers []any
		tries   int
		status  int           // 0: an error
		took    time.Duration // -1: some
	}{
		"answered":             {answers: []any{status(201)}, tries: 1, status: 201},
		"a lost answer":        {answers: []any{errLost, errLost, status(201)}, tries: 3, status: 201, took: -1},
		"lost for good":        {answers: []any{errLost}, tries: 8, took: -1},
		"still running":        {answers: []any{status(409, "Retry-After", "3"), status(201)}, tries: 2, status: 201, took: 3 * time.Second},
		"unknown":              {answers: []any{status(409)}, tries: 1, status: 409},
		"unknown, told so":     {answers: []any{status(409, "Idempotency-Retry", "poll")}, tries: 1, status: 409},
		"being probed":         {answers: []any{status(409, "Idempotency-Retry", "poll", "Retry-After", "5"), status(200)}, tries: 2, status: 200, took: 5 * time.Second},
		"final":                {answers: []any{status(503, "Idempotency-Retry", "no", "Retry-After", "1")}, tries: 1, status: 503},
		"not executed":         {answers: []any{status(401, "Idempotency-Retry", "same-key"), status(200)}, tries: 2, status: 200, took: -1},
		"busy":                 {answers: []any{status(503, "Retry-After", "7"), status(429, "Retry-After", "2"), status(200)}, tries: 3, status: 200, took: 9 * time.Second},
		"an error":             {answers: []any{status(500)}, tries: 1, status: 500},
		"longer than there is": {answers: []any{status(503, "Retry-After", "3600")}, tries: 1, status: 503},
		"a date":               {answers: []any{status(503, "Retry-After", "Sat, 01 Jan 2000 00:00:09 GMT"), status(200)}, tries: 2, status: 200, took: 9 * time.Second},
		"another origin":       {request: func(ctx context.Context) *http.Request { return request(ctx, "POST", other, "body") }, answers: []any{errLost}, tries: 1},
		"another port": {request: func(ctx context.Context) *http.Request {
			return request(ctx, "POST", "https://api.example.com:8443/", "body")
		}, answers: []any{errLost}, tries: 1},
		"a safe method":          {request: func(ctx context.Context) *http.Request { return request(ctx, "GET", listed, "body") }, answers: []any{errLost}, tries: 1},
		"a body that is used up": {request: unreadable, answers: []any{errLost}, tries: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{answers: tc.answers}
				transport, err := atmosthttp.NewTransport(atmosthttp.TransportOptions{Origins: []string{"https://api.example.com"}, Base: s})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
				defer cancel()
				if tc.request == nil {
					tc.request = func(ctx context.Context) *http.Request {
						return request(ctx, "POST", "https://api.example.com:443/v1", "body")
					}
				}
				r := tc.request(ctx)
				began := time.Now()
				resp, err := transport.RoundTrip(r)
				if err == nil {
					_ = resp.Body.Close()
				}
				if (err == nil) != (tc.status != 0) || err == nil && resp.StatusCode != tc.status || len(s.keys) != tc.tries {
					t.Errorf("got %v, %v after %d tries", resp, err, len(s.keys))
				}
				if took := time.Since(began); tc.took >= 0 && (took < tc.took || took > tc.took+time.Duration(tc.tries)*time.Second/2) || tc.took < 0 && (took == 0 || took > time.Minute) {
					t.Errorf("it took %v", took)
				}
				keyed := r.Method == "POST" && r.URL.Host != "other.example.com" && r.URL.Port() != "8443"
				if keys := slices.Compact(s.keys); len(keys) != 1 || (len(keys[0]) == 32) != keyed {
					t.Errorf("the keys were %q", keys)
				}
				if bodies := slices.Compact(s.bodies); len(bodies) != 1 || bodies[0] != "body" {
					t.Errorf("the bodies were %q", bodies)
				}
				if r.Header.Get("Idempotency-Key") != "" {
					t.Error("the caller's request was modified")
				}
			})
		})
	}
}

func TestTransportKeepsTheCallersKey(t *testing.T) {
	s := &server{answers: []any{status(200)}}
	transport, err := atmosthttp.NewTransport(atmosthttp.TransportOptions{Origins: []string{"http://x"}, Base: s})
	if err != nil {
		t.Fatal(err)
	}
	r := request(t.Context(), "POST", "http://x/", "body")
	r.Header.Set("Idempotency-Key", "mine")
	if _, err := transport.RoundTrip(r); err != nil || s.keys[0] != "mine" { //nolint:bodyclose // there is none
		t.Errorf("sent %q, %v", s.keys, err)
	}
}

// A context that ends while it waits ends the call.
func TestTransportIsBoundedByTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answers: []any{status(503, "Retry-After", "60")}}
		transport, err := atmosthttp.NewTransport(atmosthttp.TransportOptions{Origins: []string{"http://x"}, Base: s})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(90*time.Second, cancel)
		began := time.Now()
		_, err = transport.RoundTrip(request(ctx, "POST", "http://x/", "")) //nolint:bodyclose // there is none
		if !errors.Is(err, context.Canceled) || time.Since(began) != 90*time.Second || len(s.keys) != 2 {
			t.Errorf("got %v after %v and %d tries", err, time.Since(began), len(s.keys))
		}
	})
}

func TestTransportOptions(t *testing.T) {
	for _, origin := range []string{"", "api.example.com", "https://", "ftp://x", "https://x/", "https://u@x", "https://x?a", ":"} {
		if _, err := atmosthttp.NewTransport(atmosthttp.TransportOptions{Origins: []string{origin}}); err == nil {
			t.Errorf("%q is an origin", origin)
		}
	}
	if _, err := atmosthttp.NewTransport(atmosthttp.TransportOptions{MaxTries: -1}); err == nil {
		t.Error("MaxTries can be negative")
	}
}

// With both ends of this package: the answer is lost after the effect, and the retry gets it. There is one effect.
func TestTransportAgainstTheMiddleware(t *testing.T) {
	c := counting()
	h := wrap(t, newEngine(t, atmost.Operation{}), atmosthttp.NoScope, atmosthttp.Options{}, c)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.ran.Load() == 0 {
			serve(h, r)
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(w, r)
	}))
	defer srv.Close()
	transport, err := atmosthttp.NewTransport(atmosthttp.TransportOptions{Origins: []string{srv.URL}, Base: srv.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Post(srv.URL, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if string(body) != "{\"got\":\"{}\",\"run\":1}\n" || resp.Header.Get("Idempotency-Replayed") != "true" || c.ran.Load() != 1 {
		t.Errorf("got %s %v after %d runs", body, resp.Header, c.ran.Load())
	}
}

// countedBody counts how many bodies are open.
type countedBody struct {
	io.Reader
	open *int
}

func (c countedBody) Close() error {
	*c.open--
	return nil
}

// Whatever ends a call, no body is left open.
func TestTransportClosesBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answers: []any{status(503, "Retry-After", "60")}}
		transport, err := atmosthttp.NewTransport(atmosthttp.TransportOptions{Origins: []string{"http://x"}, Base: s})
		if err != nil {
			t.Fatal(err)
		}
		open := 0
		body := func() (io.ReadCloser, error) {
			open++
			return countedBody{strings.NewReader("body"), &open}, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(90*time.Second, cancel)
		r := request(ctx, "POST", "http://x/", "")
		r.Body, _ = body()
		r.GetBody = body
		if _, err = transport.RoundTrip(r); !errors.Is(err, context.Canceled) || open != 0 { //nolint:bodyclose // there is none
			t.Errorf("%v, and %d bodies are open", err, open)
		}
	})
}
