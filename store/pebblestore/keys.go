package pebblestore

// What the first byte of a key in the directory means, and what follows it:
//
//	a  number (8 bytes, big-endian): an entry of the audit trail
//	e  bucket (4 bytes, big-endian), scope, 0, key: some change of the record falls due in the bucket
//	m  name: the store's own state
//	p  scope, 0, key: the record is processing
//	r  scope, 0, key: the record
//	u  scope, 0, key: the record is unknown
//
// A valid scope has no zero byte, so this order is that of scope and key. Entries of e may be stale, the record decides;
// those of p and u are written in one batch with the record.

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/atmost-dev/atmost"
)

const (
	prefixAudit      = 'a'
	prefixExpiry     = 'e'
	prefixMeta       = 'm'
	prefixProcessing = 'p'
	prefixRecord     = 'r'
	prefixUnknown    = 'u'
)

// bucketWidth is how long a bucket of the time index is, in microseconds.
const bucketWidth = 60_000_000

func idKey(prefix byte, id atmost.ID) []byte {
	k := make([]byte, 0, 2+len(id.Scope)+len(id.Key))
	return appendID(append(k, prefix), id)
}

func appendID(k []byte, id atmost.ID) []byte {
	k = append(k, id.Scope...)
	k = append(k, 0)
	return append(k, id.Key...)
}

// idOf reads what appendID wrote.
func idOf(k []byte) atmost.ID {
	scope, key, _ := bytes.Cut(k, []byte{0})
	return atmost.ID{Scope: string(scope), Key: string(key)}
}

// bucketOf returns the bucket in which t falls. It is over once the bucket of now is a later one.
func bucketOf(t atmost.Time) uint32 {
	return uint32(min(max(int64(t)/bucketWidth, 0), math.MaxUint32))
}

func bucketKey(bucket uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixExpiry}, bucket)
}

func expiryKey(bucket uint32, id atmost.ID) []byte {
	k := make([]byte, 0, 6+len(id.Scope)+len(id.Key))
	k = binary.BigEndian.AppendUint32(append(k, prefixExpiry), bucket)
	return appendID(k, id)
}

func idOfExpiryKey(k []byte) atmost.ID { return idOf(k[5:]) }

func auditKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixAudit}, number)
}

// indexPrefix is the prefix of the index that lists a state, 0 when none does.
func indexPrefix(s atmost.State) byte {
	switch s {
	case atmost.Processing:
		return prefixProcessing
	case atmost.Unknown:
		return prefixUnknown
	}
	return 0
}
