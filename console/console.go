// Package console is a page in which operators see what the service does, look into records and settle what is unknown. It asks the
// admin API and the metrics for all of that, from the browser; it needs no build step, and asks no other host for anything.
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed page
var page embed.FS

// index is the file that the path "/" means.
const index = "index.html"

// policy lets a browser load what comes from here and nothing else, run no script that stands in a page, and make no HTML of a string:
// so a key, or a message, cannot become anything but text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	"":      "text/plain; charset=utf-8", // a licence
}

// asset is a file as it is served.
type asset struct {
	name        string
	content     []byte
	contentType string
	etag        string
}

// Handler returns the handler of the console. It is to be served under any path that ends in a slash, which is stripped from the
// requests that it gets but for that slash, beside /admin/v1/ and /metrics: what is at /console/ asks for ../admin/v1/ and ../metrics.
func Handler() http.Handler {
	assets := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "the methods of this path are: GET, HEAD", http.StatusMethodNotAllowed)
			return
		}
		a, ok := assets[r.URL.Path]
		if !ok {
			http.Error(w, "there is nothing at this path", http.StatusNotFound)
			return
		}
		h.Set("Content-Type", a.contentType)
		h.Set("ETag", a.etag)
		h.Set("Cache-Control", "no-cache") // asked for again each time, and sent only if it changed: names do not tell versions
		http.ServeContent(w, r, a.name, time.Time{}, bytes.NewReader(a.content))
	})
}

// load makes assets of the files, by path.
func load() map[string]asset {
	assets := map[string]asset{}
	err := fs.WalkDir(page, "page", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := page.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		a := asset{
			name: path.Base(name), content: content, contentType: contentTypes[path.Ext(name)],
			etag: `"` + hex.EncodeToString(sum[:12]) + `"`,
		}
		at := strings.TrimPrefix(name, "page")
		assets[strings.TrimSuffix(at, index)] = a
		return nil
	})
	if err != nil {
		panic(err) // the files are part of the program
	}
	return assets
}
