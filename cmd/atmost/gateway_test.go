package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// gatewayTo is the text of a gateway's section.
func gatewayTo(url string) string {
	return "gateway: {listen: '127.0.0.1:0', upstream: '" + url + "', scope_header: X-Tenant}\n"
}

const chargeBody = `{"amount":1}`

// charge posts to a gateway, with a key unless it is empty.
func charge(t *testing.T, address, key string) (reply, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, "http://"+address+"/v1/charges", strings.NewReader(chargeBody))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	r.Header.Set("X-Tenant", "t1")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		return reply{}, err
	}
	return read(resp)
}

// mustCharge is charge that is answered.
func mustCharge(t *testing.T, address, key string) reply {
	t.Helper()
	p, err := charge(t, address, key)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// All listeners are served by one process, and share its engine.
func TestGatewayBesideServe(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "charged for "+r.Header.Get("X-Tenant"))
	}))
	defer up.Close()
	r := boot(t, "operations: {a: {url: '"+up.URL+"'}}\n"+gatewayTo(up.URL))
	for range 2 {
		mustCharge(t, r.address(listenerGateway).String(), "k").want(t, http.StatusOK, "charged for t1")
	}
	r.execute(t, "k", request).want(t, http.StatusOK, "completed") // the same key in another scope
	r.get(t, listenerAdmin, "/metrics").want(t, http.StatusOK, `operation="gateway"`)
}

// startGateway runs the gateway alone, in a process of its own.
func startGateway(t *testing.T, dir, url string) (*child, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "atmost.yaml")
	text := "admin: ''\nstore: pebble:" + dir + "\n" + gatewayTo(url)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log := newJournal()
	c, err := startChild(context.WithoutCancel(t.Context()), []string{"gateway", "--config", file}, nil, log.add)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.text())
	}
	t.Cleanup(c.kill)
	if _, served := c.addresses[listenerPublic]; served {
		t.Error("the public API is served")
	}
	return c, c.addresses[listenerGateway]
}

// The gateway's process is killed while the upstream works: the next one knows that the outcome is unknown, and sends nothing.
func TestGatewayIsKilled(t *testing.T) {
	up, dir := newGated(t), t.TempDir()
	first, address := startGateway(t, dir, up.URL)
	broken := make(chan error)
	go func() { _, err := charge(t, address, "k"); broken <- err }()
	await(t, up.arrived)
	first.kill()
	if err := await(t, broken); err == nil {
		t.Error("it was answered by a process that was killed")
	}
	second, address := startGateway(t, dir, up.URL)
	for range 2 {
		mustCharge(t, address, "k").want(t, http.StatusConflict, "OUTCOME_UNKNOWN")
	}
	if err := second.stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// The upstream's process is killed while it works. It is a gateway, too, as that is a server that a test can kill.
func TestTheGatewaysUpstreamIsKilled(t *testing.T) {
	up := newGated(t)
	upstream, between := startGateway(t, t.TempDir(), up.URL)
	_, address := startGateway(t, t.TempDir(), "http://"+between)
	answered := make(chan reply)
	go func() {
		p, err := charge(t, address, "k")
		if err != nil {
			t.Error(err)
		}
		answered <- p
	}()
	await(t, up.arrived)
	upstream.kill()
	await(t, answered).want(t, http.StatusConflict, "OUTCOME_UNKNOWN")
	mustCharge(t, address, "k").want(t, http.StatusConflict, "OUTCOME_UNKNOWN")
	select {
	case <-up.arrived:
		t.Error("it was sent again")
	default:
	}
	mustCharge(t, address, "other").want(t, http.StatusServiceUnavailable, "EXECUTION_NOT_STARTED")
}

func TestGatewayConfig(t *testing.T) {
	example, err := os.ReadFile(filepath.Join("..", "..", "examples", "gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := literal(string(example), map[string]string{"ATMOST_GATEWAY_TIMEOUT": "7s"}, nil).load()
	if err != nil {
		t.Fatal(err)
	}
	want := defaultGateway()
	want.Upstream, want.ScopeHeader = "http://127.0.0.1:9000", "X-Tenant"
	want.Route.Operation.Timeout = 7 * time.Second
	charges := want.Route
	want.Route.Operation.complete()
	charges.Operation.complete()
	charges.Path, charges.RequireKey = "/v1/charges", true
	want.Routes = []route{charges}
	if diff := cmp.Diff(&want, loaded.Gateway); diff != "" {
		t.Error(diff)
	}
}

func TestGatewayConfigErrors(t *testing.T) {
	const good = "gateway: {upstream: 'http://x', scope_header: none"
	for text, want := range map[string]string{
		"gateway: {}":                                              "atmost.yaml:1: gateway.upstream: is missing",
		"gateway: {upstream: 'http://x'}":                          "atmost.yaml:1: gateway.scope_header: is missing",
		good + ", scope_headr: x}":                                 "atmost.yaml:1: gateway.scope_headr: unknown setting; did you mean scope_header?",
		good + ", methods: [GET]}":                                 `atmost.yaml:1: gateway.methods: "GET" is none of POST, PATCH, PUT and DELETE`,
		good + ", url: 'http://y'}":                                "atmost.yaml:1: gateway.url: unknown setting",
		good + ", listen: '127.0.0.1:8081'}":                       "atmost.yaml:1: gateway.listen: 127.0.0.1:8081 is taken by admin",
		good + ", not_executed_status: [500]}":                     "atmost.yaml:1: gateway.not_executed_status: 500 never proves",
		good + ", on_unknown: probe}":                              "atmost.yaml:1: gateway.on_unknown: probe needs a probe_url",
		good + ", routes: {}}":                                     "atmost.yaml:1: gateway.routes: expected a list",
		good + ", routes: [{}]}":                                   "atmost.yaml:1: gateway.routes.1: has no path",
		good + ", routes: [{path: x}]}":                            `atmost.yaml:1: gateway.routes.1.path: "x" is not a path`,
		good + ", routes: [{path: /a},\n {path: /b, uptream: 1}]}": "atmost.yaml:2: gateway.routes.2.uptream: unknown setting",
		good + ", routes: [{path: /a}, {path: /a/b}]}":             "atmost.yaml:1: gateway: route /a/b: path: an earlier route matches",
		good + "}\noperations: {gateway: {url: 'http://y'}}":       "atmost.yaml:2: operations.gateway: is the gateway's own name",
		"gateway: {upstream: 'http://x', scope_header: X-T, on_unknown: probe, probe_url: 'http://x/{key}'}": "atmost.yaml:1: gateway: probe_url: it has no {scope}",
	} {
		if _, err := literal(text, nil, nil).load(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v\nwant %s", text, err, want)
		}
	}
	alone := literal("listen: 127.0.0.1:1", nil, nil)
	alone.gatewayAlone = true
	if _, err := alone.load(); err == nil || !strings.Contains(err.Error(), "gateway: there is no such section") {
		t.Errorf("got %v", err)
	}
}
