package pgstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/atmost-dev/atmost"
)

// lookedAt is how many rows, or scopes, are looked at for a page at least, where not all of them need be asked for.
const lookedAt = 1000

// List is described at atmost.Store. A record that lapsed is listed as what it was until it is swept. What is processing, or unknown,
// is found by that; a scope, or a key in all scopes, by its place; all else by looking at what there is.
func (s *Store) List(ctx context.Context, q atmost.Query) (atmost.Page, error) {
	look := s.text.list.search(&q)
	args := []any{look.from.Scope, look.from.Key, look.most}
	err := storable(look.from, nil)
	if look.key != nil {
		args = append(args, *look.key)
		err = errors.Join(err, storable(atmost.ID{Key: *look.key}, nil))
	}
	if err != nil {
		return atmost.Page{}, err
	}
	s.calls.Add(1)
	defer s.calls.Done()
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.readRows(ctx, (*cells).record, look.sql, args...)
	if err != nil {
		return atmost.Page{}, err
	}
	page := pageOf(rows, q, len(rows) == look.most)
	if len(page.Records) > 0 {
		if err := s.replicated(ctx); err != nil {
			return atmost.Page{}, err
		}
	}
	return page, nil
}

// search is where the rows are looked for among which those are that a query asks for.
type search struct {
	sql  string
	from atmost.ID // that they follow, or the only one
	key  *string   // that is looked for in all scopes, if it is
	most int       // how many they are at most: at least two, as one tells the time if there are none
}

func (l *listing) search(q *atmost.Query) search {
	look := search{sql: l.all, from: q.After, most: q.Limit + 1} // to learn whether there are more
	if q.Scope != nil && look.from.Scope < *q.Scope {
		look.from = atmost.ID{Scope: *q.Scope}
	}
	open := q.State == atmost.Processing || q.State == atmost.Unknown
	switch {
	case q.Key != nil && q.Scope != nil:
		look.sql, look.from = l.one, atmost.ID{Scope: *q.Scope, Key: *q.Key}
	case q.Key != nil:
		look.sql, look.key = l.key, q.Key
	case q.State == atmost.Unknown:
		look.sql = l.unknown
	case q.State == atmost.Processing:
		look.sql = l.processing
	}
	if q.Key != nil || q.Operation != nil || q.Age > 0 || q.State != atmost.Absent && !open {
		look.most = max(look.most, lookedAt)
	}
	return look
}

// pageOf is what q asks for of rows, which are in order, and after which there may be more.
func pageOf(rows []row, q atmost.Query, more bool) atmost.Page {
	end := &rows[len(rows)-1]
	page := atmost.Page{Next: end.record.ID, More: more && (q.Scope == nil || end.record.ID.Scope == *q.Scope), Now: end.at.Now}
	state := q.State
	q.State = atmost.Absent
	for _, r := range rows {
		aged := atmost.Age(r.record, r.at)
		if state != atmost.Absent && state != r.record.State || !q.Match(&aged, r.at.Now) || compareIDs(aged.ID, q.After) <= 0 {
			continue
		}
		if len(page.Records) == q.Limit {
			page.Next, page.More = page.Records[q.Limit-1].ID, true
			break
		}
		page.Records = append(page.Records, aged)
	}
	if !page.More {
		page.Next = atmost.ID{}
	}
	return page
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
	rows, err := s.readRows(ctx, (*cells).whole, s.text.readMany, scopes, keys)
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

// readRows reads any number of rows, of which recordOf makes records. Of one that is not there, or makes no sense, it tells the ID.
func (s *Store) readRows(ctx context.Context, recordOf func(*cells, atmost.ID) (atmost.Record, error), sql string, args ...any) ([]row, error) {
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
		r := row{record: atmost.Record{ID: id}, at: instant(now)}
		if c.version != nil {
			record, err := recordOf(&c, id)
			if err != nil { // every call that asks for it alone gets the error
				s.options.Logger.Error("a record cannot be read", "key_digest", id.Digest(), "error", err)
			} else {
				r.version, r.record = *c.version, record
			}
		}
		out = append(out, r)
		return nil
	})
	return out, err
}
