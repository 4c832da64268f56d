package gateway

import (
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// trailers are those of a request, whose body was read, that the upstream gets.
func (g *Gateway) trailers(r *http.Request) http.Header {
	kept := http.Header{}
	for name, values := range r.Trailer {
		if len(values) > 0 && g.mayTrail(name) {
			kept[name] = slices.Clone(values)
		}
	}
	return kept
}

// mayTrail reports whether a trailer of that name is passed on. Some upstreams take trailers for headers. So what frames a message, or
// says how it is to be read and who sends it, is not: whatever watches over callers' headers may not see their trailers.
func (g *Gateway) mayTrail(name string) bool {
	return httpguts.ValidHeaderFieldName(name) && httpguts.ValidTrailerHeader(name) &&
		name != g.scopeHeader && name != "Forwarded" && name != "Cookie" &&
		!strings.HasPrefix(name, "X-Forwarded-") && !strings.HasPrefix(name, "Idempotency-")
}
