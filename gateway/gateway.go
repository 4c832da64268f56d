// Package gateway is a reverse proxy that makes any HTTP API at-most-once by the Idempotency-Key header.
//
// Requests with a key, of methods that change something, are executed by an engine: their answer is stored and replayed. Everything
// else passes through untouched. The rules of the draft, what is kept of an answer and how it is replayed are those of package
// atmosthttp; the call of the upstream, and what its answer means, are those of package upstream.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
	"github.com/atmost-dev/atmost/upstream"
	"github.com/atmost-dev/atmost/wire"
)

// NoScope stands for a ScopeHeader where callers may share their keys.
const NoScope = "none"

// Config describes a Gateway.
type Config struct {
	// Upstream is the API's URL. The path of each request is added to its own.
	Upstream string
	// ScopeHeader tells whose keys a request's are. It is one that whatever authenticates callers sets, and never lets callers set,
	// or NoScope. A request with a key that does not have it is refused.
	ScopeHeader string
	// Transport sends whatever is not safe to send twice.
	Transport *upstream.Transport
	// MaxBody bounds the body of a request with a key. Default atmosthttp.DefaultMaxBody.
	MaxBody int64
	// ReadTimeout bounds how long that body may take to arrive. 0: it may take for ever.
	ReadTimeout time.Duration
	// Route is what counts where none of Routes does; its Path is not used. Of those the first that matches counts.
	Route  Route
	Routes []Route
	// OnError, if not nil, is told why a request could not be answered as it should: it is no *atmost.Error where the upstream gave no
	// answer to what passes through. It is for logs: the text may name hosts. atmosthttp.RequestID says which request that was.
	OnError func(*http.Request, error)
}

// Route is how requests to a part of the API are dealt with.
type Route struct {
	// Path is one that matches itself, and all below it.
	Path string
	// Methods are those whose requests are executed at most once, if they have a key. Default POST and PATCH.
	Methods []string
	// RequireKey refuses requests of these methods without one.
	RequireKey bool
	// Operation is how the engine executes them. New sets its Executor and Prober.
	Operation atmost.Operation
	// Upstream says what answers mean and how to probe. New sets its URL and Transport. No status means by default that nothing happened;
	// what command atmost does by default, 401, 403 and 429, is its own.
	Upstream upstream.Config
}

// Gateway is made before the engine that it needs: that is given the gateway's Operations.
type Gateway struct {
	target      *url.URL
	scopeHeader string
	maxBody     int64
	read        time.Duration
	fallback    *route
	routes      []*route
	proxy       *httputil.ReverseProxy
	plain       *http.Transport
	onError     func(*http.Request, error)
}

// operationName is the name of the operation of what no route matches; those of routes have their path after a colon.
const operationName = "gateway"

// New makes a Gateway. An error says what is wrong with c.
func New(c Config) (*Gateway, error) {
	if c.ScopeHeader == "" {
		return nil, errors.New("scope_header: is empty; name the header that tells whose keys a request's are, or write none")
	}
	target, err := url.Parse(c.Upstream)
	if err != nil {
		return nil, errors.New("upstream: it is not a URL") // the error would repeat it, and it may hold secrets
	}
	if target.RawQuery != "" {
		return nil, errors.New("upstream: it has a query; those of requests are passed on")
	}
	g := &Gateway{
		target: target, scopeHeader: http.CanonicalHeaderKey(c.ScopeHeader), maxBody: cmp.Or(c.MaxBody, atmosthttp.DefaultMaxBody), read: c.ReadTimeout,
		onError: c.OnError,
	}
	if g.onError == nil {
		g.onError = func(*http.Request, error) {}
	}
	if g.fallback, err = g.newRoute(operationName, c.Route, c); err != nil {
		return nil, err
	}
	g.fallback.operation.Family = true // for keys of routes that are gone
	for _, r := range c.Routes {
		made, err := g.newRoute(operationName+":"+r.Path, r, c)
		switch {
		case err != nil:
			return nil, fmt.Errorf("route %s: %w", r.Path, err)
		case !strings.HasPrefix(r.Path, "/") || cleaned(r.Path) != r.Path:
			return nil, fmt.Errorf("route %s: path: write it from the first / on, and without a / at its end, // or dots for directories", r.Path)
		case slices.ContainsFunc(g.routes, func(earlier *route) bool { return below(earlier.path, r.Path) }):
			return nil, fmt.Errorf("route %s: path: an earlier route matches all of it; put this one first", r.Path)
		}
		g.routes = append(g.routes, made)
	}
	g.passThrough(c)
	return g, nil
}

// Operations are what the engine of the handler must have, beside others.
func (g *Gateway) Operations() map[string]atmost.Operation {
	all := map[string]atmost.Operation{g.fallback.name: g.fallback.operation}
	for _, r := range g.routes {
		all[r.name] = r.operation
	}
	return all
}

// Close closes the connections that no request uses.
func (g *Gateway) Close() { g.plain.CloseIdleConnections() }

// Handler returns the proxy. Its http.Server is expected to bound the time that headers take to arrive; there is no bound for what
// passes through.
func (g *Gateway) Handler(e *atmost.Engine) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(e, w, r) })
}

func (g *Gateway) serve(e *atmost.Engine, w http.ResponseWriter, r *http.Request) {
	route := g.routeOf(r.URL.Path)
	k, keyed, err := g.readKeyed(w, r, route)
	if keyed || err != nil {
		r = atmosthttp.Identify(w, r)
	}
	switch {
	case err != nil:
		g.log(r, err)
		atmosthttp.Refuse(w, err)
		return
	case !keyed:
		g.proxy.ServeHTTP(w, r)
		return
	}
	x := &exchange{request: g.outbound(r), body: k.Body}
	a, err := execute(r.Context(), e, atmost.Call{
		ID: k.ID, Operation: route.name, Payload: k.Payload, Document: k.Body, Trace: wire.Trace(r.Header), Request: x,
	})
	g.log(r, err)
	own := x.take()
	if own == nil {
		atmosthttp.Answer(w, a, err)
		return
	}
	defer own.close()
	if !atmosthttp.Tells(a.Record, own.attempt, own.outcome) { // it is not durable yet, or will not be what later callers get
		atmosthttp.Answer(w, a, err)
		return
	}
	defer context.AfterFunc(r.Context(), own.close)()
	own.write(w, a.Record, route.idle)
}

// log tells of an error that has a cause beside what its caller is told.
func (g *Gateway) log(r *http.Request, err error) {
	var e *atmost.Error
	if err != nil && (!errors.As(err, &e) || e.Err != nil) {
		g.onError(r, err)
	}
}

// readKeyed reads a request that may have a key. If it has none, or is not to be executed, its body is left alone.
func (g *Gateway) readKeyed(w http.ResponseWriter, r *http.Request, route *route) (atmosthttp.Keyed, bool, error) {
	if listed, err := atmosthttp.Listed(route.methods, r.Method); !listed {
		return atmosthttp.Keyed{}, false, err
	}
	if g.read > 0 && len(r.Header["Idempotency-Key"]) > 0 {
		c := http.NewResponseController(w)
		_ = c.SetReadDeadline(time.Now().Add(g.read)) // a writer that knows no deadlines is a test's
		defer c.SetReadDeadline(time.Time{})          //nolint:errcheck // likewise
	}
	return route.rules.Read(w, r)
}

// execute has the engine execute a call. A key that was first used under other routes goes on under their name, whether or not there still is
// such a route, so that a change of the configuration makes no difference to it: the path is part of what is compared anyway.
func execute(ctx context.Context, e *atmost.Engine, call atmost.Call) (atmost.Answer, error) {
	a, err := e.Execute(ctx, call)
	before := a.Record.Operation
	if atmost.CodeOf(err) == atmost.CodeOperationMismatch && (before == operationName || strings.HasPrefix(before, operationName+":")) {
		call.Operation = before
		return e.Execute(ctx, call)
	}
	return a, err
}
