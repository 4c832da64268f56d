package main

import (
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// reload replaces the operations by what the file says now: all of them, or none when there is a mistake.
func (p *program) reload() {
	if p.source.file == "" {
		p.log.Warn("nothing was reloaded: there is no configuration file")
		return
	}
	next, err := p.source.load()
	if err == nil {
		err = p.replaceOperations(next)
	}
	if err != nil {
		p.log.Error("nothing was reloaded: the configuration is wrong", "file", p.source.file, "error", err)
		return
	}
	names := changed(settings(), &p.config, &next)
	if !reflect.DeepEqual(p.config.Gateway, next.Gateway) {
		names = append(names, "gateway")
	}
	if len(names) > 0 {
		p.log.Warn("some settings changed that need a restart", "settings", names)
	}
	logDifference(p.log, p.source.file, compare(p.config.Operations, next.Operations))
	p.config.Operations = next.Operations
}

func (p *program) replaceOperations(next config) error {
	operations, err := p.build(next.Operations)
	if err != nil {
		return err
	}
	if err := p.engine.SetOperations(p.withGateway(operations)); err != nil {
		return err
	}
	if p.config.AllowUnlisted && next.AllowUnlisted { // to allow or forbid them takes a restart
		if err := p.engine.SetUnlisted(next.unlisted()); err != nil {
			return err
		}
	}
	p.operations = operations
	return nil
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
