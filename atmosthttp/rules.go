package atmosthttp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/fingerprint"
	"github.com/atmost-dev/atmost/wire"
)

// Rules are what is demanded of a request.
type Rules struct {
	// Scope tells whose its key is.
	Scope Scope
	// RequireKey refuses a request without a key.
	RequireKey bool
	// MaxBody bounds its body, in bytes. A body is held in memory.
	MaxBody int64
}

// Keyed is a request that has a key.
type Keyed struct {
	ID atmost.ID
	// Body is all of the request's.
	Body []byte
	// Payload stands for the whole request where requests are compared: the fingerprint of its method, path, query, content type and
	// body, as a JSON string.
	Payload []byte
}

// Read reads a request's key, and what belongs to it; without an error keyed is false if it has none. The error is an *atmost.Error. If
// the body does not come to its end, nothing true can be answered: Read panics with http.ErrAbortHandler.
func (o Rules) Read(w http.ResponseWriter, r *http.Request) (k Keyed, keyed bool, err error) {
	if k.ID.Key, err = wire.Key(r.Header); err != nil {
		if atmost.CodeOf(err) == atmost.CodeMissingKey && !o.RequireKey {
			return k, false, nil
		}
		return k, false, err
	}
	if k.ID.Scope, err = o.scope(r); err != nil {
		return k, false, err
	}
	if len(r.Header["Content-Type"]) > 1 {
		return k, false, &atmost.Error{Code: atmost.CodeInvalidRequest, Message: "the Content-Type header was sent more than once; send it once"}
	}
	if k.Body, err = o.body(w, r); err != nil {
		return k, false, err
	}
	target := target(r)
	print, err := fingerprint.OfRequest(fingerprint.CurrentRequest, fingerprint.Request{
		Method: r.Method, Path: target.EscapedPath(), Query: target.RawQuery, ContentType: r.Header.Get("Content-Type"), Body: k.Body,
	})
	if err != nil {
		return k, false, err
	}
	k.Payload = []byte(`"` + print.String() + `"`)
	return k, true, nil
}

// target is the URL that was asked for. What is on the way here may have changed r.URL since, as http.StripPrefix does, and made one of two.
func target(r *http.Request) *url.URL {
	if asked, err := url.ParseRequestURI(r.RequestURI); err == nil {
		return asked
	}
	return r.URL // the request did not come through a server
}

func (o Rules) scope(r *http.Request) (string, error) {
	scope, err := o.Scope(r)
	if err == nil {
		if invalid := (atmost.ID{Scope: scope, Key: "-"}).Validate(); invalid != nil {
			err = fmt.Errorf("the scope is none: %s", invalid.Error()) // which is not the caller's fault
		}
	}
	var refusal *atmost.Error
	switch {
	case errors.As(err, &refusal):
		return "", refusal
	case err != nil:
		return "", &atmost.Error{Code: atmost.CodeInvalidRequest, Message: "the request does not tell whose its key is", Err: err}
	}
	return scope, nil
}

func (o Rules) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	return wire.Body(w, r, o.MaxBody, "the request has a key, and its body is over the limit of "+strconv.FormatInt(o.MaxBody, 10)+" bytes")
}
