package sealed

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
)

// keySize is the length of a secret, in bytes.
const keySize = 32

// Keys are the secrets of a key file, one to a line:
//
//	2026-11 bXkgMzIgYnl0ZXMgb2YgcmFuZG9tbmVzcywgaW4gYmFzZTY0IQ==
//
// an id of 1 to 32 letters, digits, "-", "_" and ".", and 32 random bytes in base64. The first seals, all open. Empty lines and lines
// that begin with # say nothing.
type Keys struct {
	first *key
	byID  map[string]*key
	ids   []string
}

// key is one secret, divided into what each use of it has to itself, so that no use says anything of another.
type key struct {
	id             string
	sealing, nonce []byte // of results
	naming, proof  []byte // of keys
}

// IDs returns the keys' ids, the one that seals first.
func (k *Keys) IDs() []string { return k.ids }

// ReadKeys reads a key file. It refuses one that not only its owner, and its group, can read, or that its group can write: what
// others may have read is no secret. No error tells what is in the file.
func ReadKeys(name string) (*Keys, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // what was read, was read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o027 != 0 {
		return nil, fmt.Errorf("others than its owner can use the key file %s (its mode is %04o): chmod 0600 it, and replace the keys if others may have read them", name, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%s is too large for a key file", name)
	}
	keys, err := ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("the key file %s: %w", name, err)
	}
	return keys, nil
}

const maxKeyFile = 1 << 20

// ParseKeys reads the text of a key file. No error tells what is in it, but for ids and numbers of lines.
func ParseKeys(text []byte) (*Keys, error) {
	k := &Keys{byID: map[string]*key{}}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 || !validKeyID(fields[0]) {
			return nil, fmt.Errorf("line %d is not an id of 1 to %d letters, digits, -, _ and ., a space, and %d bytes in base64", n, maxKeyID, keySize)
		}
		secret, err := base64.StdEncoding.Strict().DecodeString(fields[1])
		if err != nil || len(secret) != keySize {
			return nil, fmt.Errorf("line %d: the secret is not %d bytes in base64; make one with: head -c %d /dev/urandom | base64", n, keySize, keySize)
		}
		if k.byID[fields[0]] != nil {
			return nil, fmt.Errorf("line %d: the id %s is there twice", n, fields[0])
		}
		made := newKey(fields[0], secret)
		if k.first == nil {
			k.first = made
		}
		k.byID[made.id], k.ids = made, append(k.ids, made.id)
	}
	if k.first == nil {
		return nil, errors.New("there is no key in it")
	}
	return k, nil
}

const maxKeyID = 32

func validKeyID(id string) bool {
	return id != "" && len(id) <= maxKeyID && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}

func newKey(id string, secret []byte) *key {
	part := func(use string) []byte {
		b, err := hkdf.Key(sha256.New, secret, nil, "atmost "+use, keySize)
		if err != nil {
			panic(err) // only for more bytes than there can be
		}
		return b
	}
	return &key{
		id:      id,
		sealing: part("result key 1"), nonce: part("result nonce 1"),
		naming: part("key digest 1"), proof: part("key digest proof 1"),
	}
}

// Ring is the Keys in force, which can be replaced while a store uses them.
type Ring struct{ keys atomic.Pointer[Keys] }

// NewRing returns a ring of keys.
func NewRing(keys *Keys) *Ring {
	r := new(Ring)
	r.keys.Store(keys)
	return r
}

// Set replaces the keys, and returns the ids of those that are gone: what is sealed by one of them cannot be opened until it is back.
// One that has the id of another, which is in force, is refused, and nothing is replaced: what that has sealed would be lost without
// anybody noticing. It is not called concurrently with itself.
func (r *Ring) Set(keys *Keys) (gone []string, err error) {
	now := r.keys.Load()
	for id, k := range keys.byID {
		if before := now.byID[id]; before != nil && !hmac.Equal(before.sealing, k.sealing) {
			return nil, fmt.Errorf("the key %s is not the one that had this id until now; give the new one an id of its own", id)
		}
	}
	r.keys.Store(keys)
	for _, id := range now.ids {
		if keys.byID[id] == nil {
			gone = append(gone, id)
		}
	}
	return gone, nil
}
