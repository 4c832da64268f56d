package pebblestore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/atmost-dev/atmost"
)

// layoutVersion is that of the keys (keys.go). It is written when a directory is made.
const layoutVersion = 1

// The store's own state.
var (
	metaLayout  = []byte{prefixMeta, 'l'}
	metaMark    = []byte{prefixMeta, 'c'}
	metaExpired = []byte{prefixMeta, 'e'}
	metaGuard   = []byte{prefixMeta, 'g'}
	metaSecret  = []byte{prefixMeta, 's'}
)

// restartBatch is how many records are restarted in one batch.
const restartBatch = 1000

// ErrInUse is wrapped by Open's error if another process has the store open.
var ErrInUse = errors.New("in use by another process")

// Open opens the store in dir, which it makes if there is none. When it returns, everything that an earlier process was
// executing itself is durably in doubt; how long that takes does not depend on how many records are completed. The error
// tells when another process uses dir.
func Open(dir string, o Options) (_ *Store, err error) {
	o = o.withDefaults()
	lock, err := lockDir(o.fs(), dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		options:    o,
		latches:    newLatches(),
		leases:     newLeases(),
		space:      space{fs: o.fs(), dir: dir, reserve: o.DiskReserve},
		guardLatch: newLatch(),
		sweeping:   newLatch(),
		audit:      audit{latch: newLatch()},
	}
	var died sync.Once
	s.die = func(err error) {
		s.dead.Store(true) // before anybody learns of the error
		died.Do(func() { o.Fatal(fmt.Errorf("directory %s: %w", dir, err)) })
	}
	if err := s.space.enoughToOpen(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	p := o.pebble(s.die)
	p.Lock = lock
	p.EventListener.WALCreated = s.logCreated
	p.EventListener.BackgroundError = s.backgroundError
	if s.db, err = pebble.Open(dir, p); err != nil {
		return nil, errors.Join(fmt.Errorf("pebblestore: opening %s: %w", dir, err), lock.Close())
	}
	s.close = sync.OnceValue(func() error { return errors.Join(s.shutDown(), s.db.Close(), lock.Close()) })
	if err := s.begin(); err != nil {
		s.calls.Wait()
		return nil, errors.Join(fmt.Errorf("pebblestore: opening %s: %w", dir, err), s.db.Close(), lock.Close())
	}
	s.opened.Store(true)
	return s, nil
}

// logCreated ends a store that cannot begin its next log, as on a full disk: Pebble would crash, in words that tell
// operators nothing. While the store is being opened, that is an error like others.
func (s *Store) logCreated(i pebble.WALCreateInfo) {
	if i.Err != nil && s.opened.Load() {
		s.die(fmt.Errorf("pebblestore: beginning log %s: %w", i.Path, i.Err))
	}
}

// backgroundError tells, once a second at most, that files could not be reorganized: Pebble tries again and again. While
// the store is being opened that would be for ever, with no word to anybody, so it ends there.
func (s *Store) backgroundError(err error) {
	if !s.opened.Load() {
		s.die(fmt.Errorf("pebblestore: opening: %w", err))
		return
	}
	now := int64(s.options.Clock.Elapsed())
	if last := s.complained.Load(); now-last >= int64(time.Second) && s.complained.CompareAndSwap(last, now) {
		s.options.Logger.Error("the store cannot reorganize its files", "error", err)
	}
}

// lockDir makes dir, durably, and excludes other processes from it.
func lockDir(vfs vfs.FS, dir string) (*pebble.Lock, error) {
	if err := makeDir(vfs, dir); err != nil {
		return nil, fmt.Errorf("pebblestore: making %s: %w", dir, err)
	}
	lock, err := pebble.LockDirectory(dir, vfs)
	var file *fs.PathError
	switch {
	case errors.As(err, &file):
		return nil, fmt.Errorf("pebblestore: locking %s: %w", dir, err)
	case err != nil:
		return nil, fmt.Errorf("pebblestore: %s is %w (%w)", dir, ErrInUse, err)
	}
	return lock, nil
}

// makeDir makes dir and what is missing above it, and syncs each directory that gained an entry.
func makeDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	parent := fs.PathDir(dir)
	if parent == dir {
		return nil
	}
	if err := makeDir(fs, parent); err != nil {
		return err
	}
	if err := fs.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return syncDir(fs, parent)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// begin makes an open database a store.
func (s *Store) begin() error {
	if err := s.checkLayout(); err != nil {
		return err
	}
	if err := s.beginTime(); err != nil {
		return err
	}
	for _, load := range []func() error{s.loadSecret, s.loadGuard, s.loadAudit} {
		if err := load(); err != nil {
			return err
		}
	}
	return s.restart()
}

func (s *Store) checkLayout() error {
	got, err := s.meta(metaLayout)
	switch {
	case err != nil:
		return err
	case got == nil:
		b := s.db.NewBatch()
		defer b.Close()
		_ = b.Set(metaLayout, strconv.AppendInt(nil, layoutVersion, 10), nil)
		return s.commit(b, durable)
	case string(got) != strconv.Itoa(layoutVersion):
		return fmt.Errorf("its layout is of version %q, this release knows version %d", got, layoutVersion)
	}
	return nil
}

// loadSecret makes a secret where there is none.
func (s *Store) loadSecret() error {
	got, err := s.meta(metaSecret)
	switch {
	case err != nil:
		return err
	case got == nil:
		_, _ = rand.Read(s.secret[:]) // never fails
		b := s.db.NewBatch()
		defer b.Close()
		_ = b.Set(metaSecret, s.secret[:], nil)
		return s.commit(b, durable)
	case len(got) != len(s.secret):
		return fmt.Errorf("the secret is %w", errCorrupt)
	}
	copy(s.secret[:], got)
	return nil
}

// Secret is described at atmost.Keyed.
func (s *Store) Secret() [32]byte { return s.secret }

// beginTime starts the clock where no earlier process's was.
func (s *Store) beginTime() error {
	floor, err := s.storedTime(metaMark)
	if err != nil {
		return err
	}
	expired, err := s.storedTime(metaExpired)
	if err != nil {
		return err
	}
	s.time = storeTime{clock: atmost.NewStoreClock(s.options.Clock, floor, expired), latch: newLatch()}
	s.time.expired.Store(int64(expired))
	s.time.mark.Store(math.MinInt64)
	return s.setMark(s.time.clock.Read().Now.Add(markAhead))
}

// meta reads a part of the store's own state, nil if there is none.
func (s *Store) meta(key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	value = append([]byte{}, value...)
	return value, closer.Close()
}

// restart learns of all processing records, and puts in doubt those that an engine of an earlier process was executing.
func (s *Store) restart() error {
	at, err := s.now()
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	err = s.each(prefixProcessing, atmost.Query{}, func(id atmost.ID, _ []byte) (bool, error) {
		stored, err := s.get(id)
		if errors.Is(err, errCorrupt) {
			s.options.Logger.Error("a record cannot be restarted", "key_digest", id.Digest(), "error", err)
			return true, nil // every call that asks for it gets the error
		}
		if err != nil {
			return false, err
		}
		step, _ := atmost.Transition(stored, atmost.Restart{}, at)
		if !step.Changed {
			s.leases.track(&stored)
			return true, nil
		}
		s.put(b, &stored, &step.Record)
		if b.Count() < restartBatch {
			return true, nil
		}
		full := b
		b = s.db.NewBatch()
		return true, errors.Join(s.commit(full, buffered), full.Close())
	})
	if err != nil {
		return err
	}
	// The last batch makes all of them durable, so it must not be empty: Pebble syncs nothing for one that is.
	_ = b.Set(metaLayout, strconv.AppendInt(nil, layoutVersion, 10), nil)
	return s.commit(b, durable)
}

// Close is described at atmost.Store. It waits for the calls under way, and leaves behind a directory from which the
// time goes on exactly.
func (s *Store) Close() error { return s.close() }

func (s *Store) shutDown() error {
	s.calls.Wait()
	if s.dead.Load() {
		return nil
	}
	return s.setMark(s.time.clock.Read().Now)
}
