package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/atmost-dev/atmost"
)

// The bodies of the admin API. Members that say nothing are left out.

// AdminKey is a record as operators see it in lists.
type AdminKey struct {
	// ID names the record in paths: see AdminID.
	ID         string `json:"id"`
	Scope      string `json:"scope"`
	Key        string `json:"key"`
	Operation  string `json:"operation"`
	State      string `json:"state"`
	Attempt    uint32 `json:"attempt"`
	ExecutedBy string `json:"executed_by"` // service or client
	OnUnknown  string `json:"on_unknown"`
	// SettledBy tells whose word the outcome is: report, nobody (unknown, or presumed) or resolve.
	SettledBy      string     `json:"settled_by,omitempty"`
	NotKept        string     `json:"not_kept,omitempty"`
	UpstreamStatus int        `json:"upstream_status,omitempty"`
	Message        string     `json:"message,omitempty"`
	Contradictions uint32     `json:"contradictions,omitempty"`
	CreatedAt      time.Time  `json:"created_at"`
	UpdatedAt      time.Time  `json:"updated_at"`
	LeaseExpires   *time.Time `json:"lease_expires_at,omitempty"` // of one that is processing
	ResultExpires  *time.Time `json:"result_expires_at,omitempty"`
	KeyExpires     *time.Time `json:"key_expires_at,omitempty"`
}

// AdminKeys is a page of records, ordered by scope and key.
type AdminKeys struct {
	// Keys may be fewer than the limit, or none, and yet there may be more.
	Keys       []AdminKey `json:"keys"`
	NextCursor string     `json:"next_cursor,omitempty"` // absent: there are no more
}

// AdminRecord is one record with all that is known of it.
type AdminRecord struct {
	AdminKey
	Fence       int64  `json:"fence"`
	Fingerprint string `json:"fingerprint"`
	TraceID     string `json:"trace_id,omitempty"`
	// Replays counts the replays that this instance answered since it was started, approximately.
	Replays int `json:"replays"`
	// History is what the record went through, the oldest first; HistoryDropped entries were not kept.
	History        []AdminEntry `json:"history"`
	HistoryDropped uint32       `json:"history_dropped,omitempty"`
	// Result, of one that completed or failed, is there only if it was asked for and is kept. It is last, and as it is stored, byte for
	// byte, where AppendAdminRecord writes it.
	Result json.RawMessage `json:"result,omitempty"`
}

// AdminEntry is one thing that a record went through.
type AdminEntry struct {
	At      time.Time `json:"at"`
	What    string    `json:"what"`
	Attempt uint32    `json:"attempt,omitempty"`
	Outcome string    `json:"outcome,omitempty"`
	Actor   string    `json:"actor,omitempty"`
	Note    string    `json:"note,omitempty"`
}

// AdminChange is a request to erase or forget.
type AdminChange struct {
	ExpectedAttempt uint32 `json:"expected_attempt,omitempty"` // 0: whichever
	Actor           string `json:"actor"`
	Reason          string `json:"reason"`
}

// AdminForgotten is the answer to a request to forget: what the key is now.
type AdminForgotten struct {
	State string `json:"state"` // absent
}

// AdminResolve is a request to settle an unknown attempt.
type AdminResolve struct {
	ExpectedAttempt uint32          `json:"expected_attempt"`
	Outcome         string          `json:"outcome"`          // completed, failed or not_executed
	Result          json.RawMessage `json:"result,omitempty"` // of completed; null if absent
	Error           *AdminError     `json:"error,omitempty"`  // of failed
	Actor           string          `json:"actor"`
	Reason          string          `json:"reason"`
}

// AdminError is the error with which an attempt is said to have failed; its members are replayed as a client's report's are.
type AdminError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// AdminFilter says which records are meant, by all that is set.
type AdminFilter struct {
	State     string  `json:"state,omitempty"`
	Operation *string `json:"operation,omitempty"`
	Scope     *string `json:"scope,omitempty"`
	Key       *string `json:"key,omitempty"`
	OlderThan string  `json:"older_than,omitempty"` // a duration, "24h": how long ago they changed last, at least
}

// AdminBulk is a request to do one thing to many records. One request looks at, or changes, a bounded number of them; the answer's
// cursor goes on.
type AdminBulk struct {
	Filter AdminFilter `json:"filter"`
	Action string      `json:"action"` // resolve or erase
	// DryRun only counts.
	DryRun bool `json:"dry_run,omitempty"`
	// Rate is how many records are changed in a second, at most: 1 to 1000, 100 if absent.
	Rate   int    `json:"rate,omitempty"`
	Cursor string `json:"cursor,omitempty"`
	// Of resolve:
	Outcome string          `json:"outcome,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *AdminError     `json:"error,omitempty"`

	Actor  string `json:"actor"`
	Reason string `json:"reason"`
}

// AdminBulkResult is what came of a part of a bulk change. Its numbers are of this part alone.
type AdminBulkResult struct {
	// Matched counts the records that the filter means, and that the action could change.
	Matched int `json:"matched"`
	Changed int `json:"changed"`
	// Refused counts the records that had moved on meanwhile.
	Refused    int    `json:"refused"`
	NextCursor string `json:"next_cursor,omitempty"` // absent: that was all
}

// AdminAdmit is a request to lift the guard from a store that may have forgotten keys.
type AdminAdmit struct {
	Scopes []string `json:"scopes,omitempty"` // 1 to 1000; "" for keys without one
	All    bool     `json:"all,omitempty"`    // instead of scopes
	Actor  string   `json:"actor"`
	Reason string   `json:"reason"`
}

// AdminGuarded tells whether the store is guarded, still.
type AdminGuarded struct {
	Guarded bool `json:"guarded"`
}

// AdminBackup is a request for a backup of the store.
type AdminBackup struct {
	Actor  string `json:"actor"`
	Reason string `json:"reason"`
}

// AdminBackedUp tells of a backup that was made.
type AdminBackedUp struct {
	Directory string `json:"directory"` // of the service's machine
}

// AdminCompare asks how a request differs from the one that a record was claimed with.
type AdminCompare struct {
	Operation string          `json:"operation"`
	Payload   json.RawMessage `json:"payload"`
}

// AdminCompared is the answer.
type AdminCompared struct {
	Same          bool `json:"same"`
	SameOperation bool `json:"same_operation"`
	// Differs names, as JSON Pointers into the payload that was sent, what differs, as far as that is known.
	Differs []string `json:"differs,omitempty"`
}

// AdminAudit is a part of the audit trail, the newest first.
type AdminAudit struct {
	Entries    []AdminAuditEntry `json:"entries"`
	NextCursor string            `json:"next_cursor,omitempty"`
}

// AdminAuditEntry is one change that a person made.
type AdminAuditEntry struct {
	Number    uint64    `json:"number"`
	At        time.Time `json:"at"`
	Actor     string    `json:"actor"`
	Reason    string    `json:"reason"`
	Action    string    `json:"action"` // resolve, erase, forget, admit, admit_all, guard or backup
	ID        string    `json:"id,omitempty"`
	Scope     string    `json:"scope"`
	Key       string    `json:"key,omitempty"`
	Operation string    `json:"operation,omitempty"`
	Attempt   uint32    `json:"attempt,omitempty"`
	Before    string    `json:"before,omitempty"`
	After     string    `json:"after,omitempty"`
}

// AdminOverview is what a console shows first.
type AdminOverview struct {
	Version string `json:"version"`
	Store   string `json:"store"` // its kind
	Guarded bool   `json:"guarded"`
	// Pending executions are accepted and not finished; of Unstored ones the outcome is known, but the store does not take it.
	Pending  int `json:"pending"`
	Unstored int `json:"unstored"`
	// Unknown counts the records in doubt, OldestUnknown is since when the oldest is, in seconds.
	Unknown       int              `json:"unknown"`
	OldestUnknown float64          `json:"oldest_unknown"`
	Operations    []AdminOperation `json:"operations"`
}

// AdminOperation is an operation as it is configured.
type AdminOperation struct {
	Name       string `json:"name"`
	ExecutedBy string `json:"executed_by"`
	OnUnknown  string `json:"on_unknown"`
	Timeout    string `json:"timeout,omitempty"`
}

// AdminID names an ID in a path: it is opaque, and safe there.
func AdminID(id atmost.ID) string {
	return base64.RawURLEncoding.EncodeToString([]byte(id.Scope + "\x00" + id.Key))
}

// ParseAdminID reads what AdminID wrote of a valid ID. The error is an *atmost.Error.
func ParseAdminID(s string) (atmost.ID, error) {
	id, ok := ParseAdminCursor(s)
	if !ok || id.Validate() != nil {
		return atmost.ID{}, invalid("the id in the path is none that a list of keys has shown")
	}
	return id, nil
}

// ParseAdminCursor reads what AdminID wrote of any ID.
func ParseAdminCursor(s string) (atmost.ID, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	scope, key, _ := strings.Cut(string(b), "\x00")
	id := atmost.ID{Scope: scope, Key: key}
	if err != nil || key == "" || AdminID(id) != s {
		return atmost.ID{}, false
	}
	return id, true
}

// AppendAdminRecord appends r as JSON, with the bytes of its result as they are.
func AppendAdminRecord(dst []byte, r AdminRecord) []byte {
	result := r.Result
	r.Result = nil
	return appendResult(AppendAdmin(dst, r), result)
}

// AppendAdminResolve appends r as JSON, with the bytes of its result as they are.
func AppendAdminResolve(dst []byte, r AdminResolve) []byte {
	result := r.Result
	r.Result = nil
	return appendResult(AppendAdmin(dst, r), result)
}

// AppendAdminBulk appends b as JSON, with the bytes of its result as they are.
func AppendAdminBulk(dst []byte, b AdminBulk) []byte {
	result := b.Result
	b.Result = nil
	return appendResult(AppendAdmin(dst, b), result)
}

// appendResult appends a result to the members of the object that dst ends with, unless it is nil.
func appendResult(dst, result []byte) []byte {
	if result == nil {
		return dst
	}
	dst = append(dst[:len(dst)-1], `,"result":`...)
	return append(append(dst, result...), '}')
}

// AppendAdmin appends a body of the admin API as JSON. What has a result has a function of its own.
func AppendAdmin(dst []byte, body any) []byte {
	b := bytes.NewBuffer(dst)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	_ = e.Encode(body) // structs of strings, numbers and times can be encoded
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
