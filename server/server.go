// Package server makes an Engine reachable over HTTP: the public API, and what operators and orchestrators ask.
package server

import (
	_ "embed"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// OpenAPI is the OpenAPI 3.1 document of the public API.
//
//go:embed openapi.yaml
var OpenAPI []byte

// DefaultMaxBody is the default limit of a request's body, in bytes.
const DefaultMaxBody = 1 << 20

// answerTimeout bounds how long a client may take to read an answer.
const answerTimeout = 30 * time.Second

// Options configures the public API. Zero values mean the defaults named.
type Options struct {
	// MaxBody bounds a request's body, in bytes. Default DefaultMaxBody.
	MaxBody int64
	// Log is told the causes of unexpected errors. Default: nobody is.
	Log *slog.Logger
}

// New returns the handler of the public API over engine. Its http.Server is expected to bound the time that headers and
// bodies take to arrive (ReadTimeout), which does not bound how long a request then waits for its answer; answers are bounded here.
func New(engine *atmost.Engine, o Options) http.Handler {
	if o.MaxBody <= 0 {
		o.MaxBody = DefaultMaxBody
	}
	a := &api{engine: engine, maxBody: o.MaxBody}
	return routes(o.Log, map[string]http.HandlerFunc{
		"POST /v1/idempotency/execute":  a.execute,
		"GET /v1/idempotency/status":    a.status,
		"POST /v1/idempotency/claim":    a.claim,
		"POST /v1/idempotency/renew":    a.renew,
		"POST /v1/idempotency/complete": a.complete,
		"POST /v1/idempotency/fail":     a.fail,
		"GET /openapi.yaml": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/yaml")
			write(w, http.StatusOK, OpenAPI)
		},
	})
}

// routes serves handlers by method and path, and everything else with an error of the API's shape. What answers GET answers
// HEAD. Every answer has a request id, and is not to be stored by caches.
func routes(log *slog.Logger, handlers map[string]http.HandlerFunc) http.Handler {
	return dress(log, dispatch(handlers))
}

// dispatch has the handlers called by method and path.
func dispatch(handlers map[string]http.HandlerFunc) http.Handler {
	paths := map[string]methods{}
	for pattern, h := range handlers {
		method, path, _ := strings.Cut(pattern, " ")
		if paths[path] == nil {
			paths[path] = methods{}
		}
		paths[path][method] = h
	}
	mux := http.NewServeMux()
	for path, m := range paths {
		mux.Handle(path, m) // a ServeMux of patterns with methods would word 405 itself
	}
	mux.HandleFunc("/", notFound)
	return mux
}

// dress gives h's answers what all have in common, and makes answers of its panics.
func dress(log *slog.Logger, h http.Handler) http.Handler {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l := &logged{ResponseWriter: w, log: log, request: r, id: wire.NewRequestID()}
		l.begin()
		defer l.recover()
		if path := r.URL.Path; !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.Contains(path, "/.") {
			notFound(l, r) // where a ServeMux would redirect
			return
		}
		h.ServeHTTP(l, r)
	})
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	writeError(w, &atmost.Error{Code: atmost.CodeNotFound, Message: "there is nothing at this path"})
}

// methods are the handlers of one path.
type methods map[string]http.HandlerFunc

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := m[r.Method]
	if h == nil && r.Method == http.MethodHead {
		h = m[http.MethodGet]
	}
	if h != nil {
		h(w, r)
		return
	}
	allow := slices.Collect(maps.Keys(m))
	if m[http.MethodGet] != nil {
		allow = append(allow, http.MethodHead)
	}
	slices.Sort(allow)
	known := strings.Join(allow, ", ")
	w.Header().Set("Allow", known)
	writeError(w, &atmost.Error{Code: atmost.CodeMethodNotAllowed, Message: "the methods of this path are: " + known})
}

const internal = "an unexpected error; it was logged with the id that the header Request-Id names"

var (
	noStore  = []string{"no-store"}
	jsonType = []string{"application/json"}
)

// logged lets writeError log the cause of an error beside the request it belongs to.
type logged struct {
	http.ResponseWriter
	log     *slog.Logger
	request *http.Request
	id      string
	begun   bool // some of the answer may have left
}

// Unwrap is for http.ResponseController.
func (l *logged) Unwrap() http.ResponseWriter { return l.ResponseWriter }

func (l *logged) WriteHeader(status int) {
	l.begun = true
	l.ResponseWriter.WriteHeader(status)
}

func (l *logged) Write(b []byte) (int, error) {
	l.begun = true
	return l.ResponseWriter.Write(b)
}

// begin sets the headers that every answer has.
func (l *logged) begin() {
	h := l.Header()
	h["Cache-Control"] = noStore
	h[wire.HeaderRequestID] = []string{l.id}
}

// recover makes an answer of a panic. One that had begun is broken off, so that nobody takes it for whole.
func (l *logged) recover() {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	l.log.Error("a request panicked", "request_id", l.id, "method", l.request.Method, "pattern", l.request.Pattern, "panic", p, "stack", string(debug.Stack()))
	if l.begun {
		panic(http.ErrAbortHandler)
	}
	clear(l.Header())
	l.begin()
	writeError(l, &atmost.Error{Code: atmost.CodeInternal, Message: internal})
}

type api struct {
	engine  *atmost.Engine
	maxBody int64
}

func (a *api) execute(w http.ResponseWriter, r *http.Request) {
	id, body, err := a.request(w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	call := atmost.Call{ID: id, Trace: wire.Trace(r.Header)}
	if call.Operation, call.Payload, err = wire.ParseExecute(body); err != nil {
		writeError(w, err)
		return
	}
	prefer(w, r, &call)
	answer, err := a.engine.Execute(r.Context(), call)
	writeAnswer(w, answer, err)
}

// prefer takes how long the request wants to wait, and says so in the answer.
func prefer(w http.ResponseWriter, r *http.Request, call *atmost.Call) {
	var applied string
	if call.Wait, call.WaitSet, applied = wire.Prefer(r.Header); applied != "" {
		w.Header().Set(wire.HeaderPreferenceApplied, applied)
	}
}

// writeAnswer answers with what is known of the operation.
func writeAnswer(w http.ResponseWriter, answer atmost.Answer, err error) {
	wire.Tell(w.Header(), answer.Record, err, answer.Replayed)
	switch {
	case err != nil:
		writeErrorOf(w, err, answer.Record)
	case answer.Record.State == atmost.Processing:
		writeJSON(w, http.StatusAccepted, []byte(wire.Processing))
	default:
		writeJSON(w, http.StatusOK, wire.AppendCompleted(nil, answer.Record.Result))
	}
}

// request reads what every call with a body has: the headers that name its key, and the body.
func (a *api) request(w http.ResponseWriter, r *http.Request) (atmost.ID, []byte, error) {
	id, err := wire.ID(r.Header)
	if err != nil {
		return id, nil, err
	}
	if err := requireJSON(r.Header); err != nil {
		return id, nil, err
	}
	body, err := a.body(w, r)
	return id, body, err
}

// requireJSON refuses every media type but application/json, with whatever parameters.
func requireJSON(h http.Header) error {
	values := h["Content-Type"]
	if len(values) == 1 {
		if values[0] == "application/json" {
			return nil
		}
		if media, _, err := mime.ParseMediaType(values[0]); err == nil && media == "application/json" {
			return nil
		}
	}
	return &atmost.Error{Code: atmost.CodeUnsupportedMediaType, Message: "the request's Content-Type is not application/json"}
}

// body reads the request's body, up to the limit.
func (a *api) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	return wire.Body(w, r, a.maxBody, "the request's body is over the limit of "+strconv.FormatInt(a.maxBody, 10)+" bytes")
}
