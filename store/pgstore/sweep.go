package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/atmost-dev/atmost"
)

// Sweep is described at atmost.Store. Keys whose retention ended are found a minute later. Any number of instances
// may sweep at once: what one is at, the others leave out.
func (s *Store) Sweep(ctx context.Context, limit int) (atmost.Swept, error) {
	s.calls.Add(1)
	defer s.calls.Done()
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.readRows(ctx, (*cells).record, s.text.due, limit)
	if err != nil || len(rows) == 0 {
		return atmost.Swept{}, err
	}
	w := sweeper{store: s, next: make(map[atmost.ID]change, len(rows))}
	for _, r := range rows {
		if r.version != 0 {
			w.plan(r)
		}
	}
	if err := w.forget(); err != nil {
		return w.swept, err
	}
	if err := w.rewrite(); err != nil {
		return w.swept, err
	}
	w.swept.More = len(rows) == limit && w.wrote > 0
	return w.swept, nil
}

// change is what time made of a row.
type change struct {
	version int64
	record  atmost.Record
	lapsed  bool // it is to be told
	dropped bool // it is to be counted
}

// sweeper is one Sweep.
type sweeper struct {
	store  *Store
	absent []row
	next   map[atmost.ID]change
	order  []change
	wrote  int64
	swept  atmost.Swept
}

// plan decides what becomes of a row that is due.
func (w *sweeper) plan(r row) {
	now := r.at.Now
	lapsed := atmost.Age(r.record, atmost.Instant{Now: now}) // and nothing expired
	expired := lapsed.KeyExpires != 0 && now >= lapsed.KeyExpires
	switch {
	case expired && now >= forgettable(&lapsed) && lapsed.Fence < int64(now):
		w.absent = append(w.absent, r)
		return
	case expired: // absent to all who ask, but not to be forgotten yet
		lapsed = atmost.Age(lapsed, atmost.Instant{Now: now, Expiry: lapsed.KeyExpires - 1})
		w.change(change{version: r.version, record: lapsed, dropped: r.record.State.Final() && r.record.NotKept != lapsed.NotKept})
	case r.record.State == atmost.Processing:
		w.change(change{version: r.version, record: lapsed, lapsed: lapsed.State != atmost.Processing})
	default:
		dropped := atmost.Age(lapsed, r.at)
		w.change(change{version: r.version, record: dropped, dropped: dropped.NotKept != r.record.NotKept})
	}
}

func (w *sweeper) change(c change) {
	w.order = append(w.order, c)
	w.next[c.record.ID] = c
}

// forget deletes the rows of keys that are absent.
func (w *sweeper) forget() error {
	if len(w.absent) == 0 {
		return nil
	}
	var k keys
	for _, r := range w.absent {
		k.add(r.record.ID, r.version)
	}
	n, err := w.store.send(statement{sql: w.store.text.forget, args: arguments(k.scope, k.key, k.version), wrote: anyRow}, func() {})
	w.swept.Forgotten = int(n)
	w.wrote += n
	return err
}

// keys are what a sweep's statement finds its rows by.
type keys struct {
	scope, key []string
	version    []int64
}

func (k *keys) add(id atmost.ID, version int64) {
	k.scope, k.key, k.version = append(k.scope, id.Scope), append(k.key, id.Key), append(k.version, version)
}

// rewrite writes down lapses and drops results.
func (w *sweeper) rewrite() error {
	if len(w.order) == 0 {
		return nil
	}
	var (
		k                                            keys
		state, settledBy, notKept                    []int16
		status                                       []int32
		message, history                             [][]byte
		updated, deadline, resultExpires, keyExpires []int64
		dueAt                                        []*int64
		written                                      []atmost.ID
	)
	for _, c := range w.order {
		r := c.record
		k.add(r.ID, c.version)
		state, settledBy, notKept = append(state, int16(r.State)), append(settledBy, int16(r.SettledBy)), append(notKept, int16(r.NotKept))
		status, message = append(status, int32(r.UpstreamStatus)), append(message, orNull([]byte(r.Message)))
		updated, deadline = append(updated, int64(r.UpdatedAt)), append(deadline, int64(r.Deadline))
		resultExpires, keyExpires = append(resultExpires, int64(r.ResultExpires)), append(keyExpires, int64(r.KeyExpires))
		dueAt, history = append(dueAt, due(&r)), append(history, encodeHistory(r.History))
	}
	n, err := w.store.send(statement{
		sql: w.store.text.rewrite,
		args: func() ([]any, bool) {
			written = nil
			return []any{k.scope, k.key, k.version, state, settledBy, notKept, status, message, updated, deadline, resultExpires, keyExpires, dueAt, history}, true
		},
		scan: func(rows pgx.Rows) error {
			var id atmost.ID
			err := rows.Scan(&id.Scope, &id.Key)
			written = append(written, id)
			return err
		},
		wrote: anyRow,
	}, func() {})
	if err != nil {
		return err
	}
	w.wrote += n
	for _, id := range written {
		switch c := w.next[id]; {
		case c.lapsed:
			w.swept.Lapsed = append(w.swept.Lapsed, c.record)
		case c.dropped:
			w.swept.Dropped++
		}
	}
	return nil
}
