package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/upstream"
)

// build makes the engine's operations. Those whose configuration is as it was stay what they are, and so keep what they have
// learned about their upstream. All share one transport.
func (p *program) build(all map[string]operation) (map[string]atmost.Operation, error) {
	built := make(map[string]atmost.Operation, len(all))
	for name, o := range all {
		before, known := p.config.Operations[name]
		if same, there := p.operations[name]; known && there && len(changedIn(before, o)) == 0 {
			built[name] = same
			continue
		}
		operation := o.byClients()
		if o.URL != "" || o.ProbeURL != "" {
			u, err := upstream.New(upstreamConfig(name, o, p.transport, p.log))
			if err != nil {
				return nil, fmt.Errorf("operation %s: %w", name, err)
			}
			if o.URL != "" {
				operation.Executor = u
			}
			if o.ProbeURL != "" {
				operation.Prober = u
			}
		}
		built[name] = operation
	}
	return built, nil
}

// byClients is the engine's operation but for what asks its upstream.
func (o operation) byClients() atmost.Operation {
	return atmost.Operation{
		Timeout: o.Timeout, Concurrency: o.Concurrency, MaxPending: o.MaxPending, DuplicateWait: o.DuplicateWait,
		OnUnknown: atmost.OnUnknown(slices.Index(onUnknownNames(), o.OnUnknown)), ProbeSettle: o.ProbeSettle,
		ResultRetention: o.ResultRetention, KeyRetention: o.KeyRetention,
	}
}

// unlisted is how clients perform operations that are not listed, nil if they may not.
func (c config) unlisted() *atmost.Operation {
	if c.Unlisted == nil {
		return nil
	}
	o := c.Unlisted.byClients()
	return &o
}

func upstreamConfig(name string, o operation, transport *upstream.Transport, log *slog.Logger) upstream.Config {
	return upstream.Config{
		URL:    cmp.Or(o.URL, "http://localhost"), // without one there is no executor, and it is never called
		Method: o.Method, Headers: httpHeaders(o.Headers), Transport: transport,
		NotExecutedStatus: o.NotExecutedStatus, FinalStatus: o.FinalStatus,
		MaxResult: o.MaxResult, ForwardKey: o.ForwardKey,
		ProbeURL: o.ProbeURL, ProbeNotFound: o.ProbeURL != "" && o.ProbeNotFound == probeNotFoundNotExecuted,
		OnError: func(err error) { log.Debug("the upstream gave no answer", "operation", name, "error", err) },
	}
}

// difference is what a reload changes. The routes of the gateway are told by their operations.
type difference struct {
	added, removed []string
	changed        map[string][]string // by operation, the names of its settings
}

func (d difference) empty() bool { return len(d.added)+len(d.removed)+len(d.changed) == 0 }

// compare tells what differs, by names only: values may be secrets.
func compare(before, after config) difference {
	d := difference{added: []string{}, removed: []string{}, changed: map[string][]string{}}
	differ(&d, before.Operations, after.Operations, changedIn)
	if was, is := before.Gateway, after.Gateway; was != nil && is != nil {
		differ(&d, was.operations(), is.operations(), gatewayConfig.changedIn)
	}
	return d
}

// differ adds what differs between before and after; of those in both, changedIn tells the names of the settings that do.
func differ[T any](d *difference, before, after map[string]T, changedIn func(before, after T) []string) {
	for _, name := range slices.Sorted(maps.Keys(after)) {
		old, known := before[name]
		switch now := after[name]; {
		case !known:
			d.added = append(d.added, name)
		default:
			if names := changedIn(old, now); len(names) > 0 {
				d.changed[name] = names
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, kept := after[name]; !kept {
			d.removed = append(d.removed, name)
		}
	}
}

// changedIn are the names of an operation's settings that differ.
func changedIn(before, after operation) []string {
	names := changed(perOperation(), &before, &after)
	if !maps.Equal(before.Headers, after.Headers) {
		names = append(names, "headers")
	}
	return names
}

// changed are the names of the settings that differ.
func changed[T any](table []setting[T], before, after *T) []string {
	var names []string
	for _, s := range table {
		if s.get(before) != s.get(after) {
			names = append(names, s.name)
		}
	}
	return names
}
