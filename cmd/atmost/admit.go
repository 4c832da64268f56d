package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost"
)

// admitting is who admits in the audit trail.
var admitting = atmost.Actor{Name: "atmost admit", Reason: "command line"}

func admitCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use: "admit (--scope SCOPE … | --all)", Short: "Let a store that may have forgotten keys take new ones", Args: noArguments,
		Long: `A store that was restored from a backup, or a database whose standby was promoted, may have forgotten what was claimed
last. It is guarded then: each key that it does not know, and each that it knows as not executed from before, is answered
OUTCOME_UNKNOWN, because it may be new, and may as well be a key that was executed and forgotten.

To admit a scope, or all of them, is to say that these keys may be executed. A key that was forgotten then RUNS AGAIN when
its client retries. So check first, with the systems that the operations call, what they did since the backup was taken or
the standby fell behind, and keep clients from retrying what was done.

A PostgreSQL store is admitted for all instances, which may be running. A pebble store is one process's: stop the service
first.`,
	}
	load := sourceFlags(c, p, "store", "postgres.unsafe_durability")
	scopes := c.Flags().StringArray("scope", nil, `a scope to admit, "" for requests without one; can be repeated`)
	all := c.Flags().Bool("all", false, "admit all scopes")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *all == (len(*scopes) > 0) {
			return problems{{text: "say what to admit: --scope SCOPE, once or more, or --all"}}
		}
		for _, scope := range *scopes {
			if err := (atmost.ID{Scope: scope, Key: "any"}).Validate(); err != nil {
				return problems{{path: "--scope", text: err.Error()}}
			}
		}
		loaded, err := load().load()
		if err != nil {
			return err
		}
		return p.admit(c.Context(), loaded, *scopes)
	}
	return c
}

// admit lifts the guard of a store from scopes, from all if there are none.
func (p process) admit(ctx context.Context, c config, scopes []string) (err error) {
	kind, dir := storeKind(c.Store)
	if _, err := os.Stat(dir); kind == pebbleStore && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no store in %s", dir) // opening it would make one
	}
	store, err := openStore(ctx, c, newLogger(p.stderr, c), nil)
	switch {
	case err != nil && kind == pebbleStore:
		return fmt.Errorf("%w; a service that uses the directory has to be stopped first", err)
	case err != nil:
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	guarded, ok := store.(atmost.Guard)
	if !ok || !guarded.Guarded() {
		_, err := fmt.Fprintf(p.stdout, "nothing to do: the store %s is not guarded\n", shownStore(c.Store))
		return err
	}
	if len(scopes) == 0 {
		if err := guarded.AdmitAll(ctx, admitting); err != nil {
			return fmt.Errorf("not admitted: %w", oneLine{err})
		}
		_, err := fmt.Fprintln(p.stdout, "admitted all scopes: the store is not guarded any more")
		return err
	}
	for _, scope := range scopes {
		if err := guarded.Admit(ctx, scope, admitting); err != nil {
			return fmt.Errorf("scope %q was not admitted: %w", scope, oneLine{err})
		}
		if _, err := fmt.Fprintf(p.stdout, "admitted scope %q; other scopes stay guarded\n", scope); err != nil {
			return err
		}
	}
	return nil
}
