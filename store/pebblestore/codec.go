package pebblestore

// The encoding of a record. It begins with a version; a release reads every version up to its own. There is no checksum in
// it: Pebble's blocks and WAL chunks carry theirs, so what is decoded is what was encoded. The ID is in the key.
//
// Version 2, integers being varints (zigzag where they can be negative) and strings preceded by their length:
//
//	version, state, settled by, not kept, on unknown, executed by, presence bits: a byte each
//	digest (32 bytes), token (16 bytes)
//	operation, algorithm, message: strings
//	attempt, contradictions, upstream status
//	created at; fence, deadline and updated at, each less created at
//	result and key retention: seconds, then nanoseconds
//	if present: result expires, key expires, each less (updated at + its retention)
//	past: their number, then each token (16 bytes) and a byte that is 1 if it was contradicted
//	if present: span (24 bytes); paths, a string; history as atmost.History encodes it, a string
//	if present: result, a string
//
// Version 1 knows neither span nor paths nor history.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/fingerprint"
)

const codecVersion = 2

// The presence bits.
const (
	hasResult = 1 << iota
	hasResultExpires
	hasKeyExpires
	hasTrace
	hasPaths
	hasHistory
)

// presentBits are those that each version knows.
var presentBits = [...]byte{1: hasTrace - 1, 2: 2*hasHistory - 1}

// errCorrupt is wrapped by the error about a stored record that makes no sense, or is of a later release.
var errCorrupt = errors.New("not a record that this release can read")

// encode appends r to b.
func encode(b []byte, r *atmost.Record) []byte {
	var present byte
	if r.Result != nil {
		present |= hasResult
	}
	if r.ResultExpires != 0 {
		present |= hasResultExpires
	}
	if r.KeyExpires != 0 {
		present |= hasKeyExpires
	}
	if r.Trace != (atmost.SpanID{}) {
		present |= hasTrace
	}
	if len(r.Paths) > 0 {
		present |= hasPaths
	}
	var history []byte
	if len(r.History.Entries) > 0 {
		history, _ = r.History.AppendBinary(nil) // never fails
		present |= hasHistory
	}
	b = append(b, codecVersion, byte(r.State), byte(r.SettledBy), byte(r.NotKept),
		byte(r.Policy.OnUnknown), byte(r.Policy.ExecutedBy), present)
	b = append(b, r.Fingerprint.Digest[:]...)
	b = append(b, r.Token[:]...)
	b = appendString(b, r.Operation)
	b = appendString(b, r.Fingerprint.Algorithm)
	b = appendString(b, r.Message)
	b = binary.AppendUvarint(b, uint64(r.Attempt))
	b = binary.AppendUvarint(b, uint64(r.Contradictions))
	b = binary.AppendVarint(b, int64(r.UpstreamStatus))
	b = binary.AppendVarint(b, int64(r.CreatedAt))
	b = binary.AppendVarint(b, r.Fence-int64(r.CreatedAt))
	b = binary.AppendVarint(b, int64(r.Deadline-r.CreatedAt))
	b = binary.AppendVarint(b, int64(r.UpdatedAt-r.CreatedAt))
	b = appendDuration(b, r.Policy.ResultRetention)
	b = appendDuration(b, r.Policy.KeyRetention)
	if r.ResultExpires != 0 {
		b = binary.AppendVarint(b, int64(r.ResultExpires-r.UpdatedAt.Add(r.Policy.ResultRetention)))
	}
	if r.KeyExpires != 0 {
		b = binary.AppendVarint(b, int64(r.KeyExpires-r.UpdatedAt.Add(r.Policy.KeyRetention)))
	}
	b = binary.AppendUvarint(b, uint64(len(r.Past)))
	for _, p := range r.Past {
		b = append(b, p.Token[:]...)
		b = append(b, boolByte(p.Contradicted))
	}
	if present&hasTrace != 0 {
		b = append(b, r.Trace[:]...)
	}
	if present&hasPaths != 0 {
		b = appendString(b, r.Paths)
	}
	if present&hasHistory != 0 {
		b = appendString(b, history)
	}
	if r.Result != nil {
		b = appendString(b, r.Result)
	}
	return b
}

// decode reads what encode wrote. The record shares no memory with b.
func decode(id atmost.ID, b []byte) (atmost.Record, error) {
	if len(b) == 0 || b[0] == 0 || b[0] > codecVersion {
		return atmost.Record{}, versionError(b)
	}
	d := decoder{b: b[1:]}
	r := atmost.Record{ID: id}
	r.State = atmost.State(d.byteUpTo(byte(atmost.Unknown)))
	d.bad = d.bad || r.State == atmost.Absent
	r.SettledBy = atmost.SettledBy(d.byteUpTo(byte(atmost.ByResolve)))
	r.NotKept = atmost.NotKept(d.byteUpTo(byte(atmost.Erased)))
	r.Policy.OnUnknown = atmost.OnUnknown(d.byteUpTo(byte(atmost.RetryUnknown)))
	r.Policy.ExecutedBy = atmost.ExecutedBy(d.byteUpTo(byte(atmost.ByClient)))
	present := d.byteUpTo(presentBits[b[0]])
	copy(r.Fingerprint.Digest[:], d.bytes(len(r.Fingerprint.Digest)))
	copy(r.Token[:], d.bytes(len(r.Token)))
	r.Operation = string(d.string())
	r.Fingerprint.Algorithm = fingerprint.Algorithm(d.string())
	r.Message = string(d.string())
	r.Attempt = d.uint32()
	r.Contradictions = d.uint32()
	r.UpstreamStatus = int(d.varint())
	r.CreatedAt = atmost.Time(d.varint())
	r.Fence = int64(r.CreatedAt) + d.varint()
	r.Deadline = r.CreatedAt + atmost.Time(d.varint())
	r.UpdatedAt = r.CreatedAt + atmost.Time(d.varint())
	r.Policy.ResultRetention = d.duration()
	r.Policy.KeyRetention = d.duration()
	if present&hasResultExpires != 0 {
		r.ResultExpires = r.UpdatedAt.Add(r.Policy.ResultRetention) + atmost.Time(d.varint())
	}
	if present&hasKeyExpires != 0 {
		r.KeyExpires = r.UpdatedAt.Add(r.Policy.KeyRetention) + atmost.Time(d.varint())
	}
	r.Past = d.past()
	if present&hasTrace != 0 {
		copy(r.Trace[:], d.bytes(len(r.Trace)))
	}
	if present&hasPaths != 0 {
		r.Paths = append([]byte{}, d.string()...)
	}
	if present&hasHistory != 0 {
		d.bad = r.History.UnmarshalBinary(d.string()) != nil || d.bad
	}
	if present&hasResult != 0 {
		r.Result = append([]byte{}, d.string()...)
	}
	if d.bad || len(d.b) != 0 {
		return atmost.Record{}, errCorrupt
	}
	if r.State == atmost.Completed && r.NotKept == atmost.Kept && len(r.Result) == 0 {
		return atmost.Record{}, fmt.Errorf("%w: its result is missing", errCorrupt)
	}
	return r, nil
}

func versionError(b []byte) error {
	if len(b) == 0 {
		return fmt.Errorf("%w: it is empty", errCorrupt)
	}
	return fmt.Errorf("%w: its version is %d, known are those up to %d", errCorrupt, b[0], codecVersion)
}

func appendString[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendDuration(b []byte, d time.Duration) []byte {
	b = binary.AppendVarint(b, int64(d/time.Second))
	return binary.AppendVarint(b, int64(d%time.Second))
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// decoder reads from the front of b. Once something did not fit, bad is set and all that is read is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) bytes(n int) []byte {
	if d.bad || n < 0 || n > len(d.b) {
		d.bad = true
		return nil
	}
	s := d.b[:n]
	d.b = d.b[n:]
	return s
}

func (d *decoder) byteUpTo(limit byte) byte {
	s := d.bytes(1)
	if d.bad || s[0] > limit {
		d.bad = true
		return 0
	}
	return s[0]
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	d.bad = d.bad || v > 1<<32-1
	return uint32(v)
}

func (d *decoder) string() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	return d.bytes(int(n))
}

func (d *decoder) duration() time.Duration {
	s, ns := d.varint(), d.varint()
	return time.Duration(s)*time.Second + time.Duration(ns)
}

func (d *decoder) past() []atmost.Past {
	n := d.uvarint()
	if d.bad || n > uint64(len(d.b)/17) {
		d.bad = true
		return nil
	}
	if n == 0 {
		return nil
	}
	past := make([]atmost.Past, n)
	for i := range past {
		copy(past[i].Token[:], d.bytes(len(past[i].Token)))
		past[i].Contradicted = d.byteUpTo(1) == 1
	}
	return past
}
