package fingerprint

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxPaths bounds of how many values of a payload digests are kept, and how many paths are told to differ.
const MaxPaths = 16

const (
	// pathDigest is the length of a value's digest, in bytes: enough to tell two values apart, and no more.
	pathDigest = 4
	// saltSize is the length of what makes the digests of one record unlike those of another.
	saltSize = 16
	// maxPointer bounds a path that is told, in bytes.
	maxPointer = 256
	// pathEnd ends the path in what is digested. It does not occur in UTF-8.
	pathEnd = 0xFF
)

// Paths tells where a payload is not what it was, without keeping the payload: of its first values, in the order of its canonical
// form, it has short digests kept, which say nothing to whoever does not know the secret. A value is a scalar, an object or an array.
// Its methods may be called concurrently.
//
// What is kept is a digest of four bytes for each of the first MaxPaths values: the first bytes of the HMAC-SHA256, with the secret, of
// the salt, the value's JSON Pointer, a byte 0xFF, and of a scalar its canonical form, of an object { and the names of its members as
// they are written there, of an array [ and how many elements it has. The salt is the first 16 bytes of the SHA-256 of the record's
// scope and key, each after its length in bytes as eight bytes (big-endian). None of that ever changes, as digests are compared with
// those that an earlier release made.
type Paths struct{ walkers sync.Pool }

// NewPaths makes the Paths of a secret.
func NewPaths(secret [32]byte) *Paths {
	return &Paths{sync.Pool{New: func() any { return &walker{mac: hmac.New(sha256.New, secret[:])} }}}
}

// Of returns the digests for the payload of a record with that scope and key: nil for a scalar, which has no parts to tell, and for what
// has no canonical form.
func (p *Paths) Of(scope, key string, payload Canonical) []byte {
	w := p.walk(scope, key, payload, MaxPaths, false)
	defer p.put(w)
	if len(w.values) == 0 {
		return nil
	}
	digests := make([]byte, 0, len(w.values)*pathDigest)
	for i := range w.values {
		digests = append(digests, w.values[i].digest[:]...)
	}
	return digests
}

// Differ returns where payload is not what it was when the digests were made for the same record, as JSON Pointers (RFC 6901) into
// payload: MaxPaths at most, in the order of its canonical form, and nil if that is not known. What is told differs, unless digests are
// equal by chance, which is one in ten million at most; not all that differs is told.
//
// An object or an array is told only if it is another while nothing in it is told: a member was taken out, for example. In place of a
// path of more than 256 bytes the nearest value around it is told.
func (p *Paths) Differ(digests []byte, scope, key string, payload Canonical) []string {
	n := len(digests) / pathDigest
	if n == 0 || n > MaxPaths || len(digests)%pathDigest != 0 {
		return nil
	}
	w := p.walk(scope, key, payload, 2*MaxPaths, true) // so many that they can hold all that was there, and as many that were not
	defer p.put(w)
	known := w.compare(digests)
	if n < MaxPaths { // there was nothing more
		known = len(w.values)
	}
	return w.differing(known)
}

// walker goes through the canonical form of a payload.
type walker struct {
	mac      hash.Hash
	sum      []byte
	text     []byte // the canonical form
	at       int    // where in it
	path     []byte // the salt, and the path of the value that it is at
	shapes   []byte // of all objects and arrays that it is in: what is digested of them
	values   []value
	limit    int  // of values
	pointers bool // are wanted
}

// value is one that the walker has come to.
type value struct {
	digest  [pathDigest]byte
	parent  int    // its place among the values; -1 of the first
	pointer string // if wanted, and not long
	long    bool
	differs bool
	within  bool // something in it is told to differ
}

// walk goes through payload, up to a number of values. It finds none in a payload that has no parts, or is none.
func (p *Paths) walk(scope, key string, payload Canonical, limit int, pointers bool) *walker {
	w := p.walkers.Get().(*walker)
	w.text, w.limit, w.pointers, w.at, w.shapes, w.values = payload.text, limit, pointers, 0, w.shapes[:0], w.values[:0]
	w.path = appendPart(appendPart(w.path[:0], scope), key)
	salt := sha256.Sum256(w.path)
	w.path = append(w.path[:0], salt[:saltSize]...)
	if len(w.text) > 0 && (w.text[0] == '{' || w.text[0] == '[') {
		w.value(-1)
	}
	return w
}

func (p *Paths) put(w *walker) {
	if cap(w.shapes)+cap(w.path) <= maxPooled {
		w.text = nil    // the payload's
		clear(w.values) // their pointers
		p.walkers.Put(w)
	}
}

// value goes through the value that the walker is at.
func (w *walker) value(parent int) {
	if len(w.values) == w.limit {
		w.skip()
		return
	}
	i := len(w.values)
	v := value{parent: parent}
	if w.pointers {
		pointer := w.path[saltSize:]
		if v.long = len(pointer) > maxPointer; !v.long {
			v.pointer = string(pointer)
		}
	}
	w.values = append(w.values, v)
	from, shape := w.at, len(w.shapes)
	var content []byte
	switch w.text[from] {
	case '{':
		w.object(i)
		content = w.shapes[shape:]
	case '[':
		w.array(i)
		content = w.shapes[shape:]
	default:
		w.skip()
		content = w.text[from:w.at]
	}
	w.values[i].digest = w.digest(content)
	w.shapes = w.shapes[:shape]
}

func (w *walker) object(i int) {
	w.shapes = append(w.shapes, '{')
	end := len(w.path)
	for w.at++; w.text[w.at] != '}'; {
		from := w.at
		w.skip()
		name := w.text[from:w.at]
		w.shapes = append(w.shapes, name...)
		w.at++ // the colon
		w.path = appendToken(append(w.path, '/'), name)
		w.value(i)
		w.path = w.path[:end]
		w.comma()
	}
	w.at++
}

func (w *walker) array(i int) {
	end, n := len(w.path), 0
	shape := len(w.shapes)
	for w.at++; w.text[w.at] != ']'; n++ {
		w.path = strconv.AppendInt(append(w.path, '/'), int64(n), 10)
		w.value(i)
		w.path = w.path[:end]
		w.comma()
	}
	w.at++
	w.shapes = strconv.AppendInt(append(w.shapes[:shape], '['), int64(n), 10)
}

// comma goes past the comma that may follow a value.
func (w *walker) comma() {
	if w.text[w.at] == ',' {
		w.at++
	}
}

// skip goes past the value, or the name, that the walker is at.
func (w *walker) skip() {
	for depth := 0; w.at < len(w.text); w.at++ {
		switch w.text[w.at] {
		case '"':
			for w.at++; w.text[w.at] != '"'; w.at++ {
				if w.text[w.at] == '\\' {
					w.at++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return
			}
			depth--
		case ',', ':':
			if depth == 0 {
				return
			}
		}
	}
}

func (w *walker) digest(content []byte) (d [pathDigest]byte) {
	end := len(w.path)
	w.path = append(w.path, pathEnd)
	w.mac.Reset()
	_, _ = w.mac.Write(w.path) // a hash never fails
	_, _ = w.mac.Write(content)
	w.path = w.path[:end]
	w.sum = w.mac.Sum(w.sum[:0])
	copy(d[:], w.sum)
	return d
}

// appendToken appends a member's name, which is a string of a canonical form, as it is written in a JSON Pointer.
func appendToken(dst, quoted []byte) []byte {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		name, _ = jsontext.AppendUnquote(nil, quoted) // it is valid
	}
	for _, c := range name {
		switch c {
		case '~':
			dst = append(dst, "~0"...)
		case '/':
			dst = append(dst, "~1"...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// compare marks the values whose digests are not among those given. Where those are of the beginning of a payload only, that they are not
// means that the value differs only for so many of the first values as it returns:
//
//   - those before the last one that is not marked. What two payloads have in common they have in one order, so what would have come
//     before it has a digest. (An array that became an object with numbers for names is not ordered so; what is told of it then
//     is that its elements are members now.)
//   - the first one whose digest is not the one at its place. All before it are what they were, and with them the names and numbers of
//     what follows: so the digest at its place is of the value that had its path.
func (w *walker) compare(digests []byte) (known int) {
	same := true
	for i := range w.values {
		v := &w.values[i]
		v.differs = true
		for d := digests; len(d) > 0; d = d[pathDigest:] {
			if [pathDigest]byte(d) == v.digest {
				v.differs, known = false, i+1
				break
			}
		}
		if at := i * pathDigest; same && at < len(digests) {
			same = [pathDigest]byte(digests[at:]) == v.digest
			known = max(known, i+1)
		}
	}
	return known
}

// differing returns the pointers that are to be told, of the first values, of which it is known whether they differ.
func (w *walker) differing(known int) []string {
	told := 0
	for i := known - 1; i >= 0; i-- {
		v := &w.values[i]
		if v.differs = v.differs && !v.within; v.differs && v.long { // so it is not the first, whose pointer is empty
			v.differs, w.values[v.parent].differs = false, true
		}
		if v.differs {
			told++
		}
		if i > 0 && (v.differs || v.within) {
			w.values[v.parent].within = true
		}
	}
	if told == 0 {
		return nil
	}
	pointers := make([]string, 0, min(told, MaxPaths))
	for i := range known {
		if v := &w.values[i]; v.differs && len(pointers) < MaxPaths {
			pointers = append(pointers, v.pointer)
		}
	}
	return pointers
}
