package wire

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/atmost-dev/atmost"
)

var executeBody = newObject("the body",
	member{"operation", "the name of an operation"}, member{"payload", "any JSON value, null for none"})

// ParseExecute reads the body of an execute request: an object with exactly the members operation, a string of 1 to 255 bytes
// in UTF-8, and payload, any JSON value. The payload that is returned is a part of body, exactly as sent, not a copy.
//
// The body must be one JSON text (RFC 8259) of unique member names and Unicode characters (RFC 7493) that nests no deeper than
// MaxDepth. The error is an *atmost.Error with CodeInvalidRequest; where it can, it tells the offset in body of the first
// byte that is wrong. It quotes nothing of the body but the name of an unknown member.
func ParseExecute(body []byte) (operation string, payload []byte, err error) {
	var v values
	if err := executeBody.read(body, v[:]); err != nil {
		return "", nil, err
	}
	return operationAndPayload(&v)
}

// operationAndPayload reads the first two members of what asks for an execution, or claims one.
func operationAndPayload(v *values) (operation string, payload []byte, err error) {
	if operation, err = operationName(v[0]); err != nil {
		return "", nil, err
	}
	return operation, v[1], nil
}

// operationName reads the member operation.
func operationName(value []byte) (string, error) {
	if value[0] != '"' {
		return "", invalid("the member operation is not a string")
	}
	name, _ := jsontext.AppendUnquote(make([]byte, 0, atmost.MaxKeyLength), value)
	switch {
	case len(name) == 0:
		return "", invalid("the member operation is empty")
	case len(name) > atmost.MaxKeyLength:
		return "", invalid("the member operation is %d bytes long, the limit is %d", len(name), atmost.MaxKeyLength)
	}
	return string(name), nil
}
