package atmost_test

import (
	"strings"
	"testing"

	"github.com/atmost-dev/atmost"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent  = "00-" + traceID + "-00f067aa0ba902b7-01"
)

var parentSpan = atmost.SpanID{
	0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36, 0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7,
}

func TestTraceparent(t *testing.T) {
	for s, want := range map[string]bool{
		parent: true,
		"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00": true,
		"":                      false,
		"x":                     false,
		parent + "-more":        false,
		parent + "\r\nX: 1":     false,
		strings.ToUpper(parent): false,
		"ff" + parent[2:]:       false,
		"0g" + parent[2:]:       false,
		"g0" + parent[2:]:       false,
		parent[:53] + "0g":      false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01":  false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01":  false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b-01":   false,
		"00-4bf92f3577b34da6a3ce929d0e0e47366-00f067aa0ba902b7-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e47366-00f067aa0ba902b-01":  false,
		"00.4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01":  false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7.01":  false,
	} {
		if got := (atmost.Trace{Parent: s}).Valid(); got != want {
			t.Errorf("%q: %t", s, got)
		}
	}
}

// A span is named only where it is recorded.
func TestSpan(t *testing.T) {
	for flags, want := range map[string]atmost.SpanID{"00": {}, "01": parentSpan, "02": {}, "03": parentSpan, "0x": {}} {
		if got := (atmost.Trace{Parent: parent[:53] + flags}).Span(); got != want {
			t.Errorf("%s: %x", flags, got)
		}
	}
	if got := parentSpan.TraceID(); got != traceID {
		t.Errorf("the trace is %q", got)
	}
	if got := (atmost.SpanID{}).TraceID(); got != "" {
		t.Errorf("no trace is %q", got)
	}
}
