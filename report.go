package atmost

import (
	"context"
	"errors"
)

// complete reports the attempt's result, and returns the one that is kept.
func (o *once) complete(ctx context.Context, h *Holder, result []byte) ([]byte, error) {
	a, err := h.Complete(ctx, result)
	switch code := CodeOf(err); {
	case err == nil:
		return a.Record.Result, nil
	case code == CodeResultNotKept:
		return nil, err
	case code.Executed() == ExecutedNo: // what is wrong is the result
		f := Failure{Code: failureCode, Message: "it was executed, but the service does not take its result", Executed: ExecutedUnknown}
		_, _ = h.Fail(ctx, f) // or its lease lapses
	}
	return nil, inDoubt("the operation was executed, but that could not be stored", err)
}

// failed reports the error that the attempt ended with, and returns what follows from it.
func (o *once) failed(ctx context.Context, h *Holder, err error) error {
	f, cause := failureOf(err, o.classify)
	a, err := h.Fail(ctx, f)
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
