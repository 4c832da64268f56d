package atmost

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
)

// NewKey draws a key that nobody has used, of 26 letters and digits. Store it, with what it belongs to, before it is first used: a
// key that is lost in a crash is one that cannot be tried again.
func NewKey() string { return rand.Text() }

// longPrefix marks a key that is a digest of its parts. No other has a colon.
const longPrefix = "sha256:"

// KeyOf makes the key of something that the business has a name for, of parts: KeyOf("order", 1042, "charge") is the same in every
// process, so it need not be stored, and in every release. Other parts give another key, also if they look the same when they are
// written one after the other; what may be done twice needs a part that tells the times apart.
//
// A part is a string or an integer, of any such type, or KeyOf panics; an integer is taken for its decimal digits, so 1042 and "1042"
// are the same. The key can be read, order/1042/charge, as long as that is not longer than MaxKeyLength. Then it is a digest.
func KeyOf(first any, more ...any) string {
	key := appendPart(nil, textOf(first))
	for _, part := range more {
		key = appendPart(append(key, '/'), textOf(part))
	}
	if len(key) > MaxKeyLength {
		sum := sha256.Sum256(key)
		return longPrefix + hex.EncodeToString(sum[:])
	}
	return string(key)
}

// textOf is the text of a part.
func textOf(part any) string {
	switch v := reflect.ValueOf(part); {
	case v.Kind() == reflect.String:
		return v.String()
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10)
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10)
	}
	panic(fmt.Sprintf("atmost: a part of a key is a string or an integer, not %T", part))
}

// appendPart appends a part, with every byte escaped that is no letter, digit, or one of - . and _; an empty one is a lone escape.
func appendPart(dst []byte, part string) []byte {
	if part == "" {
		return append(dst, '%')
	}
	for i := range len(part) {
		c := part[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return dst
}
