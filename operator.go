package atmost

// What operators ask of an Engine, and do: they see every record, and settle what nobody else can. Every change tells who made it and
// why, and is in the store's audit trail once it has its answer.

import "context"

// MaxPage bounds the records, or entries of the audit trail, that are returned at a time.
const MaxPage = 1000

// List returns a page of the records that q asks for: see Store.List. The error is an *Error.
func (e *Engine) List(ctx context.Context, q Query) (Page, error) {
	defer e.calls.leave()
	if _, open := e.calls.enter(); !open {
		return Page{}, errClosed
	}
	q.Limit = min(max(q.Limit, 1), MaxPage)
	page, err := e.store.List(ctx, q)
	if err != nil {
		return Page{}, e.refused("list", err)
	}
	return page, nil
}

// Replays returns how many answers for id were replays, as far as this engine knows: what it answered itself since it was
// started, or since another key took the place of this one in a bounded memory.
func (e *Engine) Replays(id ID) int { return e.replays.of(id) }

// Resolve settles the unknown attempt that event names, on the word of event.By, and tells whoever waits for it. That the record is not
// unknown, or in another attempt, is an *Error with CodeStateConflict; the Record, as it stands, is valid beside it.
func (e *Engine) Resolve(ctx context.Context, id ID, event Resolve) (Record, error) {
	if event.By == nil {
		return Record{}, &Error{Code: CodeInvalidRequest, Message: "it is not told who says so"}
	}
	event.Outcome = event.Outcome.whole()
	r, err := e.change(ctx, id, *event.By, &event)
	if err == nil {
		e.events.Settled(r, event.By)
		e.hub.settle(r)
	}
	return r, err
}

// Erase drops the result of id, and keeps the key, so that nothing is executed again. Only a result can be erased: else the error
// is an *Error with CodeStateConflict.
func (e *Engine) Erase(ctx context.Context, id ID, event Erase) (Record, error) {
	return e.change(ctx, id, event.By, &event)
}

// Forget makes id absent: the next request with it EXECUTES ANEW, whatever was executed before. It exists only for keys
// whose outcome is known; for others the error is an *Error with CodeStateConflict.
func (e *Engine) Forget(ctx context.Context, id ID, event Forget) (Record, error) {
	return e.change(ctx, id, event.By, &event)
}

// change has the store make a person's change. It does not depend on ctx once it has begun; what the store does not know to
// have happened is told as an *Error with CodeStoreUnavailable, and asking again is safe.
func (e *Engine) change(ctx context.Context, id ID, by Actor, event Event) (Record, error) {
	defer e.calls.leave()
	if _, open := e.calls.enter(); !open {
		return Record{}, errClosed
	}
	if err := by.Validate(); err != nil {
		return Record{}, err
	}
	step, err := e.store.Apply(ctx, id, event)
	switch {
	case refusalOf(err) != nil && step.Record.State == Absent:
		return step.Record, &Error{Code: CodeKeyNotFound, Message: "nothing is stored for this key"}
	case err != nil:
		return step.Record, e.refusedWith("the store did not confirm the change: look at the record before you ask again", "resolve", err)
	}
	return step.Record, nil
}

// Audit returns a part of the audit trail: see Store.Audit. The error is an *Error.
func (e *Engine) Audit(ctx context.Context, before uint64, limit int) ([]AuditEntry, error) {
	defer e.calls.leave()
	if _, open := e.calls.enter(); !open {
		return nil, errClosed
	}
	entries, err := e.store.Audit(ctx, before, min(max(limit, 1), MaxPage))
	if err != nil {
		return nil, e.refused("list", err)
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
	if err := by.Validate(); err != nil {
		return err
	}
	g, ok := e.store.(Guard)
	if !ok || !g.Guarded() {
		return nil
	}
	if len(scopes) == 0 {
		if err := g.AdmitAll(ctx, by); err != nil {
			return e.refused("admit", err)
		}
	}
	for _, scope := range scopes {
		if err := g.Admit(ctx, scope, by); err != nil {
			return e.refused("admit", err)
		}
	}
	return nil
}
