package atmosthttp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
)

// BenchmarkReplay measures what a replay adds to a handler that only reads its body and answers.
func BenchmarkReplay(b *testing.B) {
	answer := []byte(`{"id":"ch_1","amount":"10.00","status":"paid"}`)
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(answer)
	})
	h := wrap(b, newEngine(b, atmost.Operation{}), atmosthttp.HeaderScope("X-Tenant"), atmosthttp.Options{}, bare)
	const body = `{"amount":"10.00","currency":"EUR","to":"acct_1"}`
	r := httptest.NewRequest(http.MethodPost, "/charges", nil)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", "8e03978e-40d5-43dd-bc93-6894a57f9324")
	r.Header.Set("X-Tenant", "t1")
	r.ContentLength = int64(len(body))
	run := func(b *testing.B, h http.Handler) time.Duration {
		for b.Loop() {
			r.Body = io.NopCloser(strings.NewReader(body))
			w := discard{http.Header{}}
			h.ServeHTTP(w, r)
		}
		return b.Elapsed() / time.Duration(b.N)
	}
	var alone time.Duration
	b.Run("bare handler", func(b *testing.B) { alone = run(b, bare) })
	b.Run("replay", func(b *testing.B) {
		added := run(b, h) - alone
		b.ReportMetric(float64(added.Nanoseconds()), "ns-added/op")
	})
}

// discard is a ResponseWriter that costs nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
