package server_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/storetest"
)

// operate serves the admin or health handler and returns what a client sees of it. It does not follow redirects.
func operate(t *testing.T, h http.Handler) func(method, path string) (answer, error) {
	t.Helper()
	listening := httptest.NewUnstartedServer(h)
	listening.Config.ReadTimeout = readTime
	listening.Start()
	t.Cleanup(listening.Close)
	client := listening.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return func(method, path string) (answer, error) {
		r, err := http.NewRequestWithContext(t.Context(), method, listening.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			return answer{}, err
		}
		body, err := io.ReadAll(resp.Body)
		return answer{resp.StatusCode, resp.Header, string(body)}, errors.Join(err, resp.Body.Close())
	}
}

func TestConsole(t *testing.T) {
	told := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) })
	with := operate(t, server.Admin(nil, server.AdminOptions{Metrics: metrics, Console: told}))
	expect(t, with, "GET", "/console/", 200, "/")
	expect(t, with, "HEAD", "/console/main.js", 200, "")
	expect(t, with, "GET", "/console/main.js", 200, "/main.js")
	expect(t, with, "POST", "/console/", 405, "*")
	if a := expect(t, with, "GET", "/console", 307, ""); a.header.Get("Location") != "console/" {
		t.Errorf("the headers are %v", a.header)
	}
	without := operate(t, server.Admin(nil, server.AdminOptions{Metrics: metrics}))
	expect(t, without, "GET", "/console/", 404, "*")
	expect(t, without, "GET", "/console", 404, "*")
}

var metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })

func passing(context.Context) error { return nil }

// expect checks one answer of an operators' handler.
func expect(t *testing.T, ask func(method, path string) (answer, error), method, path string, status int, body string) answer {
	t.Helper()
	a, err := ask(method, path)
	if err != nil || a.status != status || body != "*" && a.body != body {
		t.Errorf("%s %s: %d %q, %v; want %d %q", method, path, a.status, a.body, err, status, body)
	}
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Request-Id") == "" {
		t.Errorf("%s %s: the headers are %v", method, path, a.header)
	}
	return a
}

func TestHealth(t *testing.T) {
	failing := func(context.Context) error { return errors.New("draining") }
	noWay := `{"error":{"code":"NOT_FOUND","message":"there is nothing at this path"}}`
	engine := assemble(t, config{}, storetest.NewClock()).engine
	defer engine.Close(t.Context())
	admin := func(log *slog.Logger, metrics http.Handler, checks ...server.Check) http.Handler {
		return server.Admin(engine, server.AdminOptions{Log: log, Metrics: metrics, Checks: checks})
	}
	for name, handler := range map[string]func(*slog.Logger, http.Handler, ...server.Check) http.Handler{"health": server.Health, "admin": admin} {
		t.Run(name, func(t *testing.T) {
			up := operate(t, handler(nil, metrics, server.Check{Name: "store", Ready: passing}, server.Check{Name: "drain", Ready: passing}))
			if a := expect(t, up, "GET", "/livez", 200, "ok\n"); a.header.Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("the headers are %v", a.header)
			}
			expect(t, up, "GET", "/readyz", 200, "ready\n")
			expect(t, up, "GET", "/readyz?verbose", 200, "[+] store: ok\n[+] drain: ok\nready\n")
			expect(t, up, "GET", "/metrics", 200, "up 1\n")
			expect(t, up, "HEAD", "/livez", 200, "")
			expect(t, up, "GET", "/", 404, noWay)
			expect(t, up, "GET", "/livez/", 404, noWay)
			expect(t, up, "POST", "/v1/idempotency/execute", 404, noWay)
			a := expect(t, up, "POST", "/readyz", 405, `{"error":{"code":"METHOD_NOT_ALLOWED","message":"the methods of this path are: GET, HEAD"}}`)
			if a.header.Get("Allow") != "GET, HEAD" || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("the headers are %v", a.header)
			}

			down := operate(t, handler(nil, metrics, server.Check{Name: "store", Ready: passing}, server.Check{Name: "drain", Ready: failing}))
			expect(t, down, "GET", "/livez", 200, "ok\n")
			expect(t, down, "GET", "/readyz", 503, "not ready\n")
			expect(t, down, "GET", "/readyz?verbose", 503, "[+] store: ok\n[-] drain: draining\nnot ready\n")
			expect(t, operate(t, handler(nil, metrics)), "GET", "/readyz", 200, "ready\n")

			asked := 0
			informed := operate(t, handler(nil, metrics, server.Check{Name: "shared", Informs: true, Ready: func(ctx context.Context) error {
				asked++
				return failing(ctx)
			}}, server.Check{Name: "drain", Ready: passing}))
			expect(t, informed, "GET", "/readyz", 200, "ready\n")
			if asked != 0 {
				t.Error("a check that only informs was made for nobody to see")
			}
			expect(t, informed, "GET", "/readyz?verbose", 200, "[!] shared: draining\n[+] drain: ok\nready\n")
		})
	}
}

func TestChecksAreBounded(t *testing.T) {
	var bounded bool
	expect(t, operate(t, server.Health(nil, metrics, server.Check{Name: "c", Ready: func(ctx context.Context) error {
		_, bounded = ctx.Deadline()
		return nil
	}})), "GET", "/readyz", 200, "ready\n")
	if !bounded {
		t.Error("a check may last for ever")
	}
}

func TestProfilesAreForAdminOnly(t *testing.T) {
	admin, health := operate(t, server.Admin(nil, server.AdminOptions{Metrics: metrics})), operate(t, server.Health(nil, metrics))
	for _, path := range []string{"", "cmdline", "symbol", "heap?debug=1", "goroutine?debug=1", "trace?seconds=0.01"} {
		expect(t, admin, "GET", "/debug/pprof/"+path, 200, "*")
		expect(t, health, "GET", "/debug/pprof/"+path, 404, "*")
	}
	if a := expect(t, admin, "GET", "/debug/pprof/", 200, "*"); !strings.Contains(a.body, "goroutine") {
		t.Errorf("the index is %q", a.body)
	}
	expect(t, admin, "POST", "/debug/pprof/symbol", 200, "*")
	if a := expect(t, admin, "DELETE", "/debug/pprof/symbol", 405, "*"); a.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("Allow is %q", a.header.Get("Allow"))
	}
	expect(t, admin, "POST", "/debug/pprof/", 405, "*")
	expect(t, admin, "GET", "/debug", 404, "*")
}

// A panic is answered, unless an answer had begun: that one is broken off.
func TestPanic(t *testing.T) {
	var log logBuffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	early := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "9")
		w.Header().Set("X-Partial", "1")
		panic("early")
	})
	a := expect(t, operate(t, server.Health(logger, early)), "GET", "/metrics", 500,
		`{"error":{"code":"INTERNAL","message":"an unexpected error; it was logged with the id that the header Request-Id names"}}`)
	if a.header.Get("X-Partial") != "" || a.header.Get("Retry-After") != "1" {
		t.Errorf("the headers are %v", a.header)
	}
	if got := log.String(); !strings.Contains(got, "panic=early") || !strings.Contains(got, "request_id="+a.header.Get("Request-Id")) {
		t.Errorf("the log is %s", got)
	}
	late := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("up 1\n", 10_000))
		panic("late")
	})
	if a, err := operate(t, server.Health(logger, late))("GET", "/metrics"); err == nil {
		t.Errorf("the answer looks whole: %d, %d bytes", a.status, len(a.body))
	}
	if got := log.String(); !strings.Contains(got, "panic=late") {
		t.Errorf("the log is %s", got)
	}
	aborts := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if a, err := operate(t, server.Health(logger, aborts))("GET", "/metrics"); err == nil {
		t.Errorf("a handler that gave up is answered %d", a.status)
	}
	if got := log.String(); strings.Contains(got, "abort") {
		t.Errorf("the log is %s", got)
	}
}

// A profile may take longer than a request may take to arrive, so a handler's context must outlast that.
func TestSlowHandler(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
			w.WriteHeader(http.StatusGone)
		}
	})
	ask := operate(t, server.Admin(nil, server.AdminOptions{Metrics: slow}))
	done := make(chan answer, 1)
	go func() {
		a, err := ask("GET", "/metrics")
		if err != nil {
			t.Error(err)
		}
		done <- a
	}()
	<-started
	impatient := start(t, config{readTime: readTime})
	for range 2 { // each lasts as long as the read time-out
		impatient.never()
	}
	close(release)
	if a := <-done; a.status != 200 {
		t.Errorf("the handler's context ended")
	}
}
