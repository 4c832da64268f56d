package atmosthttp

import (
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atmost-dev/atmost"
)

// Response is what is kept of an HTTP response. It is stored as a record's result, in JSON:
//
//	{"http":1,"status":201,"header":{"Content-Type":["text/plain"]},"text":"…"}
//
// with "base64" in place of "text" for a body that is not UTF-8, and "too_large":true in place of either for one that is not kept:
// also a response without its body is a terminal answer, and a result can hold it whoever stores it, with no word of its own for it.
type Response struct {
	Status int
	// Header has only what is replayed.
	Header http.Header
	Body   []byte
	// TooLarge tells that the body is not kept.
	TooLarge bool
}

// prefix begins every stored response; the number is its version. What a version means never changes.
const prefix = `{"http":1,"status":`

// Append appends r as it is stored.
func (r Response) Append(dst []byte) []byte {
	dst = append(dst, prefix...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, `,"header":{`...)
	for i, name := range slices.Sorted(maps.Keys(r.Header)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), `:[`...)
		for j, value := range r.Header[name] {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, value)
		}
		dst = append(dst, ']')
	}
	dst = append(dst, '}')
	switch {
	case r.TooLarge:
		dst = append(dst, `,"too_large":true`...)
	case utf8.Valid(r.Body):
		dst = appendString(append(dst, `,"text":`...), r.Body)
	default:
		dst = append(dst, `,"base64":"`...)
		dst = append(base64.StdEncoding.AppendEncode(dst, r.Body), '"')
	}
	return append(dst, '}')
}

// appendString appends a JSON string. Bytes of a header that are not UTF-8 become U+FFFD.
func appendString[S ~string | ~[]byte](dst []byte, s S) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// ParseResponse reads exactly what Append wrote, by this release or an earlier one. ok is false for a result that is no response, as a
// probe's is, or a person's. The error is an *atmost.Error for one that a later release stored.
func ParseResponse(result []byte) (r Response, ok bool, err error) {
	s := scanner{rest: result}
	if !s.take(prefix) {
		return Response{}, false, newer(result)
	}
	r.Status = s.number()
	r.Header = http.Header{}
	s.must(`,"header":{`)
	for more := !s.take(`}`); more && !s.failed; more = s.more(`}`) {
		name := string(s.text())
		s.must(`:[`)
		for more := true; more; more = s.more(`]`) {
			r.Header[name] = append(r.Header[name], string(s.text()))
		}
	}
	switch {
	case s.take(`,"too_large":true`):
		r.TooLarge = true
	case s.take(`,"text":`):
		r.Body = s.text()
	default:
		s.must(`,"base64":`)
		body, bad := base64.StdEncoding.AppendDecode(nil, s.text())
		s.failed = s.failed || bad != nil
		r.Body = body
	}
	s.must(`}`)
	if s.failed || len(s.rest) > 0 || r.Status < 200 || r.Status > 999 {
		return Response{}, false, nil
	}
	return r, true, nil
}

// newer is an error for a result that is a response of a version that this release does not know.
func newer(result []byte) error {
	s := scanner{rest: result}
	if s.take(`{"http":`) && s.number() > 1 && s.take(`,"status":`) {
		return &atmost.Error{Code: atmost.CodeStoreUnavailable, Message: "this response was stored by a newer version of the service"}
	}
	return nil
}

// scanner reads JSON of a known form, written without white space.
type scanner struct {
	rest   []byte
	failed bool
}

// take reads text if it comes next.
func (s *scanner) take(text string) bool {
	if s.failed || len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

func (s *scanner) must(text string) { s.failed = !s.take(text) }

// more reads a comma, which it reports, or the end of a list.
func (s *scanner) more(end string) bool {
	if s.take(`,`) {
		return true
	}
	s.must(end)
	return false
}

func (s *scanner) number() int {
	digits := 0
	for digits < len(s.rest) && digits < 9 && s.rest[digits] >= '0' && s.rest[digits] <= '9' {
		digits++
	}
	n, err := strconv.Atoi(string(s.rest[:digits]))
	s.failed = s.failed || err != nil
	s.rest = s.rest[digits:]
	return n
}

// text reads a string. It is a part of what is read where it can be.
func (s *scanner) text() []byte {
	if !s.take(`"`) {
		s.failed = true
		return nil
	}
	for end, escaped := 0, false; end < len(s.rest); end++ {
		switch s.rest[end] {
		case '\\':
			escaped = true
			end++
		case '"':
			text := s.rest[:end:end]
			if escaped {
				text, s.failed = unquote(text)
			}
			s.rest = s.rest[end+1:]
			return text
		}
	}
	s.failed = true
	return nil
}

// unquote reads the inside of a string that has escapes.
func unquote(inside []byte) (text []byte, failed bool) {
	quoted := append(append(append(make([]byte, 0, len(inside)+2), '"'), inside...), '"')
	text, err := jsontext.AppendUnquote(nil, quoted)
	return text, err != nil
}
