package wire_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/atmost-dev/atmost/wire"
)

var prefers = []struct {
	lines   []string
	wait    time.Duration
	applied string // empty: nothing is set
}{
	{nil, 0, ""},
	{[]string{""}, 0, ""},
	{[]string{"wait=10"}, 10 * time.Second, "wait=10"},
	{[]string{"wait=0"}, 0, "wait=0"},
	{[]string{"WAIT=7"}, 7 * time.Second, "wait=7"},
	{[]string{"wait \t=\t 5 "}, 5 * time.Second, "wait=5"},
	{[]string{`wait="12"`}, 12 * time.Second, "wait=12"},
	{[]string{`wait="1\2"`}, 12 * time.Second, "wait=12"},
	{[]string{"wait=007"}, 7 * time.Second, "wait=7"},
	{[]string{"wait=60"}, time.Minute, "wait=60"},
	{[]string{"wait=61"}, time.Minute, "wait=60"},
	{[]string{"wait=99999999999999999999999"}, time.Minute, "wait=60"},
	{[]string{"respond-async"}, 0, "respond-async"},
	{[]string{"Respond-Async"}, 0, "respond-async"},
	{[]string{`respond-async=""`}, 0, "respond-async"}, // RFC 7240, section 2: an empty value is none
	{[]string{"respond-async="}, 0, "respond-async"},
	{[]string{"respond-async, wait=10"}, 10 * time.Second, "respond-async, wait=10"},
	{[]string{"wait=10, respond-async"}, 10 * time.Second, "respond-async, wait=10"},
	{[]string{"respond-async", "wait=10"}, 10 * time.Second, "respond-async, wait=10"},
	{[]string{"respond-async, wait=soon"}, 0, "respond-async"},
	{[]string{"wait=10; x=y; z", `wait=20`}, 10 * time.Second, "wait=10"},
	{[]string{"wait=1, wait=2"}, time.Second, "wait=1"},
	{[]string{"wait=1", "wait=2"}, time.Second, "wait=1"},
	{[]string{"wait=never, wait=2"}, 0, ""}, // the first one counts
	{[]string{`wait=1 2, wait=2`}, 0, ""},
	{[]string{"respond-async=1, respond-async"}, 0, ""},
	{[]string{" ,, return=minimal ,wait=3,"}, 3 * time.Second, "wait=3"},
	{[]string{`foo="a, wait=9; b", wait=3`}, 3 * time.Second, "wait=3"},
	{[]string{`foo="a\", wait=9", wait=3`}, 3 * time.Second, "wait=3"},
	{[]string{`foo;bar="x, wait=9", wait=3`}, 3 * time.Second, "wait=3"},
	{[]string{`foo="open, wait=9`, "wait=3"}, 3 * time.Second, "wait=3"},
	{[]string{"foo; wait=9"}, 0, ""}, // a parameter of foo
	{[]string{"wait"}, 0, ""},
	{[]string{"wait="}, 0, ""},
	{[]string{"wait=-1"}, 0, ""},
	{[]string{"wait=+1"}, 0, ""},
	{[]string{"wait=1.5"}, 0, ""},
	{[]string{"wait=1s"}, 0, ""},
	{[]string{"wait=1_0"}, 0, ""},
	{[]string{"wait=٣"}, 0, ""},
	{[]string{`wait="10`}, 0, ""},
	{[]string{`wait="10"0`}, 0, ""},
	{[]string{`wait="10\`}, 0, ""},
	{[]string{"wait=10=10"}, 0, ""},
	{[]string{"waits=10"}, 0, ""},
	{[]string{"wait 10"}, 0, ""},
	{[]string{"handling=lenient"}, 0, ""},
}

func TestPrefer(t *testing.T) {
	for _, p := range prefers {
		wait, set, applied := wire.Prefer(http.Header{wire.HeaderPrefer: p.lines})
		if wait != p.wait || set != (p.applied != "") || applied != p.applied {
			t.Errorf("%q: %v, %v, %q; want %v, %q", p.lines, wait, set, applied, p.wait, p.applied)
		}
	}
}

func TestNoPreferAllocatesNothing(t *testing.T) {
	h := http.Header{wire.HeaderKey: {"k"}}
	if n := testing.AllocsPerRun(100, func() { _, _, _ = wire.Prefer(h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzPrefer(f *testing.F) {
	for _, p := range prefers {
		f.Add(strings.Join(p.lines, "\n"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		wait, set, applied := wire.Prefer(http.Header{wire.HeaderPrefer: lines})
		if wait < 0 || wait > time.Minute || wait%time.Second != 0 || set != (applied != "") || !set && wait != 0 {
			t.Fatalf("%q: %v, %v, %q", lines, wait, set, applied)
		}
		same := func(lines ...string) {
			w, s, a := wire.Prefer(http.Header{wire.HeaderPrefer: lines})
			if w != wait || s != set || a != applied {
				t.Fatalf("%q: %v, %v, %q, but %v, %v, %q of the equivalent %q", lines, w, s, a, wait, set, applied, text)
			}
		}
		same(applied)
		same(append([]string{`foo="wait=1, \"respond-async"; wait=2`}, lines...)...)
		if !strings.Contains(text, `"`) { // RFC 9110, section 5.3: lines are one list
			same(strings.Join(lines, ", "))
		}
	})
}
