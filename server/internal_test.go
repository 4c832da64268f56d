package server

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/atmost-dev/atmost"
)

// No handler is known to meet an error without a code. If one does, its text is for the log only.
func TestErrorWithoutCode(t *testing.T) {
	var log bytes.Buffer
	h := routes(slog.New(slog.NewTextHandler(&log, nil)), map[string]http.HandlerFunc{"GET /x": func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, errors.New("a secret cause"))
	}})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/x", nil))
	if w.Code != http.StatusInternalServerError || !strings.HasPrefix(w.Body.String(), `{"error":{"code":"INTERNAL",`) || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("the answer is %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "a secret cause") || !strings.Contains(log.String(), w.Header().Get("Request-Id")) {
		t.Errorf("the log is %s", &log)
	}
}

// FuzzAdminQuery: every query is refused as such, or means what it says, within the bounds.
func FuzzAdminQuery(f *testing.F) {
	for _, seed := range []string{
		"", "state=unknown&operation=a&scope=&key=k&older_than=1h30m&limit=1000&cursor=AGs", "limit=0", "limit=1001", "limit=%2B1", "state=absent",
		"cursor=9223372036854775807&limit=7", "cursor=18446744073709551616", "result=true", "result=TRUE", "result", "key=a&key=b", "KEY=a", "a;b", "%zz",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := &http.Request{URL: &url.URL{RawQuery: query}}
		said := func(err error, name string) string {
			if err != nil && atmost.CodeOf(err) != atmost.CodeInvalidRequest {
				t.Errorf("%q: %v", query, err)
			}
			return r.URL.Query().Get(name)
		}
		q, err := listQuery(r)
		limit := said(err, "limit")
		if err == nil && (q.Limit < 1 || q.Limit > atmost.MaxPage || limit == "" && q.Limit != defaultLimit || q.Age < 0 ||
			q.State != atmost.Absent && q.State.String() != said(nil, "state") || (q.Key != nil) != r.URL.Query().Has("key") || q.Key != nil && *q.Key != said(nil, "key")) {
			t.Errorf("%q means %+v", query, q)
		}
		before, n, err := auditParameters(r)
		if cursor := said(err, "cursor"); err == nil && (n < 1 || n > atmost.MaxPage || (before == 0) != (cursor == "")) {
			t.Errorf("%q means what is before %d, %d of it", query, before, n)
		}
		shown, err := recordParameters(r)
		if result := said(err, "result"); shown && (err != nil || result != "true") {
			t.Errorf("%q shows the result", query)
		}
		if err := onlyParameters(r); err == nil && len(r.URL.Query()) > 0 {
			t.Errorf("%q is heeded where there are no parameters", query)
		}
	})
}

// FuzzOwnHost: no host that is taken for this machine's own has a name that somebody could have registered.
func FuzzOwnHost(f *testing.F) {
	for _, seed := range []string{"127.0.0.1:80", "[::1]", "localhost", "LOCALHOST:1", "example.com", "[localhost]:1", "]", "127.0.0.1:1.example.com", "::1", "[fe80::1%25x]:1", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		u, err := url.Parse("http://" + host + "/")
		if !isOwnHost(host) || err != nil || u.Host != host {
			return
		}
		name, _, _ := strings.Cut(u.Hostname(), "%") // a zone
		if name != "" && !strings.EqualFold(name, "localhost") && net.ParseIP(name) == nil {
			t.Errorf("%q is the host %q", host, name)
		}
	})
}
