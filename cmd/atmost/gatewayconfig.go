package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
	"github.com/atmost-dev/atmost/gateway"
	"github.com/atmost-dev/atmost/upstream"
	"github.com/atmost-dev/atmost/wire"
)

// gatewayConfig is the configuration of the gateway.
type gatewayConfig struct {
	Listen, Upstream, ScopeHeader string
	TLS                           tlsFiles

	Route  route // what counts where no other does
	Routes []route
}

// route is the configuration of a part of the gateway's API.
type route struct {
	Path       string
	Methods    []string
	RequireKey bool
	Operation  operation // but for its URL, method and headers, which are the requests' own
}

func defaultGateway() gatewayConfig {
	o := defaultOperation()
	o.NotExecutedStatus = []int{401, 403, 429}
	return gatewayConfig{Listen: "127.0.0.1:8090", Route: route{Methods: []string{"POST", "PATCH"}, Operation: o}}
}

// gatewaySettings are the settings of the gateway's section; its routes are read apart.
func gatewaySettings() []setting[gatewayConfig] {
	return slices.Concat([]setting[gatewayConfig]{
		text("listen", func(g *gatewayConfig) *string { return &g.Listen }, checkAddress),
		text("upstream", func(g *gatewayConfig) *string { return &g.Upstream }, checkURL),
		text("scope_header", func(g *gatewayConfig) *string { return &g.ScopeHeader }, checkHeaderName),
	}, tlsSettings("tls", func(g *gatewayConfig) *tlsFiles { return &g.TLS }), within(perRoute(), func(g *gatewayConfig) *route { return &g.Route }))
}

// perRoute are the settings that a route can have of its own. Most are an operation's.
func perRoute() []setting[route] {
	all := []setting[route]{
		words("methods", func(r *route) *[]string { return &r.Methods }, func(method string) error {
			_, err := atmosthttp.Methods([]string{method})
			return withoutName("methods", err)
		}),
		truthOf("require_key", func(r *route) *bool { return &r.RequireKey }),
	}
	for _, s := range within(perOperation(), func(r *route) *operation { return &r.Operation }) {
		if s.name != "url" && s.name != "method" {
			all = append(all, s)
		}
	}
	return all
}

// ofRoute is perRoute and the path.
func ofRoute() []setting[route] {
	return append([]setting[route]{text("path", func(r *route) *string { return &r.Path }, checkPath)}, perRoute()...)
}

func checkPath(s string) error {
	if !strings.HasPrefix(s, "/") || strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' }) {
		return fmt.Errorf("%q is not a path; write it from the first / on, and other than visible ASCII not at all", s)
	}
	return nil
}

// checkHeaderName asks package upstream, which knows what a header's name is.
func checkHeaderName(s string) error {
	if s == gateway.NoScope {
		return nil
	}
	return only("headers", upstream.Config{Headers: httpHeaders(map[string]header{s: {}})})
}

func withoutName(name string, err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.TrimPrefix(err.Error(), name+": "))
}

// gateway reads the gateway's section, but for its routes, which wait for the environment.
func (l *loader) gateway(m member) {
	g := defaultGateway()
	decode(l, m.value, "gateway", "", gatewaySettings(), &g, map[string]func(member){
		"routes": func(m member) {
			n := follow(m.value)
			if n.Kind != yaml.SequenceNode {
				l.complain(m.line, "gateway.routes", "expected a list of routes, but this is %s", kindOf(n))
				return
			}
			l.routes = n.Content
		},
	})
	l.config.Gateway = &g
}

// completeGateway reads the gateway's routes on top of what counts for all, and checks the whole.
func (l *loader) completeGateway() {
	g := l.config.Gateway
	if g == nil {
		if l.gatewayAlone {
			l.problems = append(l.problems, problem{file: l.file, path: "gateway", text: "there is no such section, so there is nothing to run"})
		}
		return
	}
	overlay(l, gatewaySettings(), "gateway.", g)
	l.checkTLS("gateway.tls", g.TLS)
	before := len(l.problems)
	line := l.lines["gateway"]
	if g.Upstream == "" {
		l.complain(line, "gateway.upstream", "is missing; name the API that requests are passed to, for example http://127.0.0.1:9000")
	}
	if g.ScopeHeader == "" {
		l.complain(line, "gateway.scope_header", "is missing; name the header by which what authenticates your callers tells them apart, or write none if they may share their keys")
	}
	for i, n := range l.routes {
		r, path := g.Route, fmt.Sprintf("gateway.routes.%d", i+1)
		l.lines[path] = n.Line
		decode(l, n, path, "", ofRoute(), &r, nil)
		r.Operation.complete()
		l.agree(path, r.Operation)
		if r.Path == "" {
			l.complain(n.Line, path, "has no path")
		}
		g.Routes = append(g.Routes, r)
	}
	g.Route.Operation.complete()
	l.agree("gateway", g.Route.Operation)
	for _, name := range slices.Sorted(maps.Keys(l.config.Operations)) {
		if name == "gateway" || strings.HasPrefix(name, "gateway:") {
			l.complain(l.lines[join("operations", name)], join("operations", name), "is the gateway's own name; choose another")
		}
	}
	if len(l.problems) > before {
		return
	}
	if _, err := gateway.New(g.build(l.config, nil, slog.New(slog.DiscardHandler))); err != nil {
		l.complain(line, "gateway", "%v", err)
	}
}

// build makes what package gateway wants of g, which is c's.
func (g gatewayConfig) build(c config, transport *upstream.Transport, log *slog.Logger) gateway.Config {
	built := gateway.Config{
		Upstream: g.Upstream, ScopeHeader: g.ScopeHeader, Transport: transport, MaxBody: c.MaxBody, ReadTimeout: c.ReadTimeout,
		Route:   g.Route.build(transport, log),
		OnError: func(r *http.Request, err error) { logGateway(log, atmosthttp.RequestID(r.Context()), err) },
	}
	for _, r := range g.Routes {
		built.Routes = append(built.Routes, r.build(transport, log))
	}
	return built
}

// logGateway logs why a request was not answered as it should be. Upstreams that do not answer come in masses, and are logged by what
// executes, too.
func logGateway(log *slog.Logger, id string, err error) {
	var e *atmost.Error
	switch {
	case errors.As(err, &e) && wire.Status(e.Code) >= http.StatusInternalServerError:
		log.Error("a request could not be answered", "listener", listenerGateway, "request_id", id, "code", e.Code, "error", err)
	case e == nil:
		log.Debug("the upstream gave no answer", "listener", listenerGateway, "request_id", id, "error", err)
	}
}

func (r route) build(transport *upstream.Transport, log *slog.Logger) gateway.Route {
	return gateway.Route{
		Path: r.Path, Methods: r.Methods, RequireKey: r.RequireKey,
		Operation: r.Operation.byClients(), Upstream: upstreamConfig(join("gateway", r.Path), r.Operation, transport, log),
	}
}

// operations are the configurations of the gateway's operations, by name: of each route, and, of all that no route matches, g itself.
func (g gatewayConfig) operations() map[string]gatewayConfig {
	all := map[string]gatewayConfig{"gateway": g}
	for _, r := range g.Routes {
		all["gateway:"+r.Path] = gatewayConfig{Route: r}
	}
	return all
}

// changedIn are the names of the settings that differ, and routes if those that both have come in another order.
func (g gatewayConfig) changedIn(after gatewayConfig) []string {
	names := changed(gatewaySettings(), &g, &after)
	if !slices.Equal(g.pathsIn(after), after.pathsIn(g)) {
		names = append(names, "routes")
	}
	return names
}

// pathsIn are the paths of the routes that other has too.
func (g gatewayConfig) pathsIn(other gatewayConfig) (paths []string) {
	for _, r := range g.Routes {
		if slices.ContainsFunc(other.Routes, func(o route) bool { return o.Path == r.Path }) {
			paths = append(paths, r.Path)
		}
	}
	return paths
}

func renderGateway(g gatewayConfig) *yaml.Node {
	n := mapping()
	table(n, gatewaySettings(), &g)
	if len(g.Routes) > 0 {
		routes := &yaml.Node{Kind: yaml.SequenceNode}
		for _, r := range g.Routes {
			each := mapping()
			table(each, ofRoute(), &r)
			routes.Content = append(routes.Content, each)
		}
		add(n, "routes", routes)
	}
	return n
}
