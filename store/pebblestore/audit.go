package pebblestore

// The audit trail. An entry's value begins with a version; version 1 is, integers being varints (zigzag for the time) and
// strings preceded by their length:
//
//	version, action, state before, state after: a byte each
//	at, attempt
//	actor, reason, scope, key, operation: strings

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/atmost-dev/atmost"
)

const auditVersion = 1

// audit gives entries their numbers.
type audit struct {
	latch latch  // held from taking a number until its entry is durable: so they can be seen in order
	last  uint64 // held by latch
}

func (s *Store) loadAudit() (err error) {
	s.audit.last, err = lastAudit(s.db)
	return err
}

// lastAudit is the number of the newest entry, 0 if there is none.
func lastAudit(db *pebble.DB) (last uint64, err error) {
	iter, err := db.NewIter(rangeOf([]byte{prefixAudit}))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	if iter.Last() {
		last, err = numberOf(iter.Key())
	}
	return last, err
}

func numberOf(key []byte) (uint64, error) {
	if len(key) != 9 {
		return 0, fmt.Errorf("an entry of the audit trail is %w", errCorrupt)
	}
	return binary.BigEndian.Uint64(key[1:]), nil
}

// commitAudited commits b with an entry of the audit trail, which is given its number.
func (s *Store) commitAudited(b *pebble.Batch, e *atmost.AuditEntry) error {
	s.audit.latch.take()
	defer s.audit.latch.drop()
	e.Number = s.audit.last + 1
	_ = b.Set(auditKey(e.Number), encodeAudit(e), nil)
	if err := s.commit(b, durable); err != nil {
		return err
	}
	s.audit.last = e.Number
	return nil
}

// Audit is described at atmost.Store.
func (s *Store) Audit(_ context.Context, before uint64, limit int) (entries []atmost.AuditEntry, err error) {
	s.calls.Add(1)
	defer s.calls.Done()
	if s.dead.Load() {
		return nil, errDead
	}
	s.audit.latch.take()
	last := s.audit.last // what follows is not durable yet
	s.audit.latch.drop()
	if before == 0 || before > last {
		before = last + 1
	}
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixAudit}, UpperBound: auditKey(before)})
	if err != nil {
		return nil, fmt.Errorf("pebblestore: reading the audit trail: %w", err)
	}
	defer func() {
		if err = errors.Join(err, iter.Close()); err != nil {
			entries, err = nil, fmt.Errorf("pebblestore: reading the audit trail: %w", err)
		}
	}()
	for valid := iter.Last(); valid && len(entries) < limit; valid = iter.Prev() {
		number, err := numberOf(iter.Key())
		if err != nil {
			return nil, err
		}
		e, err := decodeAudit(iter.Value())
		if err != nil {
			return nil, err
		}
		e.Number = number
		entries = append(entries, e)
	}
	return entries, nil
}

func encodeAudit(e *atmost.AuditEntry) []byte {
	b := []byte{auditVersion, byte(e.Action), byte(e.Before), byte(e.After)}
	b = binary.AppendVarint(b, int64(e.At))
	b = binary.AppendUvarint(b, uint64(e.Attempt))
	for _, text := range []string{e.Actor.Name, e.Actor.Reason, e.ID.Scope, e.ID.Key, e.Operation} {
		b = appendString(b, text)
	}
	return b
}

func decodeAudit(b []byte) (atmost.AuditEntry, error) {
	d := decoder{b: b}
	d.bad = d.byteUpTo(auditVersion) != auditVersion
	e := atmost.AuditEntry{Action: atmost.Action(d.byteUpTo(255))}
	e.Before, e.After = atmost.State(d.byteUpTo(byte(atmost.Unknown))), atmost.State(d.byteUpTo(byte(atmost.Unknown)))
	e.At, e.Attempt = atmost.Time(d.varint()), d.uint32()
	for _, text := range []*string{&e.Actor.Name, &e.Actor.Reason, &e.ID.Scope, &e.ID.Key, &e.Operation} {
		*text = string(d.string())
	}
	if d.bad || len(d.b) != 0 {
		return atmost.AuditEntry{}, fmt.Errorf("an entry of the audit trail is %w", errCorrupt)
	}
	return e, nil
}
