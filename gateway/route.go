package gateway

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
	"github.com/atmost-dev/atmost/upstream"
)

// route is a Route that was checked. It is the executor of its operation.
type route struct {
	name      string
	path      string
	loose     string // path, loosened
	methods   []string
	rules     atmosthttp.Rules
	operation atmost.Operation
	upstream  *upstream.Upstream
	replayed  atmosthttp.Replayed
	idle      time.Duration // for an answer that is too large to keep
}

func (g *Gateway) newRoute(name string, r Route, c Config) (*route, error) {
	made := &route{name: name, path: r.Path, loose: loosened(r.Path), rules: atmosthttp.Rules{Scope: atmosthttp.NoScope, RequireKey: r.RequireKey, MaxBody: g.maxBody}}
	if c.ScopeHeader != NoScope {
		made.rules.Scope = atmosthttp.HeaderScope(c.ScopeHeader)
		if r.Operation.OnUnknown == atmost.ProbeUnknown && !strings.Contains(r.Upstream.ProbeURL, "{scope}") {
			return nil, errors.New("probe_url: it has no {scope}, so it cannot tell two tenants' keys apart")
		}
	}
	r.Upstream.URL, r.Upstream.Transport = c.Upstream, c.Transport
	var err error
	if made.methods, err = atmosthttp.Methods(r.Methods); err != nil {
		return nil, err
	}
	if made.replayed, err = atmosthttp.NewReplayed(); err != nil {
		return nil, err
	}
	if made.upstream, err = upstream.New(r.Upstream); err != nil {
		return nil, err
	}
	made.operation, made.idle = r.Operation, r.Operation.WithDefaults().Timeout
	made.operation.Executor = made
	if r.Upstream.ProbeURL != "" {
		made.operation.Prober = made.upstream
	}
	return made, nil
}

// routeOf returns the first route that matches a request's path, or else the fallback. A path that an upstream may take for another,
// shorter one counts as that. One that many take for another route's counts as that if it would need a key there.
func (g *Gateway) routeOf(requested string) *route {
	exact := g.match(cleaned(requested), func(r *route) string { return r.path })
	if exact.rules.RequireKey {
		return exact
	}
	if loose := g.match(loosened(requested), func(r *route) string { return r.loose }); loose.rules.RequireKey {
		return loose
	}
	return exact
}

func (g *Gateway) match(requested string, of func(*route) string) *route {
	for _, r := range g.routes {
		if below(of(r), requested) {
			return r
		}
	}
	return g.fallback
}

func cleaned(p string) string { return path.Clean("/" + p) }

// loosened is a path as those read it that are lenient: without regard to case, parameters of segments, spaces and dots at
// their ends, and which way slashes lean.
func loosened(p string) string {
	segments := strings.Split(strings.ReplaceAll(p, `\`, "/"), "/")
	for i, s := range segments {
		s, _, _ = strings.Cut(s, ";")
		s = strings.TrimRight(s, " \t\x00")
		if name := strings.TrimRight(s, ". "); name != "" { // else it is a directory's
			s = name
		}
		segments[i] = strings.ToLower(s)
	}
	return cleaned(strings.Join(segments, "/"))
}

// below reports whether a cleaned path is that of a route, or below it.
func below(route, cleaned string) bool {
	rest, ok := strings.CutPrefix(cleaned, route)
	return ok && (rest == "" || rest[0] == '/' || route == "/")
}

// Execute makes the attempt with the request that the exchange has. What is stored of a final answer is what the middleware stores.
func (r *route) Execute(ctx context.Context, a atmost.Attempt) atmost.Outcome {
	x, ok := a.Request.(*exchange)
	if !ok { // somebody named the operation in a call to the API
		return atmost.Outcome{State: atmost.NotExecuted, Message: "this operation is executed for requests that come through the gateway only"}
	}
	answered, o := r.upstream.Forward(ctx, a, x.request, x.body)
	if answered == nil {
		return o
	}
	if o.State.Final() {
		kept := atmosthttp.Response{Status: answered.Status, Header: r.replayed.Of(answered.Header), TooLarge: answered.Rest != nil}
		if !kept.TooLarge {
			kept.Body = answered.Body
		}
		o.Result = kept.Append(nil)
	}
	x.put(&answer{answered, a.Number, o})
	return o
}
