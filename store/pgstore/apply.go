package pgstore

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atmost-dev/atmost"
)

// alone takes the way that is open to every event: read the row, judge by atmost.Transition, and write if the row is still what
// was read; else begin again. A row that was read already may be given.
func (s *Store) alone(c *call, seen *row) {
	s.calls.Go(func() {
		ctx, cancel := s.bound(context.Background())
		defer cancel()
		c.answer(s.settle(ctx, c, seen))
	})
}

// settle repeats a try until it is not overtaken.
func (s *Store) settle(ctx context.Context, c *call, seen *row) (atmost.Step, error) {
	for {
		if seen == nil {
			read, err := s.readCurrent(ctx, c.id)
			if err != nil {
				return atmost.Step{}, err
			}
			seen = &read
		}
		step, refusal := atmost.Transition(seen.record, c.event, seen.at)
		_, claim := c.event.(*atmost.Claim)
		if !step.Changed && seen.version == 0 {
			return step, refusal
		}
		if !step.Changed {
			return s.answerRead(ctx, step, refusal)
		}
		if aged := atmost.Age(seen.record, seen.at); claim && seen.guard.forgot(aged) {
			return atmost.Step{Record: aged}, errForgotten
		}
		switch done, err := s.replace(c, seen, &step, claim); {
		case err != nil:
			return atmost.Step{}, err
		case done:
			return step, refusal
		}
		if ctx.Err() != nil {
			return atmost.Step{}, errTimeout
		}
		seen = nil
	}
}

// answerRead is the end of a call that changes nothing of the row that it found.
func (s *Store) answerRead(ctx context.Context, step atmost.Step, refusal error) (atmost.Step, error) {
	if err := s.replicated(ctx); err != nil {
		return atmost.Step{}, err
	}
	return step, refusal
}

// readCurrent reads a row, from a server of which it is known what it may have forgotten.
func (s *Store) readCurrent(ctx context.Context, id atmost.ID) (row, error) {
	for {
		r, err := s.readRow(ctx, id)
		if err != nil || r.guard.current {
			return r, err
		}
		if err := s.reinspect(ctx); err != nil {
			return row{}, err
		}
	}
}

// readRow reads what is stored for id, and the guard.
func (s *Store) readRow(ctx context.Context, id atmost.ID) (row, error) {
	var (
		out  row
		now  int64
		c    cells
		head = []any{&now, &out.guard.since, &out.guard.version, &out.guard.current, &out.guard.admitted}
	)
	err := s.read(ctx, s.text.readOne, []any{id.Scope, id.Key}, func(rows pgx.Rows) (err error) {
		if err := rows.Scan(append(head, c.targets()...)...); err != nil {
			return err
		}
		out.record = atmost.Record{ID: id}
		if c.version != nil {
			out.version = *c.version
			out.record, err = c.whole(id)
		}
		return err
	})
	if err == nil && out.guard.version == 0 {
		err = errors.New("pgstore: the table atmost_meta is empty")
	}
	out.at = instant(now)
	return out, err
}

func instant(now int64) atmost.Instant {
	return atmost.Instant{Now: atmost.Time(now), Expiry: atmost.Time(now)}
}

// replace writes what step made of what was read in the place of that, and its entry in the audit trail. It reports false, and has
// written nothing, if that is not there any more, or if time has changed it since.
func (s *Store) replace(c *call, seen *row, step *atmost.Step, claim bool) (bool, error) {
	next := step.Record
	if next.State == atmost.Absent {
		next = forgotten(next, step.Now)
	}
	args := named(&next)
	args["guard"] = seen.guard.version
	st := statement{
		sql: s.text.insert, args: func() ([]any, bool) { return []any{args}, c.begin() },
		wrote: anyRow, lockWait: s.options.Timeout / loneLockShare,
	}
	if seen.version != 0 {
		st.sql = s.text.update
		args["version"], args["claim"] = seen.version, claim
		args["until"] = validUntil(atmost.Age(seen.record, seen.at))
	}
	if step.Audit != nil { // of a record, so there is a row
		st.sql = s.text.updateAudited
		addTo(args, step.Audit)
		st.scan = func(rows pgx.Rows) error { return rows.Scan(&step.Audit.Number) }
	}
	n, err := s.send(st, c.undone)
	return n > 0, err
}

// send runs a statement that writes until its fate is not to be repeated, and calls undone each time that it had no effect.
func (s *Store) send(st statement, undone func()) (int64, error) {
	if st.deadline.IsZero() {
		st.deadline = time.Now().Add(2 * s.options.Timeout)
	}
	for try := 1; ; try++ {
		ctx, cancel := context.WithDeadline(context.Background(), st.deadline)
		n, err := s.run(ctx, st)
		f := fateOf(err)
		if f != ambiguous {
			undone()
		}
		if f != again || try > s.options.Retries || ctx.Err() != nil {
			cancel()
			return n, failed(err)
		}
		cancel()
	}
}
