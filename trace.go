package atmost

import (
	"encoding/hex"
	"strings"
)

// Trace is a W3C trace context, as the two headers carry it. Empty when the caller sent none.
type Trace struct{ Parent, State string }

// SpanID names a span by W3C Trace Context: the trace's 16 bytes, then the span's own 8. The zero SpanID names none.
type SpanID [24]byte

// The parts of a traceparent: version, trace id, parent id and flags. Longer ones are of versions that there are not yet.
const (
	traceAt = 3
	spanAt  = traceAt + 32 + 1
	flagsAt = spanAt + 16 + 1

	parentLength = flagsAt + 2
)

// Valid reports whether t has the form of a trace context, so that it may be passed on.
func (t Trace) Valid() bool {
	_, _, ok := t.parse()
	return ok
}

// Span is the span that t names: the zero SpanID if t is not valid, or says that the span is not recorded, so that nobody would
// find it.
func (t Trace) Span() SpanID {
	id, flags, ok := t.parse()
	if !ok || flags&recorded == 0 {
		return SpanID{}
	}
	return id
}

// recorded is the flag that says so.
const recorded = 1

func (t Trace) parse() (id SpanID, flags byte, ok bool) {
	p := t.Parent
	if len(p) != parentLength || p[traceAt-1] != '-' || p[spanAt-1] != '-' || p[flagsAt-1] != '-' || strings.HasPrefix(p, "ff") {
		return id, 0, false
	}
	var rest [2]byte // flags and version
	ok = unhex(id[:16], p[traceAt:]) && unhex(id[16:], p[spanAt:]) && unhex(rest[:1], p[flagsAt:]) && unhex(rest[1:], p)
	return id, rest[0], ok && [16]byte(id[:16]) != [16]byte{} && [8]byte(id[16:]) != [8]byte{}
}

// unhex fills dst from the digits that s begins with, and reports whether they are some, in lower case.
func unhex(dst []byte, s string) bool {
	for i := range dst {
		high, low := hexDigit(s[2*i]), hexDigit(s[2*i+1])
		if high|low > 15 {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

// hexDigit is what a lower-case digit stands for; more than 15 if it is none.
func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// TraceID is the trace's part, in hexadecimal; "" if id names none.
func (id SpanID) TraceID() string {
	if id == (SpanID{}) {
		return ""
	}
	return hex.EncodeToString(id[:16])
}
