package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
	"github.com/atmost-dev/atmost/gateway"
	"github.com/atmost-dev/atmost/store/storetest"
	"github.com/atmost-dev/atmost/upstream"
)

// The first caller gets the upstream's own answer, later ones the same status, listed headers and body; the upstream sees one request.
func TestReplay(t *testing.T) {
	a := &api{do: echo}
	srv := start(t, a, nil)
	first := send(t, srv, "POST", "/charges?a=%20;b", "body", "Idempotency-Key", "k", "Content-Type", "text/plain")
	if first.StatusCode != http.StatusCreated || first.body != "POST /charges?a=%20;b body" || first.Header.Get("Set-Cookie") == "" {
		t.Errorf("the first got %d %v %s", first.StatusCode, first.Header, first.body)
	}
	want := first.Header.Clone()
	want.Set("Idempotency-Replayed", "true")
	for range 2 {
		again := send(t, srv, "POST", "/charges?a=%20;b", "body", "Idempotency-Key", `"k"`, "Content-Type", "text/plain")
		want.Del("Set-Cookie")
		want.Set("Date", again.Header.Get("Date"))
		want.Set("Request-Id", again.Header.Get("Request-Id"))
		if diff := cmp.Diff(want, again.Header); diff != "" || again.StatusCode != first.StatusCode || again.body != first.body {
			t.Errorf("then %d %s %s", again.StatusCode, again.body, diff)
		}
	}
	send(t, srv, "POST", "/charges?a=%20;c", "body", "Idempotency-Key", "k", "Content-Type", "text/plain").isProblem(t, http.StatusUnprocessableEntity, "PAYLOAD_MISMATCH")
	if n := a.effects.Load(); n != 1 {
		t.Errorf("%d effects, want 1", n)
	}
}

// A body of JSON that is another is told where; the rest of a request is its caller's to compare.
func TestMismatchIsExplained(t *testing.T) {
	srv := start(t, &api{do: echo}, func(c *gateway.Config) { c.Routes = []gateway.Route{{Path: "/refunds"}} })
	ask := func(path, body, contentType string) answer {
		return send(t, srv, "POST", path, body, "Idempotency-Key", "k", "Content-Type", contentType)
	}
	const body = `{"amount":1250,"card":{"number":"4000-0000"}}`
	if first := ask("/charges", body, "application/json"); first.StatusCode != http.StatusCreated {
		t.Fatalf("the first got %d %s", first.StatusCode, first.body)
	}
	const status, code = http.StatusUnprocessableEntity, "PAYLOAD_MISMATCH"
	other := ask("/charges", `{"card":{"number":"4000-0001"}, "amount":1250}`, "application/json")
	other.isProblem(t, status, code, "/card/number")
	if strings.Contains(other.body, "4000") || strings.Contains(other.body, "http1") {
		t.Errorf("it tells %s", other.body)
	}
	ask("/charges", `{"amount":1250}`, "application/json").isProblem(t, status, code, "")
	ask("/charges", body, "text/plain").isProblem(t, status, code)
	ask("/charges", "amount=1250", "application/x-www-form-urlencoded").isProblem(t, status, code)
	ask("/charges?x=1", body, "application/json").isProblem(t, status, code)
	ask("/refunds", strings.Replace(body, "1250", "1251", 1), "application/json").isProblem(t, status, code, "/amount")
}

// What the upstream is sent of a request that is executed.
func TestTheUpstreamsRequest(t *testing.T) {
	sent := make(chan http.Header, 1)
	a := &api{do: func(_ http.ResponseWriter, r *http.Request) { sent <- r.Header }}
	srv := start(t, a, func(c *gateway.Config) { c.ScopeHeader = "X-Tenant" })
	send(
		t, srv, "POST", "/", "1", "Idempotency-Key", "k", "X-Tenant", "t1", "X-Own", "1", "Accept-Encoding", "gzip", "Authorization", "secret",
		"Idempotency-Scope", "forged", "Idempotency-Attempt", "9", "Connection", "X-Hop", "X-Hop", "1", "X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https",
	)
	got := <-sent
	if got.Get("Idempotency-Fence") == "" || got.Get("X-Forwarded-Host") == "" {
		t.Errorf("got %v", got)
	}
	for _, other := range []string{"Idempotency-Fence", "X-Forwarded-Host"} {
		got.Del(other)
	}
	want := http.Header{
		"Authorization": {"secret"}, "Content-Length": {"1"}, "Idempotency-Attempt": {"1"}, "Idempotency-Operation": {"gateway"},
		"Idempotency-Key": {atmost.ID{Scope: "t1", Key: "k"}.ForwardedKey()}, "User-Agent": {"Go-http-client/1.1"},
		"X-Forwarded-For": {"192.0.2.1, 127.0.0.1"}, "X-Forwarded-Proto": {"https"}, "X-Own": {"1"}, "X-Tenant": {"t1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Whatever the upstream answers, the first caller gets it. What later ones get is a matter of its status.
func TestStatuses(t *testing.T) {
	for status, later := range map[int]string{
		200: "", 204: "", 302: "", 400: "", 404: "", 422: "",
		500: "OUTCOME_UNKNOWN", 502: "OUTCOME_UNKNOWN", 503: "OUTCOME_UNKNOWN", 504: "OUTCOME_UNKNOWN", 408: "OUTCOME_UNKNOWN",
		401: "again", 403: "again", 429: "again",
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			a := &api{}
			a.do = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "17")
				w.WriteHeader(status)
				if status != http.StatusNoContent {
					_, _ = fmt.Fprintf(w, "answer %d", a.effects.Load())
				}
			}
			srv := start(t, a, nil)
			body := "answer 1"
			if status == http.StatusNoContent {
				body = ""
			}
			first := send(t, srv, "POST", "/", "1", "Idempotency-Key", "k")
			if first.StatusCode != status || first.body != body || first.Header.Get("Retry-After") != "17" || first.Header.Get("Idempotency-Replayed") != "false" {
				t.Errorf("the first got %d %v %s", first.StatusCode, first.Header, first.body)
			}
			second := send(t, srv, "POST", "/", "1", "Idempotency-Key", "k")
			effects := int64(1)
			switch later {
			case "again":
				effects = 2
				if second.StatusCode != status || second.body != "answer 2" {
					t.Errorf("then %d %s", second.StatusCode, second.body)
				}
			case "":
				if second.StatusCode != status || second.body != body || second.Header.Get("Retry-After") != "" || second.Header.Get("Idempotency-Replayed") != "true" {
					t.Errorf("then %d %v %s", second.StatusCode, second.Header, second.body)
				}
			default:
				second.isProblem(t, http.StatusConflict, later)
				if _, has := second.Header["Retry-After"]; has {
					t.Error("it has Retry-After")
				}
			}
			if n := a.effects.Load(); n != effects {
				t.Errorf("%d effects, want %d", n, effects)
			}
		})
	}
}

func TestScopeRules(t *testing.T) {
	a := &api{do: echo}
	srv := start(t, a, func(c *gateway.Config) { c.ScopeHeader = "x-tenant" })
	send(t, srv, "POST", "/", "1", "Idempotency-Key", "k").isProblem(t, http.StatusBadRequest, "INVALID_REQUEST")
	send(t, srv, "POST", "/", "1", "Idempotency-Key", "k", "X-Tenant", "").isProblem(t, http.StatusBadRequest, "INVALID_REQUEST")
	send(t, srv, "POST", "/", "1", "Idempotency-Key", "k", "X-Tenant", "a", "X-Tenant", "b").isProblem(t, http.StatusBadRequest, "INVALID_REQUEST")
	if n := a.effects.Load(); n != 0 {
		t.Errorf("%d effects, want 0", n)
	}
	for _, tenant := range []string{"a", "b", "a", "b"} {
		send(t, srv, "POST", "/", "1", "Idempotency-Key", "k", "X-Tenant", tenant)
	}
	if n := a.effects.Load(); n != 2 {
		t.Errorf("%d effects, want one for each tenant", n)
	}
	if got := send(t, srv, "POST", "/", "1"); got.StatusCode != http.StatusCreated {
		t.Errorf("without a key it needs no scope, but it is %d", got.StatusCode)
	}
}

// What has no key, or a method that is not listed, passes as it is, as often as it is sent.
func TestPassThrough(t *testing.T) {
	a := &api{do: echo}
	srv := start(t, a, nil)
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST", "PATCH"} {
		a.effects.Store(0)
		headers := []string{"Idempotency-Key", "not valid, either"}
		if method == "POST" || method == "PATCH" {
			headers = nil
		}
		for range 2 {
			got := send(t, srv, method, "/x?y;=%zz", "body", headers...)
			want := method + " /x?y;=%zz body"
			if method == "HEAD" {
				want = ""
			}
			if got.StatusCode != http.StatusCreated || got.body != want || got.Header.Get("Idempotency-Replayed") != "" {
				t.Errorf("%s: got %d %q %v", method, got.StatusCode, got.body, got.Header)
			}
		}
		if n := a.effects.Load(); n != 2 {
			t.Errorf("%s: %d effects, want 2", method, n)
		}
	}
}

func TestRoutes(t *testing.T) {
	a := &api{do: echo}
	required := gateway.Route{RequireKey: true, Methods: []string{"PUT"}}
	srv := start(t, a, func(c *gateway.Config) {
		c.Routes = []gateway.Route{
			{Path: "/v1/charges/free"},
			{Path: "/v1/charges", RequireKey: required.RequireKey, Methods: required.Methods},
			{Path: "/v1", RequireKey: true},
		}
	})
	for _, tc := range []struct {
		method, path string
		required     bool
	}{
		{"PUT", "/v1/charges", true},
		{"PUT", "/v1/charges/7", true},
		{"PUT", "/v1//charges/./7", true},
		{"PUT", "/v1/x/../charges", true},
		{"PUT", "/v1/%63harges", true},
		{"POST", "/v1/charges", false}, // the first match counts, and it is about PUT
		{"POST", "/v1/charges/free", false},
		{"POST", "/v1/chargesX", true}, // which is another path
		{"POST", "/v1", true},
		{"POST", "/v2", false},
		{"PUT", "/v2", false},
		// As lenient APIs read them, these are below /v1.
		{"POST", "/V1/x", true},
		{"POST", "/v1;a=b/x", true},
		{"POST", "/v1%5Cx", true},
		{"POST", "/v1%20", true},
		{"POST", "/v1.", true},
		{"POST", "/v2/..;/v1", true},
		{"POST", "/v1/charges/free/..;/..;/x", true},
		{"POST", "/v2/...", false},
	} {
		got := send(t, srv, tc.method, tc.path, "1")
		if tc.required {
			got.isProblem(t, http.StatusBadRequest, "MISSING_IDEMPOTENCY_KEY")
		} else if got.StatusCode != http.StatusCreated {
			t.Errorf("%s %s: got %d %s", tc.method, tc.path, got.StatusCode, got.body)
		}
	}
}

// Some APIs take a method in lower case for the one in upper case, so it must not get around its rules.
func TestMethodsInLowerCase(t *testing.T) {
	a := &api{do: echo}
	srv := start(t, a, func(c *gateway.Config) { c.Routes = []gateway.Route{{Path: "/v1", RequireKey: true}} })
	for _, path := range []string{"/", "/v1"} {
		for _, headers := range [][]string{{"Idempotency-Key", "k"}, nil} {
			send(t, srv, "post", path, "1", headers...).isProblem(t, http.StatusBadRequest, "INVALID_REQUEST")
		}
	}
	if got := send(t, srv, "put", "/", "1"); got.body != "put / 1" || a.effects.Load() != 1 {
		t.Errorf("another method: got %d %s, and %d effects", got.StatusCode, got.body, a.effects.Load())
	}
}

// A key that was used under other routes is still answered: to change the configuration changes no answer.
func TestRoutesThatChange(t *testing.T) {
	a := &api{do: echo}
	target := httptest.NewServer(a)
	defer target.Close()
	transport := upstream.NewTransport(upstream.TransportOptions{})
	defer transport.CloseIdleConnections()
	make := func(routes ...gateway.Route) *gateway.Gateway {
		g, err := gateway.New(gateway.Config{Upstream: target.URL, ScopeHeader: gateway.NoScope, Transport: transport, Routes: routes})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	before, after := make(gateway.Route{Path: "/old"}), make(gateway.Route{Path: "/new"})
	e := engine(t, before.Operations())
	do := func(g *gateway.Gateway, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("1"))
		r.Header.Set("Idempotency-Key", path[1:])
		w := httptest.NewRecorder()
		g.Handler(e).ServeHTTP(w, r)
		return w
	}
	first := []string{do(before, "/old").Body.String(), do(before, "/new").Body.String()}
	if err := e.SetOperations(after.Operations()); err != nil {
		t.Fatal(err)
	}
	for i, path := range []string{"/old", "/new"} {
		if w := do(after, path); w.Body.String() != first[i] || w.Header().Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
	if n := a.effects.Load(); n != 2 {
		t.Errorf("%d effects, want 2", n)
	}
}

// What was not executed under a route that is gone since is executed when it is asked for again, by a later process too.
func TestARouteThatIsGone(t *testing.T) {
	a := &api{}
	a.do = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader([]int{0, http.StatusTooManyRequests, http.StatusCreated}[a.effects.Load()])
	}
	target := httptest.NewServer(a)
	defer target.Close()
	transport := upstream.NewTransport(upstream.TransportOptions{})
	defer transport.CloseIdleConnections()
	store := newStore()
	labels := map[string]bool{}
	do := func(routes ...gateway.Route) *httptest.ResponseRecorder {
		g, err := gateway.New(gateway.Config{Upstream: target.URL, ScopeHeader: gateway.NoScope, Transport: transport, Routes: routes})
		if err != nil {
			t.Fatal(err)
		}
		events := atmost.Events{Answered: func(a atmost.Answered) { labels[a.Operation] = true }}
		e, err := atmost.New(t.Context(), store, atmost.Options{Operations: g.Operations(), Events: events})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close(context.Background())
		r := httptest.NewRequest(http.MethodPost, "/old", nil)
		r.Header.Set("Idempotency-Key", "k")
		w := httptest.NewRecorder()
		g.Handler(e).ServeHTTP(w, r)
		return w
	}
	old := gateway.Route{Path: "/old", Upstream: upstream.Config{NotExecutedStatus: []int{http.StatusTooManyRequests}}}
	if w := do(old); w.Code != http.StatusTooManyRequests {
		t.Fatalf("got %d", w.Code)
	}
	for _, replayed := range []string{"false", "true"} {
		if w := do(); w.Code != http.StatusCreated || w.Header().Get("Idempotency-Replayed") != replayed {
			t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
		}
	}
	if diff := cmp.Diff(map[string]bool{"gateway:/old": true, "gateway": true}, labels); diff != "" {
		t.Errorf("metrics tell of %s", diff)
	}
}

func engine(t testing.TB, operations map[string]atmost.Operation) *atmost.Engine {
	t.Helper()
	e, err := atmost.New(t.Context(), newStore(), atmost.Options{Operations: operations})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(context.Background()) })
	return e
}

func TestStillRunning(t *testing.T) {
	started, goOn := make(chan struct{}), make(chan struct{})
	a := &api{do: func(w http.ResponseWriter, r *http.Request) { close(started); <-goOn; echo(w, r) }}
	srv := start(t, a, nil)
	first := make(chan answer)
	go func() { first <- send(t, srv, "POST", "/", "1", "Idempotency-Key", "k") }()
	<-started
	second := send(t, srv, "POST", "/", "1", "Idempotency-Key", "k")
	second.isProblem(t, http.StatusConflict, atmosthttp.Processing)
	if second.Header.Get("Retry-After") == "" {
		t.Error("it has no Retry-After")
	}
	close(goOn)
	if got := <-first; got.StatusCode != http.StatusCreated {
		t.Errorf("the first got %d", got.StatusCode)
	}
}

// A caller that hangs up ends nothing.
func TestHangUp(t *testing.T) {
	started, goOn := make(chan struct{}), make(chan struct{})
	a := &api{do: func(w http.ResponseWriter, r *http.Request) { close(started); <-goOn; echo(w, r) }}
	srv := start(t, a, func(c *gateway.Config) { c.Route.Operation.DuplicateWait = 10 * time.Second })
	ctx, hangUp := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, "POST", srv.URL, strings.NewReader("1"))
	r.Header.Set("Idempotency-Key", "k")
	gone := make(chan error)
	go func() { _, err := srv.Client().Do(r); gone <- err }() //nolint:bodyclose // there is none
	<-started
	hangUp()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(goOn)
	got := send(t, srv, "POST", "/", "1", "Idempotency-Key", "k")
	if got.body != "POST / 1" || got.Header.Get("Idempotency-Replayed") != "true" || a.effects.Load() != 1 {
		t.Errorf("got %d %s after %d effects", got.StatusCode, got.body, a.effects.Load())
	}
}

func TestLargeBodies(t *testing.T) {
	a := &api{do: func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strings.Repeat("x", int(n)))
	}}
	srv := start(t, a, func(c *gateway.Config) { c.MaxBody = 1000; c.Route.Upstream.MaxResult = 100 })
	send(t, srv, "POST", "/", strings.Repeat("b", 1001), "Idempotency-Key", "k").isProblem(t, http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
	if got := send(t, srv, "POST", "/", strings.Repeat("b", 1001)); got.StatusCode != 200 || len(got.body) != 1001 {
		t.Errorf("without a key: got %d, %d bytes", got.StatusCode, len(got.body))
	}
	if got := send(t, srv, "POST", "/", strings.Repeat("b", 1000), "Idempotency-Key", "k"); got.StatusCode != 200 || len(got.body) != 1000 {
		t.Errorf("the first got %d, %d bytes", got.StatusCode, len(got.body))
	}
	for range 2 {
		send(t, srv, "POST", "/", strings.Repeat("b", 1000), "Idempotency-Key", "k").isProblem(t, http.StatusGone, "RESULT_NOT_KEPT")
	}
	if n := a.effects.Load(); n != 2 {
		t.Errorf("%d effects, want 2", n)
	}
}

// What streams through arrives as it is sent, trailers last; trailers of an answer that is executed reach the first caller.
func TestStreamingAndTrailers(t *testing.T) {
	goOn := make(chan struct{})
	a := &api{do: func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "one\n")
		_ = http.NewResponseController(w).Flush()
		if r.Header.Get("Idempotency-Key") == "" {
			<-goOn
		}
		_, _ = io.WriteString(w, "two\n")
		w.Header().Set("X-Sum", fmt.Sprint(len(body)))
	}}
	srv := start(t, a, nil)
	r, _ := http.NewRequestWithContext(t.Context(), "POST", srv.URL, io.MultiReader(strings.NewReader("1")))
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := bufio.NewReader(resp.Body)
	if line, err := body.ReadString('\n'); line != "one\n" || err != nil {
		t.Fatalf("got %q, %v", line, err)
	}
	close(goOn)
	if rest, err := io.ReadAll(body); string(rest) != "two\n" || err != nil || resp.Trailer.Get("X-Sum") != "1" {
		t.Errorf("then %q, %v, %v", rest, err, resp.Trailer)
	}
	if got := send(t, srv, "POST", "/", "1", "Idempotency-Key", "k"); got.body != "one\ntwo\n" || got.Trailer.Get("X-Sum") != "1" {
		t.Errorf("executed: got %q %v", got.body, got.Trailer)
	}
}

// A request's trailers reach the upstream with the one request that it gets. Those that it could take for what headers say do not.
func TestTrailersOfARequest(t *testing.T) {
	type request struct {
		body    string
		trailer http.Header
	}
	sent := make(chan request, 2)
	a := &api{do: func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent <- request{string(body), r.Trailer}
	}}
	srv := start(t, a, func(c *gateway.Config) { c.ScopeHeader, c.Route.Methods = "x-tenant", []string{"POST", "DELETE"} })
	for name, tc := range map[string]struct {
		method, chunks, body string
		trailers             string
		want                 http.Header
	}{
		"a body":                  {"POST", "3\r\none\r\n", "one", "X-Sum: 1\r\nX-Sum: 2\r\n", http.Header{"X-Sum": {"1", "2"}}},
		"no body":                 {"POST", "", "", "X-Sum: 1\r\n", http.Header{"X-Sum": {"1"}}},
		"no body, DELETE":         {"DELETE", "", "", "X-Sum: 1\r\n", http.Header{"X-Sum": {"1"}}},
		"not announced":           {"POST", "3\r\none\r\n", "one", "X-Sum: 1\r\nX-More: 2\r\n", http.Header{"X-Sum": {"1"}, "X-More": {"2"}}},
		"announced, and not sent": {"POST", "3\r\none\r\n", "one", "", nil},
		"forged": {
			"POST", "3\r\none\r\n", "one", "X-Sum: 1\r\nX-Tenant: t2\r\nIdempotency-Fence: 9\r\nIdempotency-Key: x\r\nAuthorization: x\r\nContent-Length: 7\r\n" +
				"Transfer-Encoding: chunked\r\nX-Forwarded-For: x\r\nForwarded: x\r\nHost: x\r\nCookie: x\r\nX Sum: 3\r\n",
			http.Header{"X-Sum": {"1"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			answers := bufio.NewReader(conn)
			for _, replayed := range []string{"false", "true"} {
				_, _ = fmt.Fprintf(conn, "%s / HTTP/1.1\r\nHost: x\r\nIdempotency-Key: %x\r\nX-Tenant: t1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n%s0\r\n%s\r\n",
					tc.method, name, tc.chunks, tc.trailers)
				resp, err := http.ReadResponse(answers, nil)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != http.StatusOK || resp.Header.Get("Idempotency-Replayed") != replayed {
					t.Errorf("got %d %v", resp.StatusCode, resp.Header)
				}
			}
			got := <-sent
			if diff := cmp.Diff(tc.want, got.trailer); diff != "" || got.body != tc.body {
				t.Errorf("the body %q, and the trailers %s", got.body, diff)
			}
		})
	}
	if n := a.effects.Load(); n != 6 {
		t.Errorf("%d effects, want 6", n)
	}
}

// The trailers that a request announces pass through with it, while its body still comes.
func TestTrailersThatPassThrough(t *testing.T) {
	began, sent := make(chan struct{}), make(chan http.Header, 1)
	srv := start(t, &api{do: func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 3))
		began <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body)
		sent <- r.Trailer
	}}, nil)
	for _, method := range []string{"GET", "POST"} {
		body, rest := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), method, srv.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Trailer = http.Header{"X-Sum": nil, "X-Other": nil, "X-Unset": nil, "Idempotency-Fence": {"9"}}
		go func() {
			_, _ = io.WriteString(rest, "one")
			<-began
			r.Trailer["X-Sum"], r.Trailer["X-Other"] = []string{"1", "2"}, []string{"3"}
			_ = rest.Close()
		}()
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if diff := cmp.Diff(http.Header{"X-Sum": {"1", "2"}, "X-Other": {"3"}, "X-Unset": nil}, <-sent); diff != "" {
			t.Errorf("%s: %s", method, diff)
		}
	}
}

// A websocket's upgrade passes through, and then bytes in both directions.
func TestUpgrade(t *testing.T) {
	a := &api{do: func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		line, _ := rw.ReadString('\n')
		_, _ = io.WriteString(conn, "echo "+line)
	}}
	srv := start(t, a, nil)
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nIdempotency-Key: k\r\n\r\n")
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", resp, err)
	}
	_, _ = io.WriteString(conn, "hello\n")
	if line, err := br.ReadString('\n'); line != "echo hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

// The upstream has the effect, and closes a connection that had served others without an answer. Neither what is executed nor what
// passes through is sent again, unless it is safe.
func TestNothingIsSentTwice(t *testing.T) {
	for name, tc := range map[string]struct {
		method  string
		headers []string
		body    string
		effects int64
		status  int
	}{
		"executed":                {"POST", []string{"Idempotency-Key", "k"}, "1", 1, http.StatusConflict},
		"executed, no body":       {"POST", []string{"Idempotency-Key", "k"}, "", 1, http.StatusConflict},
		"passed through":          {"POST", nil, "1", 1, http.StatusBadGateway},
		"not listed, with a key":  {"PUT", []string{"Idempotency-Key", "k"}, "", 1, http.StatusBadGateway},
		"not listed, X-":          {"DELETE", []string{"X-Idempotency-Key", "k"}, "", 1, http.StatusBadGateway},
		"control: safe, so twice": {"GET", nil, "", 2, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			a := &api{}
			var warm, last atomic.Value
			a.do = func(_ http.ResponseWriter, r *http.Request) {
				if _, _ = io.Copy(io.Discard, r.Body); r.URL.Path == "/warm-up" {
					warm.Store(r.RemoteAddr)
					a.effects.Add(-1)
					return
				}
				if a.effects.Load() == 1 {
					last.Store(r.RemoteAddr)
					panic(http.ErrAbortHandler)
				}
			}
			srv := start(t, a, nil)
			send(t, srv, tc.method, "/warm-up", "")
			got := send(t, srv, tc.method, "/effect", tc.body, tc.headers...)
			if got.StatusCode != tc.status {
				t.Errorf("got %d %s", got.StatusCode, got.body)
			}
			if n := a.effects.Load(); n != tc.effects || warm.Load() != last.Load() {
				t.Errorf("%d effects, want %d; on the connection of another: %t", n, tc.effects, warm.Load() == last.Load())
			}
			if tc.status == http.StatusConflict {
				got.isProblem(t, tc.status, "OUTCOME_UNKNOWN")
				send(t, srv, tc.method, "/effect", tc.body, tc.headers...).isProblem(t, tc.status, "OUTCOME_UNKNOWN")
				if n := a.effects.Load(); n != 1 {
					t.Errorf("%d effects, want 1", n)
				}
			}
		})
	}
}

func TestUpstreamThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	told := make(chan string, 1)
	srv := startBefore(t, "http://"+l.Addr().String(), func(c *gateway.Config) {
		c.OnError = func(r *http.Request, _ error) { told <- atmosthttp.RequestID(r.Context()) }
	})
	send(t, srv, "POST", "/", "1", "Idempotency-Key", "k").isProblem(t, http.StatusServiceUnavailable, "EXECUTION_NOT_STARTED")
	for method, want := range map[string]string{"GET": "gave no answer", "POST": "nothing was sent"} {
		got := send(t, srv, method, "/", "")
		if got.isProblem(t, http.StatusBadGateway, atmosthttp.NoAnswer); <-told != got.Header.Get("Request-Id") || !strings.Contains(got.body, want) {
			t.Errorf("%s: got %s", method, got.body)
		}
	}
}

// What the gateway says of attempts is not the caller's to say, also where there is none.
func TestForgedHeadersDoNotPass(t *testing.T) {
	sent := make(chan http.Header, 1)
	srv := start(t, &api{do: func(_ http.ResponseWriter, r *http.Request) { sent <- r.Header }}, nil)
	for _, method := range []string{"GET", "POST", "PUT"} {
		send(t, srv, method, "/", "", "Idempotency-Attempt", "9", "Idempotency-Fence", "9", "Idempotency-Operation", "x", "Idempotency-Scope", "x", "X-Own", "1")
		for name := range <-sent {
			if strings.HasPrefix(name, "Idempotency-") {
				t.Errorf("%s: %s passed", method, name)
			}
		}
	}
}

// A program may have replaced net/http's own transport, by one that watches it for example.
func TestAnotherDefaultTransport(t *testing.T) {
	before := http.DefaultTransport
	defer func() { http.DefaultTransport = before }()
	http.DefaultTransport = http.NewFileTransport(http.Dir("."))
	if got := send(t, start(t, &api{do: echo}, nil), "GET", "/", ""); got.body != "GET / " {
		t.Errorf("got %d %s", got.StatusCode, got.body)
	}
}

// Why the gateway itself cannot answer is told, with the id that the answer has. What its callers do wrong is not.
func TestErrorsAreTold(t *testing.T) {
	store := storetest.Faulty(newStore())
	a := &api{do: echo}
	target := httptest.NewServer(a)
	defer target.Close()
	var told []string
	g, err := gateway.New(gateway.Config{Upstream: target.URL, ScopeHeader: gateway.NoScope, Transport: newTransport(t), OnError: func(r *http.Request, err error) {
		told = append(told, atmosthttp.RequestID(r.Context())+" "+string(atmost.CodeOf(err)))
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	e, err := atmost.New(t.Context(), store, atmost.Options{Operations: g.Operations()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.Background())
	srv := httptest.NewServer(g.Handler(e))
	send(t, srv, "POST", "/", "1", "Idempotency-Key", "k, l").isProblem(t, http.StatusBadRequest, "INVALID_IDEMPOTENCY_KEY")
	store.SetDown(true)
	got := send(t, srv, "POST", "/", "1", "Idempotency-Key", "k")
	got.isProblem(t, http.StatusServiceUnavailable, "STORE_UNAVAILABLE")
	store.SetDown(false)
	srv.Close() // and with it the handlers, so that told can be read
	if diff := cmp.Diff([]string{got.Header.Get("Request-Id") + " STORE_UNAVAILABLE"}, told); diff != "" {
		t.Error(diff)
	}
	if n := a.effects.Load(); n != 0 {
		t.Errorf("%d effects", n)
	}
}

func newTransport(t *testing.T) *upstream.Transport {
	transport := upstream.NewTransport(upstream.TransportOptions{})
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// What is executed has the caller's trace context, or the one that the executor gave it; what passes through has the caller's.
func TestTraceContext(t *testing.T) {
	const (
		theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		own    = "00-4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111-01"
	)
	seen := make(chan string, 3)
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen <- strings.Join(append(r.Header["Traceparent"], r.Header["Tracestate"]...), " ")
	}))
	defer target.Close()
	g, err := gateway.New(gateway.Config{Upstream: target.URL, ScopeHeader: gateway.NoScope, Transport: newTransport(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	operations := g.Operations()
	traced := operations["gateway"]
	inner := traced.Executor
	traced.Executor = executor(func(ctx context.Context, a atmost.Attempt) atmost.Outcome {
		if a.Trace != (atmost.Trace{Parent: theirs, State: "a=1"}) {
			t.Errorf("the trace is %+v", a.Trace)
		}
		if a.ID.Key == "traced" {
			a.Trace = atmost.Trace{Parent: own}
		}
		return inner.Execute(ctx, a)
	})
	operations["gateway"] = traced
	srv := httptest.NewServer(g.Handler(engine(t, operations)))
	defer srv.Close()
	for key, want := range map[string]string{"": theirs + " a=1", "k": theirs + " a=1", "traced": own} {
		headers := []string{"Traceparent", theirs, "Tracestate", "a=1"}
		if key != "" {
			headers = append(headers, "Idempotency-Key", key)
		}
		send(t, srv, "POST", "/", "1", headers...)
		if got := <-seen; got != want {
			t.Errorf("key %q: the upstream got %q, not %q", key, got, want)
		}
	}
}

type executor func(ctx context.Context, a atmost.Attempt) atmost.Outcome

func (f executor) Execute(ctx context.Context, a atmost.Attempt) atmost.Outcome { return f(ctx, a) }

// The operations are the engine's, so clients of the API can name them: to no effect.
func TestOperationsWithoutTheGateway(t *testing.T) {
	g, err := gateway.New(gateway.Config{Upstream: "http://127.0.0.1:9", ScopeHeader: gateway.NoScope})
	if err != nil {
		t.Fatal(err)
	}
	a, err := engine(t, g.Operations()).Execute(t.Context(), atmost.Call{ID: atmost.ID{Key: "k"}, Operation: "gateway", Payload: []byte("1")})
	if atmost.CodeOf(err) != atmost.CodeExecutionNotStarted || a.Record.State != atmost.NotExecuted {
		t.Errorf("got %v, %v", a.Record.State, err)
	}
}

func TestConfigErrors(t *testing.T) {
	for want, change := range map[string]func(*gateway.Config){
		"scope_header: is empty":      func(c *gateway.Config) { c.ScopeHeader = "" },
		"url: its scheme":             func(c *gateway.Config) { c.Upstream = "ftp://x" },
		"upstream: it has a query":    func(c *gateway.Config) { c.Upstream = "http://x?a" },
		`methods: "GET" is none of`:   func(c *gateway.Config) { c.Route.Methods = []string{"GET"} },
		"not_executed_status: 500":    func(c *gateway.Config) { c.Route.Upstream.NotExecutedStatus = []int{500} },
		"an earlier route matches":    func(c *gateway.Config) { c.Routes = []gateway.Route{{Path: "/a"}, {Path: "/a/b"}} },
		"route x: path: write":        func(c *gateway.Config) { c.Routes = []gateway.Route{{Path: "x"}} },
		"route /x/: path: write":      func(c *gateway.Config) { c.Routes = []gateway.Route{{Path: "/x/"}} },
		"probe_url: it has no {scope": func(c *gateway.Config) { c.ScopeHeader = "X-Tenant"; c.Route.Operation.OnUnknown = atmost.ProbeUnknown },
	} {
		c := gateway.Config{Upstream: "http://x", ScopeHeader: gateway.NoScope}
		change(&c)
		if _, err := gateway.New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// What a probe finds out is replayed. It has no status, so that is 200 when the request had its effect.
func TestProbe(t *testing.T) {
	for outcome, want := range map[string]int{"completed": http.StatusOK, "failed": http.StatusFailedDependency} {
		t.Run(outcome, func(t *testing.T) {
			known := make(chan struct{})
			target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet {
					w.WriteHeader(http.StatusBadGateway)
					return
				}
				select {
				case <-known:
				case <-r.Context().Done():
					return
				}
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Idempotency-Outcome", outcome)
				_, _ = io.WriteString(w, `{"key":"`+r.URL.Path+`"}`)
			}))
			defer target.Close()
			srv, e := boot(t, target.URL, newStore(), nil, func(c *gateway.Config) {
				c.Route.Operation.OnUnknown = atmost.ProbeUnknown
				c.Route.Upstream.ProbeURL = target.URL + "/{key}"
			})
			if got := send(t, srv, "POST", "/", "1", "Idempotency-Key", "k"); got.StatusCode != http.StatusBadGateway {
				t.Errorf("the first got %d", got.StatusCode)
			}
			got := send(t, srv, "POST", "/", "1", "Idempotency-Key", "k")
			if got.isProblem(t, http.StatusConflict, "OUTCOME_UNKNOWN"); len(got.Header["Retry-After"]) > 0 {
				t.Error("an unknown outcome looks as if it were running")
			}
			close(known)
			if r, err := e.Status(t.Context(), atmost.ID{Key: "k"}, 10*time.Second); !r.State.Final() {
				t.Errorf("it is %v, %v", r.State, err)
			}
			got = send(t, srv, "POST", "/", "1", "Idempotency-Key", "k")
			if got.StatusCode != want || got.StatusCode == http.StatusOK && got.body != `{"key":"/k"}` {
				t.Errorf("got %d %s", got.StatusCode, got.body)
			}
		})
	}
}

// What other proxies have said of a request stays, also where it passes through.
func TestForwardedHeaders(t *testing.T) {
	sent := make(chan http.Header, 1)
	srv := start(t, &api{do: func(_ http.ResponseWriter, r *http.Request) { sent <- r.Header }}, nil)
	for _, method := range []string{"GET", "POST"} {
		send(t, srv, method, "/", "", "X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "api.example.com")
		h := <-sent
		if h.Get("X-Forwarded-For") != "192.0.2.1, 127.0.0.1" || h.Get("X-Forwarded-Proto") != "https" || h.Get("X-Forwarded-Host") != "api.example.com" {
			t.Errorf("%s: got %v", method, h)
		}
	}
}
