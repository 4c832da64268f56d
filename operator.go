package atmost

// What operators ask of an Engine, and do: they see every record, and settle what nobody else can. Every change tells who made it and
// why, and is in the store's audit trail once it has its answer.

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// MaxPage bounds the records, or entries of the audit trail, that are returned at a time.
const MaxPage = 1000

// List returns a page of the records that q asks for, at most MaxPage: see Store.List. The error is an *Error; with
// CodeInvalidRequest if q asks for what no record can have.
func (e *Engine) List(ctx context.Context, q Query) (Page, error) {
	defer e.calls.leave()
	if _, open := e.calls.enter(); !open {
		return Page{}, errClosed
	}
	if err := q.validate(); err != nil {
		return Page{}, err
	}
	q.Limit = min(max(q.Limit, 1), MaxPage)
	page, err := e.store.List(ctx, q)
	if err != nil {
		return Page{}, e.refused("list", err)
	}
	page.Records = slices.DeleteFunc(page.Records, func(r Record) bool { return r.ID.Validate() != nil }) // the self-test's
	return page, nil
}

// validate refuses what no record can have, so that stores need not expect it.
func (q *Query) validate() error {
	invalid := func(message string) error { return &Error{Code: CodeInvalidRequest, Message: message} }
	for _, asked := range []struct {
		what string
		name *string
	}{{"scope", q.Scope}, {"key", q.Key}, {"operation", q.Operation}} {
		if asked.name == nil || asked.name == q.Scope && *asked.name == "" {
			continue
		}
		if wrong := validName(*asked.name); wrong != "" {
			return invalid("the " + asked.what + " that is asked for " + wrong)
		}
	}
	switch {
	case q.State > Unknown:
		return invalid("the state that is asked for does not exist")
	case q.Age < 0:
		return invalid("the age that is asked for is negative")
	case !printable(q.After.Scope) || !printable(q.After.Key):
		return invalid("the page that is asked for follows none")
	}
	return nil
}

// printable reports whether s could be a part of a stored ID. A store's self-test has a space in its key.
func printable(s string) bool {
	return len(s) <= MaxKeyLength && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// Operations returns the operations by name, as they are configured now, with their defaults filled in.
func (e *Engine) Operations() map[string]Operation {
	configured := *e.operations.Load()
	operations := make(map[string]Operation, len(configured))
	for name, op := range configured {
		operations[name] = op.Operation
	}
	return operations
}

// Comparison tells how a request compares with the one that a record was claimed with.
type Comparison struct {
	// SameOperation tells that it names the record's operation, Same that its payload is the same too.
	SameOperation, Same bool
	// Differs names, as JSON Pointers into the payload that was compared, what differs, as far as that is known.
	Differs []string
}

// Compare compares a request, whose payload is one JSON value, with what id was claimed for, as a claim would. It changes nothing. An
// absent key is an *Error with CodeKeyNotFound.
func (e *Engine) Compare(ctx context.Context, id ID, operation string, payload []byte) (Comparison, error) {
	r, err := e.Status(ctx, id, 0)
	if err != nil {
		return Comparison{}, err
	}
	print, asked, err := fingerprintOf(r.Fingerprint.Algorithm, operation, payload)
	if err != nil {
		return Comparison{}, err
	}
	c := Comparison{SameOperation: r.Operation == operation, Same: sameRequest(r, operation, print) == nil}
	if !c.Same && c.SameOperation && e.paths != nil {
		c.Differs = e.paths.Differ(r.Paths, id.Scope, id.Key, asked)
	}
	return c, nil
}

// Replays returns how many answers for id were replays, as far as this engine knows: what it answered itself since it was
// started, or since another key took the place of this one in a bounded memory.
func (e *Engine) Replays(id ID) int { return e.replays.of(id) }

// Resolve settles the unknown attempt that event names, on the word of event.By, and tells whoever waits for it. Its outcome is
// Completed, Failed or NotExecuted; a result is one JSON value. That the record is not unknown, or in another attempt, is an *Error
// with CodeStateConflict; the Record, as it stands, is valid beside it.
func (e *Engine) Resolve(ctx context.Context, id ID, event Resolve) (Record, error) {
	if event.By == nil {
		return Record{}, &Error{Code: CodeInvalidRequest, Message: "it is not told who says so"}
	}
	if !event.Outcome.State.Final() && event.Outcome.State != NotExecuted {
		return Record{}, &Error{Code: CodeInvalidRequest, Message: "the outcome is not completed, failed or not_executed"}
	}
	if event.Outcome.Result != nil && !validJSON(event.Outcome.Result) {
		return Record{}, errResult
	}
	event.Outcome = event.Outcome.whole()
	r, err := e.change(ctx, id, *event.By, "resolve", &event)
	if err == nil {
		e.events.Settled(r, event.By)
		e.hub.settle(r)
	}
	return r, err
}

// Erase drops the result of id, and keeps the key, so that nothing is executed again. Only a result can be erased: else the error
// is an *Error with CodeStateConflict.
func (e *Engine) Erase(ctx context.Context, id ID, event Erase) (Record, error) {
	return e.change(ctx, id, event.By, "erase", &event)
}

// Forget makes id absent: the next request with it EXECUTES ANEW, whatever was executed before. It exists only for keys
// whose outcome is known; for others the error is an *Error with CodeStateConflict.
func (e *Engine) Forget(ctx context.Context, id ID, event Forget) (Record, error) {
	return e.change(ctx, id, event.By, "forget", &event)
}

// change has the store make a person's change. It does not depend on ctx once it has begun; what the store does not know to
// have happened is told as an *Error with CodeStoreUnavailable, and asking again is safe.
func (e *Engine) change(ctx context.Context, id ID, by Actor, doing string, event Event) (Record, error) {
	defer e.calls.leave()
	if _, open := e.calls.enter(); !open {
		return Record{}, errClosed
	}
	if err := errors.Join(id.Validate(), by.Validate()); err != nil {
		return Record{}, refusalOf(err)
	}
	step, err := e.store.Apply(ctx, id, event)
	switch {
	case refusalOf(err) != nil && step.Record.State == Absent:
		return step.Record, &Error{Code: CodeKeyNotFound, Message: "nothing is stored for this key"}
	case err != nil:
		return step.Record, e.refusedWith("the store did not confirm the change: look at the record before you ask again", doing, err)
	}
	e.audited(step.Audit)
	return step.Record, nil
}

// audited tells of what a person changed, if that was anything.
func (e *Engine) audited(entry *AuditEntry) {
	if entry != nil {
		e.events.Changed(*entry)
	}
}

// Audit returns a part of the audit trail: see Store.Audit. The error is an *Error.
func (e *Engine) Audit(ctx context.Context, before uint64, limit int) ([]AuditEntry, error) {
	defer e.calls.leave()
	if _, open := e.calls.enter(); !open {
		return nil, errClosed
	}
	entries, err := e.store.Audit(ctx, before, min(max(limit, 1), MaxPage))
	if err != nil {
		return nil, e.refused("audit", err)
	}
	return entries, nil
}

// Guarded reports whether the store refuses new keys, because it may have forgotten some.
func (e *Engine) Guarded() bool {
	g, ok := e.store.(Guard)
	return ok && g.Guarded()
}

// Admit lets a guarded store take claims of the scopes, or of all scopes if there are none. A key that was executed and forgotten
// runs again then. It changes nothing where the store is not guarded. The error is an *Error; what was admitted before it stays so.
func (e *Engine) Admit(ctx context.Context, scopes []string, by Actor) error {
	defer e.calls.leave()
	if _, open := e.calls.enter(); !open {
		return errClosed
	}
	wrong := by.Validate()
	for _, scope := range scopes {
		wrong = errors.Join(wrong, ID{Scope: scope, Key: "any"}.Validate())
	}
	if wrong != nil {
		return refusalOf(wrong)
	}
	g, ok := e.store.(Guard)
	if !ok || !g.Guarded() {
		return nil
	}
	if len(scopes) == 0 {
		entry, err := g.AdmitAll(ctx, by)
		if e.audited(entry); err != nil {
			return e.refused("admit", err)
		}
	}
	for _, scope := range scopes {
		entry, err := g.Admit(ctx, scope, by)
		if e.audited(entry); err != nil {
			return e.refused("admit", err)
		}
	}
	return nil
}
