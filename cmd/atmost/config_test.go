package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
)

// literal is a source whose file has text.
func literal(text string, env, flags map[string]string) source {
	return source{
		file: "atmost.yaml", flags: flags,
		env: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		read: func(name string) ([]byte, error) {
			if name == "atmost.yaml" {
				return []byte(text), nil
			}
			return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
		},
	}
}

// TestPrecedence holds every setting to: defaults, then file, then environment, then flag.
func TestPrecedence(t *testing.T) {
	values := map[string][3]string{ // any three values that are right
		"listen": {":1", ":2", ":3"}, "admin": {":1", "", ":3"}, "health": {":1", ":2", ""},
		"store": {"memory:", "pebble:a", "pebble:b"}, "migrate": {"true", "false", "true"},
		"admin_insecure": {"true", "false", "true"}, "encryption_key_file": {"a", "b", "c"},
		"tls.cert": {"a", "b", "c"}, "tls.key": {"a", "b", "c"}, "tls.client_ca": {"a", "b", "c"},
		"admin_tls.cert": {"a", "b", "c"}, "admin_tls.key": {"a", "b", "c"}, "admin_tls.client_ca": {"a", "b", "c"},
		"health_tls.cert": {"a", "b", "c"}, "health_tls.key": {"a", "b", "c"}, "health_tls.client_ca": {"a", "b", "c"},
		"store_keys": {"digest", "plain", "digest"}, "store_keys_file": {"a", "b", "c"}, "max_header": {"4KiB", "8KiB", "1MiB"}, "max_connections": {"1", "2", "3"}, "max_body": {"1", "2KiB", "3MiB"}, "max_pending": {"1", "2", "3"},
		"allow_unlisted": {"true", "false", "true"},
		"drain_delay":    {"1s", "2s", "3s"}, "drain_timeout": {"1s", "2m", "3h"}, "read_timeout": {"1s", "2s", "3s"},
		"idle_timeout": {"1s", "2s", "3s"}, "pebble.cache": {"1MiB", "2MiB", "3GiB"}, "pebble.disk_reserve": {"1", "2", "3"}, "pebble.backups": {"a", "b", "c"},
		"claim_patience": {"1s", "2s", "3s"}, "postgres.max_conns": {"1", "2", "3"}, "postgres.batch_size": {"1", "2", "3"},
		"postgres.linger": {"1ms", "2ms", "3ms"}, "postgres.timeout": {"1s", "2s", "3s"}, "postgres.retries": {"1", "2", "3"},
		"postgres.unsafe_durability": {"true", "false", "true"},
		"log.level":                  {"debug", "warn", "error"}, "log.format": {"text", "json", "auto"},
	}
	beside := map[string]string{ // what they are wrong without, in the environment
		"admin": "admin_insecure=true", "store_keys=digest": "store_keys_file=f", "store_keys_file": "store_keys=digest",
		"tls.cert": "tls.key=f", "tls.key": "tls.cert=f", "tls.client_ca": "tls.cert=f tls.key=f",
		"admin_tls.cert": "admin_tls.key=f", "admin_tls.key": "admin_tls.cert=f", "admin_tls.client_ca": "admin_tls.cert=f admin_tls.key=f",
		"health_tls.cert": "health_tls.key=f", "health_tls.key": "health_tls.cert=f", "health_tls.client_ca": "health_tls.cert=f health_tls.key=f",
	}
	for _, s := range settings() {
		t.Run(s.name, func(t *testing.T) {
			v, ok := values[s.name]
			if !ok {
				t.Fatal("no values to try")
			}
			quoted := "'" + v[0] + "'"
			file := s.name + ": " + quoted
			if section, name, ok := strings.Cut(s.name, "."); ok {
				file = section + ": {" + name + ": " + quoted + "}"
			}
			flags := map[string]string{s.name: v[2]}
			env := func(want string, set bool) map[string]string {
				m := map[string]string{}
				for word := range strings.FieldsSeq(beside[s.name] + " " + beside[s.name+"="+want]) {
					name, value, _ := strings.Cut(word, "=")
					m[envName(name)] = value
				}
				if set {
					m[envName(s.name)] = v[1]
				}
				return m
			}
			for _, c := range []struct {
				source source
				want   string
			}{
				{literal(file, env(v[0], false), nil), v[0]},
				{literal(file, env(v[1], true), nil), v[1]},
				{literal("", env(v[1], true), nil), v[1]},
				{literal(file, env(v[2], true), flags), v[2]},
			} {
				loaded, err := c.source.load()
				if err != nil {
					t.Fatal(err)
				}
				if got := s.get(&loaded); got != c.want {
					t.Errorf("%q, want %q", got, c.want)
				}
			}
		})
	}
}

// TestOperationPrecedence: an operation's own setting, else the environment's default, else the file's, else the built-in one.
func TestOperationPrecedence(t *testing.T) {
	const text = `
defaults: {timeout: 2s, concurrency: 3, headers: {X-A: file, X-B: file}}
operations:
  own: {url: "http://h", timeout: 4s, headers: {x-b: own}}
  bare: {url: "http://h"}
`
	loaded, err := literal(text, map[string]string{
		"ATMOST_DEFAULTS_TIMEOUT": "3s", "ATMOST_DEFAULTS_NOT_EXECUTED_STATUS": "429, 503", "ATMOST_PORT": "tcp://10.0.0.1:80",
	}, nil).load()
	if err != nil {
		t.Fatal(err)
	}
	own, bare := loaded.Operations["own"], loaded.Operations["bare"]
	got := []any{own.Timeout.String(), bare.Timeout.String(), bare.Concurrency, bare.MaxPending, bare.NotExecutedStatus, own.Headers, bare.Headers}
	want := []any{
		"4s", "3s", 3, 48,
		[]int{429, 503},
		map[string]header{"X-A": {value: "file"}, "x-b": {value: "own"}},
		map[string]header{"X-A": {value: "file"}, "X-B": {value: "file"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(header{})); diff != "" {
		t.Error(diff)
	}
}

// TestSecretFile: a store's URL may hold a password, so it can be in a file, and nothing that people see shows it.
func TestSecretFile(t *testing.T) {
	const secret = "postgres://u:s3cret@h/db"
	from := func(env map[string]string, content string) source {
		s := literal("store: memory", env, nil)
		s.read = func(name string) ([]byte, error) {
			if name == "/run/store" {
				return []byte(content), nil
			}
			return []byte("store: memory"), nil
		}
		return s
	}
	named := map[string]string{"ATMOST_STORE_FILE": "/run/store"}
	loaded, err := from(named, secret+"\r\n").load()
	if err != nil || loaded.Store != secret {
		t.Fatalf("%q, %v", loaded.Store, err)
	}
	if printed := string(render(loaded)); strings.Contains(printed, "s3cret") || !strings.Contains(printed, "store: postgres://u:xxxxx@h/db\n") {
		t.Errorf("printed %s", printed)
	}
	for content, want := range map[string]string{
		"":                            `ATMOST_STORE_FILE: "" is not a store`,
		"postgre://u:s3cret@h/db":     `ATMOST_STORE_FILE: "postgre:…" is not a store`,
		"postgres://u:s3cret@h:ab/db": "ATMOST_STORE_FILE: cannot parse `postgres://u:xxxxx@h:ab/db`",
		"host=h password=s3cret":      `ATMOST_STORE_FILE: "…" is not a store`,
		"postgres:u:s3cret@h/db":      `ATMOST_STORE_FILE: "postgres:…" is not a store`,
		"postgres://u:s3@cret@h/db":   "ATMOST_STORE_FILE: its user or password cannot be read",
		"postgres://u:s3/cret@h/db":   "ATMOST_STORE_FILE: its user or password cannot be read",
	} {
		if _, err := from(named, content).load(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "cret") {
			t.Errorf("%q: %v, want %s", content, err, want)
		}
	}
	named["ATMOST_STORE"] = secret
	if _, err := from(named, secret).load(); err == nil || !strings.Contains(err.Error(), "and so is ATMOST_STORE;") {
		t.Errorf("both: %v", err)
	}
}

func TestErrorsAreConfigErrors(t *testing.T) {
	_, err := literal("listen: 1", nil, nil).load()
	if !errors.Is(err, errConfig) {
		t.Errorf("%v", err)
	}
}

// TestBuild: what the parser lets through, the engine takes.
func TestBuild(t *testing.T) {
	r := boot(t, `
operations:
  least:
    url: http://h
    timeout: 1ms
    concurrency: 1
    max_pending: 1
    max_result: 1
    result_retention: 1s
    key_retention: 1s
    duplicate_wait: 0s
    probe_not_found: not_executed
  most:
    url: https://h/a?b=c
    method: PUT
    timeout: 1h
    duplicate_wait: 1m
    on_unknown: probe
    probe_url: https://h/{scope}/{key}/{attempt}
    probe_not_found: not_executed
    probe_settle: 1ms
    max_result: 1GiB
    result_retention: 876000h
    key_retention: 876000h
    forward_key: original
  risky: {url: "http://h", on_unknown: retry}
  clients: {on_unknown: retry}
  asked: {on_unknown: probe, probe_url: "http://h/{key}"}
allow_unlisted: true
`)
	if n := len(r.config.Operations); n != 5 {
		t.Errorf("%d operations", n)
	}
}

// TestUnlisted: they have the defaults, which therefore are printed, and follow on a reload.
func TestUnlisted(t *testing.T) {
	const text = "allow_unlisted: true\ndefaults: {result_retention: 48h, headers: {X-A: {env: TOKEN}}}\noperations: {a: {result_retention: 1h}}\n"
	loaded, err := literal(text, map[string]string{"TOKEN": "x", "ATMOST_DEFAULTS_TIMEOUT": "7s"}, nil).load()
	if err != nil {
		t.Fatal(err)
	}
	if o := loaded.Unlisted; o == nil || o.ResultRetention != 48*time.Hour || o.Timeout != 7*time.Second || o.KeyRetention != atmost.DefaultKeyRetention {
		t.Errorf("%+v", o)
	}
	again, err := literal(string(render(loaded)), map[string]string{"TOKEN": "x"}, nil).load()
	if diff := cmp.Diff(loaded, again, cmp.AllowUnexported(header{})); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, c := range []struct{ text, want string }{
		{"allow_unlisted: yes", `atmost.yaml:1: allow_unlisted: "yes" is neither true nor false`},
		{"allow_unlisted: true\ndefaults: {on_unknown: probe}", "atmost.yaml:1: allow_unlisted: operations that are not listed"},
		{"operations: {a: {on_unknown: probe}}", "atmost.yaml:1: operations.a.on_unknown: probe needs a probe_url"},
	} {
		if _, err := literal(c.text, nil, nil).load(); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v", c.text, err)
		}
	}
	if loaded, err := literal("defaults: {on_unknown: probe}", nil, nil).load(); err != nil || loaded.Unlisted != nil {
		t.Errorf("%+v, %v", loaded.Unlisted, err)
	}
}

// TestPrintRoundTrip: what is printed means the same, but for secrets.
func TestPrintRoundTrip(t *testing.T) {
	example, err := os.ReadFile(filepath.Join("..", "..", "examples", "atmost.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"MAIL_TOKEN": "Bearer abc"}
	loaded, err := literal(string(example), env, nil).load()
	if err != nil {
		t.Fatal(err)
	}
	again, err := literal(string(render(loaded)), env, nil).load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(loaded, again, cmp.AllowUnexported(header{})); diff != "" {
		t.Error(diff)
	}
}

// TestDocumentation: the documentation names every setting, its variable if it has one, its default, and every flag.
func TestDocumentation(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	text, c, o := string(data), defaultConfig(), defaultOperation()
	o.complete()
	for _, s := range settings() {
		wantRow(t, text, s.name, envName(s.name), s.get(&c))
	}
	for _, s := range perOperation() {
		switch s.name {
		case "url", "probe_url":
			wantRow(t, text, s.name, "", "")
		case "max_pending", "probe_settle", "key_retention": // their defaults depend on other settings
			wantRow(t, text, s.name, envName("defaults."+s.name), "")
		default:
			wantRow(t, text, s.name, envName("defaults."+s.name), s.get(&o))
		}
	}
	g := defaultGateway()
	for _, s := range gatewaySettings() {
		switch s.name {
		case "listen", "methods", "require_key", "not_executed_status":
			wantRow(t, text, s.name, envName("gateway."+s.name), s.get(&g))
		case "upstream", "scope_header":
			wantRow(t, text, s.name, envName("gateway."+s.name), "")
		default:
			if _, section, _ := strings.Cut(text, "## The gateway"); !strings.Contains(section, "`"+s.name+"`") {
				t.Errorf("%s is not documented for the gateway", s.name)
			}
		}
	}
	for name := range serveFlags() {
		if !strings.Contains(text, "`--"+flagName(name)+"`") {
			t.Errorf("--%s is not documented", flagName(name))
		}
	}
	for _, s := range settings() {
		if s.hide != nil && !strings.Contains(text, "`"+fileEnvName(s.name)+"`") {
			t.Errorf("%s is not documented", fileEnvName(s.name))
		}
	}
	for _, name := range []string{"`headers`", "`--config`", "`" + envConfig + "`"} {
		if !strings.Contains(text, name) {
			t.Errorf("%s is not documented", name)
		}
	}
}

// wantRow expects a row of a table that has it all.
func wantRow(t *testing.T, text, name, env, value string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| `"+name+"` |") && (env == "" || strings.Contains(line, "`"+env+"`")) &&
			(value == "" || strings.Contains(line, "| `"+value+"` |")) {
			return
		}
	}
	t.Errorf("no row for %s with %s and the default %s", name, env, value)
}

// TestImageConfig: the file of the image is right, and no variable of the image wins over one that is mounted in its place.
func TestImageConfig(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "deploy", "docker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := literal(string(data), nil, nil).load()
	if err != nil || loaded.Listen != ":8080" || loaded.Store != "pebble:/data" {
		t.Errorf("%+v, %v", loaded, err)
	}
	image, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(image)) {
		if set, ok := strings.CutPrefix(line, "ENV "); ok && strings.TrimSpace(set) != envConfig+"=/etc/atmost/atmost.yaml" {
			t.Errorf("the image sets %s", set)
		}
	}
}

// FuzzConfig: no file makes the parser panic, and what it accepts prints as a file that means the same.
func FuzzConfig(f *testing.F) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		f.Fatal(err)
	}
	for _, name := range append(scripts, "../../examples/atmost.yaml") {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for part := range strings.SplitSeq(string(data), " --\n") {
			f.Add(part)
		}
	}
	f.Add("&a [*a]")
	f.Add("store: postgres://u:p%40@h:1,h:2/db?sslmode=disable&password=p&a=@")
	f.Add("store: postgres://u:p/q@h/db\nmigrate: yes\npostgres: {timeout: 1s, unsafe_durability: true}")
	f.Add("pebble: &p {cache: *p}")
	f.Add("operations: &o {a: *o, <<: *o}")
	f.Add("operations: {a: {headers: &h {x: *h}, final_status: &l [*l]}}")
	f.Add("? [a]\n: b")
	f.Fuzz(func(t *testing.T, text string) {
		loaded, err := literal(text, map[string]string{"TOKEN": "x"}, nil).load()
		if err != nil {
			if !errors.Is(err, errConfig) || err.Error() == "" {
				t.Errorf("%v", err)
			}
			return
		}
		printed := render(loaded)
		again, err := literal(string(printed), map[string]string{"TOKEN": "x"}, nil).load()
		if err != nil {
			t.Fatalf("%v\n%s", err, printed)
		}
		if got := render(again); string(got) != string(printed) {
			t.Errorf("printed %s, and then %s", printed, got)
		}
	})
}
