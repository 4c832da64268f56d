// Package pebblestore keeps records in a directory of one machine, through the embedded key-value store Pebble. One process uses
// a directory at a time.
//
// What is answered has been synced to disk, together with all that was answered before. What the disk then does to the
// inside of a file is found by the checksums of Pebble's blocks and log chunks, and reported as an error, with one
// exception: damage within the last 32 KiB of the newest log looks like a crash in the middle of a write, and what follows
// it there is forgotten. That a log is missing or was cut is not noticed either: what it held is forgotten. What is forgotten
// would be executed again. So the files of a directory are never to be removed, nor copied one by one; Checkpoint makes a
// copy that is whole.
//
// The methods return within the time the disk takes: one that hangs keeps them waiting.
package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/atmost-dev/atmost"
)

// Store is an atmost.Store in a directory.
type Store struct {
	db      *pebble.DB
	options Options
	time    storeTime
	latches latches
	leases  *leases
	space   space
	secret  [32]byte
	audit   audit

	guard      atomic.Pointer[guard] // nil: not guarded
	guardLatch latch                 // held while it is changed

	sweeping latch         // held by Sweep
	swept    []byte        // the time index is empty before this key; held by sweeping
	closed   atomic.Uint32 // no entry is added to a bucket before this one

	complained atomic.Int64 // elapsed time when backgroundError last did

	calls  sync.WaitGroup // under way, and what they left running
	opened atomic.Bool
	dead   atomic.Bool
	die    func(error)
	close  func() error
}

var (
	_ atmost.Store = (*Store)(nil)
	_ atmost.Guard = (*Store)(nil)
	_ atmost.Keyed = (*Store)(nil)
)

// errDead is the answer of a store that could not make something durable.
var errDead = errors.New("pebblestore: an earlier write failed, the store must be opened again")

// durable and buffered say how a batch is committed. What is only buffered may be lost in a crash.
var (
	durable  = pebble.Sync
	buffered = pebble.NoSync
)

// Apply is described at atmost.Store. The only ambiguous error is that of a write during which the store dies (see
// Options.Fatal). A claim that would start an attempt is refused with atmost.ErrFull while the disk is nearly full.
func (s *Store) Apply(_ context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	if err := storable(id); err != nil {
		return atmost.Step{}, err
	}
	s.calls.Add(1)
	defer s.calls.Done()
	return s.apply(id, event)
}

// storable refuses an ID that the directory's keys could not tell from another. What clients may send is the engine's to
// say, whose own keys are none that a client may.
func storable(id atmost.ID) error {
	if strings.IndexByte(id.Scope, 0) >= 0 {
		return &atmost.Error{Code: atmost.CodeInvalidRequest, Message: "the idempotency scope has a zero byte"}
	}
	return nil
}

func (s *Store) apply(id atmost.ID, event atmost.Event) (atmost.Step, error) {
	_, claim := event.(*atmost.Claim)
	if claim {
		s.space.check(s.options.Clock.Elapsed())
	}
	latch := s.latches.of(id)
	latch.take()
	defer latch.drop()
	at, stored, err := s.read(id)
	if err != nil {
		return atmost.Step{}, err
	}
	step, refusal := atmost.Transition(stored, event, at)
	switch {
	case !step.Changed:
		return step, refusal
	case claim && s.guard.Load().forgot(atmost.Age(stored, at)):
		return atmost.Step{Record: atmost.Age(stored, at)}, errForgotten
	case claim && s.space.low.Load():
		return atmost.Step{}, errDiskReserve
	}
	if err := s.writeStep(&stored, &step); err != nil {
		return atmost.Step{}, err
	}
	return step, refusal
}

// writeStep stores a step. The caller holds the ID's latch.
func (s *Store) writeStep(stored *atmost.Record, step *atmost.Step) error {
	if step.Audit == nil {
		return s.write(stored, &step.Record, durable)
	}
	b := s.db.NewBatch()
	defer b.Close()
	s.put(b, stored, &step.Record)
	if err := s.commitAudited(b, step.Audit); err != nil {
		return err
	}
	s.leases.track(&step.Record)
	return nil
}

// Lookup is described at atmost.Store.
func (s *Store) Lookup(_ context.Context, id atmost.ID) (atmost.Record, error) {
	if err := storable(id); err != nil {
		return atmost.Record{}, err
	}
	s.calls.Add(1)
	defer s.calls.Done()
	r, err := s.lookup(id)
	if err == nil && r.State == atmost.Absent && s.guard.Load().forgot(r) {
		return atmost.Record{}, errForgotten
	}
	return r, err
}

// lookup takes the latch, so that it does not see what is written but not yet synced.
func (s *Store) lookup(id atmost.ID) (atmost.Record, error) {
	latch := s.latches.of(id)
	latch.take()
	defer latch.drop()
	at, stored, err := s.read(id)
	if err != nil {
		return atmost.Record{}, err
	}
	return atmost.Age(stored, at), nil
}

// read returns now and the record as it is stored, absent if there is none. The caller holds the ID's latch.
func (s *Store) read(id atmost.ID) (atmost.Instant, atmost.Record, error) {
	r, err := s.get(id)
	if err != nil {
		return atmost.Instant{}, r, err
	}
	at, err := s.now()
	if err == nil {
		err = s.expiring(&r, at)
	}
	if s.dead.Load() {
		err = errDead
	}
	return at, r, err
}

// readOptions let a read consult the bloom filters of every level, the last included, where DB.Get does not: most claims
// ask for a key that is not there.
var readOptions = &pebble.IterOptions{UseL6Filters: true}

func (s *Store) get(id atmost.ID) (atmost.Record, error) {
	iter, err := s.db.NewIter(readOptions)
	if err != nil {
		return atmost.Record{}, fmt.Errorf("pebblestore: reading a record: %w", err)
	}
	r := atmost.Record{ID: id}
	if iter.SeekPrefixGE(idKey(prefixRecord, id)) {
		var value []byte
		if value, err = iter.ValueAndErr(); err == nil {
			r, err = decode(id, value)
		}
	}
	if err = errors.Join(err, iter.Close()); err != nil {
		return atmost.Record{}, fmt.Errorf("pebblestore: reading record %s: %w", id.Digest(), err)
	}
	return r, nil
}

// write replaces a stored record, or removes it if next is absent, with all that points to it. The caller holds the ID's
// latch.
func (s *Store) write(stored, next *atmost.Record, how *pebble.WriteOptions) error {
	b := s.db.NewBatch()
	defer b.Close()
	s.put(b, stored, next)
	if err := s.commit(b, how); err != nil {
		return err
	}
	s.leases.track(next)
	return nil
}

// put adds to b what write writes. The errors of a batch that is not indexed are always nil.
func (s *Store) put(b *pebble.Batch, stored, next *atmost.Record) {
	key := idKey(prefixRecord, next.ID)
	if next.State == atmost.Absent {
		_ = b.Delete(key, nil)
	} else {
		_ = b.Set(key, encode(nil, next), nil)
	}
	if was, is := indexPrefix(stored.State), indexPrefix(next.State); was != is {
		if was != 0 {
			_ = b.Delete(idKey(was, next.ID), nil)
		}
		if is != 0 {
			_ = b.Set(idKey(is, next.ID), nil, nil)
		}
	}
	if due, ok := next.NextChange(); ok && next.State != atmost.Processing {
		s.putDue(b, next.ID, due)
	}
}

// putDue adds an entry to the time index.
func (s *Store) putDue(b *pebble.Batch, id atmost.ID, due atmost.Time) {
	_ = b.Set(expiryKey(max(bucketOf(due), s.closed.Load()), id), nil, nil)
}

// commit writes b. When it fails the store is dead, and what b held may be on disk or not.
func (s *Store) commit(b *pebble.Batch, how *pebble.WriteOptions) error {
	if s.dead.Load() {
		return errDead
	}
	defer func() {
		if p := recover(); p != nil { // what Pebble holds now is unknown
			s.die(fmt.Errorf("pebblestore: %v", p))
			panic(p)
		}
	}()
	if err := b.Commit(how); err != nil {
		s.die(fmt.Errorf("pebblestore: %w", err))
	}
	if s.dead.Load() {
		return fmt.Errorf("%w: %w", errDead, atmost.ErrAmbiguous)
	}
	return nil
}
