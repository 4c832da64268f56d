package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
	"github.com/atmost-dev/atmost/gateway"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api is an upstream that counts its effects.
type api struct {
	effects atomic.Int64
	do      http.HandlerFunc
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.effects.Add(1)
	a.do(w, r)
}

// echo answers what it was sent.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Set-Cookie", "session=secret")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, r.Method+" "+r.URL.RequestURI()+" "+string(body))
}

// start runs a gateway in front of h.
func start(t testing.TB, h http.Handler, change func(*gateway.Config)) *httptest.Server {
	t.Helper()
	target := httptest.NewServer(h)
	t.Cleanup(target.Close)
	return startBefore(t, target.URL, change)
}

func startBefore(t testing.TB, target string, change func(*gateway.Config)) *httptest.Server {
	t.Helper()
	srv, _ := boot(t, target, newStore(), nil, change)
	return srv
}

// boot runs a gateway, and the engine that it needs over a store and by a clock.
func boot(t testing.TB, target string, store atmost.Store, clock atmost.Clock, change func(*gateway.Config)) (*httptest.Server, *atmost.Engine) {
	t.Helper()
	transport := upstream.NewTransport(upstream.TransportOptions{})
	c := gateway.Config{Upstream: target, ScopeHeader: gateway.NoScope, Transport: transport}
	c.Route.Upstream.NotExecutedStatus = []int{401, 403, 429}
	if change != nil {
		change(&c)
	}
	g, err := gateway.New(c)
	if err != nil {
		t.Fatal(err)
	}
	e, err := atmost.New(t.Context(), store, atmost.Options{Operations: g.Operations(), Housekeeping: 10 * time.Millisecond, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(g.Handler(e))
	t.Cleanup(func() {
		srv.Close()
		e.Close(context.Background())
		g.Close()
		transport.CloseIdleConnections()
	})
	return srv, e
}

// answer is a response that was read.
type answer struct {
	*http.Response
	body string
}

// send makes a request, with name and value of each header.
func send(t testing.TB, srv *httptest.Server, method, path, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	resp, err := srv.Client().Transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp, string(got)}
}

// isProblem checks that an answer is the problem that has this code, and where it says that the body is another.
func (a answer) isProblem(t testing.TB, status int, code string, differs ...string) {
	t.Helper()
	var p struct {
		Type, Code string
		Differs    []string
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("not a problem: %d %v %s", a.StatusCode, a.Header, a.body)
	}
	if a.StatusCode != status || p.Code != code || p.Type != atmosthttp.ProblemType(code) {
		t.Errorf("got %d %s, want %d %s", a.StatusCode, a.body, status, code)
	}
	if !slices.Equal(p.Differs, differs) {
		t.Errorf("it differs at %q, want %q", p.Differs, differs)
	}
	if len(a.Header["Request-Id"]) != 1 {
		t.Errorf("%d %s: the answer's id is %q", status, code, a.Header["Request-Id"])
	}
}

func newStore() atmost.Store { return memstore.New(memstore.Options{}) }
