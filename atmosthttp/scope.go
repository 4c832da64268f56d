package atmosthttp

import (
	"net/http"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// Scope tells whose keys a request's are: a tenant, an account, whatever your authentication made of the caller. Two callers that
// have one scope share their keys, so one could be answered with the other's response.
//
// It must be the same for every retry of a request. A credential that changes is not: a retry with a new token would have another
// scope, and run again. It has 1 to 255 visible ASCII characters; names that may have others are to be encoded, or replaced by an
// account's number. An empty one is that of NoScope: whoever has no scope must be refused by an error, or shares keys with all others
// that have none. An error refuses the request: with 400, or, if it is an *atmost.Error, as its code says.
type Scope func(*http.Request) (string, error)

// NoScope is for services whose callers may share their keys, because there is only one, or they trust each other.
func NoScope(*http.Request) (string, error) { return "", nil }

// HeaderScope takes the scope from a header that something in front sets, and never lets callers set. A request that does not have
// it, once and not empty, is refused.
func HeaderScope(name string) Scope {
	name = http.CanonicalHeaderKey(name)
	missing := &atmost.Error{Code: atmost.CodeInvalidRequest, Message: "the request has no " + name + " header, which tells whose its key is"}
	return func(r *http.Request) (string, error) {
		scope, err := wire.Scope(r.Header, name)
		if err == nil && scope == "" {
			err = missing
		}
		return scope, err
	}
}
