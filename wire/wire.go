// Package wire is what every HTTP surface of the service has in common: the names of headers, what keys look like in them,
// the status of each error, and the bodies of requests and answers.
package wire

import (
	"net/http"

	"github.com/atmost-dev/atmost"
)

// Headers of requests, in the canonical spelling of package http.
const (
	HeaderKey    = "Idempotency-Key"
	HeaderScope  = "Idempotency-Scope"
	HeaderPrefer = "Prefer" // RFC 7240
)

// Headers of answers.
const (
	HeaderReplayed          = "Idempotency-Replayed" // true or false
	HeaderExecuted          = "Idempotency-Executed" // an atmost.Executed
	HeaderRetry             = "Idempotency-Retry"    // an atmost.Retry
	HeaderAttempt           = "Idempotency-Attempt"  // a number; also sent to upstreams
	HeaderExpires           = "Idempotency-Expires"  // an HTTP-date
	HeaderRetryAfter        = "Retry-After"          // seconds
	HeaderPreferenceApplied = "Preference-Applied"   // RFC 7240
	HeaderRequestID         = "Request-Id"
)

// Headers between the service and an upstream.
const (
	HeaderOperation   = "Idempotency-Operation"
	HeaderFence       = "Idempotency-Fence"
	HeaderOutcome     = "Idempotency-Outcome" // a probe's answer
	HeaderTraceParent = "Traceparent"         // W3C Trace Context
	HeaderTraceState  = "Tracestate"
)

// statuses has a row for every code.
var statuses = map[atmost.Code]int{
	atmost.CodeMissingKey:             http.StatusBadRequest,
	atmost.CodeInvalidKey:             http.StatusBadRequest,
	atmost.CodeInvalidRequest:         http.StatusBadRequest,
	atmost.CodeUnsupportedMediaType:   http.StatusUnsupportedMediaType,
	atmost.CodePayloadTooLarge:        http.StatusRequestEntityTooLarge,
	atmost.CodeOperationNotConfigured: http.StatusUnprocessableEntity,
	atmost.CodeOperationMismatch:      http.StatusUnprocessableEntity,
	atmost.CodePayloadMismatch:        http.StatusUnprocessableEntity,
	atmost.CodeExecutionFailed:        http.StatusFailedDependency,
	atmost.CodeExecutionNotStarted:    http.StatusServiceUnavailable,
	atmost.CodeOutcomeUnknown:         http.StatusConflict,
	atmost.CodeResultNotKept:          http.StatusGone,
	atmost.CodeLeaseLost:              http.StatusConflict,
	atmost.CodeAlreadyFinished:        http.StatusConflict,
	atmost.CodeOperationNotClaimable:  http.StatusUnprocessableEntity,
	atmost.CodeKeyNotFound:            http.StatusNotFound,
	atmost.CodeOverloaded:             http.StatusTooManyRequests,
	atmost.CodeStoreUnavailable:       http.StatusServiceUnavailable,
	atmost.CodeShuttingDown:           http.StatusServiceUnavailable,
	atmost.CodeStateConflict:          http.StatusConflict,
	atmost.CodeNotFound:               http.StatusNotFound,
	atmost.CodeMethodNotAllowed:       http.StatusMethodNotAllowed,
	atmost.CodeInternal:               http.StatusInternalServerError,
}

// Status is the HTTP status of an error with the code: 500 for a code that is not one of atmost.Codes.
func Status(code atmost.Code) int {
	if status, ok := statuses[code]; ok {
		return status
	}
	return http.StatusInternalServerError
}
