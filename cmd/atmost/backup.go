package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/wire"
)

func backupCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use: "backup [DIRECTORY]", Short: "Make a backup of an embedded store", Args: cobra.MaximumNArgs(1),
		Long: `Makes a backup of an embedded store (pebble:). Everything that was answered before is in it.

Without an argument it asks the running service, by its admin listener, which makes one below its setting pebble.backups, under a name
of its own, and goes on meanwhile. With a directory, which must not exist yet, it opens the store itself: so the service has to be
stopped. What is in a database is backed up by the means of the database.

A backup forgets what is claimed after it. So what is restored refuses new keys until they are admitted: see atmost restore --help.`,
	}
	api := addAdminFlags(c.Flags(), p)
	account := addAccountFlags(c.Flags(), p)
	load := sourceFlags(c, p, "store")
	c.RunE = func(c *cobra.Command, args []string) error {
		account.reason = cmp.Or(account.reason, "atmost backup")
		by, err := account.account()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			a, err := api.api()
			if err != nil {
				return err
			}
			a.client.Timeout = 0 // to copy a store to another disk takes its time
			var made wire.AdminBackedUp
			if err := a.post(c.Context(), "/admin/v1/backup", wire.AdminBackup{Actor: by.Name, Reason: by.Reason}, &made); err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.stdout, "the service made a backup in %s\n", made.Directory)
			return err
		}
		loaded, err := load().load()
		if err != nil {
			return err
		}
		dir, err := existing(loaded)
		if err != nil {
			return err
		}
		s, err := pebblestore.Open(dir, pebblestore.Options{Logger: newLogger(p.stderr, loaded), CacheSize: loaded.PebbleCache})
		if err != nil {
			return fmt.Errorf("%w; if a service uses it, have it make the backup: atmost backup without an argument", err)
		}
		if err := errors.Join(s.Checkpoint(c.Context(), args[0], by), s.Close()); err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, "backed up to %s\n", args[0])
		return err
	}
	return c
}

// existing is the directory of a configuration's store, which must be an embedded one, and be there.
func existing(c config) (string, error) {
	kind, dir := storeKind(c.Store)
	if kind != pebbleStore {
		return "", fmt.Errorf("the store %s is not an embedded one (pebble:DIRECTORY)", shownStore(c.Store))
	}
	if !holdsStore(dir) {
		return "", fmt.Errorf("there is no store in %s", dir) // opening it would make one
	}
	return dir, nil
}

// holdsStore reports whether there is an embedded store in dir, by the file that each has.
func holdsStore(dir string) bool {
	found, err := filepath.Glob(filepath.Join(dir, "marker.manifest.*"))
	return err == nil && len(found) > 0
}

func restoreCommand(p process) *cobra.Command {
	return &cobra.Command{
		Use: "restore BACKUP DIRECTORY", Short: "Make an embedded store from a backup", Args: cobra.ExactArgs(2),
		Long: `Makes an embedded store, in a directory that must not exist yet, from a backup, which stays as it is.

The store has forgotten what was claimed since the backup was made. So it is guarded: keys that it knows are answered as ever, and each
that it does not know is answered OUTCOME_UNKNOWN, because it may have been executed and forgotten, until its scope is admitted: see
atmost admit --help.`,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := pebblestore.Restore(args[0], args[1], pebblestore.Options{Logger: newLogger(p.stderr, defaultConfig())}); err != nil {
				return err
			}
			_, err := fmt.Fprintf(p.stdout, "restored to %s; it refuses new keys until they are admitted: atmost admit --help\n", args[1])
			return err
		},
	}
}

// backups is what makes a backup of the store when it is asked for one, nil where there is nowhere to make it.
func (p *program) backups() func(context.Context, atmost.Actor) (string, error) {
	s, embedded := p.store.(*pebblestore.Store)
	if !embedded || p.config.PebbleBackups == "" {
		return nil
	}
	return func(ctx context.Context, by atmost.Actor) (string, error) {
		if err := os.MkdirAll(p.config.PebbleBackups, 0o750); err != nil {
			return "", err
		}
		dir := filepath.Join(p.config.PebbleBackups, time.Now().UTC().Format("20060102T150405.000000Z"))
		if err := s.Checkpoint(ctx, dir, by); err != nil {
			return "", err
		}
		return dir, nil
	}
}
