package upstream

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/faultproxy"
)

func TestProbe(t *testing.T) {
	const (
		completed, failed    = atmost.Completed, atmost.Failed
		notExecuted, unknown = atmost.NotExecuted, atmost.Unknown
	)
	for name, tc := range map[string]struct {
		status   int
		outcome  []string // header lines
		body     string
		notFound bool
		want     atmost.Outcome
	}{
		"completed":          {status: 200, outcome: []string{"completed"}, body: `{"id": 1.0}`, want: atmost.Outcome{State: completed, Result: []byte(`{"id": 1.0}`)}},
		"completed, no body": {status: 200, outcome: []string{"completed"}, want: atmost.Outcome{State: completed, Result: []byte("null")}},
		"completed, too large": {
			status: 200, outcome: []string{"completed"}, body: strings.Repeat("1", 65),
			want: atmost.Outcome{State: completed, NotKept: atmost.TooLarge},
		},
		"failed": {
			status: 200, outcome: []string{"failed"}, body: `{"code":"declined"}`,
			want: atmost.Outcome{State: failed, Result: []byte(`{"code":"declined"}`), Message: "the probe was told that the request failed"},
		},
		"not executed": {
			status: 200, outcome: []string{"not_executed"}, body: "ignored",
			want: atmost.Outcome{State: notExecuted, Message: "the probe was told that nothing happened"},
		},
		"other word": {status: 200, outcome: []string{"Completed"}, want: atmost.Outcome{
			State: unknown, Message: "the probe's answer has an Idempotency-Outcome header that is none of completed, failed, not_executed",
		}},
		"two words": {status: 200, outcome: []string{"completed", "failed"}, want: atmost.Outcome{
			State: unknown, Message: "the probe's answer has no single Idempotency-Outcome header",
		}},
		"200 of anybody": {status: 200, body: "{}", notFound: true, want: atmost.Outcome{
			State: unknown, Message: "the probe's answer has no single Idempotency-Outcome header",
		}},
		"201":              {status: 201, outcome: []string{"completed"}, want: atmost.Outcome{State: unknown, Message: "the probe was answered 201"}},
		"redirect":         {status: 302, outcome: []string{"completed"}, want: atmost.Outcome{State: unknown, Message: "the probe was answered 302"}},
		"500":              {status: 500, outcome: []string{"failed"}, notFound: true, want: atmost.Outcome{State: unknown, Message: "the probe was answered 500"}},
		"410":              {status: 410, notFound: true, want: atmost.Outcome{State: unknown, Message: "the probe was answered 410"}},
		"404":              {status: 404, want: atmost.Outcome{State: unknown, Message: "the probe was answered 404"}},
		"404, means it":    {status: 404, notFound: true, want: atmost.Outcome{State: notExecuted, Message: "the probe found no such request at the upstream"}},
		"404 with a claim": {status: 404, outcome: []string{"completed"}, notFound: true, want: atmost.Outcome{State: unknown, Message: "the probe was answered 404"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []*http.Request
			srv := start(t, "http", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = append(got, r)
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Location", "/elsewhere")
				for _, line := range tc.outcome {
					w.Header().Add("idempotency-outcome", line)
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			}))
			u := newUpstream(t, srv.URL, func(c *Config) {
				c.ProbeURL, c.ProbeNotFound, c.MaxResult = srv.URL+"/{key}/{attempt}", tc.notFound, 64
				c.Headers = http.Header{"Authorization": {"Bearer s"}}
			})
			if diff := cmp.Diff(tc.want, u.Probe(t.Context(), atmost.ID{Key: "k"}, 3)); diff != "" {
				t.Error(diff)
			}
			if len(got) != 1 {
				t.Fatalf("%d requests", len(got))
			}
			want := http.Header{"Authorization": {"Bearer s"}, "User-Agent": {"atmost"}, "Cache-Control": {"no-cache"}}
			if diff := cmp.Diff(want, got[0].Header); diff != "" || got[0].Method != "GET" || got[0].RequestURI != "/k/3" {
				t.Error(got[0].Method, got[0].RequestURI, diff)
			}
		})
	}
}

func TestProbeAsksAboutTheRightKey(t *testing.T) {
	uris := make(chan string, 1)
	srv := start(t, "http", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uris <- r.RequestURI
		w.Header().Set("Idempotency-Outcome", "not_executed")
	}))
	weird := atmost.ID{Key: `a/b?c#d%2F&e=+;"\{key}..`, Scope: "t/1"}
	for name, tc := range map[string]struct {
		template, forward string
		id                atmost.ID
		want              string // "" when it must not ask
	}{
		"weird key":              {"/p/{key}?a={attempt}", "", atmost.ID{Key: weird.Key}, `/p/a%2Fb%3Fc%23d%252F%26e%3D%2B%3B%22%5C%7Bkey%7D..?a=9`},
		"in the query":           {"/?k={key}&s={scope}", ForwardOriginal, weird, `/?k=a%2Fb%3Fc%23d%252F%26e%3D%2B%3B%22%5C%7Bkey%7D..&s=t%2F1`},
		"scope, digest":          {"/{scope}/{key}", "", weird, "/t%2F1/" + weird.ForwardedKey()},
		"scope, original":        {"/{scope}/{key}", ForwardOriginal, atmost.ID{Scope: "t", Key: "k"}, "/t/k"},
		"no scope, but asked":    {"/p?s={scope}&k={key}", "", atmost.ID{Key: "k"}, "/p?s=&k=k"},
		"scope, not asked":       {"/{key}", "", weird, ""},
		"key that is a segment":  {"/a/{key}", "", atmost.ID{Key: ".."}, ""},
		"key that is a segment.": {"/a/{key}/x", "", atmost.ID{Key: "."}, ""},
		"dots in the query":      {"/a?{key}", "", atmost.ID{Key: ".."}, "/a?.."},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, srv.URL, func(c *Config) { c.ProbeURL, c.ForwardKey = srv.URL+tc.template, tc.forward })
			o := u.Probe(t.Context(), tc.id, 9)
			if tc.want == "" {
				if o.State != atmost.Unknown || o.Message == "" || len(uris) != 0 {
					t.Errorf("got %+v, asked %d times", o, len(uris))
				}
				return
			}
			if got := <-uris; got != tc.want || o.State != atmost.NotExecuted {
				t.Errorf("asked %s\nwant  %s\ngot %+v", got, tc.want, o)
			}
		})
	}
	t.Run("message", func(t *testing.T) {
		u := newUpstream(t, srv.URL, func(c *Config) { c.ProbeURL = srv.URL + "/{key}" })
		if o := u.Probe(t.Context(), weird, 1); !strings.Contains(o.Message, "{scope}") {
			t.Errorf("got %+v", o)
		}
	})
}

func TestProbeThatIsNotAnswered(t *testing.T) {
	id := atmost.ID{Key: "k"}
	srv := start(t, "http", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Idempotency-Outcome", "completed")
		_, _ = io.WriteString(w, "whole")
	}))
	p := proxyTo(t, srv.Listener.Addr().String())
	u := newUpstream(t, srv.URL, func(c *Config) { c.ProbeURL = "http://" + p.Addr() + "/{key}" })
	for _, tc := range []struct {
		fault faultproxy.Fault
		want  string
	}{
		{faultproxy.Fault{Kind: faultproxy.Close, Direction: faultproxy.Response}, "the probe was not answered"},
		{faultproxy.Fault{Kind: faultproxy.Reset, Direction: faultproxy.Response, After: 10}, "the probe was not answered"},
	} {
		p.Set(tc.fault)
		if diff := cmp.Diff(stillUnknown(tc.want), u.Probe(t.Context(), id, 1)); diff != "" {
			t.Error(diff)
		}
	}
	cut := newUpstream(t, srv.URL, func(c *Config) {
		c.ProbeURL = "http://" + raw(t, says("HTTP/1.1 200 OK\r\nIdempotency-Outcome: completed\r\nContent-Length: 9\r\n\r\n{")) + "/{key}"
	})
	if diff := cmp.Diff(stillUnknown("the probe's answer broke off"), cut.Probe(t.Context(), id, 1)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(stillUnknown("there is no probe to ask"), newUpstream(t, srv.URL, nil).Probe(t.Context(), id, 1)); diff != "" {
		t.Error(diff)
	}
}

func TestProbeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		n := &network{serve: func(c net.Conn) { says("")(c); <-hold }}
		u, end := n.upstream(t)
		u.probe = &probeURL{template: "http://h/{key}"}
		began := time.Now()
		if diff := cmp.Diff(stillUnknown("the probe was not answered"), u.Probe(t.Context(), atmost.ID{Key: "k"}, 1)); diff != "" {
			t.Error(diff)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("took %v", took)
		}
		close(hold)
		end()
	})
}

var templates = []string{
	"http://h/{key}", "https://h:8443/{scope}/{key}?a={attempt}", "http://h?{key}", "http://{key}/", "http://h{key}/",
	"http://h/{nope}{key}", "http://h/{key", "http://h/key}", "http://h/{{key}}", "http://h/../{key}", "http://h/%2e/{key}",
	"http://h/#{key}", "http://h/", "ftp://h/{key}", "http://u:p@h/{key}", "http:/{key}", "{key}", "http://h/%zz{key}", "http://[::1]/{key}",
	"http://h/x{key}?{scope}",
}

func FuzzProbeURL(f *testing.F) {
	for _, s := range templates {
		f.Add(s, `a/..?&"`, "s")
	}
	f.Fuzz(func(t *testing.T, template, key, scope string) {
		p, err := parseProbeURL(template)
		if err != nil {
			return
		}
		plain, err := p.expand("0", "0", 1)
		if err != nil {
			t.Fatalf("%q: %v", template, err)
		}
		u, err := p.expand(key, scope, 1)
		if err != nil {
			return
		}
		if u.Scheme != plain.Scheme || u.Host != plain.Host || u.User != nil || u.Fragment != "" {
			t.Errorf("%q with %q went from %v to %v", template, key, plain, u)
		}
		count := func(s, what string) int { return strings.Count(s, what) }
		if count(u.EscapedPath(), "/") != count(plain.EscapedPath(), "/") || count(u.RawQuery, "&") != count(plain.RawQuery, "&") {
			t.Errorf("%q with %q has another shape: %v", template, key, u)
		}
	})
}
