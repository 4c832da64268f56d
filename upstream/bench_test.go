package upstream

import (
	"io"
	"net/http"
	"testing"

	"github.com/atmost-dev/atmost"
)

func BenchmarkExecute(b *testing.B) {
	for _, proto := range []string{"http", "https", "h2"} {
		b.Run(proto, func(b *testing.B) {
			srv := start(b, proto, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.Copy(w, r.Body)
			}))
			u := newUpstream(b, srv.URL, func(c *Config) { c.Transport = newTransport(b, srv) })
			b.ReportAllocs()
			for b.Loop() {
				if o := u.Execute(b.Context(), anAttempt); o.State != atmost.Completed {
					b.Fatalf("%+v", o)
				}
			}
		})
	}
}
