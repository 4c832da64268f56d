package atmost

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"
)

// MaxKeyLength bounds a key, and a scope, in bytes.
const MaxKeyLength = 255

// ID is the identity of a record: whose key it is, and which.
type ID struct {
	// Scope tells whose keys these are, a tenant for example. It may be empty.
	Scope string
	// Key is the client's opaque name of one logical attempt.
	Key string
}

// Validate reports whether id can name a record: a key of 1 to MaxKeyLength visible ASCII characters (RFC 5234's VCHAR)
// and a scope that is empty or the same. The error is an *Error with CodeInvalidKey or CodeInvalidRequest.
func (id ID) Validate() error {
	if err := validName(id.Key); err != "" {
		return &Error{Code: CodeInvalidKey, Message: "the idempotency key " + err}
	}
	if id.Scope == "" {
		return nil
	}
	if err := validName(id.Scope); err != "" {
		return &Error{Code: CodeInvalidRequest, Message: "the idempotency scope " + err}
	}
	return nil
}

// validName says what is wrong with a key or scope, or nothing.
func validName(s string) string {
	if s == "" {
		return "is empty"
	}
	if len(s) > MaxKeyLength {
		return fmt.Sprintf("is %d characters long, the limit is %d", len(s), MaxKeyLength)
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return fmt.Sprintf("has a character at position %d that is not visible ASCII", i+1)
		}
	}
	return ""
}

// Digest is a short stable name of id for logs, which never show keys themselves.
func (id ID) Digest() string {
	sum := id.sum()
	return hex.EncodeToString(sum[:6])
}

func (id ID) sum() [sha256.Size]byte {
	return sha256.Sum256([]byte(id.Scope + "\x00" + id.Key))
}

// forwardedPrefix marks a key that is a digest.
const forwardedPrefix = "atmost-"

// ForwardedKey is the key that an upstream sees, so that one that deduplicates by it never mixes two IDs: the key itself
// when the scope is empty, else a digest of scope and key that stays the same in every release. A key that could be taken for a
// digest becomes one too.
func (id ID) ForwardedKey() string {
	if id.Scope == "" && !strings.HasPrefix(id.Key, forwardedPrefix) {
		return id.Key
	}
	sum := id.sum()
	return forwardedPrefix + hex.EncodeToString(sum[:])
}

// HeaderValue writes a key or scope as a header field's value: bare where that is unambiguous, else as a Structured
// Field String (RFC 9651).
func HeaderValue(name string) string {
	if !strings.ContainsAny(name, "\",;\\") {
		return name
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}

// Token is the secret of a lease: whoever holds it may report how the attempt ended.
type Token [16]byte

// NewToken draws an unguessable token.
func NewToken() Token {
	var t Token
	_, _ = rand.Read(t[:]) // never fails: crypto/rand ends the program instead
	return t
}

// Matches compares in constant time. The zero token matches none, itself included.
func (t Token) Matches(u Token) bool {
	return subtle.ConstantTimeCompare(t[:], u[:]) == 1 && t != Token{}
}
