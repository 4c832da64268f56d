package pgstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/atmost-dev/atmost"
)

// List is described at atmost.Store. A record that lapsed is listed as processing until it is swept.
func (s *Store) List(ctx context.Context, state atmost.State, after atmost.ID, limit int) ([]atmost.Record, error) {
	if state != atmost.Processing && state != atmost.Unknown {
		return nil, fmt.Errorf("pgstore: records that are %v are not listed", state)
	}
	s.calls.Add(1)
	defer s.calls.Done()
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var found []atmost.Record
	for more := true; more && len(found) < limit; {
		asked := limit - len(found)
		rows, err := s.readRows(ctx, s.text.list[state == atmost.Unknown], after.Scope, after.Key, asked)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if aged := atmost.Age(r.record, r.at); aged.State != atmost.Absent {
				found = append(found, aged)
			}
		}
		if more = len(rows) > 0; more {
			after = rows[len(rows)-1].record.ID
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	if err := s.replicated(ctx); err != nil {
		return nil, err
	}
	return found, nil
}

// Settled is described at atmost.Watcher.
func (s *Store) Settled(ctx context.Context, ids []atmost.ID) ([]atmost.Record, error) {
	s.calls.Add(1)
	defer s.calls.Done()
	ctx, cancel := s.bound(ctx)
	defer cancel()
	scopes, keys := make([]string, 0, len(ids)), make([]string, 0, len(ids))
	for _, id := range ids {
		if storable(id, nil) == nil {
			scopes, keys = append(scopes, id.Scope), append(keys, id.Key)
		}
	}
	rows, err := s.readRows(ctx, s.text.readMany, scopes, keys)
	if err != nil {
		return nil, err
	}
	var settled []atmost.Record
	for _, r := range rows {
		if aged := atmost.Age(r.record, r.at); aged.State != atmost.Processing && aged.State != atmost.Absent {
			settled = append(settled, aged)
		}
	}
	if len(settled) == 0 {
		return nil, nil
	}
	if err := s.replicated(ctx); err != nil {
		return nil, err
	}
	return settled, nil
}

// readRows reads any number of rows, and leaves out what makes no sense.
func (s *Store) readRows(ctx context.Context, sql string, args ...any) ([]row, error) {
	var out []row
	var last pgx.Rows
	err := s.read(ctx, sql, args, func(rows pgx.Rows) error {
		if rows != last {
			out, last = nil, rows // another try
		}
		var (
			now int64
			id  atmost.ID
			c   cells
		)
		if err := rows.Scan(append([]any{&now, &id.Scope, &id.Key}, c.targets()...)...); err != nil {
			return err
		}
		r, err := c.record(id)
		if err != nil { // every call that asks for it alone gets the error
			s.options.Logger.Error("a record cannot be read", "key", id.Digest(), "error", err)
			return nil
		}
		out = append(out, row{version: *c.version, record: r, at: instant(now)})
		return nil
	})
	return out, err
}
