package atmost

import (
	"cmp"
	"time"

	"github.com/atmost-dev/atmost/fingerprint"
)

// Time is a moment by the store's clock, in microseconds since the Unix epoch.
type Time int64

// TimeOf rounds t down to a Time.
func TimeOf(t time.Time) Time { return Time(t.UnixMicro()) }

// Add returns the moment d later.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Microseconds()) }

// Sub returns how long after u t is.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t-u) * time.Microsecond }

// Std converts t for the standard library, in UTC.
func (t Time) Std() time.Time { return time.UnixMicro(int64(t)).UTC() }

// State is where a record stands. The numbers are stored: they never change.
type State uint8

// The states of a record.
const (
	// Absent: nothing is stored for the key.
	Absent State = 0
	// Processing: an attempt holds the lease.
	Processing State = 1
	// Completed: the attempt had its effect. Final.
	Completed State = 2
	// Failed: the attempt was answered with an error that is final, and replayed like a result.
	Failed State = 3
	// NotExecuted: the attempt had no effect, the next claim starts another.
	NotExecuted State = 4
	// Unknown: the attempt may have had its effect. Nothing runs until that is settled.
	Unknown State = 5
)

var stateNames = [...]string{"absent", "processing", "completed", "failed", "not_executed", "unknown"}

// String is the state's name in the API, in metrics and in logs.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "invalid"
}

// Final reports whether no event can lead out of the state but the end of retention.
func (s State) Final() bool { return s == Completed || s == Failed }

// OnUnknown is what an operation wants done with an attempt of which nobody knows how it ended. The numbers are stored.
type OnUnknown uint8

// The ways to deal with the unknown.
const (
	// HoldUnknown keeps the record Unknown until it is settled.
	HoldUnknown OnUnknown = 0
	// ProbeUnknown asks the operation's target, and holds until it answers.
	ProbeUnknown OnUnknown = 1
	// RetryUnknown presumes that nothing happened, so that the next request runs again: only for a target that is itself
	// idempotent on the forwarded key, as it makes the service at-least-once towards it.
	RetryUnknown OnUnknown = 2
)

var onUnknownNames = [...]string{"hold", "probe", "retry"}

// String is the name used in the configuration.
func (u OnUnknown) String() string {
	if int(u) < len(onUnknownNames) {
		return onUnknownNames[u]
	}
	return "invalid"
}

// ExecutedBy tells who performs an operation. The numbers are stored.
type ExecutedBy uint8

// Who performs an operation.
const (
	// ByService: an engine does, so its attempts end with the engine's process.
	ByService ExecutedBy = 0
	// ByClient: a client does, under a lease that outlives any engine.
	ByClient ExecutedBy = 1
)

var executedByNames = [...]string{"service", "client"}

// String is the name in the API.
func (b ExecutedBy) String() string {
	if int(b) < len(executedByNames) {
		return executedByNames[b]
	}
	return "invalid"
}

// Policy is the part of an operation's configuration that is stored with each claim, and counts for that record however
// the configuration changes later.
type Policy struct {
	OnUnknown  OnUnknown
	ExecutedBy ExecutedBy
	// ResultRetention is how long after the final outcome its result is kept.
	ResultRetention time.Duration
	// KeyRetention is how long after the outcome the key is kept; a shorter one than ResultRetention counts as that.
	KeyRetention time.Duration
}

// NotKept tells why there is no result to replay. The numbers are stored.
type NotKept uint8

// Why a result is not kept.
const (
	// Kept: it is.
	Kept NotKept = 0
	// Expired: its retention ended.
	Expired NotKept = 1
	// TooLarge: it was over the operation's limit.
	TooLarge NotKept = 2
	// Erased: a person had it dropped.
	Erased NotKept = 3
)

var notKeptNames = [...]string{"", "expired", "too_large", "erased"}

// String is the reason's name in the API.
func (n NotKept) String() string {
	if int(n) < len(notKeptNames) {
		return notKeptNames[n]
	}
	return "invalid"
}

// Outcome tells how an attempt ended, or that it has not.
type Outcome struct {
	// State is Completed, Failed, NotExecuted or Unknown; in a Record also Absent or Processing.
	State State
	// Result is what the operation answered: JSON, replayed byte for byte; whoever executes sees to it that it is. Only Completed
	// and Failed have one; nil counts as null where the attempt completed. It is shared, never to be modified.
	Result []byte
	// NotKept tells why Result is missing, if it is.
	NotKept NotKept
	// UpstreamStatus is the status of the upstream's response, 0 when there was none.
	UpstreamStatus int
	// Message says in words what happened. It is stored and replayed as it is, so it must not hold secrets.
	Message string
}

// whole returns o with what is missing filled in, so that all that is replayed is stored.
func (o Outcome) whole() Outcome {
	message := ""
	switch {
	case o.State == Completed && o.NotKept == TooLarge:
		message = "the operation was executed; its result was too large to keep"
	case o.State == Completed && o.Result == nil:
		o.Result = []byte("null")
	case o.State == Failed:
		message = "the operation failed"
	case o.State == NotExecuted:
		message = "the operation was not executed"
	}
	o.Message = cmp.Or(o.Message, message)
	return o
}

// same reports whether o and p tell the same story. A result that is no longer kept is not compared.
func (o Outcome) same(p Outcome) bool {
	if o.State != p.State || o.UpstreamStatus != p.UpstreamStatus {
		return false
	}
	return o.NotKept != Kept || p.NotKept != Kept || string(o.Result) == string(p.Result)
}

// SettledBy tells whose word a record's outcome is. The numbers are stored.
type SettledBy uint8

// Whose word an outcome is.
const (
	// ByReport: the attempt's own.
	ByReport SettledBy = 0
	// ByNobody: nobody's; the outcome is unknown, or presumed.
	ByNobody SettledBy = 1
	// ByResolve: a probe's or a person's.
	ByResolve SettledBy = 2
)

var settledByNames = [...]string{"report", "nobody", "resolve"}

// String is the name in the API.
func (b SettledBy) String() string {
	if int(b) < len(settledByNames) {
		return settledByNames[b]
	}
	return "invalid"
}

// Past is what is remembered of an earlier attempt that was taken for not executed without having said so itself.
type Past struct {
	Token Token
	// Contradicted tells that the attempt later reported an effect.
	Contradicted bool
}

// MaxPast bounds how many earlier attempts a record remembers; the oldest is forgotten first.
const MaxPast = 8

// Record is all that is stored for one ID. Its zero value, but for ID and Fence, is an absent record.
type Record struct {
	ID          ID
	Operation   string
	Fingerprint fingerprint.Fingerprint
	Policy      Policy

	// Attempt counts the executions that were started for the key, from 1.
	Attempt uint32
	// Fence grows with every claim of the key, also across forgetting it.
	Fence int64
	// Token is the secret of the newest attempt's lease.
	Token Token
	// Deadline is when the lease ends, or ended.
	Deadline Time

	Outcome
	SettledBy SettledBy

	CreatedAt Time // of the first claim
	UpdatedAt Time // of the last change
	// ResultExpires and KeyExpires are the ends of retention, 0 while nothing expires.
	ResultExpires, KeyExpires Time

	// Past holds the earlier attempts whose late reports would be contradictions.
	Past []Past
	// Contradictions counts the times that two accounts of one attempt differed.
	Contradictions uint32

	// History is what the record went through and does not tell by itself: see Timeline.
	History History
	// Trace is the span of the request that began the newest attempt, if that was recorded.
	Trace SpanID
	// Paths are short digests of what the payload's leading members were, by which a mismatch is explained; nil if there are none.
	Paths []byte
}

// Presumed reports that nobody said the attempt had no effect: it is taken so because its target is idempotent.
func (r Record) Presumed() bool { return r.State == NotExecuted && r.SettledBy == ByNobody }

// NextChange reports when time alone will change the record, if it ever does.
func (r Record) NextChange() (Time, bool) {
	switch {
	case r.State == Processing:
		return r.Deadline, true
	case r.Erasable():
		return min(r.ResultExpires, r.KeyExpires), true
	case r.State.Final() || r.State == NotExecuted:
		return r.KeyExpires, true
	}
	return 0, false
}

// Erasable reports whether r has anything that can be erased, and that the end of result retention drops: a completed result that
// was too large to keep is told as such as long as the key is.
func (r Record) Erasable() bool {
	return r.State.Final() && r.NotKept != Expired && r.NotKept != Erased && !(r.State == Completed && r.NotKept == TooLarge)
}

// Err is what the record says to those who ask for the operation's result: nil when it has one, or may yet.
func (r Record) Err() error {
	switch {
	case r.State == Processing, r.State == Completed && r.NotKept == Kept:
		return nil
	case r.State.Final() && r.NotKept == Expired:
		return &Error{Code: CodeResultNotKept, Message: "the operation was executed; its result is no longer kept"}
	case r.State.Final() && r.NotKept == Erased:
		return &Error{Code: CodeResultNotKept, Message: "the operation was executed; its result was erased"}
	case r.State == Completed:
		return &Error{Code: CodeResultNotKept, Message: r.Message}
	case r.State == Failed:
		return &Error{Code: CodeExecutionFailed, Message: r.Message}
	case r.Presumed():
		return &Error{Code: CodeExecutionNotStarted, Known: ExecutedUnknown, Message: "it is not known how the last attempt ended; this operation may be repeated, so the next request with this key runs it again"}
	case r.State == NotExecuted:
		return &Error{Code: CodeExecutionNotStarted, Message: r.Message}
	}
	return &Error{Code: CodeOutcomeUnknown, Message: "the outcome is unknown: " + cmp.Or(r.Message, "the operation may have been executed")}
}
