package model

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atmost-dev/atmost/internal/debian"
	"github.com/atmost-dev/atmost/internal/skip"
)

// maxDepth is what a search may reach; one that reaches it was not complete.
const maxDepth = 10_000

// spin is the model checker, with the C compiler that its verifiers take.
type spin struct{ spin, cc string }

// findSpin finds it, and installs what is not there, or skips the test.
func findSpin(t *testing.T) spin {
	t.Helper()
	var found spin
	for _, tool := range []struct {
		name string
		path *string
	}{{"spin", &found.spin}, {"gcc", &found.cc}} {
		path, err := exec.LookPath(tool.name)
		if err != nil {
			if err = debian.Install(nil, tool.name); err == nil {
				path, err = exec.LookPath(tool.name)
			}
		}
		if err != nil {
			skip.Test(t, "THE MODEL OF THE PROTOCOL WAS NOT CHECKED: it takes spin and gcc (on Debian: apt-get install spin gcc): "+err.Error())
		}
		*tool.path = path
	}
	return found
}

// found is what one search found.
type found struct {
	Configuration string  `json:"configuration"`
	Defines       string  `json:"defines"`
	States        int     `json:"states"`
	Transitions   int     `json:"transitions"`
	Depth         int     `json:"depth"`
	Errors        int     `json:"errors"`
	Seconds       float64 `json:"seconds"`

	complete bool
	output   string
}

var (
	depthAndErrors = regexp.MustCompile(`depth reached (\d+), errors: (\d+)`)
	stored         = regexp.MustCompile(`(\d+) states, stored`)
	transitions    = regexp.MustCompile(`(\d+) transitions`)
)

// search tries every interleaving of the model under the defines. Where it finds an error it stops.
func (s spin) search(t *testing.T, c configuration) found {
	t.Helper()
	model, err := filepath.Abs("atmost.pml")
	if err != nil {
		t.Fatal(err)
	}
	dir, begin := t.TempDir(), time.Now()
	run := func(name string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
		}
		return string(out)
	}
	run(s.spin, append(strings.Fields(c.defines), "-a", model)...)
	run(s.cc, c.effort(), "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c")
	out := run(filepath.Join(dir, "pan"), "-m"+strconv.Itoa(maxDepth))
	f := found{Configuration: c.name, Defines: c.defines, output: out}
	number := func(re *regexp.Regexp, group int) int {
		m := re.FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("nothing like %q in what the verifier says:\n%s", re, out)
		}
		n, err := strconv.Atoi(m[group])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	f.Depth, f.Errors = number(depthAndErrors, 1), number(depthAndErrors, 2)
	f.States, f.Transitions = number(stored, 1), number(transitions, 1)
	f.complete = strings.Contains(out, "Full statespace search") && !strings.Contains(out, "Search not completed") &&
		!strings.Contains(out, "max search depth too small")
	f.Seconds = float64(time.Since(begin).Milliseconds()) / 1000
	return f
}

func (s spin) version(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), s.spin, "-V").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// machine tells what the searches ran on.
func machine() string {
	cpu := "unknown processor"
	info, _ := os.ReadFile("/proc/cpuinfo")
	if m := regexp.MustCompile(`(?m)^model name\s*:\s*(.+)$`).FindSubmatch(info); m != nil {
		cpu = string(m[1])
	}
	return fmt.Sprintf("%s, %d processors", cpu, runtime.NumCPU())
}
