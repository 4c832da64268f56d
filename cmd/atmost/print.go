package main

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// redacted stands for the value of a header that was written into the file.
const redacted = "(redacted)"

// render writes the effective configuration as a file that means the same, but for secrets: passwords and header values that
// stand in the file are redacted, of other header values it is told where they come from.
func render(c config) []byte {
	root := mapping()
	table(root, settings(), &c)
	if c.Unlisted != nil { // else each operation has them
		add(root, "defaults", renderOperation(*c.Unlisted))
	}
	operations := mapping()
	for _, name := range slices.Sorted(maps.Keys(c.Operations)) {
		add(operations, name, renderOperation(c.Operations[name]))
	}
	add(root, "operations", operations)
	if c.Gateway != nil {
		add(root, "gateway", renderGateway(*c.Gateway))
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(root); err != nil {
		panic(err) // a tree of scalars always can be encoded
	}
	return b.Bytes()
}

func renderOperation(o operation) *yaml.Node {
	n := mapping()
	table(n, perOperation(), &o)
	if len(o.Headers) > 0 {
		add(n, "headers", renderHeaders(o.Headers))
	}
	return n
}

// table adds the settings that have a value, those of a section in a mapping of their own.
func table[T any](root *yaml.Node, all []setting[T], from *T) {
	sections := map[string]*yaml.Node{}
	for _, s := range all {
		value := s.shown(from)
		if value == "" && (s.list || !emptyMeans(s.name)) {
			continue
		}
		into, name := root, s.name
		if section, rest, ok := strings.Cut(s.name, "."); ok {
			if sections[section] == nil {
				sections[section] = mapping()
				add(root, section, sections[section])
			}
			into, name = sections[section], rest
		}
		if s.list {
			add(into, name, list(strings.Split(value, ",")))
		} else {
			add(into, name, scalar(value))
		}
	}
}

// emptyMeans reports whether the empty text is a value of the setting, other than its absence.
func emptyMeans(name string) bool { return name == "admin" }

func renderHeaders(headers map[string]header) *yaml.Node {
	all := mapping()
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		h := headers[name]
		value := scalar(redacted)
		switch {
		case h.env != "":
			value = mapping()
			add(value, "env", scalar(h.env))
		case h.file != "":
			value = mapping()
			add(value, "file", scalar(h.file))
		}
		add(all, name, value)
	}
	return all
}

func mapping() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

func add(into *yaml.Node, name string, value *yaml.Node) {
	into.Content = append(into.Content, scalar(name), value)
}

func list(values []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, v := range values {
		n.Content = append(n.Content, scalar(v))
	}
	return n
}

// scalar is text, which YAML wants in quotes where it could be of another type; numbers, true and false are better without.
func scalar(value string) *yaml.Node {
	if _, err := strconv.Atoi(value); err == nil {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: value}
	}
	if value == "true" || value == "false" {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: value}
	}
	var n yaml.Node
	n.SetString(value)
	return &n
}
