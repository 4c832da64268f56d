package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/atmost-dev/atmost/internal/pgtest"
)

func TestScripts(t *testing.T) { runScripts(t, "testdata/script", installProgram) }

// TestPostgresScripts gives each script the URL of an empty database of its own, as $DATABASE.
func TestPostgresScripts(t *testing.T) {
	pgtest.Database(t) // or skip
	runScripts(t, "testdata/postgres", func(e *testscript.Env) error {
		e.Setenv("DATABASE", pgtest.Database(t))
		return installProgram(e)
	})
}

func runScripts(t *testing.T, dir string, setup func(*testscript.Env) error) {
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "sql": sql, "service": service, "ask": askService, "unknown": unknown},
		Setup:               setup,
	})
}

// installProgram puts the test binary on a script's path, as atmost.
func installProgram(e *testscript.Env) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	bin := filepath.Join(e.WorkDir, ".bin")
	e.Setenv("PATH", bin+string(filepath.ListSeparator)+e.Getenv("PATH"))
	e.Setenv(envAsProgram, "1")
	e.Values[theService{}] = new(*child)
	return errors.Join(os.Mkdir(bin, 0o750), os.Symlink(self, filepath.Join(bin, "atmost")))
}

// exits runs a program and expects an exit code: exits CODE PROGRAM [ARG…].
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// sql runs a statement in the script's database: sql STATEMENT.
func sql(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sql STATEMENT")
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, ts.Getenv("DATABASE"))
	ts.Check(err)
	_, err = conn.Exec(ctx, args[0])
	ts.Check(errors.Join(err, conn.Close(ctx)))
}

// theService is the key of the service that a script has started.
type theService struct{}

// service runs the real service with a configuration, flags and variables: service FILE [--FLAG|NAME=VALUE …]. $URL is where it is, and the admin listener is where commands look
// for it. One that runs is ended first, and the last with the script; service stop only ends it, service kill as a crash would.
func service(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: service FILE [--FLAG|NAME=VALUE ...] | stop | kill")
	}
	running := ts.Value(theService{}).(**child)
	if *running != nil {
		if args[0] == "kill" {
			(*running).kill()
		} else {
			ts.Check((*running).stop())
		}
		*running = nil
	}
	if args[0] == "stop" || args[0] == "kill" {
		return
	}
	log := newJournal()
	command := []string{"serve", "--config", ts.MkAbs(args[0]), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}
	env := []string{envAsProgram + "=1"}
	for _, arg := range args[1:] {
		if strings.HasPrefix(arg, "--") {
			command = append(command, arg)
		} else {
			env = append(env, arg)
		}
	}
	c, err := startChild(context.Background(), command, env, log.add)
	if err != nil {
		ts.Fatalf("%v\n%s", err, log.text())
	}
	*running = c
	ts.Defer(c.kill)
	ts.Setenv("URL", c.url())
	ts.Setenv("ATMOST_ADMIN", c.addresses[listenerAdmin])
}

// askService sends a request of the public API, and expects a status: ask STATUS CALL KEY BODY. A key a/k is k in scope a.
func askService(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: ask STATUS CALL KEY BODY")
	}
	r, err := http.NewRequest(http.MethodPost, ts.Getenv("URL")+"/v1/idempotency/"+args[1], strings.NewReader(args[3]))
	ts.Check(err)
	scope, key, scoped := strings.Cut(args[2], "/")
	if !scoped {
		scope, key = "", args[2]
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	if scope != "" {
		r.Header.Set("Idempotency-Scope", scope)
	}
	resp, err := http.DefaultClient.Do(r)
	ts.Check(err)
	p, err := read(resp)
	ts.Check(err)
	_, _ = fmt.Fprintln(ts.Stdout(), p.body)
	if want := args[0]; strconv.Itoa(p.status) != want {
		ts.Fatalf("status %d, want %s: %s", p.status, want, p.body)
	}
}

// unknown has a client claim an operation, and not know how it ended: unknown KEY OPERATION PAYLOAD.
func unknown(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: unknown KEY OPERATION PAYLOAD")
	}
	const token = "0f5bd0bd1f1c4c6f8a7d6c2b9e3f1a05"
	askService(ts, false, []string{"201", "claim", args[0], `{"operation":"` + args[1] + `","payload":` + args[2] + `,"lease":"30s","lease_token":"` + token + `"}`})
	askService(ts, false, []string{"200", "fail", args[0], `{"lease_token":"` + token + `","error":{"code":"late","message":"no answer in 30s"},"executed":"unknown"}`})
}
