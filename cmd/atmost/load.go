package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// source is where a configuration comes from: defaults, then the file, then the environment, then flags; what comes later
// counts. It can be loaded again.
type source struct {
	file  string // "" for none
	env   func(string) (string, bool)
	flags map[string]string // by the setting's name
	read  func(file string) ([]byte, error)

	gatewayAlone bool // the public API is not served
}

// errConfig is wrapped by the errors of a wrong configuration.
var errConfig = errors.New("the configuration is wrong")

// problem is one mistake: where it is, and what is wrong and would be right.
type problem struct {
	file string
	line int // 0 when the place has none
	path string
	text string
}

func (p problem) String() string {
	var b strings.Builder
	if p.file != "" {
		b.WriteString(p.file)
		if p.line > 0 {
			fmt.Fprintf(&b, ":%d", p.line)
		}
		b.WriteString(": ")
	}
	if p.path != "" {
		b.WriteString(p.path + ": ")
	}
	return b.String() + p.text
}

// problems are all the mistakes that were found, an error that wraps errConfig.
type problems []problem

func (ps problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

func (ps problems) Unwrap() error { return errConfig }

// load makes the configuration. The error is problems.
func (s source) load() (config, error) {
	l := loader{source: s, config: defaultConfig(), defaults: defaultOperation(), lines: map[string]int{}}
	if s.file != "" {
		data, err := s.read(s.file)
		if err != nil {
			return config{}, problems{{file: s.file, text: "the file cannot be read: " + cause(err).Error()}}
		}
		l.parse(data)
	}
	overlay(&l, settings(), "", &l.config)
	overlay(&l, perOperation(), "defaults.", &l.defaults)
	l.applyFlags()
	if s.gatewayAlone {
		l.config.Listen = ""
	}
	l.operations()
	l.unlisted()
	l.completeGateway()
	l.addresses()
	l.listeners()
	l.hidden()
	if len(l.problems) > 0 {
		slices.SortStableFunc(l.problems, inOrder)
		return config{}, l.problems
	}
	return l.config, nil
}

// inOrder puts the file's mistakes first, by line.
func inOrder(a, b problem) int {
	if a.file != b.file {
		return cmp.Compare(b.file, a.file)
	}
	return cmp.Compare(a.line, b.line)
}

// cause is what the innermost error says: that of a file leaves out its name.
func cause(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// overlay sets what the environment has. Variables that name no setting are left alone: container platforms make up some
// of the form ATMOST_PORT for a service that is called atmost.
func overlay[T any](l *loader, all []setting[T], prefix string, into *T) {
	for _, s := range all {
		name := envName(prefix + s.name)
		value, ok := l.env(name)
		if s.hide != nil {
			name, value, ok = l.fromFile(prefix+s.name, value, ok)
		}
		if !ok {
			continue
		}
		if err := s.set(into, value); err != nil {
			l.problems = append(l.problems, problem{path: name, text: err.Error()})
		}
	}
}

// fromFile reads the value of a setting that can be a secret from the file that the environment names, if it does; otherwise the
// environment's own value stays, if there is one. It returns the variable that counts.
func (l *loader) fromFile(setting, value string, ok bool) (string, string, bool) {
	file, named := l.env(fileEnvName(setting))
	if !named {
		return envName(setting), value, ok
	}
	complain := func(format string, args ...any) (string, string, bool) {
		l.problems = append(l.problems, problem{path: fileEnvName(setting), text: fmt.Sprintf(format, args...)})
		return "", "", false
	}
	if ok {
		return complain("is set, and so is %s; set one of them", envName(setting))
	}
	data, err := l.read(file)
	if err != nil {
		return complain("the file %s cannot be read: %v", file, cause(err))
	}
	return fileEnvName(setting), strings.TrimRight(string(data), "\r\n"), true
}

func (l *loader) applyFlags() {
	for _, s := range settings() {
		value, ok := l.flags[s.name]
		if !ok {
			continue
		}
		if err := s.set(&l.config, value); err != nil {
			l.problems = append(l.problems, problem{path: "--" + flagName(s.name), text: err.Error()})
		}
	}
}

// addresses complains about listeners that are in each other's way.
func (l *loader) addresses() {
	all := []struct{ name, address string }{
		{"listen", l.config.Listen}, {"admin", l.config.Admin}, {"health", l.config.Health},
	}
	if l.config.Gateway != nil {
		all = append(all, struct{ name, address string }{"gateway.listen", l.config.Gateway.Listen})
	}
	for i, later := range all {
		for _, earlier := range all[:i] {
			if !sameAddress(earlier.address, later.address) {
				continue
			}
			l.about(later.name, "%s is taken by %s, which is %s; choose another port", later.address, earlier.name, earlier.address)
		}
	}
}

// about complains about a setting where it was set, if that was in the file.
func (l *loader) about(path, format string, args ...any) {
	p := problem{path: path, text: fmt.Sprintf(format, args...)}
	if line, ok := l.lines[path]; ok {
		p.file, p.line = l.file, line
	}
	l.problems = append(l.problems, p)
}

// listeners complains about what would let in who should not be, or cannot be served.
func (l *loader) listeners() {
	c := l.config
	l.checkTLS("tls", c.TLS)
	l.checkTLS("admin_tls", c.AdminTLS)
	l.checkTLS("health_tls", c.HealthTLS)
	if c.Admin != "" && !isLoopback(c.Admin) && c.AdminTLS.ClientCA == "" && !c.AdminInsecure {
		l.about("admin", "%s can be reached from other machines: %v", c.Admin, errOpenAdmin)
	}
}
