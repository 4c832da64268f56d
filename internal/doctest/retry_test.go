package doctest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/skip"
)

// example is a program in examples.
type example struct {
	file  string
	needs map[string]string // the programs it takes, and how to get each
	run   []string          // the command before the file; none: it is compiled Go
}

var examples = []example{
	{file: "retry/go/main.go"},
	{file: "retry/retry.py", needs: map[string]string{"python3": "apt-get install python3"}, run: []string{"python3"}},
	{file: "retry/retry.mjs", needs: map[string]string{"node": "https://nodejs.org, 18 or later"}, run: []string{"node"}},
	{file: "retry/retry.sh", needs: map[string]string{"bash": "apt-get install bash", "curl": "apt-get install curl", "awk": "apt-get install mawk"}, run: []string{"bash"}},
}

// scene is what an example is run in, and what must come of it.
type scene struct {
	name      string
	operation func(*service) atmost.Operation
	script    []step
	times     int  // how often it is run, with the same key file; 0: once
	hasty     bool // its deadline is near

	fails    bool
	says     []string // all in what it prints: to its standard output, or on failure to its standard error
	requests int      // 0: any number
	effects  int
}

const result = `"id":"ch_1"`

func charged() atmost.Outcome {
	return atmost.Outcome{State: atmost.Completed, Result: []byte("{" + result + "}"), UpstreamStatus: 200}
}

// ends is an operation that always has its effect, and then o.
func ends(o atmost.Outcome) func(*service) atmost.Operation {
	return func(s *service) atmost.Operation {
		return atmost.Operation{Executor: does(func(context.Context, atmost.Attempt) atmost.Outcome {
			s.effects.Add(1)
			return o
		})}
	}
}

var scenes = []scene{
	{
		name: "all that can be overcome",
		operation: func(s *service) atmost.Operation {
			return atmost.Operation{Executor: does(func(ctx context.Context, a atmost.Attempt) atmost.Outcome {
				if a.Number == 1 {
					return atmost.Outcome{State: atmost.NotExecuted, Message: "connection refused"}
				}
				select {
				case <-s.hurry:
				case <-ctx.Done():
				}
				s.effects.Add(1)
				return charged()
			})}
		},
		script: []step{soon(outage), soon(pass) /* not executed */, impatient, soon(impatient), lost, cut},
		times:  2, says: []string{"ch_1"}, requests: 8, effects: 1,
	},
	{
		name:      "something in between answers",
		operation: ends(charged()), script: []step{foreign},
		says: []string{"ch_1"}, requests: 2, effects: 1,
	},
	{
		name:      "failed",
		operation: ends(atmost.Outcome{State: atmost.Failed, Message: "the card was declined", UpstreamStatus: 402, Result: []byte("{}")}),
		fails:     true, says: []string{"EXECUTION_FAILED", "the card was declined"}, requests: 1, effects: 1,
	},
	{
		name:      "unknown",
		operation: ends(atmost.Outcome{State: atmost.Unknown, Message: "no answer"}),
		times:     2, fails: true, says: []string{"OUTCOME_UNKNOWN", "person", "do not try with another key"}, requests: 2, effects: 1,
	},
	{
		name: "unknown until probed",
		operation: func(s *service) atmost.Operation {
			o := ends(atmost.Outcome{State: atmost.Unknown, Message: "no answer"})(s)
			o.OnUnknown, o.Prober = atmost.ProbeUnknown, finds(charged())
			return o
		},
		script: []step{after("1", pass), after("1", pass), after("1", pass), after("1", pass)},
		says:   []string{"ch_1"}, effects: 1,
	},
	{
		name:      "no answer in time",
		operation: ends(charged()), script: []step{silent}, hasty: true,
		fails: true, says: []string{"with the same key"}, requests: 1,
	},
	{
		name:      "told to wait for longer than there is time",
		operation: ends(charged()), script: []step{after("60", outage)}, hasty: true,
		fails: true, says: []string{"with the same key", "STORE_UNAVAILABLE"}, requests: 1,
	},
}

// TestRetryExamples runs each example in each scene, all at once, as they mostly wait.
func TestRetryExamples(t *testing.T) {
	type played struct {
		scene
		service *service
		runs    []run
	}
	plays := map[string][]*played{}
	var playing sync.WaitGroup
	for _, e := range examples {
		if e.missing() != "" {
			continue
		}
		patient := sync.OnceValues(func() ([]string, error) { return e.command(t) })
		hasty := sync.OnceValues(func() ([]string, error) { return e.command(t, patience, haste) })
		for _, sc := range scenes {
			p := &played{scene: sc, service: start(t, sc.operation, sc.script...)}
			plays[e.file] = append(plays[e.file], p)
			playing.Go(func() {
				command := patient
				if sc.hasty {
					command = hasty
				}
				args, err := command()
				if err != nil {
					p.runs = []run{{err: err}}
					return
				}
				args = append(args[:len(args):len(args)], p.service.server.URL, p.service.keyFile)
				for range max(1, sc.times) {
					r := execute(t.Context(), args)
					p.runs = append(p.runs, r)
					if !r.ended() {
						return
					}
				}
			})
		}
	}
	playing.Wait()
	for _, e := range examples {
		t.Run(e.file, func(t *testing.T) {
			if missing := e.missing(); missing != "" {
				skip.Test(t, fmt.Sprintf("examples/%s WAS NOT RUN: %s", e.file, missing))
			}
			for _, p := range plays[e.file] {
				t.Run(p.name, func(t *testing.T) {
					for _, r := range p.runs {
						r.check(t, p.scene)
					}
					p.service.check(t, p.requests, p.effects)
				})
			}
		})
	}
}

// missing says what an example needs and is not there.
func (e example) missing() string {
	var missing []string
	for program, get := range e.needs {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, fmt.Sprintf("%s is not installed (%s)", program, get))
		}
	}
	return strings.Join(missing, ", ")
}

// patience is how many seconds each example goes on for. It is written once in each.
const patience = "120"

// haste is how many seconds hasty scenes give them: less than they are told to wait, and enough for a first request on a machine
// that is busy with other tests.
const haste = "10"

// command returns what runs the example, with others in place of some of its constants.
func (e example) command(t *testing.T, constants ...string) ([]string, error) {
	source, err := os.ReadFile(filepath.Join("../../examples", e.file))
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(constants); i += 2 {
		if n := bytes.Count(source, []byte(constants[i])); n != 1 {
			return nil, fmt.Errorf("%q is in %s %d times, and was expected to be there once", constants[i], e.file, n)
		}
		source = bytes.Replace(source, []byte(constants[i]), []byte(constants[i+1]), 1)
	}
	file := filepath.Join(t.TempDir(), filepath.Base(e.file))
	if err := os.WriteFile(file, source, 0o600); err != nil {
		return nil, err
	}
	if e.run != nil {
		return append(e.run[:len(e.run):len(e.run)], file), nil
	}
	program := strings.TrimSuffix(file, ".go")
	if r := execute(t.Context(), []string{"go", "build", "-o", program, file}); r.err != nil {
		return nil, fmt.Errorf("%w: %s", r.err, r.stderr)
	}
	return []string{program}, nil
}

// run is how a command ended.
type run struct {
	stdout, stderr string
	err            error
}

// mostTime is only ever used up by what hangs.
const mostTime = 2 * time.Minute

func execute(ctx context.Context, command []string) (r run) {
	ctx, cancel := context.WithTimeout(ctx, mostTime)
	defer cancel()
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, time.Second
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("%v took more than %v", command, mostTime)
	}
	return run{stdout.String(), stderr.String(), err}
}

// ended tells that the command came to an end of its own, whichever.
func (r run) ended() bool {
	var exit *exec.ExitError
	return r.err == nil || errors.As(r.err, &exit)
}

func (r run) check(t *testing.T, sc scene) {
	t.Helper()
	switch {
	case !r.ended():
		t.Errorf("it was not run to its end: %v", r.err)
	case sc.fails && (r.err == nil || r.err.Error() != "exit status 1"):
		t.Errorf("it ended with %v, not with exit status 1", r.err)
	case !sc.fails && r.err != nil:
		t.Errorf("it ended with %v", r.err)
	}
	printed, other := r.stdout, r.stderr
	if sc.fails {
		printed, other = r.stderr, r.stdout
	}
	for _, s := range sc.says {
		if !strings.Contains(printed, s) {
			t.Errorf("it does not say %q", s)
		}
	}
	if other != "" {
		t.Error("it printed to both, standard output and standard error")
	}
	if t.Failed() {
		t.Logf("standard output:\n%s\nstandard error:\n%s", r.stdout, r.stderr)
	}
}
