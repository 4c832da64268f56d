// Package sealed keeps from who can read a store what its records tell: it encrypts results, and stores keyed digests in the place
// of keys. It stands before any other atmost.Store, and is one itself.
//
// What it does not hide: scopes, operations, states, times, fingerprints, the messages of outcomes, the history, the audit trail, how
// long a result is; and, unless digests are stored, keys.
package sealed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/atmost-dev/atmost"
)

// Options say what is hidden. The zero Options hide nothing; then results that are encrypted, and stores that have digests, are
// refused.
type Options struct {
	// Results, if not nil, encrypt the results that are stored from now on. What was stored before can be read as ever.
	Results *Ring
	// Names, if not nil, make the digests that are stored in the place of keys. A store has either keys or digests, of one secret,
	// from its first record on.
	Names *Names
}

// Open returns inner with what o says. Inner stays the caller's to close if there is an error; else the store that is returned closes
// it. The error wraps ErrNames if the records of inner have their keys stored in another way than o says: no key would be found
// again, and each would be executed anew.
func Open(ctx context.Context, inner atmost.Store, o Options) (atmost.Store, error) {
	s := &store{Store: inner, results: o.Results, names: o.Names}
	if err := s.agree(ctx); err != nil && !refusesNew(err) {
		return nil, err
	}
	return s.whole(), nil
}

// store is the atmost.Store that Open returns, but for what not every store has.
type store struct {
	atmost.Store
	results *Ring
	names   *Names

	agreeing sync.Mutex
	agreed   atomic.Bool // that inner's keys are stored as names says
}

// whole is s with what inner has beyond a Store. Who has digests cannot be told by others whose key it was that they settled, so
// those who wait have to ask, as if the store were shared.
func (s *store) whole() atmost.Store {
	w, watched := s.Store.(atmost.Watcher)
	keyed, hasSecret := s.Store.(atmost.Keyed)
	watcher := watching{s, w}
	switch watched = watched || s.names != nil; {
	case watched && hasSecret:
		return struct {
			*store
			watching
			atmost.Keyed
		}{s, watcher, keyed}
	case watched:
		return struct {
			*store
			watching
		}{s, watcher}
	case hasSecret:
		return struct {
			*store
			atmost.Keyed
		}{s, keyed}
	}
	return s
}

// keys are those in force, nil if there are none.
func (s *store) keys() *Keys {
	if s.results == nil {
		return nil
	}
	return s.results.keys.Load()
}

// Apply is described at atmost.Store. A result that cannot be opened is an error of the store, so the caller gets none of it: no
// answer is ever made of what was not understood.
func (s *store) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	if s.names != nil && probes(event) {
		return atmost.Step{}, errProbe
	}
	return s.apply(ctx, id, event)
}

func (s *store) apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	stored, err := s.names.addressed(id, event)
	if _, claim := event.(*atmost.Claim); claim && err == nil {
		err = s.mayClaim(ctx, stored)
	}
	if err != nil {
		return atmost.Step{Record: atmost.Record{ID: id}}, err
	}
	sent, plain, sealed := s.sent(stored, event)
	step, err := s.Store.Apply(ctx, stored, sent)
	var bad error
	if len(sealed) > 0 && bytes.Equal(step.Record.Result, sealed) {
		step.Record.Result = plain
	} else {
		bad = s.openIn(&step.Record)
	}
	step.Record.ID = id
	if step.Audit != nil {
		entry := *step.Audit
		entry.ID = id
		step.Audit = &entry
	}
	if bad != nil {
		return unopened(step, event, err, bad)
	}
	if finish, ok := event.(*atmost.Finish); ok && atmost.CodeOf(err) == atmost.CodeAlreadyFinished {
		return again(step, finish, err)
	}
	return step, err
}

// sent is event as inner gets it, and the result in it, as it was and as it is stored.
func (s *store) sent(stored atmost.ID, event atmost.Event) (sent atmost.Event, plain, sealed []byte) {
	keys := s.keys()
	if keys == nil && s.names == nil {
		return event, nil, nil
	}
	seal := func(o *atmost.Outcome, attempt []byte) {
		if plain = o.Result; keys != nil && len(plain) > 0 {
			o.Result = keys.first.seal(ownerOf(stored, o.State, attempt), plain)
		}
		sealed = o.Result
	}
	switch e := event.(type) {
	case *atmost.Finish:
		finish := *e
		seal(&finish.Outcome, e.Token[:])
		if e.Claimed != nil {
			claimed := *e.Claimed
			claimed.ID, finish.Claimed = stored, &claimed
		}
		return &finish, plain, sealed
	case *atmost.Resolve:
		resolve := *e
		seal(&resolve.Outcome, byNumber(e.Attempt))
		return &resolve, plain, sealed
	}
	return event, nil, nil
}

// openIn opens the result of a record as it is stored. If it cannot, there is none in the record any more.
func (s *store) openIn(r *atmost.Record) error {
	if !isSealed(r.Result) {
		return nil
	}
	opened, err := s.keys().open(ownerIn(*r), r.Result)
	r.Result = opened
	return err
}

// unopened is the answer to event when the record's result could not be opened, because of bad. A refusal stands all the same, as
// the rules look at no result but where a report is repeated. What a refused report leaves behind is told without the record, by
// which those who wait for it would be answered.
func unopened(step atmost.Step, event atmost.Event, err, bad error) (atmost.Step, error) {
	code := atmost.CodeOf(err)
	_, report := event.(*atmost.Finish)
	switch {
	case err == nil && step.Changed: // not by any rule that there is
		return atmost.Step{}, fmt.Errorf("%w: %w", atmost.ErrAmbiguous, bad)
	case err == nil, report && code == atmost.CodeAlreadyFinished:
		return atmost.Step{}, bad
	case report:
		step.Record = atmost.Record{ID: step.Record.ID}
	}
	return step, err
}

// again judges a report that another one seems to have been made before: sealed with different keys, or one of them not at all,
// equal results are not the same bytes.
func again(step atmost.Step, event *atmost.Finish, refusal error) (atmost.Step, error) {
	// The record is final, and was aged: with no Expiry it stays as it is.
	judged, err := atmost.Transition(step.Record, event, atmost.Instant{Now: step.Now})
	if err != nil || judged.Changed {
		return step, refusal
	}
	return judged, nil
}

// Lookup is described at atmost.Store. A digest is a key like others here, which nothing is stored under, but by ByDigest.
func (s *store) Lookup(ctx context.Context, id atmost.ID) (atmost.Record, error) {
	stored := s.names.stored(id)
	if ctx.Value(byDigest{}) != nil {
		stored = s.names.looked(id)
	}
	r, err := s.Store.Lookup(ctx, stored)
	if err != nil {
		r.ID = id
		return r, err
	}
	if err := s.openIn(&r); err != nil {
		return atmost.Record{}, err
	}
	if r.ID == id && s.names != nil {
		r.Paths = nil // are of the key, and mean nothing to who has its digest
	}
	r.ID = id
	return r, nil
}

// List is described at atmost.Store. Where digests are stored, those are the keys of the records, and their order is by digest.
func (s *store) List(ctx context.Context, q atmost.Query) (atmost.Page, error) {
	q, err := s.names.asked(q)
	if err != nil {
		return atmost.Page{}, err
	}
	page, err := s.Store.List(ctx, q)
	kept := page.Records[:0]
	for _, r := range page.Records {
		if r.ID != marker {
			kept = append(kept, r)
		}
	}
	page.Records = kept
	return page, err
}

// Guarded is described at atmost.Guard: a store that is none is not guarded.
func (s *store) Guarded() bool {
	g, ok := s.Store.(atmost.Guard)
	return ok && g.Guarded()
}

// Admit is described at atmost.Guard.
func (s *store) Admit(ctx context.Context, scope string, by atmost.Actor) (*atmost.AuditEntry, error) {
	if g, ok := s.Store.(atmost.Guard); ok {
		return g.Admit(ctx, scope, by)
	}
	return nil, nil
}

// AdmitAll is described at atmost.Guard.
func (s *store) AdmitAll(ctx context.Context, by atmost.Actor) (*atmost.AuditEntry, error) {
	if g, ok := s.Store.(atmost.Guard); ok {
		return g.AdmitAll(ctx, by)
	}
	return nil, nil
}

// watching is the Watcher of a store; inner is nil if that is none.
type watching struct {
	store *store
	inner atmost.Watcher
}

// Settled is described at atmost.Watcher. Records whose result cannot be opened are left out, and are the error.
func (w watching) Settled(ctx context.Context, ids []atmost.ID) ([]atmost.Record, error) {
	given := make(map[atmost.ID]atmost.ID, len(ids))
	for _, id := range ids {
		given[w.store.names.stored(id)] = id
	}
	records, err := w.settled(ctx, slices.Collect(maps.Keys(given)))
	failures := []error{err}
	opened := make([]atmost.Record, 0, len(records))
	for _, r := range records {
		if err := w.store.openIn(&r); err != nil {
			failures = append(failures, err)
			continue
		}
		r.ID = given[r.ID]
		opened = append(opened, r)
	}
	return opened, errors.Join(failures...)
}

func (w watching) settled(ctx context.Context, ids []atmost.ID) ([]atmost.Record, error) {
	if w.inner != nil {
		return w.inner.Settled(ctx, ids)
	}
	var records []atmost.Record
	for _, id := range ids {
		r, err := w.store.Store.Lookup(ctx, id)
		if err != nil {
			return records, err
		}
		if r.State != atmost.Absent && r.State != atmost.Processing {
			records = append(records, r)
		}
	}
	return records, nil
}
