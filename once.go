package atmost

// Once is how a Go program performs an operation itself: it claims the key, runs a function under the lease, and reports how
// that ended. What runs where is told apart by the Claimer only.

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"time"
)

// Claimer is what Once needs of the service. An Engine in the same process is one, and a client of a remote one is; the
// methods promise what Engine's do, and return within a bound of their own, whatever their context.
type Claimer interface {
	Claim(ctx context.Context, call ClaimCall) (Claimed, error)
	Renew(ctx context.Context, id ID, token Token, lease time.Duration) (Lease, error)
	Complete(ctx context.Context, id ID, token Token, result []byte) (Answer, error)
	Fail(ctx context.Context, id ID, token Token, f Failure) (Answer, error)
}

var _ Claimer = (*Engine)(nil)

// Once runs f at most once for call's ID, however often and wherever it is called with it, and returns what f returned then. While
// f runs elsewhere it waits, for as long as ctx lasts; call's Wait is not used. Its operation is one that clients perform.
//
// The result is kept as JSON. Every caller gets a T that was decoded from the bytes that are kept, the first one too. A T that
// JSON has no form for is refused before f is run.
//
// f runs under a lease, which is renewed meanwhile. Its context ends with ctx, and when the lease is lost; then context.Cause is
// an *Error. It goes on being renewed until f has returned, whatever became of ctx. How f ends decides what becomes of the key:
//
//	a result                 it is completed, and the result replayed
//	FailedBecause(err)       it has failed, and is not run again: the failure is replayed
//	NotExecutedBecause(err)  it had no effect: whoever calls next, or waits, runs again
//	any other error          it is unknown whether it had its effect, and it is not run again until that is settled,
//	                         unless a classifier knows more (OnceOptions)
//	a panic                  the same; the panic goes on
//	the process ends         the same, once the lease is over
//
// An error is an *Error, and ExecutedOf tells what is known of the operation's effect. After CodeExecutionFailed, errors.As finds
// the Failure, the same for every caller. What an error of f says is stored and told to other callers, so it must not hold secrets.
//
// Once returns soon after f has. When the service cannot be told how that ended, it asks for as long as the lease would last, and then
// says that the outcome is unknown; a panic is held up for some seconds.
//
//   - ExecutedNo: the operation surely has not been executed; Once may be called again.
//   - ExecutedYes: it has been, and its result is the failure, or is not there to be had.
//   - ExecutedUnknown: it may have been. Call again with the same key, never with another. CodeOutcomeUnknown is told also when ctx
//     ended first, which errors.Is tells, and when f had its effect and the service could not be told so: never is such a call said
//     to have had no effect.
func Once[T any](ctx context.Context, c Claimer, call Call, f func(ctx context.Context, attempt Attempt) (T, error)) (T, error) {
	var none, value T
	if err := keepable(reflect.TypeFor[T]()); err != nil {
		return none, err
	}
	o := newOnce(c, call)
	result, err := o.do(ctx, func(ctx context.Context, a Attempt) (_ []byte, err error) {
		if value, err = f(ctx, a); err != nil {
			return nil, err
		}
		return encode(&value)
	})
	if err != nil {
		return none, err
	}
	value = none // what JSON has no form for is not to be left over
	if err := json.Unmarshal(result, &value); err != nil {
		return none, &Error{Code: CodeInternal, Known: ExecutedYes, Message: "the operation was executed, but its result is not of the type that is asked for", Err: err}
	}
	return value, nil
}

// A value is encoded by a pointer to it, as it is decoded, so that methods of either direction are found.

// encode is called after the effect, so when it fails, nothing is known, whatever a classifier says.
func encode(value any) ([]byte, error) {
	result, err := json.Marshal(value)
	if err != nil {
		return nil, &verdict{ExecutedUnknown, errors.Join(errUnencoded, err)}
	}
	return result, nil
}

var errUnencoded = errors.New("it was executed, but its result cannot be encoded")

// OnceOptions is how Once goes about its work. Zero values mean the defaults named.
type OnceOptions struct {
	// Lease is how long the right to run lasts when it is claimed, and each time that it is renewed, which begins when a third of
	// it is over: so long a process that ended is waited for, and so long the service may be out of reach. Default 30 s.
	Lease time.Duration
	// Classify tells what an error of the function says about its effect, unless FailedBecause or NotExecutedBecause does:
	// ExecutedYes makes it final, ExecutedNo permits another attempt. Default: it says nothing.
	Classify func(error) Executed
}

// DefaultOnceLease is the default of OnceOptions.Lease.
const DefaultOnceLease = 30 * time.Second

// WithOnceOptions returns c with options for every Once that is given it. What it sets counts before what c was given earlier. A
// Claimer of your own around it hides them: it goes outside.
func WithOnceOptions(c Claimer, o OnceOptions) Claimer {
	if with, ok := c.(*optioned); ok {
		c = with.Claimer
		o.Lease = cmp.Or(o.Lease, with.options.Lease)
		if o.Classify == nil {
			o.Classify = with.options.Classify
		}
	}
	return &optioned{c, o}
}

type optioned struct {
	Claimer
	options OnceOptions
}
