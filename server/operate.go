package server

// The admin API: what operators see, and settle. Every handler answers with a body of package wire, or with an error.

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

type admin struct {
	api
	log            *slog.Logger
	version, store string
	makeBackup     func(context.Context, atmost.Actor) (string, error)
}

// answers is a handler that says what is to be answered, instead of writing it.
type answers func(w http.ResponseWriter, r *http.Request) (body any, err error)

func (f answers) serve(w http.ResponseWriter, r *http.Request) {
	body, err := f(w, r)
	switch record, ok := body.(wire.AdminRecord); {
	case err != nil:
		writeRefusal(w, err)
	case ok:
		writeJSON(w, http.StatusOK, wire.AppendAdminRecord(nil, record))
	default:
		writeJSON(w, http.StatusOK, wire.AppendAdmin(nil, body))
	}
}

// routes adds the admin API to handlers.
func (a *admin) routes(handlers map[string]http.HandlerFunc) {
	for pattern, f := range map[string]answers{
		"GET /admin/v1/overview":           a.overview,
		"GET /admin/v1/keys":               a.keys,
		"GET /admin/v1/keys/{id}":          a.key,
		"POST /admin/v1/keys/{id}/resolve": a.resolve,
		"POST /admin/v1/keys/{id}/erase":   a.erase,
		"POST /admin/v1/keys/{id}/forget":  a.forget,
		"POST /admin/v1/keys/{id}/compare": a.compare,
		"POST /admin/v1/bulk":              a.bulk,
		"POST /admin/v1/admit":             a.admit,
		"POST /admin/v1/backup":            a.backup,
		"GET /admin/v1/audit":              a.audit,
	} {
		handlers[pattern] = f.serve
	}
	handlers["GET /admin/v1/openapi.yaml"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		write(w, http.StatusOK, AdminOpenAPI)
	}
}

func (a *admin) overview(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := onlyParameters(r); err != nil {
		return nil, err
	}
	doubts := a.engine.Doubts()
	o := wire.AdminOverview{
		Version: a.version, Store: a.store, Guarded: a.engine.Guarded(),
		Unknown: doubts.Count, OldestUnknown: doubts.Oldest.Seconds(), Operations: []wire.AdminOperation{},
	}
	o.Pending, o.Unstored = a.engine.Pending()
	operations := a.engine.Operations()
	for _, name := range slices.Sorted(maps.Keys(operations)) {
		op := operations[name]
		shown := wire.AdminOperation{Name: name, ExecutedBy: atmost.ByClient.String(), OnUnknown: op.OnUnknown.String()}
		if op.Executor != nil {
			shown.ExecutedBy, shown.Timeout = atmost.ByService.String(), op.Timeout.String()
		}
		o.Operations = append(o.Operations, shown)
	}
	return o, nil
}

func (a *admin) keys(_ http.ResponseWriter, r *http.Request) (any, error) {
	q, err := listQuery(r)
	if err != nil {
		return nil, err
	}
	page, err := a.engine.List(r.Context(), q)
	if err != nil {
		return nil, err
	}
	keys := wire.AdminKeys{Keys: make([]wire.AdminKey, len(page.Records))}
	for i, record := range page.Records {
		keys.Keys[i] = keyOf(record)
	}
	if page.More {
		keys.NextCursor = wire.AdminID(page.Next)
	}
	return keys, nil
}

func (a *admin) key(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := wire.ParseAdminID(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	withResult, err := recordParameters(r)
	if err != nil {
		return nil, err
	}
	record, err := a.engine.Status(r.Context(), id, 0)
	if err != nil {
		return nil, err
	}
	shown := a.recordOf(record)
	if withResult && record.NotKept == atmost.Kept {
		shown.Result = record.Result
	}
	return shown, nil
}

func (a *admin) resolve(w http.ResponseWriter, r *http.Request) (any, error) {
	id, change, err := change(a, w, r, wire.ParseAdminResolve)
	if err != nil {
		return nil, err
	}
	outcome, err := outcomeOf(change.Outcome, change.Result, change.Error)
	if err != nil {
		return nil, err
	}
	by := atmost.Actor{Name: change.Actor, Reason: change.Reason}
	record, err := a.engine.Resolve(r.Context(), id, atmost.Resolve{Attempt: change.ExpectedAttempt, Outcome: outcome, By: &by})
	if err != nil {
		return nil, err
	}
	return a.recordOf(record), nil
}

func (a *admin) erase(w http.ResponseWriter, r *http.Request) (any, error) {
	id, change, err := change(a, w, r, wire.ParseAdminChange)
	if err != nil {
		return nil, err
	}
	by := atmost.Actor{Name: change.Actor, Reason: change.Reason}
	record, err := a.engine.Erase(r.Context(), id, atmost.Erase{Attempt: change.ExpectedAttempt, By: by})
	if err != nil {
		return nil, err
	}
	return a.recordOf(record), nil
}

func (a *admin) forget(w http.ResponseWriter, r *http.Request) (any, error) {
	id, change, err := change(a, w, r, wire.ParseAdminChange)
	if err != nil {
		return nil, err
	}
	by := atmost.Actor{Name: change.Actor, Reason: change.Reason}
	record, err := a.engine.Forget(r.Context(), id, atmost.Forget{Attempt: change.ExpectedAttempt, By: by})
	if err != nil {
		return nil, err
	}
	return wire.AdminForgotten{State: record.State.String()}, nil
}

func (a *admin) compare(w http.ResponseWriter, r *http.Request) (any, error) {
	id, asked, err := change(a, w, r, wire.ParseAdminCompare)
	if err != nil {
		return nil, err
	}
	c, err := a.engine.Compare(r.Context(), id, asked.Operation, asked.Payload)
	if err != nil {
		return nil, err
	}
	return wire.AdminCompared{Same: c.Same, SameOperation: c.SameOperation, Differs: c.Differs}, nil
}

func (a *admin) admit(w http.ResponseWriter, r *http.Request) (any, error) {
	admit, err := posted(a, w, r, wire.ParseAdminAdmit)
	switch {
	case err != nil:
		return nil, err
	case admit.All == (len(admit.Scopes) > 0):
		return nil, invalid("say what to admit: scopes, one or more, or all")
	case len(admit.Scopes) > maxScopes:
		return nil, invalid("there are more than " + strconv.Itoa(maxScopes) + " scopes; send several requests")
	}
	by := atmost.Actor{Name: admit.Actor, Reason: admit.Reason}
	if err := a.engine.Admit(r.Context(), admit.Scopes, by); err != nil {
		return nil, err
	}
	return wire.AdminGuarded{Guarded: a.engine.Guarded()}, nil
}

func (a *admin) backup(w http.ResponseWriter, r *http.Request) (any, error) {
	asked, err := posted(a, w, r, wire.ParseAdminBackup)
	if err != nil {
		return nil, err
	}
	by := atmost.Actor{Name: asked.Actor, Reason: asked.Reason}
	if err := by.Validate(); err != nil {
		return nil, err
	}
	if a.makeBackup == nil {
		return nil, invalid("the service has nowhere to make a backup: see its setting pebble.backups; a database is backed up by its own means")
	}
	dir, err := a.makeBackup(context.WithoutCancel(r.Context()), by) // half a backup is of no use
	if err != nil {
		return nil, err
	}
	a.log.Info("a person had a backup made", "directory", dir, "actor", by.Name, "reason", by.Reason)
	return wire.AdminBackedUp{Directory: dir}, nil
}

// maxScopes bounds how many scopes one request admits, as each is written by itself.
const maxScopes = 1000

func (a *admin) audit(_ http.ResponseWriter, r *http.Request) (any, error) {
	before, limit, err := auditParameters(r)
	if err != nil {
		return nil, err
	}
	entries, err := a.engine.Audit(r.Context(), before, limit)
	if err != nil {
		return nil, err
	}
	trail := wire.AdminAudit{Entries: make([]wire.AdminAuditEntry, len(entries))}
	for i, e := range entries {
		trail.Entries[i] = entryOf(e)
	}
	if len(entries) == limit {
		trail.NextCursor = strconv.FormatUint(entries[limit-1].Number, 10)
	}
	return trail, nil
}

// change reads a request that is about one record: whose it is, and the body by parse.
func change[T any](a *admin, w http.ResponseWriter, r *http.Request, parse func([]byte) (T, error)) (id atmost.ID, body T, err error) {
	if id, err = wire.ParseAdminID(r.PathValue("id")); err != nil {
		return id, body, err
	}
	body, err = posted(a, w, r, parse)
	return id, body, err
}

// posted reads a request that has a body by parse.
func posted[T any](a *admin, w http.ResponseWriter, r *http.Request, parse func([]byte) (T, error)) (body T, err error) {
	if err := cmp.Or(onlyParameters(r), requireJSON(r.Header)); err != nil {
		return body, err
	}
	b, err := a.body(w, r)
	if err != nil {
		return body, err
	}
	return parse(b)
}

// outcomeOf is how an attempt ended, as a person says.
func outcomeOf(word string, result []byte, failure *wire.AdminError) (o atmost.Outcome, err error) {
	switch word {
	case atmost.Completed.String():
		o = atmost.Outcome{State: atmost.Completed, Result: result}
	case atmost.Failed.String():
		o = atmost.Outcome{State: atmost.Failed}
		if failure != nil {
			o, err = atmost.Failure{Code: failure.Code, Message: failure.Message, Executed: atmost.ExecutedYes}.Outcome()
		}
	case atmost.NotExecuted.String():
		o = atmost.Outcome{State: atmost.NotExecuted}
	default:
		return o, invalid("the outcome is not completed, failed or not_executed")
	}
	switch {
	case err != nil:
		return o, err
	case result != nil && o.State != atmost.Completed:
		return o, invalid("there is a result, and the outcome is not completed")
	case failure != nil && o.State != atmost.Failed:
		return o, invalid("there is an error, and the outcome is not failed")
	}
	return o, nil
}

func invalid(message string) error {
	return &atmost.Error{Code: atmost.CodeInvalidRequest, Message: message}
}
