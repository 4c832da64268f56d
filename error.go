package atmost

import (
	"cmp"
	"errors"
)

// Code names a kind of error. The set is closed: HTTP status, metrics and the SDKs' types derive from it.
type Code string

// The codes, as the API shows them.
const (
	CodeMissingKey             Code = "MISSING_IDEMPOTENCY_KEY"
	CodeInvalidKey             Code = "INVALID_IDEMPOTENCY_KEY"
	CodeInvalidRequest         Code = "INVALID_REQUEST"
	CodeUnsupportedMediaType   Code = "UNSUPPORTED_MEDIA_TYPE"
	CodePayloadTooLarge        Code = "PAYLOAD_TOO_LARGE"
	CodeOperationNotConfigured Code = "OPERATION_NOT_CONFIGURED"
	CodeOperationMismatch      Code = "OPERATION_MISMATCH"
	CodePayloadMismatch        Code = "PAYLOAD_MISMATCH"
	CodeExecutionFailed        Code = "EXECUTION_FAILED"
	CodeExecutionNotStarted    Code = "EXECUTION_NOT_STARTED"
	CodeOutcomeUnknown         Code = "OUTCOME_UNKNOWN"
	CodeResultNotKept          Code = "RESULT_NOT_KEPT"
	CodeLeaseLost              Code = "LEASE_LOST"
	CodeAlreadyFinished        Code = "ALREADY_FINISHED"
	CodeOperationNotClaimable  Code = "OPERATION_NOT_CLAIMABLE"
	CodeKeyNotFound            Code = "KEY_NOT_FOUND"
	CodeOverloaded             Code = "OVERLOADED"
	CodeStoreUnavailable       Code = "STORE_UNAVAILABLE"
	CodeShuttingDown           Code = "SHUTTING_DOWN"
	CodeStateConflict          Code = "STATE_CONFLICT"
	CodeNotFound               Code = "NOT_FOUND"
	CodeMethodNotAllowed       Code = "METHOD_NOT_ALLOWED"
	CodeInternal               Code = "INTERNAL"
)

// Executed answers: may the operation of this key have had its effect?
type Executed string

// The answers to it.
const (
	ExecutedYes     Executed = "yes"
	ExecutedNo      Executed = "no"
	ExecutedUnknown Executed = "unknown"
)

// Retry answers: is it worth asking again with the same key?
type Retry string

// The answers to it.
const (
	// RetrySameKey: yes, the operation may run or its result be replayed.
	RetrySameKey Retry = "same-key"
	// RetryPoll: only to see what became of it.
	RetryPoll Retry = "poll"
	// RetryNo: the answer will not change.
	RetryNo Retry = "no"
)

// codeFacts is what each code says by itself.
var codeFacts = map[Code]struct {
	executed Executed
	retry    Retry
}{
	CodeMissingKey:             {ExecutedNo, RetryNo},
	CodeInvalidKey:             {ExecutedNo, RetryNo},
	CodeInvalidRequest:         {ExecutedNo, RetryNo},
	CodeUnsupportedMediaType:   {ExecutedNo, RetryNo},
	CodePayloadTooLarge:        {ExecutedNo, RetryNo},
	CodeOperationNotConfigured: {ExecutedNo, RetryNo},
	CodeOperationMismatch:      {ExecutedUnknown, RetryNo},
	CodePayloadMismatch:        {ExecutedUnknown, RetryNo},
	CodeExecutionFailed:        {ExecutedYes, RetryNo},
	CodeExecutionNotStarted:    {ExecutedNo, RetrySameKey},
	CodeOutcomeUnknown:         {ExecutedUnknown, RetryPoll},
	CodeResultNotKept:          {ExecutedYes, RetryNo},
	CodeLeaseLost:              {ExecutedUnknown, RetryPoll},
	CodeAlreadyFinished:        {ExecutedYes, RetryPoll},
	CodeOperationNotClaimable:  {ExecutedUnknown, RetryNo},
	CodeKeyNotFound:            {ExecutedUnknown, RetrySameKey},
	CodeOverloaded:             {ExecutedUnknown, RetrySameKey},
	CodeStoreUnavailable:       {ExecutedUnknown, RetrySameKey},
	CodeShuttingDown:           {ExecutedUnknown, RetrySameKey},
	CodeStateConflict:          {ExecutedUnknown, RetryNo},
	CodeNotFound:               {ExecutedNo, RetryNo},
	CodeMethodNotAllowed:       {ExecutedNo, RetryNo},
	CodeInternal:               {ExecutedUnknown, RetrySameKey},
}

// Codes returns every code, in no particular order.
func Codes() []Code {
	codes := make([]Code, 0, len(codeFacts))
	for c := range codeFacts {
		codes = append(codes, c)
	}
	return codes
}

// Executed is what the code by itself says about the key's effect.
func (c Code) Executed() Executed { return codeFacts[c].executed }

// Retry is what the code by itself says about asking again.
func (c Code) Retry() Retry { return codeFacts[c].retry }

// Error is the one type of error that this package returns for what callers must tell apart.
type Error struct {
	Code    Code
	Message string // for the caller of the API: no keys, no payloads, no internals
	Err     error  // the cause, for logs only; may be nil

	// Known is what is known of the key's effect, where that is not what Code says by itself; else "".
	Known Executed
	// Differs is where the payload is not what it was when the key was used first, as JSON Pointers (RFC 6901) into it: after
	// CodePayloadMismatch, and nil if that is not known. It may not be all. They hold names of the payload's members, never a value.
	Differs []string
}

// Executed answers: may the operation of the key have had its effect?
func (e *Error) Executed() Executed { return cmp.Or(e.Known, e.Code.Executed()) }

// Error is for logs: unlike Message it includes the cause.
func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of err: CodeInternal when it has none, "" when err is nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if refusal := refusalOf(err); refusal != nil {
		return refusal.Code
	}
	return CodeInternal
}

// ExecutedOf answers for err: may the operation of the key have had its effect? It is unknown after an error that has no code,
// and "" when err is nil.
func ExecutedOf(err error) Executed {
	if err == nil {
		return ""
	}
	if refusal := refusalOf(err); refusal != nil {
		return refusal.Executed()
	}
	return ExecutedUnknown
}

// refusalOf returns the *Error that err is or wraps, nil if there is none. A store's error that has none says that the event was
// not judged.
func refusalOf(err error) *Error {
	e, _ := errors.AsType[*Error](err)
	return e
}
