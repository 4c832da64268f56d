package wire

import (
	"bytes"
	"errors"
	"net/http"

	"github.com/atmost-dev/atmost"
)

// firstRead bounds the memory that a request gets for its word that a body of that length follows.
const firstRead = 64 << 10

// Body reads a request's body of up to limit bytes; a longer one is an *atmost.Error with CodePayloadTooLarge and the message given. One
// that ends early, or takes too long, ends the connection: it panics with http.ErrAbortHandler. The same request may have been
// accepted before, so nothing true can be said of its key: without an answer the client knows no less, and asks again.
func Body(w http.ResponseWriter, r *http.Request, limit int64, tooLarge string) ([]byte, error) {
	refusal := &atmost.Error{Code: atmost.CodePayloadTooLarge, Message: tooLarge}
	if r.ContentLength > limit {
		return nil, refusal
	}
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), firstRead)) + bytes.MinRead)
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, refusal
	case err != nil:
		panic(http.ErrAbortHandler)
	}
	return body.Bytes(), nil
}
