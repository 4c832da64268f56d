package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atmost-dev/atmost"
)

// MaxDepth bounds how deep arrays and objects may nest in a request's body, the body's own object included.
const MaxDepth = 128

// object is a JSON object of which every member is known.
type object struct {
	what    string // it is, for messages
	members []member
	names   string // of all members, for messages
}

// member is one of an object's members.
type member struct {
	name string
	send string // what to send in it, "" for one that may be left out
}

func newObject(what string, members ...member) *object {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.name
	}
	last := len(names) - 1
	return &object{what: what, members: members, names: strings.Join(names[:last], ", ") + " and " + names[last]}
}

// values are the members' values in the object's order: parts of what was read, nil for one that is not there.
type values [4][]byte

// read reads an object that is all of body. There is room in v for the value of each member.
func (o *object) read(body []byte, v [][]byte) error {
	if offset, deep := tooDeep(body); deep {
		return invalid("%s nests deeper than %d levels at byte %d", o.what, MaxDepth, offset)
	}
	p := parsers.Get().(*parser)
	p.reset(body)
	err := p.object(o, body, v)
	p.reset(nil)
	parsers.Put(p)
	return err
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

func (p *parser) object(o *object, body []byte, v [][]byte) error {
	switch p.dec.PeekKind() {
	case '{', jsontext.KindInvalid: // the latter fails on the next line
	default:
		return invalid("%s is not a JSON object; send one with the members %s", o.what, o.names)
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return o.malformed(body, err)
	}
	for p.dec.PeekKind() == '"' {
		name, err := p.dec.ReadValue()
		if err != nil {
			return o.malformed(body, err)
		}
		i := o.find(name)
		if i < 0 {
			return o.unknownMember(name)
		}
		value, err := p.dec.ReadValue()
		if err != nil {
			return o.malformed(body, err)
		}
		end := p.dec.InputOffset()
		v[i] = body[end-int64(len(value)) : end : end]
	}
	if _, err := p.dec.ReadToken(); err != nil { // the closing brace
		return o.malformed(body, err)
	}
	end := p.dec.InputOffset()
	if _, err := p.dec.ReadToken(); err != io.EOF {
		return invalid("%s has more than one JSON value; the first ends at byte %d", o.what, end)
	}
	for i, m := range o.members {
		if v[i] == nil && m.send != "" {
			return invalid("%s has no member %s; send %s in it", o.what, m.name, m.send)
		}
	}
	return nil
}

// find returns which member's name a valid JSON string, in quotes, spells; -1 for none.
func (o *object) find(quoted []byte) int {
	for i, m := range o.members {
		if isName(quoted, m.name) {
			return i
		}
	}
	return -1
}

// isName reports whether a valid JSON string, in quotes, spells name.
func isName(quoted []byte, name string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1:len(quoted)-1]) == name
	}
	unquoted, _ := jsontext.AppendUnquote(nil, quoted)
	return string(unquoted) == name
}

// maxQuoted bounds how much of an unknown name is told, in bytes.
const maxQuoted = 40

func (o *object) unknownMember(quoted []byte) error {
	name, _ := jsontext.AppendUnquote(nil, quoted)
	more := ""
	if len(name) > maxQuoted {
		name, more = name[:maxQuoted], " and so on"
	}
	return invalid("%s has an unknown member %s%s; it may have %s only", o.what, strconv.QuoteToASCII(string(name)), more, o.names)
}

// malformed words an error of jsontext's, whose own text may quote the payload.
func (o *object) malformed(body []byte, err error) error {
	if err == io.EOF {
		return invalid("%s is empty; send a JSON object with the members %s", o.what, o.names)
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
	return invalid("%s %s, at byte %d", o.what, what, offset)
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
