package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/store/pgstore"
)

func guardCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use: "guard", Short: "Tell that a store was set back, and may have forgotten keys", Args: noArguments,
		Long: `To be run on a store that was set back to an older state: a database that was restored from a backup or copied to another
server, a directory in whose place a copy was put. What was claimed since then is forgotten, and would run again when a
client retries. The guard keeps that from happening: each key that the store does not know is answered OUTCOME_UNKNOWN,
until its scope is admitted: see atmost admit --help.

Run it before the service is started again. That a standby was promoted is noticed, but not what it missed if it had ceased to
be synchronous, or never was while another was: run it then, too.`,
	}
	account := addAccountFlags(c.Flags(), p)
	load := sourceFlags(c, p, "store", "postgres.unsafe_durability")
	c.RunE = func(c *cobra.Command, _ []string) error {
		account.reason = cmp.Or(account.reason, "atmost guard")
		by, err := account.account()
		if err != nil {
			return err
		}
		loaded, err := load().load()
		if err != nil {
			return err
		}
		if err := p.guard(c.Context(), loaded, by); err != nil {
			return fmt.Errorf("the store %s cannot be guarded: %w", shownStore(loaded.Store), oneLine{err})
		}
		_, err = fmt.Fprintf(p.stdout, "guarded: keys that the store %s does not know are refused until they are admitted\n", shownStore(loaded.Store))
		return err
	}
	return c
}

func (p process) guard(ctx context.Context, c config, by atmost.Actor) error {
	log := newLogger(p.stderr, c)
	switch kind, rest := storeKind(c.Store); kind {
	case pebbleStore:
		return pebblestore.Guard(rest, by, pebblestore.Options{Logger: log})
	case postgresStore:
		return pgstore.Guard(ctx, c.Store, by, postgresOptions(c, log))
	}
	return errors.New("it keeps nothing")
}
