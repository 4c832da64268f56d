package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/atmost-dev/atmost"
)

// A sealed result is
//
//	0xFF, version 1, the length of the key's id, the id, a nonce of 12 bytes, AES-256-GCM's ciphertext and tag
//
// 0xFF is in no UTF-8 text, so no JSON value begins with it, nor anything else that is stored as a result: what was stored before
// results were sealed is told apart by its first byte, and returned as it is.
//
// Sealing has to be deterministic, because reports are compared byte by byte: one that is repeated must be the same as the first. So
// the nonce is not drawn, but made of all that is sealed: of HMAC-SHA256 over what the result belongs to and the result itself,
// under a key of its own. GCM is broken by one nonce that two different texts share under one key. Here two texts that differ have
// nonces that differ, but for a collision of 96 bits; and each attempt has its own key, derived from what the result belongs to, so
// that such a collision would have to be among the few reports of one attempt. What the same nonce does tell is that the same
// result was sealed twice for the same attempt, which was known: the report was repeated.
const (
	magic   = 0xFF
	version = 1

	headSize  = 3 // and the id
	nonceSize = 12
	tagSize   = 16
)

// owner says what a result belongs to: it can be opened as nothing else's.
type owner []byte

// ownerOf is the owner of a result of state: the key, what is known to who tells of the attempt (its token, or, where it was
// settled by somebody else, its number), and what the result is said to be. What is not known to have ended has no result, but if
// somebody reports one, it stays his whatever the record's policy makes of his state.
func ownerOf(id atmost.ID, state atmost.State, attempt []byte) owner {
	if !state.Final() {
		state = atmost.Absent
	}
	o := append(make(owner, 0, 64+len(id.Scope)+len(id.Key)), byte(state))
	for _, part := range [][]byte{[]byte(id.Scope), []byte(id.Key), attempt} {
		o = append(binary.AppendUvarint(o, uint64(len(part))), part...)
	}
	return o
}

func byNumber(attempt uint32) []byte { return binary.BigEndian.AppendUint32(nil, attempt) }

// ownerIn is the owner of the result that a record holds.
func ownerIn(r atmost.Record) owner {
	attempt := r.Token[:]
	if r.SettledBy == atmost.ByResolve {
		attempt = byNumber(r.Attempt)
	}
	return ownerOf(r.ID, r.State, attempt)
}

func (k *key) cipher(of owner) cipher.AEAD {
	mac := hmac.New(sha256.New, k.sealing)
	mac.Write(of)
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		panic(err) // only for a key of another size
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // only for a block of another size
	}
	return aead
}

// seal seals a result. It is always the same for the same arguments.
func (k *key) seal(of owner, result []byte) []byte {
	mac := hmac.New(sha256.New, k.nonce)
	mac.Write(binary.AppendUvarint(nil, uint64(len(of))))
	mac.Write(of)
	mac.Write(result)
	nonce := mac.Sum(nil)[:nonceSize]

	b := make([]byte, 0, headSize+len(k.id)+nonceSize+len(result)+tagSize)
	b = append(append(b, magic, version, byte(len(k.id))), k.id...)
	b = append(b, nonce...)
	return k.cipher(of).Seal(b, nonce, result, of)
}

func isSealed(result []byte) bool { return len(result) > 0 && result[0] == magic }

var (
	errChanged = errors.New("sealed: a result was changed where it is stored, or moved there from another record, or the key file has another secret under the id of its key")
	errNoKeys  = errors.New("sealed: a result is encrypted, and there is no key file")
	errNewer   = errors.New("sealed: a result was encrypted by a newer version of the service")
)

// open opens a result that is sealed, for of. k is nil if there are no keys.
func (k *Keys) open(of owner, result []byte) ([]byte, error) {
	if k == nil {
		return nil, errNoKeys
	}
	if len(result) < headSize {
		return nil, errChanged
	}
	if result[1] != version {
		return nil, errNewer
	}
	id, rest := result[headSize:], []byte(nil)
	if n := int(result[2]); len(id) >= n+nonceSize+tagSize {
		id, rest = id[:n], id[n:]
	} else {
		return nil, errChanged
	}
	with := k.byID[string(id)]
	if with == nil {
		if !validKeyID(string(id)) {
			return nil, errChanged
		}
		return nil, fmt.Errorf("sealed: a result is encrypted with the key %s, which is not in the key file", id)
	}
	opened, err := with.cipher(of).Open(nil, rest[:nonceSize], rest[nonceSize:], of)
	if err != nil {
		return nil, errChanged
	}
	return opened, nil
}
