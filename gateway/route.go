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
	methods   []string
	rules     atmosthttp.Rules
	operation atmost.Operation
	upstream  *upstream.Upstream
	replayed  atmosthttp.Replayed
	idle      time.Duration // for an answer that is too large to keep
}

func (g *Gateway) newRoute(name string, r Route, c Config) (*route, error) {
	made := &route{name: name, path: r.Path, rules: atmosthttp.Rules{Scope: atmosthttp.NoScope, RequireKey: r.RequireKey, MaxBody: g.maxBody}}
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
// shorter one counts as that.
func (g *Gateway) routeOf(requested string) *route {
	requested = cleaned(requested)
	for _, r := range g.routes {
		if r.matches(requested) {
			return r
		}
	}
	return g.fallback
}

func cleaned(p string) string { return path.Clean("/" + p) }

// matches reports whether a cleaned path is the route's, or below it.
func (r *route) matches(cleaned string) bool {
	rest, ok := strings.CutPrefix(cleaned, r.path)
	return ok && (rest == "" || rest[0] == '/' || r.path == "/")
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
