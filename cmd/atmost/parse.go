package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/upstream"
)

// loader makes one configuration. The file is read as a tree of nodes, so that every mistake is told with its line, those in a
// value's meaning included.
type loader struct {
	source
	config   config
	defaults operation
	ops      []member       // of the file, kept until the defaults are complete
	routes   []*yaml.Node   // of the gateway, likewise
	lines    map[string]int // where each setting was set, by its path
	problems problems
}

// member is one "key: value" of a mapping.
type member struct {
	key   string
	line  int
	value *yaml.Node
}

func (l *loader) complain(line int, path, format string, args ...any) {
	l.problems = append(l.problems, problem{file: l.file, line: line, path: path, text: fmt.Sprintf(format, args...)})
}

// parse reads the file but for its operations, which wait for the environment's defaults.
func (l *loader) parse(data []byte) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := d.Decode(&document); {
	case errors.Is(err, io.EOF):
		return // an empty file
	case err != nil:
		if line := memoryTrap(data); line > 0 {
			l.complain(line, "store", "YAML takes the last colon for its own; write store: memory")
			return
		}
		l.complain(0, "", "this is not YAML; %v", err)
		return
	}
	if err := d.Decode(&second); !errors.Is(err, io.EOF) {
		l.complain(max(second.Line, 1), "", "there is a second document; write one")
		return
	}
	if len(document.Content) == 0 {
		return
	}
	decode(l, document.Content[0], "", "", settings(), &l.config, map[string]func(member){
		"defaults": func(m member) { l.operation(m.value, "defaults", &l.defaults, "url", "probe_url") },
		"operations": func(m member) {
			l.ops = l.members(m.value, "operations")
		},
		"gateway": l.gateway,
	})
}

// memoryTrap returns the line that says "store: memory:", which is right everywhere but in YAML, 0 for none.
func memoryTrap(data []byte) (line int) {
	for text := range bytes.Lines(data) {
		line++
		text, _, _ = bytes.Cut(text, []byte("#"))
		if strings.Join(strings.Fields(string(text)), " ") == "store: memory:" {
			return line
		}
	}
	return 0
}

// members returns what is in a mapping, and complains about what is not one. No value is an empty mapping.
func (l *loader) members(n *yaml.Node, path string) []member {
	line := n.Line
	n = follow(n)
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		l.complain(line, path, "expected settings with values, one per line, but this is %s", kindOf(n))
		return nil
	}
	var all []member
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := follow(n.Content[i])
		m := member{key: key.Value, line: n.Content[i].Line, value: n.Content[i+1]}
		if key.Kind != yaml.ScalarNode {
			l.complain(m.line, path, "a name must be text, but this is %s", kindOf(key))
			continue
		}
		if j := slices.IndexFunc(all, func(o member) bool { return o.key == m.key }); j >= 0 {
			l.complain(m.line, join(path, m.key), "is there twice; the first is on line %d", all[j].line)
			continue
		}
		all = append(all, m)
	}
	return all
}

// decode sets what a mapping has, by the table and by others, which take what is more than text. Settings of the table whose
// name begins with prefix and holds another dot are a section of their own.
func decode[T any](l *loader, n *yaml.Node, path, prefix string, table []setting[T], into *T, others map[string]func(member)) {
	for _, m := range l.members(n, path) {
		where := join(path, m.key)
		if set, ok := others[m.key]; ok {
			l.lines[where] = m.line
			set(m)
			continue
		}
		if i := slices.IndexFunc(table, func(s setting[T]) bool { return s.name == prefix+m.key }); i >= 0 {
			l.lines[where] = m.line
			l.set(m, where, table[i].list, func(value string) error { return table[i].set(into, value) })
			continue
		}
		section := prefix + m.key + "."
		if slices.ContainsFunc(table, func(s setting[T]) bool { return strings.HasPrefix(s.name, section) }) {
			decode(l, m.value, where, section, table, into, nil)
			continue
		}
		l.complain(m.line, where, "unknown setting; %s", suggest(m.key, namesUnder(prefix, table, others)))
	}
}

// namesUnder are the names that may stand where prefix is the section.
func namesUnder[T any](prefix string, table []setting[T], others map[string]func(member)) []string {
	names := slices.Collect(maps.Keys(others))
	for _, s := range table {
		if rest, ok := strings.CutPrefix(s.name, prefix); ok {
			first, _, _ := strings.Cut(rest, ".")
			names = append(names, first)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// set sets one value from its node.
func (l *loader) set(m member, path string, list bool, set func(string) error) {
	if n := follow(m.value); list && n.Kind == yaml.SequenceNode {
		before := len(l.problems)
		for _, item := range n.Content { // each by itself, so that each mistake has its line
			if word, ok := l.text(item, path, false); ok {
				if err := set(word); err != nil {
					l.complain(item.Line, path, "%v", err)
				}
			}
		}
		if len(l.problems) > before {
			return
		}
	}
	value, ok := l.text(m.value, path, list)
	if !ok {
		return
	}
	if err := set(value); err != nil {
		l.complain(m.value.Line, path, "%v", err)
	}
}

// text reads a node that stands for text, or for a list of it if list.
func (l *loader) text(n *yaml.Node, path string, list bool) (string, bool) {
	line := n.Line
	n = follow(n)
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag != "!!null":
		return n.Value, true
	case n.Kind == yaml.ScalarNode:
		l.complain(line, path, "has no value")
	case n.Kind == yaml.SequenceNode && list:
		words := make([]string, len(n.Content))
		for i, item := range n.Content {
			word, ok := l.text(item, path, false)
			if !ok {
				return "", false
			}
			words[i] = word
		}
		return strings.Join(words, ","), true
	default:
		l.complain(line, path, "expected one value, but this is %s", kindOf(n))
	}
	return "", false
}

// operation reads the settings of one operation into o, but for those that are not allowed here.
func (l *loader) operation(n *yaml.Node, path string, o *operation, except ...string) {
	others := map[string]func(member){
		"headers": func(m member) { l.headers(m, join(path, "headers"), o) },
	}
	for _, name := range except {
		others[name] = func(m member) {
			l.complain(m.line, join(path, name), "is each operation's own; move it there")
		}
	}
	decode(l, n, path, "", perOperation(), o, others)
}

// operations reads the file's operations on top of the defaults.
func (l *loader) operations() {
	for _, m := range l.ops {
		path := join("operations", m.key)
		l.lines[path] = m.line
		if m.key == "" || len(m.key) > atmost.MaxKeyLength || strings.ContainsFunc(m.key, func(r rune) bool { return r < '!' || r > '~' }) {
			l.complain(m.line, path, "an operation's name has 1 to %d characters of visible ASCII, and no spaces", atmost.MaxKeyLength)
			continue
		}
		o := l.defaults
		o.Headers = maps.Clone(o.Headers)
		before := len(l.problems)
		l.operation(m.value, path, &o)
		o.complete()
		if len(l.problems) == before {
			l.agree(path, o)
		}
		l.config.Operations[m.key] = o
	}
}

// unlisted takes the defaults for operations that are not listed, if there may be any.
func (l *loader) unlisted() {
	if !l.config.AllowUnlisted {
		return
	}
	o := l.defaults
	o.complete()
	l.config.Unlisted = &o
	if o.OnUnknown == atmost.ProbeUnknown.String() {
		l.complain(l.lines["allow_unlisted"], "allow_unlisted",
			"operations that are not listed have the defaults, but no probe_url to ask for on_unknown: probe; set that for each operation that has one")
	}
}

// agree complains about settings of an operation that are right each for itself but not together.
func (l *loader) agree(path string, o operation) {
	check := func(setting string, wrong bool, format string, args ...any) {
		if !wrong {
			return
		}
		line, own := l.lines[join(path, setting)]
		if !own {
			line = l.lines[path]
		}
		l.complain(line, join(path, setting), format, args...)
	}
	probes := o.OnUnknown == atmost.ProbeUnknown.String()
	check("on_unknown", probes && o.ProbeURL == "",
		"probe needs a probe_url to ask, for example probe_url: http://127.0.0.1:9000/charges/by-key/{key}")
	check("on_unknown", probes && l.config.StoreKeys == storeDigest,
		"probe asks for the key, which nobody has after a restart with store_keys: digest; set hold, or store keys as they are")
	check("probe_url", !probes && o.ProbeURL != "", "nothing is probed with on_unknown: %s; set on_unknown: probe, or remove this", o.OnUnknown)
	check("max_pending", o.MaxPending < o.Concurrency, "%d is less than concurrency, which is %d", o.MaxPending, o.Concurrency)
	check("key_retention", o.KeyRetention < o.ResultRetention,
		"%s is less than result_retention, which is %s", formatDuration(o.KeyRetention), formatDuration(o.ResultRetention))
	for _, status := range o.FinalStatus {
		err := only("final_status", upstream.Config{NotExecutedStatus: o.NotExecutedStatus, FinalStatus: []int{status}})
		check("final_status", err != nil, "%v", err)
	}
	err := only("headers", upstream.Config{Headers: httpHeaders(o.Headers)})
	check("headers", err != nil, "%v", err)
}

// follow returns what an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
