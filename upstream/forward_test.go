package upstream

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

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
