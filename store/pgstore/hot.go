package pgstore

// The events that happen to every key, many in one statement. Each statement does what is plain: it claims what is absent, and
// finishes or renews what is processing under the token given. All else takes the way of Store.alone.

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atmost-dev/atmost"
)

// found is what a shared statement tells of one call: the row that it read or wrote.
type found struct {
	row
	made bool // it is what the call's event made of it
	bad  bool // it cannot be read
}

// together sends one statement for all calls of sh and returns what it tells. Where it fails, all are answered, or on their way.
// byColumn returns the arguments; scanned looks at what was read.
func (s *Store) together(sh *shared, text together, byColumn func([]*call) []any, scanned func(*found, *call, *cells) error) map[atmost.ID]*found {
	var out map[atmost.ID]*found
	var made bool
	sql, lone := text.many, len(sh.calls) == 1
	if lone {
		sql = text.one
	}
	_, err := s.send(statement{
		sql:      sql,
		deadline: sh.deadline,
		args: func() ([]any, bool) {
			sh.begin()
			out, made = make(map[atmost.ID]*found, len(sh.calls)), false
			if len(sh.calls) == 0 {
				return nil, false
			}
			args := byColumn(sh.calls)
			if lone {
				args = only(args)
			}
			return args, true
		},
		scan: func(rows pgx.Rows) error {
			id, f, err := scanFound(rows, sh, scanned)
			if err == nil {
				out[id] = f
				made = made || f.made
			}
			return err
		},
		wrote: func(int64) bool { return made },
	}, sh.undone)
	if err == nil {
		return out
	}
	for _, c := range sh.calls {
		if fateOf(err) == held {
			s.alone(c, nil)
			continue
		}
		c.answer(atmost.Step{}, err)
	}
	return nil
}

func scanFound(rows pgx.Rows, sh *shared, scanned func(*found, *call, *cells) error) (atmost.ID, *found, error) {
	var (
		now int64
		id  atmost.ID
		c   cells
	)
	if len(rows.FieldDescriptions()) == 1 { // claimOne's
		id = sh.calls[0].id
		if err := rows.Scan(&now); err != nil {
			return id, nil, err
		}
	} else if err := rows.Scan(append([]any{&now, &id.Scope, &id.Key}, c.targets()...)...); err != nil {
		return id, nil, err
	}
	f := &found{row: row{at: instant(now)}}
	f.bad = scanned(f, sh.byID[id], &c) != nil // whoever asks for it alone is told
	return id, f, nil
}

// only returns the arguments for one call from those for many.
func only(columns []any) []any {
	args := make([]any, len(columns))
	for i, column := range columns {
		switch c := column.(type) {
		case []string:
			args[i] = c[0]
		case [][]byte:
			args[i] = c[0]
		case []int64:
			args[i] = c[0]
		case []int32:
			args[i] = c[0]
		case []int16:
			args[i] = c[0]
		case []bool:
			args[i] = c[0]
		}
	}
	return args
}

// answerAll answers each call of a batch from what was found, or sends it on its own way.
func (s *Store) answerAll(sh *shared, out map[atmost.ID]*found) {
	for _, c := range sh.calls {
		if out == nil {
			break // answered
		}
		f := out[c.id]
		switch {
		case f == nil, f.bad:
			c.undone()
			s.alone(c, nil)
		case f.made:
			c.answer(atmost.Step{Record: f.record, Changed: true}, nil)
		default:
			c.undone()
			s.judge(c, f)
		}
	}
	for id, twins := range sh.twins {
		for _, c := range twins {
			if f := out[id]; f != nil && !f.bad {
				s.judge(c, f)
				continue
			}
			s.alone(c, nil)
		}
	}
}

// judge answers a call from a row that was read, if it changes nothing.
func (s *Store) judge(c *call, f *found) {
	step, refusal := atmost.Transition(f.record, c.event, f.at)
	switch {
	case step.Changed:
		s.alone(c, nil)
	case f.made || !s.synchronous.Load():
		step.Record.Past = append([]atmost.Past(nil), step.Record.Past...)
		c.answer(step, refusal)
	default:
		s.calls.Go(func() {
			ctx, cancel := s.bound(context.Background())
			defer cancel()
			c.answer(s.answerRead(ctx, step, refusal))
		})
	}
}

func (s *Store) claimBatch(batch []*call, deadline time.Time) {
	sh := share(batch, deadline)
	s.answerAll(sh, s.together(sh, s.text.claim, claimColumns, func(f *found, c *call, cells *cells) (err error) {
		if cells.version != nil {
			f.record, err = cells.record(c.id)
			return err
		}
		step, err := atmost.Transition(atmost.Record{ID: c.id}, c.event, f.at)
		f.record, f.made = step.Record, true
		return err
	}))
}

func claimColumns(calls []*call) []any {
	n := len(calls)
	var (
		scope, key, operation, algorithm = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		digest, token                    = make([][]byte, n), make([][]byte, n)
		lease, result, keep              = make([]int64, n), make([]int64, n), make([]int64, n)
		onUnknown, by                    = make([]int16, n), make([]int16, n)
	)
	for i, c := range calls {
		e := c.event.(*atmost.Claim)
		scope[i], key[i], operation[i], algorithm[i] = c.id.Scope, c.id.Key, e.Operation, string(e.Fingerprint.Algorithm)
		digest[i], token[i] = e.Fingerprint.Digest[:], e.Token[:]
		lease[i], result[i], keep[i] = e.Lease.Microseconds(), int64(e.Policy.ResultRetention), int64(e.Policy.KeyRetention)
		onUnknown[i], by[i] = int16(e.Policy.OnUnknown), int16(e.Policy.ExecutedBy)
	}
	return []any{scope, key, operation, algorithm, digest, token, lease, result, keep, onUnknown, by}
}

func (s *Store) finishBatch(batch []*call, deadline time.Time) {
	sh := share(batch, deadline)
	s.answerAll(sh, s.together(sh, s.text.finish, finishColumns, func(f *found, c *call, cells *cells) (err error) {
		f.record, err = cells.record(c.id)
		f.record.Result = c.event.(*atmost.Finish).Outcome.Result
		f.made = true
		return err
	}))
}

func finishColumns(calls []*call) []any {
	n := len(calls)
	var (
		scope, key             = make([]string, n), make([]string, n)
		token, message, result = make([][]byte, n), make([][]byte, n), make([][]byte, n)
		state, notKept         = make([]int16, n), make([]int16, n)
		status                 = make([]int32, n)
		drops                  = make([]bool, n)
	)
	for i, c := range calls {
		e := c.event.(*atmost.Finish)
		o := e.Outcome
		scope[i], key[i], token[i] = c.id.Scope, c.id.Key, e.Token[:]
		state[i], notKept[i], status[i] = int16(o.State), int16(o.NotKept), int32(o.UpstreamStatus)
		message[i], result[i] = orNull([]byte(o.Message)), o.Result
		drops[i] = dropsResult(o)
	}
	return []any{scope, key, token, state, notKept, status, message, result, drops}
}

// dropsResult reports whether a record with this outcome changes at the end of its result's retention.
func dropsResult(o atmost.Outcome) bool {
	at, _ := atmost.Record{Outcome: o, ResultExpires: 1, KeyExpires: 2}.NextChange()
	return at == 1
}

func (s *Store) renewBatch(batch []*call, deadline time.Time) {
	sh := share(batch, deadline)
	s.answerAll(sh, s.together(sh, s.text.renew, renewColumns, func(f *found, c *call, cells *cells) (err error) {
		f.record, err = cells.record(c.id)
		f.made = true
		return err
	}))
}

func renewColumns(calls []*call) []any {
	n := len(calls)
	var (
		scope, key = make([]string, n), make([]string, n)
		token      = make([][]byte, n)
		lease      = make([]int64, n)
	)
	for i, c := range calls {
		e := c.event.(*atmost.Renew)
		scope[i], key[i], token[i], lease[i] = c.id.Scope, c.id.Key, e.Token[:], e.Lease.Microseconds()
	}
	return []any{scope, key, token, lease}
}
