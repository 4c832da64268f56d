package wire

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/dunglas/httpsfv"

	"github.com/atmost-dev/atmost"
)

// ID reads the identity that a request's headers name: the key, and the scope where there is one.
//
// Either is written bare, as 1 to 255 visible ASCII characters without " , ; and \, or as a Structured Field String (RFC 9651,
// section 3.3.3) of 1 to 255 visible ASCII characters, without parameters; both spellings of a name mean the same. An ID that
// is returned is valid. The error is an *atmost.Error with CodeMissingKey, CodeInvalidKey, or, for the scope,
// CodeInvalidRequest; it does not quote the value.
func ID(h http.Header) (atmost.ID, error) {
	key, err := Key(h)
	if err != nil {
		return atmost.ID{}, err
	}
	id := atmost.ID{Key: key}
	if id.Scope, err = Scope(h, HeaderScope); err != nil {
		return atmost.ID{}, err
	}
	return id, nil
}

// Key reads the key alone.
func Key(h http.Header) (string, error) {
	keys := h[HeaderKey]
	if len(keys) == 0 {
		return "", &atmost.Error{
			Code:    atmost.CodeMissingKey,
			Message: "the request has no " + HeaderKey + " header; send one with " + nameRule,
		}
	}
	key, wrong := headerName(HeaderKey, keys)
	if wrong != "" {
		return "", &atmost.Error{Code: atmost.CodeInvalidKey, Message: wrong}
	}
	return key, atmost.ID{Key: key}.Validate()
}

// Scope reads a scope from the header called name, in canonical spelling, by the same rules: "" if there is none.
func Scope(h http.Header, name string) (string, error) {
	values := h[name]
	if len(values) == 0 {
		return "", nil
	}
	scope, wrong := headerName(name, values)
	if wrong != "" {
		return "", &atmost.Error{Code: atmost.CodeInvalidRequest, Message: wrong}
	}
	return scope, atmost.ID{Scope: scope, Key: "-"}.Validate()
}

// What would be right, for messages.
const (
	nameRule   = `1 to 255 visible ASCII characters, in double quotes if " , ; or \ is among them`
	quotedRule = `exactly one string in double quotes, with \" for " and \\ for \, and nothing after it (RFC 9651)`
)

// headerName reads a key or scope from the values of its header, or says what is wrong.
func headerName(header string, values []string) (name, wrong string) {
	if len(values) > 1 {
		return "", fmt.Sprintf("the %s header was sent %d times; send it once", header, len(values))
	}
	name = values[0]
	if strings.HasPrefix(name, `"`) {
		var ok bool
		if name, ok = quotedName(name); !ok {
			return "", "the " + header + ` header begins with a double quote, so it must be ` + quotedRule
		}
	} else if i := strings.IndexAny(name, "\",;\\"); i >= 0 {
		return "", fmt.Sprintf(`the %s header has one of " , ; \ at position %d; send one name, %s`, header, i+1, nameRule)
	}
	if name == "" {
		return "", "the " + header + " header is empty; send " + nameRule
	}
	return name, ""
}

// quotedName reads a Structured Field Item that is a String without parameters.
func quotedName(value string) (string, bool) {
	item, err := httpsfv.UnmarshalItem([]string{value})
	if err != nil || len(item.Params.Names()) > 0 {
		return "", false
	}
	name, ok := item.Value.(string)
	return name, ok
}
