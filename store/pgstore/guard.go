package pgstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atmost-dev/atmost"
)

// errForgotten is the answer of a guarded store where it may have forgotten a claim.
var errForgotten = &atmost.Error{
	Code:    atmost.CodeOutcomeUnknown,
	Message: "the database was replaced by a standby or a backup, and may have forgotten this key",
}

// currentTimeline is the server's; it changes when a standby is promoted.
const currentTimeline = `substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)`

// anonymousTimeline stands for that of a server which does not tell it, and cannot be noticed to have been replaced.
const anonymousTimeline = "?"

// opened is the timeline on which this instance knows that nothing is guarded, "" if it knows of none: then each claim of an absent
// key reads the guard for itself.
func (s *Store) opened() string { return *s.open.Load() }

// guard is what may not be claimed as the database may have forgotten it, as read with a record.
type guard struct {
	since    *int64 // nil: not guarded
	version  int64
	admitted bool // the record's scope is
	current  bool // it speaks of the server as it is
}

// forgot reports whether something may have happened to an aged record that the database does not know of, such that a
// claim of it could be a second run.
func (g guard) forgot(r atmost.Record) bool {
	if g.since == nil || g.admitted {
		return false
	}
	return r.State == atmost.Absent || r.State == atmost.NotExecuted && int64(r.UpdatedAt) <= *g.since
}

// server is what a connection leads to.
type server struct {
	recovering, readOnly, synchronous          bool
	fsync, commit, isolation, system, timeline string
	database                                   string // its number, which a copy or a restored one does not have
}

const inspectServer = `SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
	current_setting('synchronous_standby_names') <> '', current_setting('fsync'), current_setting('synchronous_commit'),
	current_setting('transaction_isolation'), (SELECT oid::text FROM pg_database WHERE datname = current_database())`

const inspectIdentity = `SELECT (SELECT system_identifier::text FROM pg_control_system()), ` + currentTimeline

// inspect refuses a connection to a server that cannot be relied on, and notices when it is another than before. It is done
// for every new connection, and every second.
func (s *Store) inspect(ctx context.Context, conn *pgx.Conn) error {
	v, err := s.look(ctx, conn)
	if err == nil {
		err = s.identify(ctx, conn, v)
	}
	if err != nil {
		return err
	}
	s.synchronous.Store(v.synchronous)
	if !v.synchronous {
		s.asynchronous.Store(&v.timeline)
	}
	return nil
}

// look tells what conn leads to, unless that cannot be relied on.
func (s *Store) look(ctx context.Context, conn *pgx.Conn) (v server, err error) {
	if err := conn.QueryRow(ctx, inspectServer).Scan(&v.recovering, &v.readOnly, &v.synchronous, &v.fsync, &v.commit, &v.isolation, &v.database); err != nil {
		return v, err
	}
	if err := s.reliable(v); err != nil {
		return v, err
	}
	v.synchronous = v.synchronous && v.commit != "off" && v.commit != "local"
	if !s.anonymous {
		err = conn.QueryRow(ctx, inspectIdentity).Scan(&v.system, &v.timeline)
	}
	return v, err
}

func (s *Store) reliable(v server) error {
	off := v.fsync == "off" || v.commit == "off" || v.commit == "local" && v.synchronous
	switch {
	case v.recovering:
		return unfit("the server is in recovery: a standby, or not yet promoted")
	case v.readOnly:
		return unfit("the server, or this role's default, is read-only")
	case v.isolation != "read committed":
		return unfit(fmt.Sprintf("transactions are %s here, and a pooler keeps that from being changed: set default_transaction_isolation of the role or the database to 'read committed'", v.isolation))
	case off && !s.options.UnsafeDurability:
		return unfit(fmt.Sprintf("the server acknowledges what it can lose (fsync is %s, synchronous_commit is %s, a synchronous standby is configured: %t): the promise cannot be kept; set both to on, or accept that with --unsafe-durability", v.fsync, v.commit, v.synchronous))
	}
	return nil
}

// identify compares the server with the one that the database was used on, and writes down what differs.
func (s *Store) identify(ctx context.Context, conn *pgx.Conn, v server) error {
	var known server
	var since *int64
	if err := conn.QueryRow(ctx, `SELECT system, timeline, synchronous, guarded_since FROM atmost_meta WHERE id = 1`).
		Scan(&known.system, &known.timeline, &known.synchronous, &since); err != nil {
		return err
	}
	if was := s.guarded.Swap(since != nil); since != nil && !was {
		s.options.Logger.Error("the database is guarded: it may have forgotten keys, and new ones are refused until they are admitted")
	}
	opened := ""
	if since == nil && known.timeline == v.timeline && known.system == v.identity() {
		opened = v.timeline
		if s.anonymous {
			opened = anonymousTimeline
		}
	}
	s.open.Store(&opened)
	switch {
	case known.system == "", known.system == unknownSystem+"/"+v.database && v.system != "":
		_, err := conn.Exec(ctx, `UPDATE atmost_meta SET system = $1, timeline = $2, synchronous = $3 WHERE id = 1 AND system = $4`,
			v.identity(), v.timeline, v.synchronous, known.system)
		return err
	case v.system == "" && known.system != v.identity() && strings.HasSuffix(known.system, "/"+v.database):
		return unfit("this role may not execute pg_control_system() any more, so nobody can tell whether this still is the same server: grant it, or use the role that was used before")
	case known.system != v.identity():
		return fmt.Errorf("%w (server and database are %s, they were %s)", errCopy, v.identity(), known.system)
	case known.timeline != v.timeline:
		return s.replaced(ctx, conn, known, v)
	case known.synchronous != v.synchronous:
		_, err := conn.Exec(ctx, `UPDATE atmost_meta SET synchronous = $1 WHERE id = 1 AND timeline = $2`, v.synchronous, v.timeline)
		return err
	}
	return nil
}

const errCopy = unfit("this database is a copy, or was restored from one: what happened in the first since then is not known; if that is not used any more, run: atmost guard")

// unknownSystem stands for that of a server that does not tell it.
const unknownSystem = "unknown"

// identity names the server and the database in it.
func (v server) identity() string { return cmp.Or(v.system, unknownSystem) + "/" + v.database }

// replaced writes down that a standby was promoted. Where commits did not wait for it, it may have missed some. That they ceased to
// is what such a standby does not know, but whoever used the server until then does.
func (s *Store) replaced(ctx context.Context, conn *pgx.Conn, known, v server) error {
	if known.synchronous && *s.asynchronous.Load() != known.timeline {
		_, err := conn.Exec(ctx, `UPDATE atmost_meta SET timeline = $1, synchronous = $2 WHERE id = 1 AND timeline = $3`,
			v.timeline, v.synchronous, known.timeline)
		return err
	}
	err := s.putUpGuard(ctx, conn, v, &known.timeline, nil)
	if err != nil {
		return err
	}
	s.guarded.Store(true)
	s.options.Logger.Error("a standby without all that was acknowledged may have been promoted: new keys are refused until they are admitted; see atmost admit --help",
		"timeline", v.timeline, "before", known.timeline)
	return nil
}

// putUpGuard writes down that v, which is the server from now on, may have forgotten claims: if the one before was on timeline, or
// whatever that was on if it is nil. Who says so is in the audit trail; nobody does if by is nil.
func (s *Store) putUpGuard(ctx context.Context, conn *pgx.Conn, v server, timeline *string, by *atmost.Actor) error {
	args := pgx.NamedArgs{"system": v.identity(), "timeline": v.timeline, "synchronous": v.synchronous, "before": timeline}
	count, entry := "", "SELECT FROM noticed"
	if by != nil {
		addTo(args, &atmost.AuditEntry{Action: atmost.AuditGuard, Actor: *by})
		count, entry = ", audited = audited + 1", addEntry+" FROM noticed c"
	}
	_, err := conn.Exec(ctx, s.sql(`WITH noticed AS (
		UPDATE atmost_meta SET system = @system, timeline = @timeline, synchronous = @synchronous,
			guarded_since = {now}, guard_version = guard_version + 1`+count+`
		WHERE id = 1 AND timeline = coalesce(@before, timeline) RETURNING audited),
		forgotten AS (DELETE FROM atmost_admitted WHERE EXISTS (SELECT FROM noticed))
		`+entry), args)
	return err
}

// reinspect looks at the server again. It fails where the server is not to be used any more.
func (s *Store) reinspect(ctx context.Context) error {
	conn, err := s.pool.Acquire(ctx)
	if err == nil {
		defer conn.Release()
		if err = s.inspect(ctx, conn.Conn()); err == nil {
			return nil
		}
		s.pool.Reset()
	}
	s.open.Store(new(string)) // what it knew may not be so any more
	return fmt.Errorf("pgstore: %w: %w", errNotSent, err)
}

// Guarded reports whether the database may have forgotten claims, because a standby was promoted that commits had not waited for:
// claims of absent keys, and of keys that were not executed before that, are refused in all scopes that were not admitted.
// It is up to a second old.
func (s *Store) Guarded() bool { return s.guarded.Load() }

// Admit is described at atmost.Guard. It lifts the guard for all instances.
func (s *Store) Admit(ctx context.Context, scope string, by atmost.Actor) (*atmost.AuditEntry, error) {
	return s.admit(ctx, `guard_version = guard_version + 1, audited = audited + 1 WHERE id = 1 AND guarded_since IS NOT NULL
			AND NOT EXISTS (SELECT FROM atmost_admitted a WHERE a.scope = @entry_scope AND a.since = guarded_since)`,
		`INSERT INTO atmost_admitted SELECT @entry_scope, guarded_since FROM lifted
			ON CONFLICT (scope) DO UPDATE SET since = excluded.since`,
		atmost.AuditEntry{Action: atmost.AuditAdmit, ID: atmost.ID{Scope: scope}, Actor: by})
}

// AdmitAll is described at atmost.Guard. It lifts the guard for all instances.
func (s *Store) AdmitAll(ctx context.Context, by atmost.Actor) (*atmost.AuditEntry, error) {
	return s.admit(ctx, `guarded_since = NULL, guard_version = guard_version + 1, audited = audited + 1
			WHERE id = 1 AND guarded_since IS NOT NULL`,
		`DELETE FROM atmost_admitted WHERE EXISTS (SELECT FROM lifted)`,
		atmost.AuditEntry{Action: atmost.AuditAdmitAll, Actor: by})
}

// Guard tells that the database at url may have forgotten claims: that it was restored from a backup, or copied to the server it is
// on. When it returns without an error, that is durable: the server counts as the one that the database is used on, and the stores
// that are opened from then on are guarded, and the audit trail tells by whom. One that is open learns of it within a second or so.
func Guard(ctx context.Context, url string, by atmost.Actor, o Options) error {
	if err := errors.Join(by.Validate(), storableActor(by)); err != nil {
		return err
	}
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	config, err := configure(url, o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, max(o.Timeout, connectTimeout))
	defer cancel()
	s := &Store{options: o}
	if err := s.probe(ctx, config, url); err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return fmt.Errorf("pgstore: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	v, err := s.look(ctx, conn)
	if err == nil {
		err = s.putUpGuard(ctx, conn, v, nil, &by)
	}
	if err != nil {
		return fmt.Errorf("pgstore: %w", err)
	}
	return nil
}

// admit sets what lifts a guard, if there is one, and with that writes down for which scopes, and who did it, in an entry that it returns.
func (s *Store) admit(ctx context.Context, set, scopes string, entry atmost.AuditEntry) (*atmost.AuditEntry, error) {
	if err := errors.Join(storable(entry.ID, nil), storableActor(entry.Actor)); err != nil {
		return nil, err
	}
	s.calls.Add(1)
	defer s.calls.Done()
	ctx, cancel := s.bound(ctx)
	defer cancel()
	args := pgx.NamedArgs{}
	addTo(args, &entry)
	n, err := s.run(ctx, statement{
		sql: s.sql(`WITH lifted AS (UPDATE atmost_meta SET ` + set + ` RETURNING guarded_since, audited), admitted AS (` + scopes + `)
			` + addEntry + ` FROM lifted c RETURNING number, at`),
		args: arguments(args), scan: func(rows pgx.Rows) error { return rows.Scan(&entry.Number, &entry.At) }, wrote: anyRow, lockWait: s.options.Timeout / loneLockShare,
	})
	if err != nil {
		return nil, failed(err)
	}
	if n == 0 { // somebody else lifted it, maybe just now
		return nil, errors.Join(s.replicated(ctx), s.reinspect(ctx))
	}
	return &entry, s.reinspect(ctx)
}

// withoutIdentity reports whether err says that this server tells no identity, as managed ones may not.
func withoutIdentity(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && (refused.Code == undefinedFunction || refused.Code == noPrivilege)
}
