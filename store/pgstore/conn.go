package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atmost-dev/atmost"
)

// How a statement that shares its fate with others waits for a row that somebody else holds; then each goes alone.
const (
	sharedLockWait = 250 * time.Millisecond
	// loneLockShare is the share of the time-out that a lone statement waits.
	loneLockShare = 2
)

// session is what every connection is to be set to. Plans are made once, while the table may be small: they must not be
// ones that read all of it. A warning is how the server tells of a commit that is not replicated.
func session() map[string]string {
	return map[string]string{
		"lock_timeout": ms(sharedLockWait), "statement_timeout": "0", "enable_seqscan": "off", "jit": "off",
		"plan_cache_mode":     "force_generic_plan",
		"client_min_messages": "warning", "default_transaction_isolation": "read committed",
	}
}

// localSession sets, for one transaction, what session could not, because a pooler is in between.
const localSession = `SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', '0', true),
	set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true), set_config('client_min_messages', 'warning', true)`

const setLockTimeout = `SELECT set_config('lock_timeout', $1, true)`

// ms writes d as the server does.
func ms(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }

// warned is the key under which a connection remembers that a warning came.
const warned = "atmost: warned"

// configure prepares connections to url.
func configure(url string, o Options) (*pgxpool.Config, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("pgstore: %w", err)
	}
	c.MaxConns = int32(o.MaxConns)
	c.PingTimeout = o.Timeout
	cc := c.ConnConfig
	cc.ConnectTimeout = o.Timeout
	dialer := &net.Dialer{Timeout: o.Timeout, Control: userTimeout(o.Timeout), KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: max(o.Timeout/2, time.Second), Interval: time.Second, Count: 3,
	}}
	cc.DialFunc = dialer.DialContext
	cc.OnNotice = func(conn *pgconn.PgConn, n *pgconn.Notice) {
		if n.Code == plainWarning || n.Code == adminShutdown {
			conn.CustomData()[warned] = n.Message
		}
	}
	for name, value := range session() {
		cc.RuntimeParams[name] = value
	}
	return c, nil
}

// behindPooler changes c for a pooler that hands each transaction to another of the server's sessions.
func behindPooler(c *pgxpool.Config) {
	for name := range session() {
		delete(c.ConnConfig.RuntimeParams, name)
	}
	if c.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
}

// statement is one to be run, and committed by itself.
type statement struct {
	sql string
	// args is called when nothing but sending is left, for each try; when it returns false the statement is not sent.
	args func() ([]any, bool)
	// scan is called for each row.
	scan func(pgx.Rows) error
	// deadline is when it is given up, which asks the server not to wait for its standby: later than its callers give up, if
	// there is one. With the zero time it is far enough off.
	deadline time.Time
	// lockWait is how long it waits for a row, if not as all others.
	lockWait time.Duration
	// wrote tells, once it was run, whether it wrote anything; it is nil if it only reads.
	wrote func(rows int64) bool
}

// arguments are args for a statement that is sent whoever waits for it.
func arguments(values ...any) func() ([]any, bool) {
	return func() ([]any, bool) { return values, true }
}

// anyRow is wrote for a statement that writes each row it tells of.
func anyRow(rows int64) bool { return rows > 0 }

// run runs st and returns the number of rows that it read or wrote. The error of a statement that writes is to be judged
// by fateOf; nil says that what it wrote is durable.
func (s *Store) run(ctx context.Context, st statement) (int64, error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errNotSent, err)
	}
	defer conn.Release()
	args, live := st.args()
	if !live {
		return 0, errTimeout
	}
	custom := conn.Conn().PgConn().CustomData()
	delete(custom, warned)
	mark := s.proof.begin()
	n, err := s.query(ctx, conn.Conn(), st, args)
	if message, ok := custom[warned]; ok && st.wrote != nil {
		return 0, fmt.Errorf("%w: the server warned: %v", atmost.ErrAmbiguous, message)
	}
	if lost(err) {
		s.pool.Reset() // the others are probably gone, too
	}
	if err == nil && st.wrote != nil && st.wrote(n) {
		s.proof.confirm(mark)
	}
	return n, err
}

// query sends st, with the settings that its transaction needs, in one round trip.
func (s *Store) query(ctx context.Context, conn *pgx.Conn, st statement, args []any) (int64, error) {
	if !s.pooled && st.lockWait == 0 {
		rows, err := conn.Query(ctx, st.sql, args...)
		if err != nil {
			return 0, err
		}
		return collect(rows, st.scan)
	}
	settings, wait := setLockTimeout, st.lockWait
	if s.pooled {
		settings = localSession
	}
	if wait == 0 {
		wait = sharedLockWait
	}
	batch := &pgx.Batch{}
	batch.Queue(settings, ms(wait))
	batch.Queue(st.sql, args...)
	results := conn.SendBatch(ctx, batch)
	_, err := results.Exec()
	var n int64
	if err == nil {
		var rows pgx.Rows
		rows, err = results.Query()
		if err == nil {
			n, err = collect(rows, st.scan)
		}
	}
	return n, errors.Join(err, results.Close())
}

func collect(rows pgx.Rows, scan func(pgx.Rows) error) (int64, error) {
	defer rows.Close()
	var failure error
	for rows.Next() {
		if scan == nil || failure != nil {
			continue
		}
		failure = scan(rows) // read on: whether the statement was committed shows at its end
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	if failure != nil {
		return 0, fmt.Errorf("%w: %w", errCorrupt, failure)
	}
	return rows.CommandTag().RowsAffected(), nil
}

// read runs a statement that only reads, again if a connection turns out to be gone, until ctx ends.
func (s *Store) read(ctx context.Context, sql string, args []any, scan func(pgx.Rows) error) error {
	for try := 0; ; try++ {
		_, err := s.run(ctx, statement{sql: sql, args: arguments(args...), scan: scan})
		f := fateOf(err)
		if f == succeeded {
			return nil
		}
		if try == 2 || ctx.Err() != nil || f != again && f != ambiguous {
			return fmt.Errorf("pgstore: %w", err)
		}
	}
}

// bound is the context of a call: it has the caller's values, but ends when the store's time-out does.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), s.options.Timeout)
}
