package atmost

import (
	"context"
	"errors"
	"time"
)

// complete reports the attempt's result, and returns the one that is kept.
func (o *once) complete(ctx context.Context, result []byte) ([]byte, error) {
	a, err := o.report(ctx, func(ctx context.Context) (Answer, error) {
		return o.claimer.Complete(ctx, o.call.ID, o.call.Token, result)
	})
	switch code := CodeOf(err); {
	case err == nil:
		return a.Record.Result, nil
	case code == CodeResultNotKept:
		return nil, err
	case code.Executed() == ExecutedNo: // what is wrong is the result
		f := Failure{Code: failureCode, Message: "it was executed, but the service does not take its result", Executed: ExecutedUnknown}
		_, _ = o.fail(ctx, f) // or its lease lapses
	}
	return nil, inDoubt("the operation was executed, but that could not be stored", err)
}

// failed reports the error that the attempt ended with, and returns what follows from it.
func (o *once) failed(ctx context.Context, err error) error {
	f, cause := failureOf(err, o.classify)
	a, err := o.fail(ctx, f)
	if err != nil {
		return inDoubt("how the operation ended could not be stored: "+f.Message, errors.Join(cause, err))
	}
	told := refusalOf(a.Record.Err())
	switch {
	case told == nil:
		return inDoubt("another account of how the operation ended is stored; ask again", cause)
	case f.Executed == ExecutedYes:
		return failed(f)
	}
	told.Err = cause
	return told
}

func (o *once) fail(ctx context.Context, f Failure) (Answer, error) {
	return o.report(ctx, func(ctx context.Context) (Answer, error) {
		return o.claimer.Fail(ctx, o.call.ID, o.call.Token, f)
	})
}

// report sends a report, again for as long as its answer is lost and a lease would last. It does not depend on the caller's
// context, which may have ended since: how long one try takes is bounded by the Claimer.
func (o *once) report(ctx context.Context, send func(context.Context) (Answer, error)) (Answer, error) {
	ctx = context.WithoutCancel(ctx)
	patience := time.Now().Add(o.call.Lease)
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		a, err := send(ctx)
		if err == nil || !unheard(err) || time.Now().After(patience) {
			return a, err
		}
		sleep(ctx, pause)
	}
}
