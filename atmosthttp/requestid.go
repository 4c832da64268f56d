package atmosthttp

import (
	"context"
	"net/http"

	"github.com/atmost-dev/atmost/wire"
)

type requestID struct{}

// RequestID is what the answer to a request with a key has in its header Request-Id, by the request's context: for handlers, and for
// Options.OnError, to name in their logs. It is "" for any other request.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestID{}).(string)
	return id
}

// Identify returns r with an id, which the answer gets: the one that it has already, by whoever is in front, or a new one.
func Identify(w http.ResponseWriter, r *http.Request) *http.Request {
	h := w.Header()
	id := h.Get(wire.HeaderRequestID)
	if id == "" {
		id = wire.NewRequestID()
		h[wire.HeaderRequestID] = []string{id}
	}
	return r.WithContext(context.WithValue(r.Context(), requestID{}, id))
}
