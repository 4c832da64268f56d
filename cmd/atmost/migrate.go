package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost/store/pgstore"
)

func migrateCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use: "migrate", Short: "Prepare a database, or tell whether it is prepared", Args: cobra.NoArgs,
		Long: "Brings the schema of a PostgreSQL database up to what this release needs, or tells how far it is. Migrations\n" +
			"only add, and any number of processes may migrate at once. Other stores need none.",
	}
	c.Run = func(*cobra.Command, []string) { _ = c.Help() }
	c.AddCommand(migrateUpCommand(p), migrateStatusCommand(p))
	return c
}

func migrateUpCommand(p process) *cobra.Command {
	c := &cobra.Command{Use: "up", Short: "Apply what is missing", Args: noArguments}
	load := sourceFlags(c, p, "store")
	c.RunE = func(c *cobra.Command, _ []string) error {
		loaded, err := load().load()
		if err != nil {
			return err
		}
		if kind, _ := storeKind(loaded.Store); kind != postgresStore {
			return sayNoMigrations(p, loaded.Store)
		}
		applied, err := migrate(c.Context(), loaded.Store)
		for _, m := range applied {
			if _, err := fmt.Fprintln(p.stdout, "applied "+m.Name); err != nil {
				return err
			}
		}
		if err == nil && len(applied) == 0 {
			_, err = fmt.Fprintln(p.stdout, "nothing to do: the database is up to date")
		}
		return err
	}
	return c
}

func migrateStatusCommand(p process) *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Tell what is applied, and change nothing", Args: noArguments}
	load := sourceFlags(c, p, "store")
	output := c.Flags().StringP("output", "o", "table", "table or json")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *output != "table" && *output != "json" {
			return problems{{path: "--output", text: fmt.Sprintf("%q is neither table nor json", *output)}}
		}
		loaded, err := load().load()
		if err != nil {
			return err
		}
		all := []pgstore.Migration{}
		if kind, _ := storeKind(loaded.Store); kind == postgresStore {
			all, err = pgstore.MigrationStatus(c.Context(), loaded.Store)
			if err != nil {
				return fmt.Errorf("the store %s cannot be looked at: %w", shownStore(loaded.Store), oneLine{err})
			}
		} else if *output == "table" {
			return sayNoMigrations(p, loaded.Store)
		}
		return printMigrations(p, all, *output == "json")
	}
	return c
}

func sayNoMigrations(p process, store string) error {
	_, err := fmt.Fprintf(p.stdout, "nothing to do: the store is %s, and only PostgreSQL is migrated; name a database with --store postgres://…\n", shownStore(store))
	return err
}

func printMigrations(p process, all []pgstore.Migration, asJSON bool) error {
	type row struct {
		Version int64  `json:"version"`
		Name    string `json:"name"`
		Applied bool   `json:"applied"`
	}
	rows := make([]row, len(all))
	for i, m := range all {
		rows[i] = row(m)
	}
	if asJSON {
		return json.NewEncoder(p.stdout).Encode(rows)
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "VERSION\tNAME\tAPPLIED")
	for _, r := range rows {
		_, _ = fmt.Fprintf(w, "%d\t%s\t%t\n", r.Version, r.Name, r.Applied)
	}
	return w.Flush()
}

// migrate applies what is missing, and returns that.
func migrate(ctx context.Context, store string) ([]pgstore.Migration, error) {
	applied, err := pgstore.Migrate(ctx, store)
	if err != nil {
		return applied, fmt.Errorf("the store %s cannot be migrated: %w", shownStore(store), oneLine{err})
	}
	return applied, nil
}

// migrateBefore is what serve does before it opens the store, if it is asked to.
func migrateBefore(ctx context.Context, c config, log *slog.Logger) error {
	if kind, _ := storeKind(c.Store); !c.Migrate || kind != postgresStore {
		return nil
	}
	applied, err := migrate(ctx, c.Store)
	for _, m := range applied {
		log.Info("the database was migrated", "step", m.Name)
	}
	return err
}
