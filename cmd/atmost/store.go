package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/store/pgstore"
)

// The kinds of stores, which are the schemes of their URLs.
const (
	memoryStore     = "memory"
	pebbleStore     = "pebble"
	postgresStore   = "postgres"
	postgresqlStore = "postgresql" // the same
)

// storeKind divides a store's URL.
func storeKind(store string) (kind, rest string) {
	kind, rest, _ = strings.Cut(store, ":")
	if kind == postgresqlStore {
		kind = postgresStore
	}
	return kind, rest
}

// shownStore is a store's URL for people to see.
func shownStore(store string) string {
	if !strings.Contains(store, "://") {
		return store
	}
	return pgstore.Redacted(store)
}

// checkStore takes "memory" for "memory:", which YAML would want in quotes.
func checkStore(s string) error {
	kind, rest := storeKind(s)
	switch {
	case kind == memoryStore && rest == "", kind == pebbleStore && rest != "":
		return nil
	case kind == postgresStore && strings.HasPrefix(rest, "//"):
		return pgstore.CheckURL(s)
	}
	return fmt.Errorf("%q is not a store; write pebble:DIRECTORY, postgres://USER@HOST/DATABASE, or memory: to keep nothing when the process ends", beginning(s))
}

// beginning is a value of which nobody knows whether it holds a password, as far as it can be shown.
func beginning(s string) string {
	kind, rest, named := strings.Cut(s, ":")
	plain := !strings.ContainsFunc(kind, func(r rune) bool { return r != '-' && (r < 'a' || r > 'z') })
	switch {
	case !plain:
		return "…"
	case named && rest == "":
		return s
	case named:
		return kind + ":…"
	}
	return s
}

// openStore opens the store that the configuration names. Batch, if not nil, is pgstore's.
func openStore(ctx context.Context, c config, log *slog.Logger, batch func(requests int)) (atmost.Store, error) {
	store, err := openKind(ctx, c, log, batch)
	if err != nil {
		return nil, fmt.Errorf("the store %s cannot be opened: %w", shownStore(c.Store), oneLine{err})
	}
	return store, nil
}

func openKind(ctx context.Context, c config, log *slog.Logger, batch func(requests int)) (atmost.Store, error) {
	switch kind, rest := storeKind(c.Store); kind {
	case memoryStore:
		log.Warn("records are kept in memory: when this process ends they are forgotten, and their keys may run again")
		return memstore.New(memstore.Options{}), nil
	case pebbleStore:
		// Not returned as it is: a nil *pebblestore.Store is no nil atmost.Store.
		s, err := pebblestore.Open(rest, pebblestore.Options{
			Logger: log, CacheSize: c.PebbleCache, DiskReserve: uint64(c.PebbleDiskReserve),
		})
		if err != nil {
			return nil, err
		}
		return s, nil
	case postgresStore:
		if c.UnsafeDurability {
			log.Warn("THE PROMISE IS VOID: unsafe_durability accepts a database that loses what it acknowledged")
		}
		o := postgresOptions(c, log)
		o.Batch = batch
		s, err := pgstore.Open(ctx, c.Store, o)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	return nil, errors.New("there is no such kind of store")
}

// oneLine is an error that is told in one line: about several hosts PostgreSQL's driver uses more.
type oneLine struct{ error }

func (e oneLine) Error() string {
	return strings.Join(strings.FieldsFunc(e.error.Error(), func(r rune) bool { return r == '\n' || r == '\t' }), " ")
}

func (e oneLine) Unwrap() error { return e.error }

func postgresOptions(c config, log *slog.Logger) pgstore.Options {
	return pgstore.Options{
		Logger: log, MaxConns: c.PostgresMaxConns, BatchSize: c.PostgresBatchSize, Linger: c.PostgresLinger,
		Timeout: c.PostgresTimeout, Retries: c.PostgresRetries, UnsafeDurability: c.UnsafeDurability,
	}
}
