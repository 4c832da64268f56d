package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atmost-dev/atmost"
)

// MaxDepth bounds how deep arrays and objects may nest in a request's body, the body's own object included.
const MaxDepth = 128

// ParseExecute reads the body of an execute request: an object with exactly the members operation, a string of 1 to 255 bytes
// in UTF-8, and payload, any JSON value. The payload that is returned is a part of body, exactly as sent, not a copy.
//
// The body must be one JSON text (RFC 8259) of unique member names and Unicode characters (RFC 7493) that nests no deeper than
// MaxDepth. The error is an *atmost.Error with CodeInvalidRequest; where it can, it tells the offset in body of the first
// byte that is wrong. It quotes nothing of the body but the name of an unknown member.
func ParseExecute(body []byte) (operation string, payload []byte, err error) {
	if offset, deep := tooDeep(body); deep {
		return "", nil, invalid("the body nests deeper than %d levels at byte %d", MaxDepth, offset)
	}
	p := parsers.Get().(*parser)
	p.reset(body)
	operation, payload, err = p.execute(body)
	p.reset(nil)
	parsers.Put(p)
	if err != nil {
		return "", nil, err
	}
	return operation, payload, nil
}

// parser is kept for reuse, as a decoder is large.
type parser struct {
	in  bytes.Buffer
	dec jsontext.Decoder
}

var parsers = sync.Pool{New: func() any { return new(parser) }}

// reset makes p read body, and forget what it read before.
func (p *parser) reset(body []byte) {
	p.in = *bytes.NewBuffer(body)
	p.dec.Reset(&p.in)
}

func (p *parser) execute(body []byte) (operation string, payload []byte, err error) {
	switch p.dec.PeekKind() {
	case '{', jsontext.KindInvalid: // the latter fails on the next line
	default:
		return "", nil, invalid("the body is not a JSON object; send one with the members operation and payload")
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return "", nil, malformed(body, err)
	}
	for p.dec.PeekKind() == '"' {
		name, err := p.dec.ReadValue()
		if err != nil {
			return "", nil, malformed(body, err)
		}
		isOperation, isPayload := isName(name, "operation"), isName(name, "payload")
		if !isOperation && !isPayload {
			return "", nil, unknownMember(name)
		}
		value, err := p.dec.ReadValue()
		if err != nil {
			return "", nil, malformed(body, err)
		}
		if isPayload {
			end := p.dec.InputOffset()
			payload = body[end-int64(len(value)) : end : end]
		} else if operation, err = operationName(value); err != nil {
			return "", nil, err
		}
	}
	if _, err := p.dec.ReadToken(); err != nil { // the closing brace
		return "", nil, malformed(body, err)
	}
	end := p.dec.InputOffset()
	if _, err := p.dec.ReadToken(); err != io.EOF {
		return "", nil, invalid("the body has more than one JSON value; the first ends at byte %d", end)
	}
	switch {
	case operation == "":
		return "", nil, invalid("the body has no member operation; send the name of an operation in it")
	case payload == nil:
		return "", nil, invalid("the body has no member payload; send any JSON value in it, null for none")
	}
	return operation, payload, nil
}

// isName reports whether a valid JSON string, in quotes, spells name.
func isName(quoted []byte, name string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1:len(quoted)-1]) == name
	}
	unquoted, _ := jsontext.AppendUnquote(nil, quoted)
	return string(unquoted) == name
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

// maxQuoted bounds how much of an unknown name is told, in bytes.
const maxQuoted = 40

func unknownMember(quoted []byte) error {
	name, _ := jsontext.AppendUnquote(nil, quoted)
	more := ""
	if len(name) > maxQuoted {
		name, more = name[:maxQuoted], " and so on"
	}
	return invalid("the body has an unknown member %s%s; it may have operation and payload only",
		strconv.QuoteToASCII(string(name)), more)
}

// malformed words an error of jsontext's, whose own text may quote the payload.
func malformed(body []byte, err error) error {
	if err == io.EOF {
		return invalid("the body is empty; send a JSON object with the members operation and payload")
	}
	offset := int64(len(body))
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		offset = min(offset, syntax.ByteOffset)
	}
	what := "is not valid JSON"
	switch r, size := utf8.DecodeRune(body[offset:]); {
	case errors.Is(err, jsontext.ErrDuplicateName):
		what = "has a duplicate member name"
	case errors.Is(err, io.ErrUnexpectedEOF):
		what = "ends before its JSON value does"
	case r == utf8.RuneError && size == 1:
		what = "is not valid UTF-8"
	}
	return invalid("the body %s, at byte %d", what, offset)
}

// tooDeep finds the bracket, if any, that nests deeper than MaxDepth. It is right for valid JSON, and harmless for other.
func tooDeep(body []byte) (offset int, deep bool) {
	if bytes.Count(body, []byte{'{'})+bytes.Count(body, []byte{'['}) <= MaxDepth {
		return 0, false // quick, and the rule
	}
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
			if c == '\\' {
				i++
			}
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return i, true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return 0, false
}

func invalid(format string, args ...any) error {
	return &atmost.Error{Code: atmost.CodeInvalidRequest, Message: fmt.Sprintf(format, args...)}
}
