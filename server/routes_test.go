package server_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/atmost-dev/atmost/server"
)

func TestNoSuchPath(t *testing.T) {
	s := start(t, one(answers(completed("1"))))
	before := s.store.calls.Load()
	for _, path := range []string{
		"", "/", "/x", "/v1", "/v1/idempotency/", "/v1/idempotency/execute/", "/v1/idempotency/execute/x", "/v1//idempotency/execute",
		"//v1/idempotency/execute", "/v1/./idempotency/execute", "/v1/x/../idempotency/execute", "/V1/idempotency/execute",
		"/v1/idempotency/Execute", "/openapi.json", "/livez", "/metrics", "/debug/pprof/", "/v1/idempotency%2Fexecute",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions, http.MethodDelete} {
			a := s.send(s.request(method, path, "k", charge, nil), charge, false)
			s.check(a, isRefused(404, "NOT_FOUND"))
			s.checkBody(a, `{"error":{"code":"NOT_FOUND","message":"there is nothing at this path"}}`)
		}
	}
	s.untouched(before)
}

func TestMethodNotAllowed(t *testing.T) {
	s := start(t, one(answers(completed("1"))))
	before := s.store.calls.Load()
	for path, allow := range map[string]string{
		"/v1/idempotency/execute": "POST", "/v1/idempotency/status": "GET, HEAD", "/openapi.yaml": "GET, HEAD",
		"/v1/idempotency/claim": "POST", "/v1/idempotency/renew": "POST", "/v1/idempotency/complete": "POST", "/v1/idempotency/fail": "POST",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, "BREW"} {
			if strings.Contains(allow, method) {
				continue
			}
			a := s.send(s.request(method, path, "k", charge, nil), charge, false)
			s.check(a, isRefused(405, "METHOD_NOT_ALLOWED"))
			s.checkBody(a, `{"error":{"code":"METHOD_NOT_ALLOWED","message":"the methods of this path are: `+allow+`"}}`)
			if got := a.header.Get("Allow"); got != allow {
				t.Errorf("%s %s: Allow is %q", method, path, got)
			}
		}
	}
	s.untouched(before)
}

func TestHead(t *testing.T) {
	s := start(t, one(answers(completed("1"))))
	s.check(s.execute("k", charge), isExecuted("1"))
	for path, status := range map[string]int{
		"/v1/idempotency/status": 200, "/openapi.yaml": 200, "/v1/idempotency/execute": 405, "/x": 404,
	} {
		a := s.send(s.request(http.MethodHead, path, "k", "", nil), "", status == 200)
		if a.status != status || a.body != "" || a.header.Get("Content-Length") == "0" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("HEAD %s: %d %v %q", path, a.status, a.header, a.body)
		}
	}
}

func TestDocumentIsServed(t *testing.T) {
	s := start(t, config{})
	a := s.send(s.request(http.MethodGet, "/openapi.yaml", "", "", nil), "", true)
	s.checkBody(a, string(server.OpenAPI))
	if a.status != 200 || a.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("the document is answered %d, %v", a.status, a.header)
	}
}

// dial opens a connection to the service on which a test speaks HTTP by itself.
func (s *service) dial() net.Conn {
	s.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil { // for a test that fails
		s.Fatal(err)
	}
	return c
}

// raw sends bytes, if any, and returns the answer to method and path, which it checks.
func (s *service) raw(c net.Conn, method, path, sent string) answer {
	s.Helper()
	if sent != "" {
		if _, err := io.WriteString(c, sent); err != nil {
			s.Fatal(err)
		}
	}
	r, err := http.NewRequest(method, s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), r)
	if err != nil {
		s.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	a := answer{resp.StatusCode, resp.Header, string(body)}
	if err := errors.Join(err, s.contract.response(r, a)); err != nil {
		s.Errorf("the answer %d breaks the contract: %v\n%s", a.status, err, a.body)
	}
	return a
}

// A ServeMux answers some targets by itself, with redirects or without a body.
func TestStrangeTargets(t *testing.T) {
	s := start(t, config{})
	for _, target := range []string{"*", "http://host", "http:x", "http://host//v1", "/.", "/..", "/%2e%2e/openapi.yaml"} {
		for _, method := range []string{"GET", "PUT", "CONNECT"} {
			if method == "CONNECT" && !strings.HasPrefix(target, "/") {
				continue // has no path, and some of these are no request at all
			}
			a := s.raw(s.dial(), method, "/x", fmt.Sprintf("%s %s HTTP/1.1\r\nHost: h\r\n\r\n", method, target))
			s.check(a, isRefused(404, "NOT_FOUND"))
		}
	}
	s.check(s.raw(s.dial(), "CONNECT", "/x", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n"), isRefused(404, "NOT_FOUND"))
}

// What net/http refuses by itself never gets here; the document says so.
func TestProtocolErrors(t *testing.T) {
	s := start(t, config{})
	before := s.store.calls.Load()
	const path = "/v1/idempotency/status"
	for status, sent := range map[string]string{
		"400": "GET\r\n\r\n",
		"417": "GET " + path + " HTTP/1.1\r\nHost: h\r\nExpect: more\r\n\r\n",
		"431": "GET " + path + " HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 2<<20) + "\r\n\r\n",
		"501": "POST " + path + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
		"505": "GET " + path + " HTTP/3.0\r\nHost: h\r\n\r\n",
	} {
		c := s.dial()
		go func() { _, _ = io.WriteString(c, sent) }() // which fails when the answer comes before it was read
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", status, err)
			continue
		}
		if !strings.HasPrefix(resp.Status, status) || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") && status != "417" {
			t.Errorf("%s: %s, %v", status, resp.Status, resp.Header)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if !strings.Contains(string(server.OpenAPI), status+" for ") {
			t.Errorf("the document does not tell of %s", status)
		}
	}
	s.untouched(before)
}
