package atmost

// This file holds the rules: which event leads from which state to which. Everything else in the project asks it, or, where a
// store expresses a rule in its engine's own language, is compared with it by the conformance suite.
//
// A record is aged to the store's now before an event is judged; whatever the rules do not allow is refused and changes
// nothing.

import (
	"fmt"
	"time"

	"github.com/atmost-dev/atmost/fingerprint"
)

// Instant is one reading of a store's clock.
type Instant struct {
	// Now judges leases and stamps what is written.
	Now Time
	// Expiry judges retention. It equals Now, but stands still while the clock cannot be trusted.
	Expiry Time
}

// Step is what one event made of a record.
type Step struct {
	// Record is how the record stands now, aged.
	Record Record
	// Changed tells that the event changed the record, which must be durable before anybody learns of it.
	// It can be true beside an error: a refused report may leave a trace.
	Changed bool
	// Late tells that the report came after the attempt had been given up for unknown.
	Late bool
	// Contradiction tells that the report differs from what was held to be true: the operation may have run twice.
	Contradiction bool
	// Now is the moment at which the event was judged: what is left of a lease is Record.Deadline less this.
	Now Time
	// Audit, if not nil, is what is to be added to the audit trail, in the same atomic step. Its Number is the store's to give.
	Audit *AuditEntry
}

// Event is what can happen to a record: *Claim, *Renew, *Finish, *Resolve, *Probed, *Erase, *Forget or Restart.
type Event interface {
	apply(r Record, now Time) (Step, error)
}

// Transition judges event against r at a moment. It is pure: the same arguments give the same answer, r is not modified.
// The error is an *Error. On an absent record, r.ID must be set, and r.Fence if an earlier life of the key is known.
func Transition(r Record, event Event, at Instant) (Step, error) {
	step, err := event.apply(Age(r, at), at.Now)
	step.Now = at.Now
	return step, err
}

// Age returns r as it stands at a moment, when nothing but time has happened: a lease that ran out has lapsed, a result
// past its retention is gone, a key past its own is absent.
func Age(r Record, at Instant) Record {
	if r.State == Processing && at.Now >= r.Deadline {
		r = r.lapsed(r.Deadline, "its lease ended without a report; it may have been executed")
	}
	if r.KeyExpires != 0 && at.Expiry >= r.KeyExpires {
		return Record{ID: r.ID, Fence: r.Fence}
	}
	if r.Erasable() && at.Expiry >= r.ResultExpires {
		r.drop(Expired)
	}
	return r
}

// Claim asks for the right to execute.
type Claim struct {
	Operation   string
	Fingerprint fingerprint.Fingerprint
	// Token becomes the lease's. A claim whose answer was lost is repeated with the same token.
	Token Token
	// Lease is how long the right lasts.
	Lease  time.Duration
	Policy Policy
	// Trace becomes the record's if the claim wins.
	Trace SpanID
	// Paths, if not nil, is called where an attempt begins, for Record.Paths.
	Paths func() []byte
}

// Won reports whether a record that answered the claim says that the right is the claimer's.
func (c *Claim) Won(r Record) bool { return r.State == Processing && r.Token.Matches(c.Token) }

func (c *Claim) apply(r Record, now Time) (Step, error) {
	if r.State == Absent {
		return c.start(Record{ID: r.ID, Fence: r.Fence, CreatedAt: now}, now), nil
	}
	if err := sameRequest(r, c.Operation, c.Fingerprint); err != nil {
		return Step{Record: r}, err
	}
	if r.State == NotExecuted && !r.Token.Matches(c.Token) {
		if r.SettledBy != ByReport {
			past := append(make([]Past, 0, len(r.Past)+1), r.Past...)
			past = append(past, Past{Token: r.Token})
			r.Past = past[max(0, len(past)-MaxPast):]
		}
		return c.start(r, now), nil
	}
	return Step{Record: r}, nil
}

// sameRequest refuses the use of a record's key for anything but what it was claimed for.
func sameRequest(r Record, operation string, print fingerprint.Fingerprint) error {
	switch {
	case r.Operation != operation:
		return &Error{Code: CodeOperationMismatch, Message: "this key was used for another operation"}
	case r.Fingerprint.Algorithm != print.Algorithm:
		// Nothing can be said about equality: the caller fingerprints anew, under the record's algorithm.
		return &Error{Code: CodeStoreUnavailable, Message: "this key was stored by another version of the service"}
	case r.Fingerprint != print:
		return &Error{Code: CodePayloadMismatch, Message: "this key was used with another payload"}
	}
	return nil
}

// start begins the next attempt.
func (c *Claim) start(r Record, now Time) Step {
	if r.Attempt > 0 {
		r.keep()
	}
	if r.Paths == nil && c.Paths != nil {
		r.Paths = c.Paths()
	}
	r.Trace = c.Trace
	r.Operation, r.Fingerprint, r.Policy = c.Operation, c.Fingerprint, c.Policy
	r.Attempt++
	r.Fence = max(int64(now), r.Fence+1)
	r.Token, r.Deadline = c.Token, now.Add(c.Lease)
	r.Outcome, r.SettledBy = Outcome{State: Processing}, ByReport
	r.UpdatedAt, r.ResultExpires, r.KeyExpires = now, 0, 0
	return Step{Record: r, Changed: true}
}

// Renew asks for more time. The deadline moves to Lease from now, never back.
type Renew struct {
	Token Token
	Lease time.Duration
}

func (e *Renew) apply(r Record, now Time) (Step, error) {
	if r.State != Processing || !r.Token.Matches(e.Token) {
		return Step{Record: r}, leaseLost()
	}
	deadline := now.Add(e.Lease)
	if deadline <= r.Deadline {
		return Step{Record: r}, nil
	}
	r.Deadline, r.UpdatedAt = deadline, now
	return Step{Record: r, Changed: true}, nil
}

// Finish reports how the attempt that holds Token ended. It is repeated when its answer was lost.
type Finish struct {
	Token Token
	// Outcome, if it is Completed, has a Result, or its NotKept tells why not: a store takes a record without either for corrupt.
	Outcome Outcome
	// Claimed is the record that the claim with Token was answered with, if the reporter still has it. It decides nothing: a store
	// may make the record that it answers with of it, instead of reading what it holds.
	Claimed *Record
}

func (e *Finish) apply(r Record, now Time) (Step, error) {
	if r.State == Absent || !r.Token.Matches(e.Token) {
		return e.stale(r, now)
	}
	o, told := e.Outcome, r.SettledBy == ByReport
	switch {
	case r.State == Processing:
		return Step{Record: r.ended(o, ByReport, now), Changed: true}, nil
	case !told && o.State == Unknown:
		return Step{Record: r}, nil // nothing that was not known before
	case r.State == Unknown:
		return Step{Record: r.late(o, now), Changed: true, Late: true}, nil
	case r.State == NotExecuted && !told:
		r = r.late(o, now)
		contradiction := o.State != NotExecuted
		if contradiction {
			r.Contradictions++
		}
		return Step{Record: r, Changed: true, Late: true, Contradiction: contradiction}, nil
	case told && r.Outcome.same(o):
		return Step{Record: r}, nil
	case told:
		return Step{Record: r}, &Error{Code: CodeAlreadyFinished, Message: "another outcome was already reported with this token"}
	case r.State == o.State:
		return Step{Record: r}, nil // somebody settled it first, and was right
	case r.contradictedBy(o.State):
		return Step{Record: r}, leaseLost() // it was said before
	}
	return Step{Record: r.contradicted(o, r.Attempt, now), Changed: true, Contradiction: true}, leaseLost()
}

// stale judges a report whose token is not the newest attempt's.
func (e *Finish) stale(r Record, now Time) (Step, error) {
	if !e.Outcome.State.Final() {
		return Step{Record: r}, leaseLost()
	}
	for i, p := range r.Past {
		if !p.Token.Matches(e.Token) || p.Contradicted {
			continue
		}
		r.Past = append([]Past(nil), r.Past...)
		r.Past[i].Contradicted = true
		return Step{Record: r.contradicted(e.Outcome, 0, now), Changed: true, Contradiction: true}, leaseLost()
	}
	return Step{Record: r}, leaseLost()
}

// Resolve settles an unknown attempt on the word of a probe or a person.
type Resolve struct {
	// Attempt is the one that was looked into: another is not settled by it.
	Attempt uint32
	// Outcome is Completed, Failed or NotExecuted, as in Finish.
	Outcome Outcome
	// Settle is how long after the end of the lease a NotExecuted is believed at the earliest: until then the attempt may
	// still be on its way. Sooner it is refused with CodeOutcomeUnknown.
	Settle time.Duration
	// By is who says so, nil for a probe.
	By *Actor
}

func (e *Resolve) apply(r Record, now Time) (Step, error) {
	if r.State != Unknown || r.Attempt != e.Attempt {
		return Step{Record: r}, r.conflict(fmt.Sprintf("attempt %d is not unknown, or not any more", e.Attempt))
	}
	if e.Outcome.State == NotExecuted && now < r.Deadline.Add(e.Settle) {
		return Step{Record: r}, &Error{Code: CodeOutcomeUnknown, Message: "the attempt may still be on its way"}
	}
	entry := Entry{At: now, What: WasResolved, Attempt: r.Attempt, Outcome: e.Outcome.State, Note: e.Outcome.Message}
	if e.By != nil {
		entry.Actor, entry.Note = e.By.Name, e.By.Reason
	}
	before := r.State
	r.keep()
	r = r.ended(e.Outcome, ByResolve, now)
	r.note(entry)
	return e.By.audited(AuditResolve, before, r, now), nil
}

// Probed tells that a probe of an unknown attempt was answered, and that the answer settles nothing.
type Probed struct {
	Attempt uint32
	// Message says what the answer was.
	Message string
}

func (e *Probed) apply(r Record, now Time) (Step, error) {
	if r.State != Unknown || r.Attempt != e.Attempt {
		return Step{Record: r}, nil
	}
	r.probed(now, e.Message)
	return Step{Record: r, Changed: true}, nil
}

// Erase drops a result before its retention ends. The tombstone stays, so nothing is ever executed again for it.
type Erase struct {
	// Attempt is the one whose result is meant, 0 for whichever.
	Attempt uint32
	By      Actor
}

func (e *Erase) apply(r Record, now Time) (Step, error) {
	switch {
	case !r.State.Final() || e.Attempt != 0 && e.Attempt != r.Attempt:
		return Step{Record: r}, r.conflict("only a result can be erased")
	case !r.Erasable():
		return Step{Record: r}, nil // there is none any more
	}
	before := r.State
	r.keep()
	r.drop(Erased)
	r.UpdatedAt = now
	r.note(Entry{At: now, What: WasErased, Attempt: r.Attempt, Actor: e.By.Name, Note: e.By.Reason})
	return e.By.audited(AuditErase, before, r, now), nil
}

// Forget makes a key absent before its retention ends: the next claim starts a new execution, whatever happened before. It
// exists for what is known to have ended only.
type Forget struct {
	// Attempt is the newest that is to be forgotten, 0 for whichever.
	Attempt uint32
	By      Actor
}

func (e *Forget) apply(r Record, now Time) (Step, error) {
	if !r.State.Final() && r.State != NotExecuted || e.Attempt != 0 && e.Attempt != r.Attempt {
		return Step{Record: r}, r.conflict("only a key whose outcome is completed, failed or not_executed can be forgotten")
	}
	if int64(now) <= r.Fence { // the fence of its next life has to be higher, and nothing will tell by then
		return Step{Record: r}, r.conflict("it was claimed this very moment, try again")
	}
	step := e.By.audited(AuditForget, r.State, r, now)
	step.Record = Record{ID: r.ID, Fence: r.Fence}
	step.Audit.After = Absent
	return step, nil
}

// conflict refuses what a person wants of a record that is not, or not any more, as that needs it to be.
func (r Record) conflict(message string) *Error {
	return &Error{Code: CodeStateConflict, Message: fmt.Sprintf("%s: the record is %s, in attempt %d", message, r.State, r.Attempt)}
}

// Restart tells that every engine of an earlier process is gone: what it was executing is in doubt. An embedded store
// applies it to its processing records when it is opened.
type Restart struct{}

func (Restart) apply(r Record, now Time) (Step, error) {
	if r.State != Processing || r.Policy.ExecutedBy != ByService {
		return Step{Record: r}, nil
	}
	return Step{Record: r.lapsed(now, "the service ended while it ran; it may have been executed"), Changed: true}, nil
}

// ended gives the record an outcome.
func (r Record) ended(o Outcome, by SettledBy, now Time) Record {
	if o.State == Unknown {
		return r.doubted(now, o)
	}
	r.Outcome, r.SettledBy, r.UpdatedAt = o, by, now
	r.Deadline = min(r.Deadline, now)
	r.expireFrom(now)
	return r
}

// late gives an attempt that had been given up the outcome that it reports after all.
func (r Record) late(o Outcome, now Time) Record {
	r.keep()
	r = r.ended(o, ByReport, now)
	r.note(Entry{At: now, What: WasReportedLate, Attempt: r.Attempt, Outcome: r.State, Note: o.Message})
	return r
}

// contradicted leaves a trace of a report that differs from what is held to be true. Where results are not kept any more, no message is.
func (r Record) contradicted(o Outcome, attempt uint32, now Time) Record {
	if r.NotKept == Expired || r.NotKept == Erased {
		o.Message = ""
	}
	r.keep()
	r.note(Entry{At: now, What: WasContradicted, Attempt: attempt, Outcome: o.State, Note: o.Message})
	r.Contradictions++
	r.UpdatedAt = now
	return r
}

// lapsed records that the attempt ended without a report.
func (r Record) lapsed(at Time, message string) Record {
	r.keep()
	r.renewed()
	r = r.doubted(at, Outcome{Message: message})
	r.note(Entry{At: at, What: WasLapsed, Attempt: r.Attempt, Outcome: r.State, Note: message})
	return r
}

// drop drops the result, and what messages may tell of it.
func (r *Record) drop(why NotKept) {
	r.Result, r.NotKept, r.Message = nil, why, ""
	r.History.erase()
}

// doubted records that nobody knows how the attempt ended: by the record's policy it is unknown, or taken for not
// executed.
func (r Record) doubted(at Time, o Outcome) Record {
	r.Outcome, r.UpdatedAt = o, at
	r.Deadline = min(r.Deadline, at)
	r.State, r.SettledBy = Unknown, ByNobody
	if r.Policy.OnUnknown == RetryUnknown {
		r.State = NotExecuted
		r.expireFrom(at)
	}
	return r
}

func (r *Record) expireFrom(at Time) {
	r.ResultExpires = 0
	if r.State.Final() {
		r.ResultExpires = at.Add(r.Policy.ResultRetention)
	}
	r.KeyExpires = at.Add(max(r.Policy.KeyRetention, r.Policy.ResultRetention))
}

func leaseLost() *Error {
	return &Error{Code: CodeLeaseLost, Message: "the token is not the current attempt's, or its time ended"}
}
