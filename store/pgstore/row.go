package pgstore

// How a record is kept in columns. The bytes of the column past are, for each earlier attempt, its token and a byte that is
// 1 if it was contradicted; the column is null if there is none, as message, history, trace, paths and result are.

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/fingerprint"
)

// forgetLag is how much longer than its retention a key's row stays, absent in all answers. A claim that found no row was
// made within a call's time: no such claim can be older than a fence that was forgotten meanwhile.
const forgetLag = time.Minute

// columns are what scan reads, in this order.
const columns = `r.version, r.fence, r.deadline, r.created_at, r.updated_at, r.result_expires, r.key_expires,
	r.result_retention, r.key_retention, r.attempt, r.contradictions, r.upstream_status,
	r.state, r.settled_by, r.not_kept, r.on_unknown, r.executed_by,
	r.operation, r.algorithm, r.digest, r.token, r.message, r.past, r.history, r.trace, r.paths, r.result`

// row is what is stored for an ID at a moment.
type row struct {
	version int64 // 0: there is no row
	record  atmost.Record
	at      atmost.Instant
	guard   guard
}

// errCorrupt is wrapped by the error about a row that makes no sense, or is of a later release.
var errCorrupt = errors.New("not a record that this release can read")

// cells are where a row's columns are scanned to.
type cells struct {
	version, fence, deadline, created, updated, resultExpires, keyExpires *int64
	resultRetention, keyRetention                                         *int64
	attempt, contradictions, upstreamStatus                               *int32
	state, settledBy, notKept, onUnknown, executedBy                      *int16
	operation, algorithm                                                  *string
	digest, token, message, past, history, trace, paths, result           []byte
}

// targets are what to scan columns into.
func (c *cells) targets() []any {
	return []any{
		&c.version, &c.fence, &c.deadline, &c.created, &c.updated, &c.resultExpires, &c.keyExpires,
		&c.resultRetention, &c.keyRetention, &c.attempt, &c.contradictions, &c.upstreamStatus,
		&c.state, &c.settledBy, &c.notKept, &c.onUnknown, &c.executedBy,
		&c.operation, &c.algorithm, &c.digest, &c.token, &c.message, &c.past, &c.history, &c.trace, &c.paths, &c.result,
	}
}

// whole makes a record of the cells, which hold a row and its result.
func (c *cells) whole(id atmost.ID) (atmost.Record, error) {
	r, err := c.record(id)
	if err == nil && r.State == atmost.Completed && r.NotKept == atmost.Kept && len(r.Result) == 0 {
		return atmost.Record{}, fmt.Errorf("%w: its result is missing", errCorrupt)
	}
	return r, err
}

// record makes a record of the cells, which hold a row; its result may have been left out.
func (c *cells) record(id atmost.ID) (atmost.Record, error) {
	r := atmost.Record{
		ID: id, Operation: *c.operation, Attempt: uint32(*c.attempt), Fence: *c.fence, Deadline: atmost.Time(*c.deadline),
		Fingerprint: fingerprint.Fingerprint{Algorithm: fingerprint.Algorithm(*c.algorithm)},
		Policy: atmost.Policy{
			OnUnknown: atmost.OnUnknown(*c.onUnknown), ExecutedBy: atmost.ExecutedBy(*c.executedBy),
			ResultRetention: time.Duration(*c.resultRetention), KeyRetention: time.Duration(*c.keyRetention),
		},
		Outcome: atmost.Outcome{
			State: atmost.State(*c.state), Result: c.result, NotKept: atmost.NotKept(*c.notKept),
			UpstreamStatus: int(*c.upstreamStatus), Message: string(c.message),
		},
		SettledBy: atmost.SettledBy(*c.settledBy),
		CreatedAt: atmost.Time(*c.created), UpdatedAt: atmost.Time(*c.updated),
		ResultExpires: atmost.Time(*c.resultExpires), KeyExpires: atmost.Time(*c.keyExpires),
		Contradictions: uint32(*c.contradictions), Paths: c.paths,
	}
	known := r.State >= atmost.Processing && r.State <= atmost.Unknown && r.SettledBy <= atmost.ByResolve &&
		r.NotKept <= atmost.Erased && r.Policy.OnUnknown <= atmost.RetryUnknown && r.Policy.ExecutedBy <= atmost.ByClient
	if !known || len(c.digest) != len(r.Fingerprint.Digest) || len(c.token) != len(r.Token) || len(c.past)%pastSize != 0 ||
		c.trace != nil && len(c.trace) != len(r.Trace) {
		return atmost.Record{}, errCorrupt
	}
	if err := r.History.UnmarshalBinary(c.history); err != nil {
		return atmost.Record{}, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	copy(r.Fingerprint.Digest[:], c.digest)
	copy(r.Token[:], c.token)
	copy(r.Trace[:], c.trace)
	r.Past = decodePast(c.past)
	return r, nil
}

const pastSize = len(atmost.Token{}) + 1

func decodePast(b []byte) []atmost.Past {
	var past []atmost.Past
	for ; len(b) >= pastSize; b = b[pastSize:] {
		past = append(past, atmost.Past{Token: atmost.Token(b[:pastSize-1]), Contradicted: b[pastSize-1] == 1})
	}
	return past
}

func encodePast(past []atmost.Past) []byte {
	var b []byte
	for _, p := range past {
		contradicted := byte(0)
		if p.Contradicted {
			contradicted = 1
		}
		b = append(append(b, p.Token[:]...), contradicted)
	}
	return b
}

func encodeHistory(h atmost.History) []byte {
	b, _ := h.AppendBinary(nil) // never fails
	return b
}

func encodeTrace(span atmost.SpanID) []byte {
	if span == (atmost.SpanID{}) {
		return nil
	}
	return span[:]
}

// due is when a sweep has something to do about r, nil if never, or if it is processing: then its deadline says that.
func due(r *atmost.Record) *int64 {
	at, changes := r.NextChange()
	if !changes || r.State == atmost.Processing {
		return nil
	}
	if at == r.KeyExpires {
		at = forgettable(r)
	}
	return (*int64)(&at)
}

// forgettable is from when on the row of a key that expires may be deleted.
func forgettable(r *atmost.Record) atmost.Time { return max(r.KeyExpires, r.UpdatedAt).Add(forgetLag) }

// forgotten is what is written of a record that a person had forgotten: nothing but its fence, and that it expired long ago, so that no
// clock brings it back.
func forgotten(absent atmost.Record, now atmost.Time) atmost.Record {
	return atmost.Record{
		ID: absent.ID, Fence: absent.Fence, Outcome: atmost.Outcome{State: atmost.NotExecuted}, UpdatedAt: now, KeyExpires: 1,
	}
}

// own gives the caller a copy of all that is not to be shared.
func own(r atmost.Record) atmost.Record {
	r.Past, r.Paths = slices.Clone(r.Past), bytes.Clone(r.Paths)
	r.History.Entries = slices.Clone(r.History.Entries)
	return r
}

// validUntil is the moment from which on an aged record is not what it was.
func validUntil(r atmost.Record) int64 {
	if at, changes := r.NextChange(); changes {
		return int64(at)
	}
	return math.MaxInt64
}

func orNull(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// named are the arguments of a statement that writes all of r.
func named(r *atmost.Record) pgx.NamedArgs {
	return pgx.NamedArgs{
		"fence": r.Fence, "deadline": int64(r.Deadline), "created_at": int64(r.CreatedAt), "updated_at": int64(r.UpdatedAt),
		"result_expires": int64(r.ResultExpires), "key_expires": int64(r.KeyExpires), "due": due(r),
		"result_retention": int64(r.Policy.ResultRetention), "key_retention": int64(r.Policy.KeyRetention),
		"attempt": int32(r.Attempt), "contradictions": int32(r.Contradictions), "upstream_status": int32(r.UpstreamStatus),
		"state": int16(r.State), "settled_by": int16(r.SettledBy), "not_kept": int16(r.NotKept),
		"on_unknown": int16(r.Policy.OnUnknown), "executed_by": int16(r.Policy.ExecutedBy),
		"scope": r.ID.Scope, "key": r.ID.Key, "operation": r.Operation, "algorithm": string(r.Fingerprint.Algorithm),
		"digest": r.Fingerprint.Digest[:], "token": r.Token[:], "message": orNull([]byte(r.Message)),
		"past": encodePast(r.Past), "history": encodeHistory(r.History), "trace": encodeTrace(r.Trace), "paths": orNull(r.Paths),
		"result": r.Result,
	}
}
