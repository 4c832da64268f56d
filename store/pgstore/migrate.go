package pgstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var embedded embed.FS

// migrationsTable is where goose writes down what has been applied.
const migrationsTable = "atmost_migrations"

// schemaVersion is the newest migration, which this release needs.
const schemaVersion = 3

// connectTimeout bounds how long Open takes, if Options.Timeout is less, and how long a migration waits for a connection, if its
// URL says nothing of that.
const connectTimeout = 10 * time.Second

// migrationLock is the advisory lock that is held during migrations, and only then. The number means nothing.
const migrationLock = 0x61746d6f7374

// Migration is one step of the schema.
type Migration struct {
	Version int64
	Name    string
	Applied bool
}

// Migrate brings the database's schema up to this release's, and returns the steps that it applied. Steps only add. Any
// number of processes may call it at once: one migrates, the others wait. It needs a connection to the server itself, not by
// way of a pooler in transaction mode.
func Migrate(ctx context.Context, url string) ([]Migration, error) {
	var applied []Migration
	err := withProvider(url, func(p *goose.Provider) error {
		results, err := p.Up(ctx)
		for _, r := range results {
			applied = append(applied, Migration{r.Source.Version, r.Source.Path, true})
		}
		return err
	})
	return applied, err
}

// MigrationStatus returns all steps that this release knows. It changes nothing.
func MigrationStatus(ctx context.Context, url string) ([]Migration, error) {
	config, err := migrating(url)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("pgstore: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	version, err := migrated(ctx, conn)
	if err != nil {
		return nil, err
	}
	var all []Migration
	err = withProvider(url, func(p *goose.Provider) error {
		for _, s := range p.ListSources() {
			all = append(all, Migration{s.Version, s.Path, s.Version <= version})
		}
		return nil
	})
	return all, err
}

// migrating is how to connect to url for migrations.
func migrating(url string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("pgstore: %w", err)
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	return config, nil
}

// withProvider lends f a goose.Provider of its own.
func withProvider(url string, f func(*goose.Provider) error) error {
	config, err := migrating(url)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	p, err := newProvider(db)
	if err == nil {
		err = f(p)
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == lockNotAvailable {
		return fmt.Errorf("pgstore: migrating: somebody holds a table that is to be changed, a dump for example; when that has ended, do it again: %w", err)
	}
	if err != nil {
		return fmt.Errorf("pgstore: migrating: %w", err)
	}
	return nil
}

func newProvider(db *sql.DB) (*goose.Provider, error) {
	steps, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, err
	}
	locker, err := lock.NewPostgresSessionLocker(
		lock.WithLockID(migrationLock), lock.WithLockTimeout(1, 600), lock.WithUnlockTimeout(1, 10),
	)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, steps,
		goose.WithTableName(migrationsTable), goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
}

// migrated returns the newest step that has been applied, 0 if none.
func migrated(ctx context.Context, conn *pgx.Conn) (version int64, err error) {
	err = conn.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+migrationsTable+" WHERE is_applied").Scan(&version)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == undefinedTable {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("pgstore: reading the schema's version: %w", err)
	}
	return version, nil
}

// checkSchema refuses a database whose schema is older than this release needs, or newer than it understands. It returns the store's
// secret.
func checkSchema(ctx context.Context, conn *pgx.Conn, url string) (secret [32]byte, err error) {
	version, err := migrated(ctx, conn)
	if err != nil {
		return secret, err
	}
	if version < schemaVersion {
		return secret, fmt.Errorf("pgstore: the database's schema has version %d, this release needs %d: run: atmost migrate up --store '%s'",
			version, schemaVersion, Redacted(url))
	}
	var needs int64
	var stored []byte
	if err := conn.QueryRow(ctx, "SELECT needs, secret FROM atmost_meta").Scan(&needs, &stored); err != nil {
		return secret, fmt.Errorf("pgstore: reading what the schema needs: %w", err)
	}
	if needs > schemaVersion {
		return secret, fmt.Errorf("pgstore: the database was migrated by a newer release, and needs one that knows its version %d; this one knows %d", needs, schemaVersion)
	}
	if copy(secret[:], stored) < len(secret) {
		return secret, errors.New("pgstore: the secret in the table atmost_meta is too short")
	}
	return secret, nil
}
