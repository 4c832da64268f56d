package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/atmost-dev/atmost"
)

// Checkpoint makes a backup in dir, which must not exist: all that was answered before the call is in it, and so is, in the audit
// trail, who had it made; the store's own has that also if the backup then fails. The store goes on meanwhile. Where dir is on the
// store's file system, most files are only linked.
func (s *Store) Checkpoint(_ context.Context, dir string, by atmost.Actor) error {
	if err := by.Validate(); err != nil {
		return err
	}
	s.calls.Add(1)
	defer s.calls.Done()
	if s.dead.Load() {
		return errDead
	}
	if _, err := s.space.fs.Stat(dir); err == nil {
		return fmt.Errorf("pebblestore: backing up to %s: it exists", dir)
	}
	b := s.db.NewBatch()
	defer b.Close()
	if _, err := s.told(b, atmost.AuditBackup, "", by); err != nil {
		return err
	}
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("pebblestore: backing up to %s: %w", dir, err)
	}
	return nil
}

// Restore makes dir, which must not exist, from a backup that stays as it is. The store that is then opened in dir has
// forgotten what happened since the backup was taken, so it is guarded: see Guarded. Of o, FS, Logger and Tune count.
// A Restore that did not return may have left a directory beside dir, with the suffix ".restoring", that the next one
// removes.
func Restore(checkpointDir, dir string, o Options) error {
	o = o.withDefaults()
	if err := restore(checkpointDir, dir, o); err != nil {
		return fmt.Errorf("pebblestore: restoring %s to %s: %w", checkpointDir, dir, err)
	}
	return nil
}

// Guard tells that the store in dir, which nobody has open, may have forgotten claims: that an older copy was put in its place. When
// it returns without an error, that is durable, and so is who told it, in the audit trail; the store is guarded whenever it is opened: see
// Guarded. Of o, FS, Logger, Clock and Tune count.
func Guard(dir string, by atmost.Actor, o Options) error {
	if err := by.Validate(); err != nil {
		return err
	}
	o = o.withDefaults()
	fs := o.fs()
	if _, err := fs.Stat(dir); err != nil {
		return fmt.Errorf("pebblestore: there is no store in %s: %w", dir, err)
	}
	lock, err := lockDir(fs, dir)
	if err != nil {
		return err
	}
	if err := errors.Join(setGuard(dir, &by, o, lock), lock.Close()); err != nil {
		return fmt.Errorf("pebblestore: guarding %s: %w", dir, err)
	}
	return nil
}

func restore(from, dir string, o Options) error {
	fs := o.fs()
	if _, err := fs.Stat(dir); err == nil {
		return errors.New("the latter exists")
	}
	temporary := dir + ".restoring"
	if err := fs.RemoveAll(temporary); err != nil {
		return err
	}
	if err := makeDir(fs, fs.PathDir(dir)); err != nil {
		return err
	}
	found, err := vfs.Clone(fs, fs, from, temporary, vfs.CloneSync)
	if err != nil {
		return err
	}
	if !found {
		return errors.New("there is no backup")
	}
	if err := setGuard(temporary, nil, o, nil); err != nil {
		return err
	}
	if err := fs.Rename(temporary, dir); err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(dir))
}

// setGuard marks the database in dir, for which lock is held if that is not nil, as set back, and writes down who said so, if by is not
// nil. All that it holds is at most as old as its clock's mark.
func setGuard(dir string, by *atmost.Actor, o Options, lock *pebble.Lock) (err error) {
	disk := space{fs: o.fs(), dir: dir, reserve: o.DiskReserve}
	if err := disk.enoughToOpen(); err != nil {
		return err // Pebble would try to open it again and again
	}
	var fatal error
	p := o.pebble(func(err error) { fatal = errors.Join(fatal, err) })
	p.ErrorIfNotExists, p.Lock = true, lock
	db, err := pebble.Open(dir, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close(), fatal) }()
	mark, closer, err := db.Get(metaMark)
	if err != nil {
		return fmt.Errorf("it holds no store: %w", err)
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	if len(mark) != 8 {
		return fmt.Errorf("its mark of time is %w", errCorrupt)
	}
	b := db.NewBatch()
	defer b.Close()
	admitted := rangeOf(admittedKey(""))
	_ = b.DeleteRange(admitted.LowerBound, admitted.UpperBound, nil)
	_ = b.Set(metaGuard, mark, nil)
	if by != nil {
		last, err := lastAudit(db)
		if err != nil {
			return err
		}
		at := max(atmost.TimeOf(o.Clock.Now()), atmost.Time(binary.BigEndian.Uint64(mark)))
		_ = b.Set(auditKey(last+1), encodeAudit(&atmost.AuditEntry{At: at, Actor: *by, Action: atmost.AuditGuard}), nil)
	}
	return b.Commit(durable)
}

// rangeOf covers the keys that begin with prefix, whose last byte is not 255.
func rangeOf(prefix []byte) *pebble.IterOptions {
	end := append([]byte{}, prefix...)
	end[len(end)-1]++
	return &pebble.IterOptions{LowerBound: prefix, UpperBound: end}
}
