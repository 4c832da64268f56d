package console

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ask(t *testing.T, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "http://host"+path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w
}

// TestHandler: each file is served with its type, is asked for again and not sent again, and every answer forbids the browser
// what the page does not need.
func TestHandler(t *testing.T) {
	files := 0
	err := fs.WalkDir(page, "page", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		path := strings.TrimSuffix(strings.TrimPrefix(name, "page"), "index.html")
		w := ask(t, http.MethodGet, path)
		content, err := page.ReadFile(name)
		if w.Code != http.StatusOK || w.Body.String() != string(content) || w.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %d, %v", path, w.Code, w.Header())
		}
		if again := ask(t, http.MethodGet, path, "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("%s: again %d", path, again.Code)
		}
		return err
	})
	if err != nil || files < 10 {
		t.Errorf("%d files, %v", files, err)
	}
	for _, c := range []struct {
		method, path string
		status       int
		contentType  string
	}{
		{http.MethodGet, "/", 200, "text/html; charset=utf-8"},
		{http.MethodHead, "/main.js", 200, "text/javascript; charset=utf-8"},
		{http.MethodGet, "/console.css", 200, "text/css; charset=utf-8"},
		{http.MethodGet, "/icon.svg", 200, "image/svg+xml"},
		{http.MethodGet, "/index.html", 404, ""},
		{http.MethodGet, "/../console.go", 404, ""},
		{http.MethodGet, "/vendor/", 404, ""},
		{http.MethodPost, "/", 405, ""},
	} {
		w := ask(t, c.method, c.path)
		if w.Code != c.status || c.contentType != "" && w.Header().Get("Content-Type") != c.contentType {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Header().Get("Content-Type"))
		}
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: %v", c.method, c.path, w.Header())
		}
	}
}

// TestNothingElse: the page names no other host, and what it loads is there.
func TestNothingElse(t *testing.T) {
	elsewhere := regexp.MustCompile(`(?i)(src|href|url|import|from|fetch)[\s=("']+(https?:)?//`)
	loaded := regexp.MustCompile(`(?:src|href)="([^"#]+)"|from "(\./[^"]+)"`)
	files, err := fs.Glob(page, "page/*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		content, err := page.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := elsewhere.FindString(string(content)); found != "" {
			t.Errorf("%s: %s", name, found)
		}
		for _, m := range loaded.FindAllStringSubmatch(string(content), -1) {
			if path := "/" + strings.TrimPrefix(m[1]+m[2], "./"); ask(t, http.MethodGet, path).Code != http.StatusOK {
				t.Errorf("%s loads %s, which is not there", name, path)
			}
		}
	}
}
