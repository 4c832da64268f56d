package pgstore

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/atmost-dev/atmost"
)

// audited is a statement for a change that a person makes: where it changes its row, an entry is added to the audit trail, and its
// number is told. The number is taken last, because whoever has the next has to wait until this one's commit can be seen.
func audited(change string) string {
	return `WITH changed AS (` + change + ` RETURNING key),
		counted AS (UPDATE atmost_meta SET audited = audited + 1 WHERE id = 1 AND EXISTS (SELECT FROM changed) RETURNING audited)
		` + addEntry + ` FROM counted c RETURNING number`
}

// addEntry is the beginning of what adds the entry of entryArgs, with the number that is audited in c.
const addEntry = `INSERT INTO atmost_audit (number, at, attempt, action, before, after, scope, key, operation, actor, reason)
	SELECT c.audited, coalesce(@entry_at::bigint, {at}), @entry_attempt::integer, @entry_action::smallint, @entry_before::smallint,
		@entry_after::smallint, @entry_scope::text, @entry_key::text, @entry_operation::text, @entry_actor::text, @entry_reason::text`

// addTo puts the arguments of an entry among those of the statement that adds it. With the zero time it is of the statement's.
func addTo(args pgx.NamedArgs, e *atmost.AuditEntry) {
	args["entry_at"] = (*int64)(nil)
	if e.At != 0 {
		args["entry_at"] = int64(e.At)
	}
	args["entry_attempt"], args["entry_action"] = int32(e.Attempt), int16(e.Action)
	args["entry_before"], args["entry_after"] = int16(e.Before), int16(e.After)
	args["entry_scope"], args["entry_key"], args["entry_operation"] = e.ID.Scope, e.ID.Key, e.Operation
	args["entry_actor"], args["entry_reason"] = e.Actor.Name, e.Actor.Reason
}

const listAudit = `SELECT number, at, attempt, action, before, after, scope, key, operation, actor, reason
	FROM atmost_audit WHERE number < $1 ORDER BY number DESC LIMIT $2`

// Audit is described at atmost.Store. No number is left out.
func (s *Store) Audit(ctx context.Context, before uint64, limit int) ([]atmost.AuditEntry, error) {
	s.calls.Add(1)
	defer s.calls.Done()
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if before == 0 || before > math.MaxInt64 {
		before = math.MaxInt64
	}
	var entries []atmost.AuditEntry
	var last pgx.Rows
	err := s.read(ctx, listAudit, []any{int64(before), limit}, func(rows pgx.Rows) error {
		if rows != last {
			entries, last = nil, rows // another try
		}
		var e atmost.AuditEntry
		var number, at int64
		var attempt int32
		var action, before, after int16
		err := rows.Scan(&number, &at, &attempt, &action, &before, &after, &e.ID.Scope, &e.ID.Key, &e.Operation, &e.Actor.Name, &e.Actor.Reason)
		e.Number, e.At, e.Attempt = uint64(number), atmost.Time(at), uint32(attempt)
		e.Action, e.Before, e.After = atmost.Action(action), atmost.State(before), atmost.State(after)
		entries = append(entries, e)
		return err
	})
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	if err := s.replicated(ctx); err != nil {
		return nil, err
	}
	return entries, nil
}
