package atmost_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/atmost-dev/atmost"
)

func TestNewKey(t *testing.T) {
	a, b := atmost.NewKey(), atmost.NewKey()
	for _, key := range []string{a, b} {
		if err := (atmost.ID{Key: key}).Validate(); err != nil || len(key) != 26 {
			t.Errorf("%q: %v", key, err)
		}
	}
	if a == b {
		t.Errorf("%q was drawn twice", a)
	}
}

type orderID int64

// TestKeyOf pins what keys are made of parts: who makes another tomorrow runs again what was done today.
func TestKeyOf(t *testing.T) {
	const digest = "sha256:ce16fe78208a4e93f7158e62393680e025b2ad584f4e875ce903a654bb74cf93"
	for _, tc := range []struct {
		parts []any
		want  string
	}{
		{[]any{"order", 1042, "charge"}, "order/1042/charge"},
		{[]any{"order", "1042", "charge"}, "order/1042/charge"},
		{[]any{"order", orderID(1042), "charge"}, "order/1042/charge"},
		{[]any{"order", uint8(7), int64(-7)}, "order/7/-7"},
		{[]any{"a/b", "c"}, "a%2Fb/c"},
		{[]any{"a", "b/c"}, "a/b%2Fc"},
		{[]any{"a%2Fb", "c"}, "a%252Fb/c"},
		{[]any{""}, "%"},
		{[]any{"", ""}, "%/%"},
		{[]any{"%"}, "%25"},
		{[]any{"é, \"x\"\x00:"}, "%C3%A9%2C%20%22x%22%00%3A"},
		{[]any{strings.Repeat("k", 255)}, strings.Repeat("k", 255)},
		{[]any{strings.Repeat("k", 256)}, digest},
		{[]any{digest}, "sha256%3A" + digest[7:]},
	} {
		if got := atmost.KeyOf(tc.parts[0], tc.parts[1:]...); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.parts, got, tc.want)
		}
	}
}

func TestKeysOfDifferentPartsDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"", "a", "/", "%", "a/", "%2F", "2F", "é", ":", "sha256:", strings.Repeat("x", 130)})
		parts := rapid.SliceOfN(part, 1, 4)
		a, b := parts.Draw(t, "a"), parts.Draw(t, "b")
		keyA, keyB := keyOf(a), keyOf(b)
		same := len(a) == len(b) && strings.Join(a, "\xff") == strings.Join(b, "\xff")
		if (keyA == keyB) != same {
			t.Fatalf("%q and %q give %s and %s", a, b, keyA, keyB)
		}
		if err := (atmost.ID{Key: keyA}).Validate(); err != nil || atmost.HeaderValue(keyA) != keyA {
			t.Fatalf("%q gives %q: %v", a, keyA, err)
		}
	})
}

func keyOf(parts []string) string {
	all := make([]any, len(parts))
	for i := range parts {
		all[i] = parts[i]
	}
	return atmost.KeyOf(all[0], all[1:]...)
}

func TestKeyOfRefusesWhatHasNoOneText(t *testing.T) {
	for _, part := range []any{nil, 1.5, []byte("x"), true, new(string), struct{}{}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%T is taken for a part", part)
				}
			}()
			atmost.KeyOf("order", part)
		}()
	}
}
