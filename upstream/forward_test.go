package upstream

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
)

// What is too large to be kept can be read to its end after the attempt, until it is closed.
func TestForwardHandsOverWhatIsTooLarge(t *testing.T) {
	const size = 32 << 20 // more than any buffer on the way
	srv := start(t, "http", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", size))
	}))
	u := newUpstream(t, srv.URL, func(c *Config) { c.MaxResult = 10 })
	ctx, end := context.WithCancel(t.Context())
	answer, o := u.Forward(ctx, anAttempt, u.request(ctx, anAttempt), nil)
	end()
	if o.State != atmost.Completed || answer == nil || answer.Rest == nil {
		t.Fatalf("got %+v, %+v", answer, o)
	}
	rest, err := io.Copy(io.Discard, answer.Rest)
	if err != nil || len(answer.Body)+int(rest) != size {
		t.Errorf("got %d and %d bytes, %v", len(answer.Body), rest, err)
	}
	if err := answer.Rest.Close(); err != nil {
		t.Error(err)
	}
}

// Trailers are sent after any body, also after one of no bytes, and with methods that mostly have none.
func TestForwardSendsTrailers(t *testing.T) {
	for _, proto := range []string{"http", "h2"} {
		for _, method := range []string{http.MethodPost, http.MethodDelete} {
			for _, body := range []string{"payload", ""} {
				t.Run(proto+" "+method+" "+body, func(t *testing.T) {
					sent := make(chan http.Header, 1)
					srv := start(t, proto, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						if got, err := io.ReadAll(r.Body); string(got) != body || err != nil {
							t.Errorf("got the body %q, %v", got, err)
						}
						sent <- r.Trailer
					}))
					u := newUpstream(t, srv.URL, func(c *Config) { c.Transport, c.Method = newTransport(t, srv), method })
					r := u.request(t.Context(), anAttempt)
					r.Trailer = http.Header{"X-Sum": {"1", "2"}}
					if answer, o := u.Forward(t.Context(), anAttempt, r, []byte(body)); answer == nil {
						t.Fatalf("got %+v", o)
					}
					if diff := cmp.Diff(r.Trailer, <-sent); diff != "" {
						t.Error(diff)
					}
				})
			}
		}
	}
}
