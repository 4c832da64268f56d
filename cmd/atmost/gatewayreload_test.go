package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

// reloaded edits the file, has it reloaded, and returns what is logged until a line says last.
func (r *running) reloaded(t *testing.T, last string, pairs ...string) string {
	t.Helper()
	r.edit(t, pairs...)
	r.log.clear()
	r.signals <- syscall.SIGHUP
	r.log.wait(t, last)
	return r.log.text()
}

func wantText(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("the log says\n%s\nwant %s", text, w)
		}
	}
}

// newNamed is an upstream that answers its name.
func newNamed(t *testing.T, name string) *httptest.Server {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
	t.Cleanup(up.Close)
	return up
}

const wrongReload = "nothing was reloaded: the configuration is wrong"

// TestGatewayReload: routes and their settings count as the file has them, all or none; what was answered stays answered.
func TestGatewayReload(t *testing.T) {
	one, other := newNamed(t, "one"), newNamed(t, "other")
	r := boot(t, `operations: {a: {}}
gateway:
  listen: 127.0.0.1:0
  upstream: `+one.URL+`
  scope_header: X-Tenant
  routes:
    - {path: /v1}
    - {path: /old}
    - {path: /last}
`)
	address := r.address(listenerGateway).String()
	mustCharge(t, address, "k").want(t, http.StatusOK, "one")
	mustCharge(t, address, "").want(t, http.StatusOK, "one")

	// One mistake, and everything stays as it is.
	wantText(t, r.reloaded(t, wrongReload, "/v1}", "/v1/charges, require_key: true}", "/old", "old", one.URL, other.URL), "gateway.routes.2.path")
	mustCharge(t, address, "").want(t, http.StatusOK, "one")

	said := r.reloaded(t, "reloaded", "path: old", "path: /new", "/last}", "/last, require_key: true, timeout: 7s}", "a: {", "b: {")
	wantText(t, said, `"added":["b","gateway:/new","gateway:/v1/charges"],"removed":["a","gateway:/old","gateway:/v1"],`+
		`"changed":["gateway (upstream)","gateway:/last (require_key, timeout, probe_settle)"]`)
	mustCharge(t, address, "").want(t, http.StatusBadRequest, "MISSING_IDEMPOTENCY_KEY")
	mustCharge(t, address, "k").want(t, http.StatusOK, "one")
	mustCharge(t, address, "k2").want(t, http.StatusOK, "other")

	const inserted, last = "{path: /new}", "{path: /last, require_key: true, timeout: 7s}"
	said = r.reloaded(t, "reloaded", inserted, last, last, inserted)
	wantText(t, said, `"added":[],"removed":[],"changed":["gateway (routes)"]`)
	r.reloaded(t, "reloaded: no operation changed")
}

// TestGatewayReloadNeedsARestart: of what cannot change it is said so, and everything else does.
func TestGatewayReloadNeedsARestart(t *testing.T) {
	up := newNamed(t, "up")
	r := boot(t, "operations: {a: {}}\n"+gatewayTo(up.URL))
	address := r.address(listenerGateway).String()
	said := r.reloaded(t, "reloaded", "127.0.0.1:0'", "127.0.0.1:1'", "X-Tenant}", "X-Tenant, require_key: true}", "store: memory", "store: memory\nmax_body: 1",
		"gateway: {", "gateway: {tls: {cert: cert.pem, key: key.pem}, ")
	wantText(t, said, `need a restart","settings":["max_body","gateway.listen","gateway.tls"]`, `"changed":["gateway (require_key)"]`)
	mustCharge(t, address, "").want(t, http.StatusBadRequest, "MISSING_IDEMPOTENCY_KEY")
	mustCharge(t, address, "k").want(t, http.StatusOK, "up") // with more than one byte
	wantText(t, r.reloaded(t, "reloaded: no operation changed"), `["max_body","gateway.listen","gateway.tls"]`)

	said = r.reloaded(t, "reloaded", "gateway:", "# gateway:", "a: {", "b: {")
	wantText(t, said, `need a restart","settings":["max_body","gateway"]`, `"added":["b"],"removed":["a"],"changed":[]`)
	mustCharge(t, address, "k").want(t, http.StatusOK, "up")

	without := boot(t, "operations: {a: {}}\n# "+gatewayTo(up.URL))
	wantText(t, without.reloaded(t, "reloaded: no operation changed", "# gateway:", "gateway:"), `need a restart","settings":["gateway"]`)
}

// TestGatewayReloadUnderRequests removes the route of a request that is executed, and of one whose body is on its way.
func TestGatewayReloadUnderRequests(t *testing.T) {
	up := newGated(t)
	r := boot(t, "operations: {}\ngateway:\n  listen: 127.0.0.1:0\n  upstream: "+up.URL+"\n  scope_header: X-Tenant\n  routes: [{path: /v1/charges}]\n")
	address := r.address(listenerGateway).String()
	executed := make(chan reply)
	go func() {
		p, err := charge(t, address, "executed")
		if err != nil {
			t.Error(err)
		}
		executed <- p
	}()
	await(t, up.arrived)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	answers := bufio.NewReader(conn)
	_, _ = fmt.Fprintf(conn, "POST /v1/charges HTTP/1.1\r\nHost: x\r\nX-Tenant: t1\r\nIdempotency-Key: arriving\r\nExpect: 100-continue\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", len(chargeBody))
	if resp, err := http.ReadResponse(answers, nil); err != nil || resp.StatusCode != http.StatusContinue {
		t.Fatalf("got %v, %v", resp, err)
	}

	wantText(t, r.reloaded(t, "reloaded", "/v1/charges", "/other"), `"added":["gateway:/other"],"removed":["gateway:/v1/charges"]`)
	close(up.open)
	await(t, executed).want(t, http.StatusOK, "done")
	_, _ = io.WriteString(conn, chargeBody)
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := read(resp)
	if err != nil {
		t.Fatal(err)
	}
	p.want(t, http.StatusOK, "done")
	for _, key := range []string{"executed", "arriving"} {
		mustCharge(t, address, key).want(t, http.StatusOK, "done")
	}
	if n := len(up.arrived); n != 1 { // and the one that was waited for
		t.Errorf("%d more requests reached the upstream, want 1", n)
	}
}
