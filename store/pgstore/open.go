package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atmost-dev/atmost"
)

// inspectEvery is how often the server's settings are looked at again.
const inspectEvery = time.Second

// Open opens the store in the database at url, which has been brought up to date by Migrate. It refuses a server that is a standby,
// that acknowledges what it can lose, or that is not the one the database was used on before.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	config, err := configure(url, o)
	if err != nil {
		return nil, err
	}
	s := &Store{options: o}
	s.open.Store(new(string))
	s.asynchronous.Store(new(string))
	ctx, cancel := context.WithTimeout(ctx, max(o.Timeout, connectTimeout))
	defer cancel()
	if err := s.probe(ctx, config, url); err != nil {
		return nil, err
	}
	s.text = s.prepare()
	s.claims = newBatcher(s, claiming)
	s.finishes = newBatcher(s, finishing)
	s.renewals = newBatcher(s, renewing)
	config.AfterConnect = s.inspect
	// The pool keeps this context's values, and ends with Close.
	if s.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), config); err != nil {
		return nil, fmt.Errorf("pgstore: %w", err)
	}
	if err := s.reinspect(ctx); err != nil {
		s.pool.Close()
		return nil, err
	}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.watch.Go(func() { s.keepInspecting(watch) })
	return s, nil
}

// probe connects once, to find out what it has to do with, and adapts config to that.
func (s *Store) probe(ctx context.Context, config *pgxpool.Config, url string) error {
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig.Copy())
	if refusesSettings(err) {
		s.pooled = true
		behindPooler(config)
		conn, err = pgx.ConnectConfig(ctx, config.ConnConfig.Copy())
	}
	if err != nil {
		return fmt.Errorf("pgstore: %w: %w", errNotSent, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if s.secret, err = checkSchema(ctx, conn, url); err != nil {
		return err
	}
	var wait, scan string
	if err := conn.QueryRow(ctx, `SELECT current_setting('lock_timeout'), current_setting('enable_seqscan')`).Scan(&wait, &scan); err != nil {
		return fmt.Errorf("pgstore: %w", err)
	}
	if !s.pooled && (wait != ms(sharedLockWait) || scan != "off") {
		s.pooled = true // it ignores them
		behindPooler(config)
	}
	var system, timeline string
	if err := conn.QueryRow(ctx, inspectIdentity).Scan(&system, &timeline); withoutIdentity(err) {
		s.anonymous = true
		s.options.Logger.Warn("the server does not tell its identity and timeline: that a standby was promoted cannot be noticed")
	}
	return nil
}

// refusesSettings reports whether err is that of a pooler which takes no settings for a session.
func refusesSettings(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && (refused.Code == protocolViolation || refused.Code == undefinedSetting)
}

// keepInspecting looks at the server at intervals, as its settings can change while connections stay.
func (s *Store) keepInspecting(ctx context.Context) {
	tick := time.NewTicker(inspectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		bound, cancel := context.WithTimeout(ctx, s.options.Timeout)
		err := s.reinspect(bound)
		cancel()
		if ctx.Err() == nil {
			s.looked(err)
		}
	}
}

// Lookup is described at atmost.Store.
func (s *Store) Lookup(ctx context.Context, id atmost.ID) (atmost.Record, error) {
	if err := storable(id, nil); err != nil {
		return atmost.Record{}, err
	}
	s.calls.Add(1)
	defer s.calls.Done()
	ctx, cancel := s.bound(ctx)
	defer cancel()
	row, err := s.readCurrent(ctx, id)
	if err != nil {
		return atmost.Record{}, err
	}
	r := atmost.Age(row.record, row.at)
	if r.State == atmost.Absent && row.guard.forgot(r) {
		return atmost.Record{}, errForgotten
	}
	if row.version == 0 {
		return r, nil
	}
	return r, s.replicatedOr(ctx, &r)
}

// replicatedOr empties r if it is not known to be replicated.
func (s *Store) replicatedOr(ctx context.Context, r *atmost.Record) error {
	err := s.replicated(ctx)
	if err != nil {
		*r = atmost.Record{}
	}
	return err
}
