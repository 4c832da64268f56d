package atmosthttp

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// always are the headers that are replayed with every response. Content-Encoding belongs to the body's bytes: nobody could read them
// without it.
var always = []string{"Content-Type", "Content-Encoding", "Content-Language", "Location", "Link", "ETag"}

// Replayed are the headers of a response that are kept and replayed.
type Replayed struct{ names []string }

// NewReplayed returns the standard ones, which are Content-Type, Content-Encoding, Content-Language, Location, Link and ETag, and those
// named. Some may not be: those that are about one connection or one moment, and whatever could let one caller act as another.
func NewReplayed(more ...string) (Replayed, error) {
	var names []string
	for _, name := range append(slices.Clone(always), more...) {
		canonical := http.CanonicalHeaderKey(name)
		if why := unfit(canonical); why != "" {
			return Replayed{}, fmt.Errorf("headers: %s is never replayed: %s", name, why)
		}
		if !slices.Contains(names, canonical) {
			names = append(names, canonical)
		}
	}
	return Replayed{names}, nil
}

// secrets are parts of the names of headers that hold what only one caller may know.
var secrets = []string{"Authoriz", "Authentic", "X-Auth", "Cookie", "Token", "Secret", "Api-Key", "Apikey", "Password", "Session", "Csrf"}

// momentary are headers that were true once, or that belong to one message.
var momentary = []string{
	"Age", "Connection", "Content-Length", "Date", "Keep-Alive", "Proxy-Connection", "Request-Id", "Retry-After", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade",
}

// unfit says why a header, in canonical spelling, is not replayed.
func unfit(name string) string {
	switch {
	case name == "":
		return "it has no name"
	case slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(strings.ToLower(name), strings.ToLower(s)) }):
		return "it can hold a secret of one caller"
	case slices.Contains(momentary, name):
		return "it is about one message"
	case strings.HasPrefix(name, "Idempotency-"):
		return "each answer has its own"
	}
	return ""
}

// Of returns what of h is kept.
func (k Replayed) Of(h http.Header) http.Header {
	kept := make(http.Header, len(k.names))
	for _, name := range k.names {
		if values := h[name]; len(values) > 0 {
			kept[name] = slices.Clone(values)
		}
	}
	return kept
}
