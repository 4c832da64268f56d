package wire_test

import (
	"net/http"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// errorTable is the table of errors in the HTTP contract, written out.
var errorTable = map[atmost.Code]struct {
	status   int
	executed atmost.Executed
	retry    atmost.Retry
}{
	"MISSING_IDEMPOTENCY_KEY":  {400, "no", "no"},
	"INVALID_IDEMPOTENCY_KEY":  {400, "no", "no"},
	"INVALID_REQUEST":          {400, "no", "no"},
	"UNSUPPORTED_MEDIA_TYPE":   {415, "no", "no"},
	"PAYLOAD_TOO_LARGE":        {413, "no", "no"},
	"OPERATION_NOT_CONFIGURED": {422, "no", "no"},
	"OPERATION_MISMATCH":       {422, "unknown", "no"},
	"PAYLOAD_MISMATCH":         {422, "unknown", "no"},
	"EXECUTION_FAILED":         {424, "yes", "no"},
	"EXECUTION_NOT_STARTED":    {503, "no", "same-key"},
	"OUTCOME_UNKNOWN":          {409, "unknown", "poll"},
	"RESULT_NOT_KEPT":          {410, "yes", "no"},
	"LEASE_LOST":               {409, "unknown", "poll"},
	"ALREADY_FINISHED":         {409, "yes", "poll"},
	"OPERATION_NOT_CLAIMABLE":  {422, "unknown", "no"},
	"KEY_NOT_FOUND":            {404, "unknown", "same-key"},
	"OVERLOADED":               {429, "unknown", "same-key"},
	"STATE_CONFLICT":           {409, "unknown", "no"},
	"STORE_UNAVAILABLE":        {503, "unknown", "same-key"},
	"SHUTTING_DOWN":            {503, "unknown", "same-key"},
	"NOT_FOUND":                {404, "no", "no"},
	"METHOD_NOT_ALLOWED":       {405, "no", "no"},
	"INTERNAL":                 {500, "unknown", "same-key"},
}

func TestErrorTable(t *testing.T) {
	codes := atmost.Codes()
	if len(codes) != len(errorTable) {
		t.Errorf("there are %d codes, the table has %d", len(codes), len(errorTable))
	}
	for _, c := range codes {
		row, ok := errorTable[c]
		if !ok {
			t.Errorf("%s is not in the table", c)
			continue
		}
		if got := wire.Status(c); got != row.status {
			t.Errorf("%s: status %d, want %d", c, got, row.status)
		}
		if c.Executed() != row.executed || c.Retry() != row.retry {
			t.Errorf("%s: executed %q, retry %q, want %q, %q", c, c.Executed(), c.Retry(), row.executed, row.retry)
		}
	}
}

func TestStatusOfNoCode(t *testing.T) {
	for _, c := range []atmost.Code{"", "NO_SUCH_CODE"} {
		if got := wire.Status(c); got != http.StatusInternalServerError {
			t.Errorf("Status(%q) = %d", c, got)
		}
	}
}

// Headers are looked up by map index, which only the canonical spelling finds.
func TestHeadersAreCanonical(t *testing.T) {
	for _, h := range []string{
		wire.HeaderKey, wire.HeaderScope, wire.HeaderPrefer, wire.HeaderReplayed, wire.HeaderExecuted, wire.HeaderRetry,
		wire.HeaderAttempt, wire.HeaderExpires, wire.HeaderRetryAfter, wire.HeaderPreferenceApplied, wire.HeaderRequestID,
		wire.HeaderOperation, wire.HeaderFence, wire.HeaderOutcome, wire.HeaderTraceParent, wire.HeaderTraceState,
	} {
		if http.CanonicalHeaderKey(h) != h {
			t.Errorf("%s is not canonical", h)
		}
	}
}
