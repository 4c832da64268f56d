package main

import (
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/gateway"
)

// reload looks at the files of certificates and encryption keys again, and replaces the operations and the gateway by what the
// configuration's file says now: all of it, or nothing when there is a mistake.
func (p *program) reload() {
	for _, c := range p.certificates() {
		c.refresh(true)
	}
	p.renewKeys()
	if p.source.file == "" {
		p.log.Warn("nothing was reloaded: there is no configuration file")
		return
	}
	next, err := p.source.load()
	if err == nil && next.StoreKeys != p.config.StoreKeys {
		err = errors.New("store_keys was changed, which nothing can be while there are records; begin with an empty store, and restart")
	}
	var names []string
	if err == nil {
		next.Gateway, names = reloadable(p.config.Gateway, next.Gateway)
		err = p.replace(next)
	}
	if err != nil {
		p.log.Error("nothing was reloaded: the configuration is wrong", "file", p.source.file, "error", err)
		return
	}
	if names = append(changed(settings(), &p.config, &next), names...); len(names) > 0 {
		p.log.Warn("some settings changed that need a restart", "settings", names)
	}
	logDifference(p.log, p.source.file, compare(p.config, next))
	p.config.Operations, p.config.Gateway = next.Operations, next.Gateway
}

// reloadable is next as far as it can follow on before without a restart, and names what of it cannot: a listener stays where it is.
func reloadable(before, next *gatewayConfig) (*gatewayConfig, []string) {
	switch {
	case before == nil && next == nil:
		return nil, nil
	case before == nil || next == nil:
		return before, []string{"gateway"}
	}
	g := *next
	g.Listen, g.TLS = before.Listen, before.TLS
	var names []string
	if next.Listen != before.Listen {
		names = append(names, "gateway.listen")
	}
	if next.TLS != before.TLS {
		names = append(names, "gateway.tls")
	}
	return &g, names
}

func (p *program) replace(next config) error {
	operations, err := p.build(next.Operations)
	if err != nil {
		return err
	}
	g := p.gateway.Load()
	if !reflect.DeepEqual(p.config.Gateway, next.Gateway) {
		if g, err = p.buildGateway(next.Gateway); err != nil {
			return err
		}
	}
	routes := p.routesWith(g)
	if err := p.engine.SetOperations(p.performed(operations, routes)); err != nil {
		return err
	}
	if p.config.AllowUnlisted && next.AllowUnlisted { // to allow or forbid them takes a restart
		if err := p.engine.SetUnlisted(next.unlisted()); err != nil {
			return err
		}
	}
	p.operations, p.routes = operations, routes
	if before := p.gateway.Swap(g); before != g { // now that its operations are there
		before.Close()
	}
	return nil
}

// buildGateway makes the gateway of a configuration, nil if it has none. What the service's own settings say about it holds until the
// program ends.
func (p *program) buildGateway(c *gatewayConfig) (*gateway.Gateway, error) {
	if c == nil {
		return nil, nil
	}
	return gateway.New(c.build(p.config, p.transport, p.log))
}

// routesWith are the operations of g, and of all gateways that were there before it: a request that came when a route was still there is
// executed by it, and who is asked about its unknown attempts goes on being asked.
func (p *program) routesWith(g *gateway.Gateway) map[string]atmost.Operation {
	if g == nil {
		return p.routes
	}
	return together(p.routes, g.Operations())
}

// together is a and b, whose operations count where both have one of the same name.
func together(a, b map[string]atmost.Operation) map[string]atmost.Operation {
	all := make(map[string]atmost.Operation, len(a)+len(b))
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}

// performed is what the engine gets of operations, and of the gateway's routes: all of them, traced.
func (p *program) performed(operations, routes map[string]atmost.Operation) map[string]atmost.Operation {
	return p.tracing.maker().Operations(together(operations, routes))
}

func logDifference(log *slog.Logger, file string, d difference) {
	if d.empty() {
		log.Info("reloaded: no operation changed", "file", file)
		return
	}
	args := []any{"file", file, "added", d.added, "removed", d.removed}
	changes := []string{}
	for _, name := range slices.Sorted(maps.Keys(d.changed)) {
		changes = append(changes, name+" ("+strings.Join(d.changed[name], ", ")+")")
	}
	log.Info("reloaded", append(args, "changed", changes)...)
}
