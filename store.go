package atmost

import (
	"context"
	"errors"
	"time"
)

// Store keeps records. It is the seam behind which every engine of storage stands, and all that the promises of this
// package rest on; package storetest holds an implementation to each sentence below.
//
// All methods may be called from any number of goroutines, until Close is called. Contexts carry values only as far as
// a store is concerned: a call that has begun to write is never given up because its caller is gone, and each method
// returns within a bound of the store's own. Records that are returned are the caller's, but for the bytes of
// Outcome.Result, which are shared and not to be modified.
//
// Errors. An *Error is a rule's refusal, from Transition. An error that wraps ErrAmbiguous says that the write may or may not
// have happened, or may happen yet: the caller settles it by repeating the same call. Any other error says that nothing
// was, or will be, changed by this call.
type Store interface {
	// Apply judges event against the record of id by the rules of Transition, at the store's own now, and stores what
	// came of it: one atomic step, as if all steps on one id were taken one after the other. When it returns, the step
	// is durable, or err wraps ErrAmbiguous; no other call, of any method, answers from a step that is not yet durable.
	// Where the step's Changed is set beside an *Error, both are returned and the step is stored. So is the step's Audit, at the
	// end of the audit trail, in the same atomic step.
	//
	// A store that may have forgotten claims (a restored backup) is guarded: it refuses a Claim that could be a second run,
	// of an absent key or of one that it knows as not executed from before it forgot, with CodeOutcomeUnknown, until the
	// key's scope has been admitted. A store that has no room refuses a Claim that would start an attempt with an error
	// that wraps ErrFull, and goes on with all else.
	Apply(ctx context.Context, id ID, event Event) (Step, error)

	// Lookup returns the record of id, aged to the store's now: with state Absent, and no error, when there is none.
	// A guarded store refuses an absent key as Apply does.
	Lookup(ctx context.Context, id ID) (Record, error)

	// List returns a page of the records that q asks for, ordered by scope and key, aged to the store's now and without their
	// results. Pages that follow each other by Page.Next hold every record once that stands as asked for all the while, and each
	// that changes meanwhile at most once. A page may hold fewer records than there is a limit for, or none, and yet there may be
	// more: what is looked at for one page is bounded. A record that lapsed may be listed as processing or as what it lapsed to
	// until it is swept.
	List(ctx context.Context, q Query) (Page, error)

	// Audit returns up to limit entries of the audit trail, the newest first, beginning before the one with that number, or with
	// the newest if that is 0. Numbers grow in the order in which entries can be seen; some may be left out.
	Audit(ctx context.Context, before uint64, limit int) ([]AuditEntry, error)

	// Sweep writes down what time has changed, for up to limit records: lapsed leases, results and keys past their
	// retention. It changes no answer, as every other method ages what it reads; it reclaims space and tells of lapses.
	Sweep(ctx context.Context, limit int) (Swept, error)

	// Close releases what the store holds, after the calls under way have returned. No method is called after it.
	Close() error
}

// Watcher is implemented by a Store that several engines share. Requests wait in one engine for what another does; their engine
// asks for all of them together, at short intervals.
type Watcher interface {
	// Settled returns, of the records of ids, those that are not Processing any more, aged to the store's now; absent ones
	// are left out. It costs one round trip however many are asked for.
	Settled(ctx context.Context, ids []ID) ([]Record, error)
}

// Query says which records are listed: those that meet all that is set.
type Query struct {
	// State is what they stand in, Absent for any.
	State State
	// Operation, Scope and Key are theirs; nil for any.
	Operation, Scope, Key *string
	// Age is how long ago they changed last, at least.
	Age time.Duration
	// After is the ID that they follow; the zero ID: from the first.
	After ID
	// Limit bounds how many are returned. It is at least 1.
	Limit int
}

// Match reports whether r, aged, is asked for at a moment.
func (q *Query) Match(r *Record, now Time) bool {
	return r.State != Absent && (q.State == Absent || q.State == r.State) &&
		(q.Operation == nil || *q.Operation == r.Operation) &&
		(q.Scope == nil || *q.Scope == r.ID.Scope) && (q.Key == nil || *q.Key == r.ID.Key) &&
		(q.Age <= 0 || now.Sub(r.UpdatedAt) >= q.Age)
}

// Page is a part of what a Query asks for.
type Page struct {
	Records []Record
	// Next is the After of the page that follows, if there is More.
	Next ID
	More bool
	// Now is the moment at which the records are as they stand here, more or less.
	Now Time
}

// Guard is implemented by a Store that may notice, or be told, that it has forgotten claims: see Apply.
type Guard interface {
	// Guarded reports whether claims are refused because of that.
	Guarded() bool
	// Admit lifts the guard from one scope, AdmitAll from all. When they return without an error that is durable, and so is the entry in
	// the audit trail that they return: nil if there was no guard, and nothing to change. An entry beside an error is durable, too.
	Admit(ctx context.Context, scope string, by Actor) (*AuditEntry, error)
	AdmitAll(ctx context.Context, by Actor) (*AuditEntry, error)
}

// Keyed is implemented by a Store that keeps a secret of its own beside its records: the same for all who open it, and unlike
// that of any other store.
type Keyed interface {
	Secret() [32]byte
}

// Swept is what one Sweep found.
type Swept struct {
	// Lapsed are the records whose lease ended without a report, as they stand now.
	Lapsed []Record
	// Dropped and Forgotten count results and keys whose retention ended.
	Dropped, Forgotten int
	// More tells that the limit ended the sweep.
	More bool
}

// ErrFull is wrapped by a store's error for a claim that it has no room for.
var ErrFull = errors.New("the store has no room for new attempts")

// ErrAmbiguous is wrapped by a store's error when it does not know whether a write happened.
var ErrAmbiguous = errors.New("the write may or may not have happened")
