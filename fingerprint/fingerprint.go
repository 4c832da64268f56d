// Package fingerprint makes versioned digests of what a request asks for, so that the same key with a changed request is
// recognised without keeping the request.
package fingerprint

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Algorithm names a way to make a fingerprint: a few lower-case letters and digits. It is stored with each digest and
// never changes its meaning.
type Algorithm string

// JSON1 is for payloads of JSON. White space, the order of members and the way characters are escaped make no difference.
// Everything else does, above all how a number is written: 1.10 is not 1.1, and 9007199254740993 is not the double
// nearest to it.
//
// Its digest is the SHA-256 of: the algorithm's name, a zero byte, the operation's length in bytes as eight bytes (big-endian),
// the operation, and the payload in its canonical form. That form is RFC 8785's, but for numbers, which stay as they
// are written.
const JSON1 Algorithm = "json1"

// Current is the algorithm for new records.
const Current = JSON1

// Fingerprint is a digest and the algorithm that made it. Two requests are the same if and only if they have equal
// fingerprints of one algorithm. The zero Fingerprint belongs to no request.
type Fingerprint struct {
	Algorithm Algorithm
	Digest    [sha256.Size]byte
}

// ErrUnknownAlgorithm is wrapped by the error for an algorithm that this release does not have; a later one may.
var ErrUnknownAlgorithm = errors.New("unknown fingerprint algorithm")

// ErrInvalidPayload is wrapped by the error for a payload that has no canonical form.
var ErrInvalidPayload = errors.New("the payload is not one valid JSON value")

// canonical is what jsontext.Value.Canonicalize sets, with numbers exempted from it.
var canonical = []jsontext.Options{
	jsontext.ReorderRawObjects(true),
	jsontext.CanonicalizeRawInts(false),
	jsontext.CanonicalizeRawFloats(false),
}

// Canonical is a payload in its canonical form. It shares no memory with the payload, and may be used concurrently. The zero Canonical
// is what has no canonical form.
type Canonical struct{ text []byte }

// Canonicalize returns a payload in its canonical form, if it has one.
func Canonicalize(payload []byte) Canonical {
	text, err := jsontext.AppendFormat(nil, payload, canonical...)
	if err != nil {
		return Canonical{}
	}
	return Canonical{text}
}

// Of makes the fingerprint of an operation with its payload, which it does not modify, and returns the canonical form that it made on
// the way. It may be called concurrently.
//
// The error wraps ErrUnknownAlgorithm, or ErrInvalidPayload: text that is not exactly one JSON value (RFC 8259), has duplicate
// member names or characters that are not Unicode (RFC 7493), or nests more than 10,000 deep. It quotes nothing of the payload.
func Of(alg Algorithm, operation string, payload []byte) (Fingerprint, Canonical, error) {
	if alg != JSON1 {
		return Fingerprint{}, Canonical{}, fmt.Errorf("%w %q", ErrUnknownAlgorithm, alg)
	}
	b := make([]byte, 0, len(alg)+1+partLength+len(operation)+len(payload)) // no canonical form is longer than its payload
	b = appendPart(append(append(b, alg...), 0), operation)
	from := len(b)
	b, err := jsontext.AppendFormat(b, payload, canonical...)
	if err != nil {
		return Fingerprint{}, Canonical{}, invalidPayload(err)
	}
	return Fingerprint{Algorithm: alg, Digest: sha256.Sum256(b)}, Canonical{b[from:]}, nil
}

// partLength is how many bytes the length of a part takes.
const partLength = 8

// appendPart appends a part's length in bytes as eight bytes (big-endian), and the part.
func appendPart(b []byte, part string) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
	return append(b, part...)
}

// invalidPayload tells where a payload is wrong without the text of err, which quotes the payload.
func invalidPayload(err error) error {
	what := "malformed"
	if errors.Is(err, jsontext.ErrDuplicateName) {
		what = "duplicate member name"
	}
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		return fmt.Errorf("%w: %s at byte %d", ErrInvalidPayload, what, syntax.ByteOffset)
	}
	return fmt.Errorf("%w: %s", ErrInvalidPayload, what)
}

// String writes f as algorithm:digest, the digest in lower-case hexadecimal.
func (f Fingerprint) String() string {
	b := make([]byte, 0, len(f.Algorithm)+1+hex.EncodedLen(len(f.Digest)))
	b = append(b, f.Algorithm...)
	b = append(b, ':')
	return string(hex.AppendEncode(b, f.Digest[:]))
}

// What an algorithm's name is made of, and its greatest length.
const (
	algorithmChars = "abcdefghijklmnopqrstuvwxyz0123456789"
	maxAlgorithm   = 16
)

// Parse reads what String writes, and nothing else. An algorithm that this release does not have is no error: that its
// fingerprints cannot be compared shows in Of.
func Parse(s string) (Fingerprint, error) {
	name, digest, _ := strings.Cut(s, ":")
	f := Fingerprint{Algorithm: Algorithm(name)}
	wellFormed := name != "" && len(name) <= maxAlgorithm && strings.Trim(name, algorithmChars) == "" &&
		len(digest) == hex.EncodedLen(len(f.Digest)) && strings.ToLower(digest) == digest
	if !wellFormed {
		return Fingerprint{}, errors.New("not a fingerprint: it is not algorithm:digest")
	}
	if _, err := hex.Decode(f.Digest[:], []byte(digest)); err != nil {
		return Fingerprint{}, errors.New("not a fingerprint: the digest is not hexadecimal")
	}
	return f, nil
}
