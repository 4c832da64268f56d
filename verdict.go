package atmost

import (
	"cmp"
	"encoding/json"
	"errors"
	"strings"
)

// FailedBecause says that the operation ended with err, which is final: Once does not run it again, and tells every caller of the
// failure. A Failure in err gives it its Code, for programs to tell apart.
func FailedBecause(err error) error { return &verdict{ExecutedYes, err} }

// NotExecutedBecause says that the operation surely had no effect, because of err: Once may run it again. That a request was not
// answered in time is no such reason.
func NotExecutedBecause(err error) error { return &verdict{ExecutedNo, err} }

// verdict is an error that says what it means.
type verdict struct {
	executed Executed
	err      error
}

func (v *verdict) Error() string {
	if v.err == nil {
		return ""
	}
	return v.err.Error()
}

func (v *verdict) Unwrap() error { return v.err }

// Error is the message.
func (f Failure) Error() string { return f.Message }

const (
	// failureCode is the code of a failure that has none.
	failureCode = "error"
	// maxMessage bounds what is stored of an error, in bytes.
	maxMessage = 1000
)

// failureOf reports an error that a function ended with, and returns that error without any verdict: it says nothing of whatever call
// the caller may make it the end of.
func failureOf(err error, classify func(error) Executed) (Failure, error) {
	f := Failure{Executed: ExecutedUnknown, Message: cmp.Or(bounded(err.Error(), maxMessage), "no reason was given")}
	var said Failure
	errors.As(err, &said)
	f.Code = cmp.Or(bounded(said.Code, MaxKeyLength), failureCode)
	var v *verdict
	switch {
	case errors.As(err, &v):
		f.Executed = v.executed
		for errors.As(err, &v) {
			err = v.err
		}
	case classify != nil:
		if e := classify(err); e == ExecutedYes || e == ExecutedNo {
			f.Executed = e
		}
	}
	return f, err
}

// bounded returns s as text that can be kept: of n bytes at most, and in UTF-8.
func bounded(s string, n int) string {
	return strings.ToValidUTF8(s[:min(len(s), n)], "")
}

// failed is the error for a final failure, whoever asks.
func failed(f Failure) error {
	f.Executed = ExecutedYes
	return &Error{Code: CodeExecutionFailed, Message: f.Message, Err: f}
}

// replayed returns err, with which r was answered, with the Failure that r may hold.
func replayed(r Record, err error) error {
	var f struct{ Code, Message string }
	if CodeOf(err) != CodeExecutionFailed || json.Unmarshal(r.Result, &f) != nil || f.Code == "" {
		return err
	}
	return failed(Failure{Code: f.Code, Message: f.Message})
}

// inDoubt is the error when nobody can say whether the operation was executed.
func inDoubt(message string, cause error) error {
	return &Error{Code: CodeOutcomeUnknown, Message: message, Err: cause}
}
