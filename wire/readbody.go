package wire

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/atmost-dev/atmost"
)

// firstRead bounds the memory that a request gets for its word that a body of that length follows.
const firstRead = 64 << 10

// What a body that is too long may have left is read for as much and as long as this before it is refused. Most clients read no answer
// before they have sent everything, and if the connection is closed before that, they never see it.
const (
	discardMost   = 16 << 20
	discardWithin = 3 * time.Second
)

// Body reads a request's body of up to limit bytes; a longer one is an *atmost.Error with CodePayloadTooLarge and the message given. One
// that ends early, or takes too long, ends the connection: it panics with http.ErrAbortHandler. The same request may have been
// accepted before, so nothing true can be said of its key: without an answer the client knows no less, and asks again.
func Body(w http.ResponseWriter, r *http.Request, limit int64, tooLarge string) ([]byte, error) {
	refusal := &atmost.Error{Code: atmost.CodePayloadTooLarge, Message: tooLarge}
	if r.ContentLength > limit {
		if r.ContentLength <= discardMost && r.Header.Get("Expect") == "" { // else it is not sent, or not worth it
			discard(w, r)
		}
		return nil, refusal
	}
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), firstRead)) + bytes.MinRead)
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		discard(w, r)
		return nil, refusal
	case err != nil:
		panic(http.ErrAbortHandler)
	}
	return body.Bytes(), nil
}

// discard reads what is left of a body that nobody wants.
func discard(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	if c.SetReadDeadline(time.Now().Add(discardWithin)) != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, r.Body, discardMost); err == io.EOF {
		_ = c.SetReadDeadline(time.Time{}) // the connection can be used again
	}
}
