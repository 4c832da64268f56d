package main

import (
	"maps"
	"net/http"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/atmost-dev/atmost/upstream"
)

// headers reads the headers of an operation, which are added to those of the defaults.
func (l *loader) headers(m member, path string, o *operation) {
	all := maps.Clone(o.Headers)
	if all == nil {
		all = map[string]header{}
	}
	members := l.members(m.value, path)
	for _, h := range members {
		maps.DeleteFunc(all, func(inherited string, _ header) bool { return strings.EqualFold(inherited, h.key) })
	}
	for _, h := range members {
		value, ok := l.header(h, join(path, h.key))
		if !ok {
			continue
		}
		if err := only("headers", upstream.Config{Headers: http.Header{h.key: {value.value}}}); err != nil {
			l.complain(h.line, join(path, h.key), "%v", err)
			continue
		}
		all[h.key] = value
	}
	o.Headers = all
}

// header reads one value: text, {env: NAME} or {file: PATH}.
func (l *loader) header(m member, path string) (header, bool) {
	if follow(m.value).Kind != yaml.MappingNode {
		value, ok := l.text(m.value, path, false)
		return header{value: value}, ok
	}
	parts := l.members(m.value, path)
	if len(parts) != 1 || parts[0].key != "env" && parts[0].key != "file" {
		l.complain(m.line, path, "expected text, {env: NAME} or {file: PATH}")
		return header{}, false
	}
	name, ok := l.text(parts[0].value, join(path, parts[0].key), false)
	if !ok {
		return header{}, false
	}
	if parts[0].key == "env" {
		value, set := l.env(name)
		switch {
		case !set:
			l.complain(parts[0].line, path, "the environment has no variable %s", name)
		case value == "":
			l.complain(parts[0].line, path, "the environment's variable %s is empty", name)
		}
		return header{value: value, env: name}, value != ""
	}
	data, err := l.read(name)
	if err != nil {
		l.complain(parts[0].line, path, "the file %s cannot be read: %v", name, cause(err))
		return header{}, false
	}
	value := strings.TrimRight(string(data), "\r\n")
	if value == "" {
		l.complain(parts[0].line, path, "the file %s is empty", name)
	}
	return header{value: value, file: name}, value != ""
}

// httpHeaders are the headers as they are sent.
func httpHeaders(headers map[string]header) http.Header {
	h := http.Header{}
	for name, v := range headers {
		h[name] = []string{v.value}
	}
	return h
}
