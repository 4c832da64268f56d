package atmost_test

import (
	"strings"
	"testing"

	"github.com/atmost-dev/atmost"
)

func TestIDValidate(t *testing.T) {
	long := strings.Repeat("k", atmost.MaxKeyLength)
	for _, tc := range []struct {
		id   atmost.ID
		code atmost.Code
	}{
		{atmost.ID{Key: "k"}, ""},
		{atmost.ID{Key: "!~", Scope: "!~"}, ""},
		{atmost.ID{Key: long, Scope: long}, ""},
		{atmost.ID{}, atmost.CodeInvalidKey},
		{atmost.ID{Key: long + "k"}, atmost.CodeInvalidKey},
		{atmost.ID{Key: "a b"}, atmost.CodeInvalidKey},
		{atmost.ID{Key: "a\x7f"}, atmost.CodeInvalidKey},
		{atmost.ID{Key: "é"}, atmost.CodeInvalidKey},
		{atmost.ID{Key: "k", Scope: long + "s"}, atmost.CodeInvalidRequest},
		{atmost.ID{Key: "k", Scope: "a\tb"}, atmost.CodeInvalidRequest},
	} {
		if got := atmost.CodeOf(tc.id.Validate()); got != tc.code {
			t.Errorf("%q: %q, want %q", tc.id, got, tc.code)
		}
	}
}

// TestForwardedKey pins what upstreams have seen: their own deduplication depends on it.
func TestForwardedKey(t *testing.T) {
	const digest = "atmost-19a41429223daa2838079bfec92e1732792751d32da0136081b411da7e9274f7"
	for _, tc := range []struct {
		id   atmost.ID
		want string
	}{
		{atmost.ID{Key: "order-1"}, "order-1"},
		{atmost.ID{Scope: "tenant", Key: "order-1"}, digest},
	} {
		if got := tc.id.ForwardedKey(); got != tc.want {
			t.Errorf("%q is forwarded as %s, want %s", tc.id, got, tc.want)
		}
	}
	if got := (atmost.ID{Key: digest}).ForwardedKey(); got == digest {
		t.Error("a client can send the digest of another's scope and key")
	}
	if a, b := (atmost.ID{Scope: "a", Key: "bc"}).ForwardedKey(), (atmost.ID{Scope: "ab", Key: "c"}).ForwardedKey(); a == b {
		t.Error("two IDs are forwarded as one key")
	}
}

func TestTokens(t *testing.T) {
	a, b := atmost.NewToken(), atmost.NewToken()
	if !a.Matches(a) || a.Matches(b) || (atmost.Token{}).Matches(atmost.Token{}) {
		t.Error("tokens do not match as they should")
	}
}
