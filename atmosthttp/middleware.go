package atmosthttp

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/atmost-dev/atmost"
)

// Options configures the middleware. Zero values mean the defaults named.
type Options struct {
	// Operation is the name under which the claimer knows what the handler does. Its configuration says how long keys and results
	// are kept, and what becomes of the unknown. The claimer must let clients claim it. Default DefaultOperation.
	Operation string
	// Methods are those whose requests run at most once, if they have a key. All others, GET and HEAD among them, pass untouched.
	// Default POST and PATCH.
	Methods []string
	// RequireKey refuses requests of these methods that have no key, with 400. Otherwise they pass untouched.
	RequireKey bool
	// Timeout ends the handler's context. Default atmost.DefaultTimeout.
	Timeout time.Duration
	// MaxBody bounds the body of a request with a key, in bytes, as it is held in memory. Default DefaultMaxBody.
	MaxBody int64
	// MaxResult bounds the body of a response that is kept, in bytes. A larger one reaches the first caller whole; later ones are
	// answered RESULT_NOT_KEPT, and nothing runs again. Default DefaultMaxResult.
	MaxResult int64
	// Headers are replayed beside the standard ones; see NewReplayed.
	Headers []string
	// NotExecutedStatus lists statuses by which the handler says that nothing happened: the next request with the key runs it again.
	NotExecutedStatus []int
	// FinalStatus lists statuses that are final errors and would otherwise leave the outcome unknown.
	FinalStatus []int
	// OnError, if not nil, is told why a request could not be answered as it should, or its outcome not be stored. RequestID says which
	// request that was.
	OnError func(*http.Request, error)
}

// Defaults of Options.
const (
	DefaultOperation = "http"
	DefaultMaxBody   = 1 << 20
	DefaultMaxResult = 1 << 20
)

// New returns middleware that runs the handler it is given at most once for each key. The scope has to be chosen; see Scope and
// NoScope. An error says what is wrong with o.
//
// The handler runs to its end, or to the end of its context, whether the client is still there or not. Its context ends after
// Timeout, or when the lease is lost; whatever it then answers counts, so a handler that had no effect by then had better say so by a
// status of NotExecutedStatus. After a panic the outcome is unknown.
func New(c atmost.Claimer, scope Scope, o Options) (func(http.Handler) http.Handler, error) {
	if c == nil {
		return nil, errors.New("atmosthttp: there is nobody to hold the keys")
	}
	if scope == nil {
		return nil, errors.New("atmosthttp: there is no Scope; it tells whose keys a request's are, and if that makes no difference it is NoScope")
	}
	o.Operation = cmp.Or(o.Operation, DefaultOperation)
	o.Timeout = cmp.Or(o.Timeout, atmost.DefaultTimeout)
	o.MaxBody = cmp.Or(o.MaxBody, DefaultMaxBody)
	o.MaxResult = cmp.Or(o.MaxResult, DefaultMaxResult)
	if o.Timeout < 0 || o.MaxBody < 0 || o.MaxResult < 0 {
		return nil, errors.New("atmosthttp: an option is negative")
	}
	methods, err := Methods(o.Methods)
	if err != nil {
		return nil, fmt.Errorf("atmosthttp: %w", err)
	}
	m := middleware{claimer: c, options: o, methods: methods, rules: Rules{Scope: scope, RequireKey: o.RequireKey, MaxBody: o.MaxBody}}
	if m.replayed, err = NewReplayed(o.Headers...); err != nil {
		return nil, fmt.Errorf("atmosthttp: %w", err)
	}
	if m.statuses, err = atmost.NewStatuses(o.NotExecutedStatus, o.FinalStatus); err != nil {
		return nil, fmt.Errorf("atmosthttp: %w", err)
	}
	return func(next http.Handler) http.Handler {
		wrapped := m
		wrapped.next = next
		return &wrapped
	}, nil
}

// Methods checks which methods may run at most once: those that change something. None means POST and PATCH.
func Methods(methods []string) ([]string, error) {
	if len(methods) == 0 {
		return []string{http.MethodPost, http.MethodPatch}, nil
	}
	for _, method := range methods {
		switch method {
		case http.MethodPost, http.MethodPatch, http.MethodPut, http.MethodDelete:
		default:
			return nil, fmt.Errorf("methods: %q is none of POST, PATCH, PUT and DELETE", method)
		}
	}
	return slices.Clone(methods), nil
}

// Listed reports whether method is one of methods. It is an error if only its case differs: what comes next may not know that methods are
// case-sensitive, and would run it without a key.
func Listed(methods []string, method string) (bool, error) {
	for _, m := range methods {
		if strings.EqualFold(m, method) {
			if m == method {
				return true, nil
			}
			return false, &atmost.Error{Code: atmost.CodeInvalidRequest, Message: "methods are case-sensitive; write " + m}
		}
	}
	return false, nil
}

type middleware struct {
	claimer  atmost.Claimer
	options  Options
	methods  []string
	rules    Rules
	replayed Replayed
	statuses atmost.Statuses
	next     http.Handler
}

func (m *middleware) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k, keyed, err := m.keyed(w, r)
	if keyed || err != nil {
		r = Identify(w, r)
	}
	switch {
	case err != nil:
		m.log(r, err)
		Refuse(w, err)
		return
	case !keyed:
		m.next.ServeHTTP(w, r)
		return
	case k.runs(r.Context()): // this is inside of another middleware
		m.next.ServeHTTP(w, withBody(r.WithContext(r.Context()), k.Body))
		return
	}
	c, err := m.claim(r.Context(), k)
	if !c.Won {
		m.log(r, err)
		Answer(w, c.Answer, err)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), m.options.Timeout)
	defer cancel()
	held := atmost.Hold(ctx, m.claimer, c.call, c.Lease, c.sent)
	m.perform(w, r, k, report{middleware: m, request: r, held: held, attempt: c.Lease.Attempt})
}

// keyed reads a request that may run at most once.
func (m *middleware) keyed(w http.ResponseWriter, r *http.Request) (Keyed, bool, error) {
	if listed, err := Listed(m.methods, r.Method); !listed {
		return Keyed{}, false, err
	}
	return m.rules.Read(w, r)
}

// running is in the context of a handler that runs under a key: which it is, and what it stands for.
type running struct {
	id      atmost.ID
	payload string
}

type runningKey struct{}

// runs reports whether ctx is that of a handler which runs for this very request already.
func (k Keyed) runs(ctx context.Context) bool {
	return ctx.Value(runningKey{}) == running{k.ID, string(k.Payload)}
}

// perform runs the handler under a lease.
func (m *middleware) perform(w http.ResponseWriter, r *http.Request, k Keyed, rep report) {
	held := rep.held
	if held.Context().Err() != nil {
		record, err := rep.failed(tooLate)
		if err == nil {
			err = record.Err()
		}
		Answer(w, atmost.Answer{Record: record}, err)
		return
	}
	before := w.Header().Clone()
	rec := &recorder{to: w, limit: m.options.MaxResult, replayed: m.replayed}
	returned := false
	defer func() {
		if !returned { // the handler panicked, and goes on doing so
			_, _ = rep.failed(panicked)
		}
	}()
	ctx := context.WithValue(held.Context(), runningKey{}, running{k.ID, string(k.Payload)})
	r = withBody(r.WithContext(ctx), k.Body)
	r.Header = r.Header.Clone()
	r.Header.Del("Accept-Encoding") // the answer is replayed to clients that may accept less
	m.next.ServeHTTP(rec, r)
	returned = true

	record, own, err := rep.ended(rec)
	switch {
	case rec.passing && (!own || rec.broken()):
		panic(http.ErrAbortHandler) // what the client has is not to look like all of an answer
	case err != nil:
		refuse(rec.discard(before), atmost.Record{}, err)
	case !own:
		Answer(rec.discard(before), atmost.Answer{Record: record}, record.Err())
	case !rec.passing:
		Own(rec.sent, record)
		rec.give()
	}
}

// withBody gives r, which is a copy, a body that was read.
func withBody(r *http.Request, body []byte) *http.Request {
	r.Body = http.NoBody
	if len(body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	r.ContentLength, r.TransferEncoding = int64(len(body)), nil
	return r
}

func (m *middleware) log(r *http.Request, err error) {
	var e *atmost.Error
	if m.options.OnError != nil && err != nil && (!errors.As(err, &e) || e.Err != nil) {
		m.options.OnError(r, err)
	}
}
