package pgstore

// The events that happen to every key, many in one statement. Each statement does what is plain: it claims what is absent, and
// finishes or renews what is processing under the token given. All else takes the way of Store.alone.

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atmost-dev/atmost"
)

// found is what a shared statement tells of one call: the row that it read or wrote.
type found struct {
	row
	made bool // the call's event made it what it is
	bad  bool // it cannot be read
}

// kind is how one kind of event goes with others of its kind.
type kind struct {
	text func(*Store, []*call) together
	one  func(*Store, *call) []any   // arguments, for one call
	many func(*Store, []*call) []any // and by column, for many
	// scan reads one row, and returns what it tells, and of which call.
	scan func(pgx.Rows, *shared) (*call, *found, error)
}

// batch answers calls by one statement, which ends at deadline.
func (s *Store) batch(k kind, batch []*call, deadline time.Time) {
	if s.options.Batch != nil {
		s.options.Batch(len(batch))
	}
	sh := share(batch, deadline)
	if err := s.together(k, sh); err != nil {
		s.fail(sh, err)
		return
	}
	for _, c := range sh.calls {
		s.conclude(c)
	}
}

// together sends one statement for all calls of sh, and leaves with each what it tells of it.
func (s *Store) together(k kind, sh *shared) error {
	var made bool
	text, lone := k.text(s, sh.calls), len(sh.calls) == 1
	sql := text.many
	if lone {
		sql = text.one
	}
	_, err := s.send(statement{
		sql:      sql,
		deadline: sh.deadline,
		args: func() ([]any, bool) {
			for _, c := range sh.begin() {
				s.alone(c, nil)
			}
			made = false
			switch {
			case len(sh.calls) == 0:
				return nil, false
			case lone:
				return k.one(s, sh.calls[0]), true
			}
			return k.many(s, sh.calls), true
		},
		scan: func(rows pgx.Rows) error {
			c, f, err := k.scan(rows, sh)
			if err == nil {
				c.found = f
				made = made || f.made
			}
			return err
		},
		wrote: func(int64) bool { return made },
	}, sh.undone)
	return err
}

// fail answers the calls of a statement that failed, but for those that may do better alone.
func (s *Store) fail(sh *shared, err error) {
	for _, c := range sh.calls {
		for _, c := range append(c.twins, c) {
			if fateOf(err) == held {
				s.alone(c, nil)
				continue
			}
			c.answer(atmost.Step{}, err)
		}
	}
}

// conclude answers a call, and its twins, from what was found, or sends them on their own way.
func (s *Store) conclude(c *call) {
	f := c.found
	switch {
	case f == nil, f.bad:
		c.undone()
		s.alone(c, nil)
	case f.made:
		c.answer(atmost.Step{Record: f.record, Changed: true, Now: f.at.Now}, nil)
	default:
		c.undone()
		s.judge(c, f)
	}
	for _, twin := range c.twins {
		if f == nil || f.bad {
			s.alone(twin, nil)
			continue
		}
		s.judge(twin, f)
	}
}

// judge answers a call from a row that was read, if it changes nothing.
func (s *Store) judge(c *call, f *found) {
	step, refusal := atmost.Transition(f.record, c.event, f.at)
	switch {
	case step.Changed:
		s.alone(c, nil)
	case f.made || !s.synchronous.Load():
		step.Record = own(step.Record)
		c.answer(step, refusal)
	default:
		s.calls.Go(func() {
			ctx, cancel := s.bound(context.Background())
			defer cancel()
			c.answer(s.answerRead(ctx, step, refusal))
		})
	}
}

// scanRow scans a row with all columns.
func scanRow(rows pgx.Rows, sh *shared) (c *call, f *found, cell cells, err error) {
	var now int64
	var id atmost.ID
	if err = rows.Scan(append([]any{&now, &id.Scope, &id.Key}, cell.targets()...)...); err != nil {
		return nil, nil, cell, err
	}
	if c = sh.of(id); c == nil {
		return nil, nil, cell, errUnasked
	}
	return c, &found{row: row{at: instant(now)}}, cell, nil
}

// errUnasked: a statement tells of a key that it was not asked for.
var errUnasked = errors.New("the database told of another key")

var claiming = kind{
	text: func(s *Store, _ []*call) together { return s.text.claim },
	one:  claimOf, many: claimsOf, scan: scanClaim,
}

// scanClaim reads a row that was there already, or learns that there was none and the claim won.
func scanClaim(rows pgx.Rows, sh *shared) (*call, *found, error) {
	if len(rows.FieldDescriptions()) == 1 { // of a lone claim
		var now int64
		err := rows.Scan(&now)
		return sh.calls[0], won(sh.calls[0], now), err
	}
	c, f, cell, err := scanRow(rows, sh)
	switch {
	case err != nil:
		return nil, nil, err
	case cell.version == nil:
		return c, won(c, int64(f.at.Now)), nil
	}
	f.record, err = cell.whole(c.id)
	f.bad = err != nil // whoever asks for it alone is told
	return c, f, nil
}

// won is what a claim made of an absent key.
func won(c *call, now int64) *found {
	f := &found{row: row{at: instant(now)}, made: true}
	step, _ := atmost.Transition(atmost.Record{ID: c.id}, c.event, f.at) // nothing is refused an absent key
	f.record = step.Record
	return f
}

func claimOf(s *Store, c *call) []any {
	e := c.event.(*atmost.Claim)
	return []any{
		c.id.Scope, c.id.Key, e.Operation, string(e.Fingerprint.Algorithm), e.Fingerprint.Digest[:], e.Token[:],
		e.Lease.Microseconds(), int64(e.Policy.ResultRetention), int64(e.Policy.KeyRetention),
		int16(e.Policy.OnUnknown), int16(e.Policy.ExecutedBy), encodeTrace(e.Trace), paths(e), s.opened(),
	}
}

func paths(e *atmost.Claim) []byte {
	if e.Paths == nil {
		return nil
	}
	return orNull(e.Paths())
}

func claimsOf(s *Store, calls []*call) []any {
	n := len(calls)
	var (
		scope, key, operation, algorithm = make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		digest, token, trace, path       = make([][]byte, n), make([][]byte, n), make([][]byte, n), make([][]byte, n)
		lease, result, keep              = make([]int64, n), make([]int64, n), make([]int64, n)
		onUnknown, by                    = make([]int16, n), make([]int16, n)
	)
	for i, c := range calls {
		e := c.event.(*atmost.Claim)
		scope[i], key[i], operation[i], algorithm[i] = c.id.Scope, c.id.Key, e.Operation, string(e.Fingerprint.Algorithm)
		digest[i], token[i] = e.Fingerprint.Digest[:], e.Token[:]
		lease[i], result[i], keep[i] = e.Lease.Microseconds(), int64(e.Policy.ResultRetention), int64(e.Policy.KeyRetention)
		onUnknown[i], by[i] = int16(e.Policy.OnUnknown), int16(e.Policy.ExecutedBy)
		trace[i], path[i] = encodeTrace(e.Trace), paths(e)
	}
	return []any{scope, key, operation, algorithm, digest, token, lease, result, keep, onUnknown, by, trace, path, s.opened()}
}

var finishing = kind{
	text: func(s *Store, calls []*call) together {
		for _, c := range calls {
			if c.event.(*atmost.Finish).Claimed == nil {
				return s.text.finish
			}
		}
		return s.text.finishClaimed
	},
	one: finishOf, many: finishesOf, scan: scanFinish,
}

// scanFinish makes the record of what the reporter has of it, where that is all that was returned: nothing but time, the report, and
// contradictions of earlier attempts can have changed it since it was claimed.
func scanFinish(rows pgx.Rows, sh *shared) (*call, *found, error) {
	if len(rows.FieldDescriptions()) > finishedColumns {
		c, f, err := scanWritten(rows, sh)
		if err == nil {
			f.record.Result = c.event.(*atmost.Finish).Outcome.Result
		}
		return c, f, err
	}
	var now, n int64
	var contradictions int32
	var past, history []byte
	if err := rows.Scan(&now, &n, &contradictions, &past, &history); err != nil {
		return nil, nil, err
	}
	if n < 1 || n > int64(len(sh.calls)) {
		return nil, nil, errUnasked
	}
	c := sh.calls[n-1]
	e := c.event.(*atmost.Finish)
	r := *e.Claimed
	r.Deadline = atmost.Time(now) + 1 // it had not passed, whatever renewals made of it
	r.Contradictions, r.Past = uint32(contradictions), decodePast(past)
	bad := r.History.UnmarshalBinary(history) != nil
	f := &found{row: row{at: instant(now)}, made: true}
	step, err := atmost.Transition(r, e, f.at)
	f.record, f.bad = step.Record, bad || err != nil
	return c, f, nil
}

func finishOf(_ *Store, c *call) []any {
	e := c.event.(*atmost.Finish)
	o := e.Outcome
	return []any{
		c.id.Scope, c.id.Key, e.Token[:], int16(o.State), int16(o.NotKept), int32(o.UpstreamStatus),
		orNull([]byte(o.Message)), o.Result, dropsResult(o),
	}
}

func finishesOf(_ *Store, calls []*call) []any {
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

var renewing = kind{
	text: func(s *Store, _ []*call) together { return s.text.renew },
	one:  renewOf, many: renewsOf, scan: scanWritten,
}

// scanWritten reads a row as the statement has written it.
func scanWritten(rows pgx.Rows, sh *shared) (*call, *found, error) {
	c, f, cell, err := scanRow(rows, sh)
	if err != nil {
		return nil, nil, err
	}
	f.record, err = cell.record(c.id)
	f.made, f.bad = true, err != nil
	return c, f, nil
}

func renewOf(_ *Store, c *call) []any {
	e := c.event.(*atmost.Renew)
	return []any{c.id.Scope, c.id.Key, e.Token[:], e.Lease.Microseconds()}
}

func renewsOf(_ *Store, calls []*call) []any {
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
