package wire

import (
	"net/http"
	"strings"

	"github.com/atmost-dev/atmost"
)

// Trace takes the caller's trace context, unless it sent more than one.
func Trace(h http.Header) (t atmost.Trace) {
	if parent := h[HeaderTraceParent]; len(parent) == 1 {
		t.Parent = parent[0]
		t.State = strings.Join(h[HeaderTraceState], ",")
	}
	return t
}
