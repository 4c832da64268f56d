package upstream

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
)

// wire executes a and returns the bytes that the upstream got.
func wire(t *testing.T, a atmost.Attempt, change func(*Config)) string {
	t.Helper()
	got := make(chan string, 1)
	addr := raw(t, func(c net.Conn) {
		b := make([]byte, 16<<10)
		n, _ := c.Read(b)
		_, _ = io.WriteString(c, "HTTP/1.1 204 Fine\r\nConnection: close\r\n\r\n")
		got <- string(b[:n]) // all of it: what is in memory is sent in one packet
	})
	u := newUpstream(t, "http://"+addr+"/charge%2Fit?x=%201", change)
	if o := u.Execute(t.Context(), a); o.State != atmost.Completed {
		t.Fatalf("got %+v", o)
	}
	return strings.Replace(<-got, addr, "HOST", 1)
}

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestRequestOnTheWire(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		a      func(*atmost.Attempt)
		want   []string
	}{
		"plain": {
			want: []string{
				"POST /charge%2Fit?x=%201 HTTP/1.1", "Host: HOST", "User-Agent: atmost", "Content-Length: 15",
				"Content-Type: application/json", "Idempotency-Attempt: 1", "Idempotency-Fence: 7", "Idempotency-Key: k1",
				"Idempotency-Operation: payment.charge",
			},
		},
		"everything": {
			change: func(c *Config) {
				c.Method = "PUT"
				c.Headers = http.Header{"authorization": {"Bearer s"}, "X-Two": {"1", "2"}}
			},
			a: func(a *atmost.Attempt) {
				a.Number, a.Fence = 4294967295, 1<<62
				a.Trace = atmost.Trace{Parent: parent, State: "a=1,b=2"}
				a.ID.Key = `a"b\c,d;e`
			},
			want: []string{
				"PUT /charge%2Fit?x=%201 HTTP/1.1", "Host: HOST", "User-Agent: atmost", "Content-Length: 15",
				"Authorization: Bearer s", "Content-Type: application/json", "Idempotency-Attempt: 4294967295",
				"Idempotency-Fence: 4611686018427387904", `Idempotency-Key: "a\"b\\c,d;e"`,
				"Idempotency-Operation: payment.charge", "Traceparent: " + parent, "Tracestate: a=1,b=2", "X-Two: 1", "X-Two: 2",
			},
		},
		"scope, digest": {
			a: func(a *atmost.Attempt) { a.ID.Scope = "tenant" },
			want: []string{
				"POST /charge%2Fit?x=%201 HTTP/1.1", "Host: HOST", "User-Agent: atmost", "Content-Length: 15",
				"Content-Type: application/json", "Idempotency-Attempt: 1", "Idempotency-Fence: 7",
				"Idempotency-Key: " + atmost.ID{Scope: "tenant", Key: "k1"}.ForwardedKey(), "Idempotency-Operation: payment.charge",
			},
		},
		"scope, original": {
			change: func(c *Config) { c.ForwardKey = ForwardOriginal },
			a:      func(a *atmost.Attempt) { a.ID.Scope = "te;nant" },
			want: []string{
				"POST /charge%2Fit?x=%201 HTTP/1.1", "Host: HOST", "User-Agent: atmost", "Content-Length: 15",
				"Content-Type: application/json", "Idempotency-Attempt: 1", "Idempotency-Fence: 7", "Idempotency-Key: k1",
				"Idempotency-Operation: payment.charge", `Idempotency-Scope: "te;nant"`,
			},
		},
		"no scope, original": {
			change: func(c *Config) { c.ForwardKey = ForwardOriginal },
			want: []string{
				"POST /charge%2Fit?x=%201 HTTP/1.1", "Host: HOST", "User-Agent: atmost", "Content-Length: 15",
				"Content-Type: application/json", "Idempotency-Attempt: 1", "Idempotency-Fence: 7", "Idempotency-Key: k1",
				"Idempotency-Operation: payment.charge",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := anAttempt
			if tc.a != nil {
				tc.a(&a)
			}
			want := strings.Join(tc.want, "\r\n") + "\r\n\r\n" + string(anAttempt.Payload)
			if diff := cmp.Diff(want, wire(t, a, tc.change)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The configuration is copied: what its owner does with it later changes nothing.
func TestConfigIsCopied(t *testing.T) {
	h := http.Header{"X-A": {"1"}}
	u := newUpstream(t, "http://h", func(c *Config) { c.Headers = h })
	h["X-A"][0] = "2"
	h.Set("Connection", "close")
	if got := u.headers(); got.Get("X-A") != "1" || got.Get("Connection") != "" {
		t.Errorf("got %v", got)
	}
}

func TestBadTraceContextIsNotForwarded(t *testing.T) {
	for _, trace := range []atmost.Trace{
		{Parent: "bad", State: "a=1"},
		{State: "a=1"},
		{Parent: parent, State: "a=1\r\nX: 1"},
	} {
		a := anAttempt
		a.Trace = trace
		if got := strings.ToLower(wire(t, a, nil)); strings.Contains(got, "tracestate") || strings.Contains(got, "traceparent") != (trace.Parent == parent) {
			t.Errorf("%+v: sent %q", trace, got)
		}
	}
}
