package atmost

import (
	"context"
	"errors"
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
	// Where the step's Changed is set beside an *Error, both are returned and the step is stored.
	//
	// A store that may have forgotten claims (a restored backup) is guarded: it refuses a Claim that could be a second run,
	// of an absent key or of one that it knows as not executed from before it forgot, with CodeOutcomeUnknown, until the
	// key's scope has been admitted. A store that has no room refuses a Claim that would start an attempt with an error
	// that wraps ErrFull, and goes on with all else.
	Apply(ctx context.Context, id ID, event Event) (Step, error)

	// Lookup returns the record of id, aged to the store's now: with state Absent, and no error, when there is none.
	// A guarded store refuses an absent key as Apply does.
	Lookup(ctx context.Context, id ID) (Record, error)

	// List returns up to limit records that stand in state, which is Processing or Unknown, ordered by scope and key and
	// beginning after the ID given (the zero ID: from the first). A record that lapsed may be listed under either state
	// until it is swept; one that changes meanwhile is listed at most once. Fewer than limit: there are no more.
	List(ctx context.Context, state State, after ID, limit int) ([]Record, error)

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
