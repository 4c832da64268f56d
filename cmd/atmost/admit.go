package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

func admitCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use: "admit (--scope SCOPE … | --all)", Short: "Let a store that may have forgotten keys take new ones", Args: noArguments,
		Long: `A store that was restored from a backup, or a database whose standby was promoted, may have forgotten what was claimed
last. It is guarded then: each key that it does not know, and each that it knows as not executed from before, is answered
OUTCOME_UNKNOWN, because it may be new, and may as well be a key that was executed and forgotten.

To admit a scope, or all of them, is to say that these keys may be executed. A key that was forgotten then RUNS AGAIN when
its client retries. So check first, with the systems that the operations call, what they did since the backup was taken or
the standby fell behind, and keep clients from retrying what was done.

With --admin it asks a running service to do it. Without, it opens the store: a PostgreSQL store is admitted for all instances, which
may be running; a pebble store is one process's, so the service has to be stopped.`,
		Example: "  atmost admit --admin 127.0.0.1:8081 --scope tenant-7 --reason 'checked against the bank, ticket 11'",
	}
	api := addAdminFlags(c.Flags(), p)
	account := addAccountFlags(c.Flags(), p)
	account.addYesFlag(c.Flags())
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
		by, err := account.account()
		if err != nil {
			return err
		}
		if err := account.confirm("Keys that were executed and forgotten RUN AGAIN when their clients retry.", "yes"); err != nil {
			return err
		}
		if api.address != "" {
			return p.admitThere(c.Context(), api, *scopes, by)
		}
		loaded, err := load().load()
		if err != nil {
			return err
		}
		return p.admit(c.Context(), loaded, *scopes, by)
	}
	return c
}

// admitThere has a running service lift the guard from scopes, from all if there are none.
func (p process) admitThere(ctx context.Context, api *adminFlags, scopes []string, by atmost.Actor) error {
	a, err := api.api()
	if err != nil {
		return err
	}
	var now stillGuarded
	request := wire.AdminAdmit{Scopes: scopes, All: len(scopes) == 0, Actor: by.Name, Reason: by.Reason}
	if err := a.post(ctx, "/admin/v1/admit", request, &now); err != nil {
		return err
	}
	rest := "the store is not guarded any more"
	if *now.Guarded {
		rest = "other scopes stay guarded"
	}
	_, err = fmt.Fprintln(p.stdout, "admitted; "+rest)
	return err
}

// admit lifts the guard of a store from scopes, from all if there are none.
func (p process) admit(ctx context.Context, c config, scopes []string, by atmost.Actor) (err error) {
	kind, dir := storeKind(c.Store)
	if kind == pebbleStore && !holdsStore(dir) {
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
		if _, err := guarded.AdmitAll(ctx, by); err != nil {
			return fmt.Errorf("not admitted: %w", oneLine{err})
		}
		_, err := fmt.Fprintln(p.stdout, "admitted all scopes: the store is not guarded any more")
		return err
	}
	for _, scope := range scopes {
		if _, err := guarded.Admit(ctx, scope, by); err != nil {
			return fmt.Errorf("scope %q was not admitted: %w", scope, oneLine{err})
		}
		if _, err := fmt.Fprintf(p.stdout, "admitted scope %q; other scopes stay guarded\n", scope); err != nil {
			return err
		}
	}
	return nil
}
