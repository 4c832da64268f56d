package model

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// configuration is a set of bounds within which the search is exhaustive: see atmost.pml.
type configuration struct {
	name    string
	defines string
	long    bool // only make model waits for it
}

// effort is the C compiler's, which for a short search takes longer than that.
func (c configuration) effort() string {
	if _, planted := defects[c.name]; planted {
		return "-O0"
	}
	if c.long {
		return "-O2"
	}
	return "-O1"
}

var configurations = []configuration{
	{"hold: each client asks twice, an operator settles", "-DREQUESTS=2 -DLIVES=1 -DCRASHES=0 -DFAULTS=0", false},
	{"hold: an instance dies, a write is ambiguous", "-DREQUESTS=1 -DLIVES=1 -DCRASHES=1 -DFAULTS=1", false},
	{"hold: an instance dies, a shutdown, the key is used again", "-DREQUESTS=1 -DLIVES=2 -DCRASHES=1 -DFAULTS=0 -DDRAINS=1", false},
	{"hold: an operator is wrong, the key is used again", "-DREQUESTS=1 -DLIVES=2 -DCRASHES=0 -DFAULTS=0 -DANY_OPERATOR", false},
	{"retry: an instance dies, the key is used again", "-DREQUESTS=1 -DLIVES=2 -DCRASHES=1 -DFAULTS=0 -DRETRY", false},
	{"hold: an instance dies, a shutdown, a write is ambiguous, the key is used again", "-DREQUESTS=1 -DLIVES=2 -DCRASHES=1 -DFAULTS=1 -DDRAINS=1", true},
	{"hold: an instance dies, two writes are ambiguous", "-DREQUESTS=1 -DLIVES=1 -DCRASHES=1 -DFAULTS=2", true},
	{"hold: an instance dies, a write is ambiguous, an operator is wrong", "-DREQUESTS=1 -DLIVES=1 -DCRASHES=1 -DFAULTS=1 -DANY_OPERATOR", true},
	{"hold: each client asks twice, an instance dies", "-DREQUESTS=2 -DLIVES=1 -DCRASHES=1 -DFAULTS=0", true},
	{"hold: each client asks twice, a write is ambiguous", "-DREQUESTS=2 -DLIVES=1 -DCRASHES=0 -DFAULTS=1", true},
	{"hold: each client asks twice, the key is used again", "-DREQUESTS=2 -DLIVES=2 -DCRASHES=0 -DFAULTS=0", true},
	{"retry: each client asks twice", "-DREQUESTS=2 -DLIVES=1 -DCRASHES=0 -DFAULTS=0 -DRETRY", true},
	{"retry: an instance dies, a shutdown, a write is ambiguous", "-DREQUESTS=1 -DLIVES=1 -DCRASHES=1 -DFAULTS=1 -DDRAINS=1 -DRETRY", true},
}

// evidence is what make model leaves in docs/proof/model.json.
type evidence struct {
	Date           string  `json:"date"`
	Commit         string  `json:"commit"`
	Machine        string  `json:"machine"`
	Spin           string  `json:"spin"`
	States         int     `json:"states"`
	Transitions    int     `json:"transitions"`
	Seconds        float64 `json:"seconds"`
	Configurations []found `json:"configurations"`
	Defects        int     `json:"defects"`
}

// TestTheProtocol searches all that can happen in each configuration. With ATMOST_MODEL, the name of a file, it takes the long
// ones too, and writes there what it found.
func TestTheProtocol(t *testing.T) {
	s, file := findSpin(t), os.Getenv("ATMOST_MODEL")
	e := evidence{Date: time.Now().UTC().Format(time.DateOnly), Machine: machine(), Spin: s.version(t), Defects: len(defects)}
	for _, c := range configurations {
		if c.long && file == "" {
			continue
		}
		f := s.search(t, c)
		t.Logf("%s: %d states, %d transitions, depth %d, %.1f s", c.name, f.States, f.Transitions, f.Depth, f.Seconds)
		if f.Errors != 0 || !f.complete {
			t.Errorf("%s: %d errors, complete: %v\n%s", c.name, f.Errors, f.complete, f.output)
		}
		e.States, e.Transitions, e.Seconds = e.States+f.States, e.Transitions+f.Transitions, e.Seconds+f.Seconds
		e.Configurations = append(e.Configurations, f)
	}
	if file == "" || t.Failed() {
		return
	}
	e.Commit = commit(t)
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("model: %d states, %d transitions, %d configurations, %d errors, %.0f s\n", e.States, e.Transitions, len(e.Configurations), 0, e.Seconds)
}

// defects are planted one at a time: each names a macro of the model, and where what it breaks is seen.
var defects = map[string]string{
	"GET_THEN_PUT":         "-DREQUESTS=1 -DLIVES=1 -DCRASHES=0 -DFAULTS=0",
	"FINISH_WITHOUT_TOKEN": "-DREQUESTS=1 -DLIVES=1 -DCRASHES=0 -DFAULTS=0",
	"LAPSE_RUNS_AGAIN":     "-DREQUESTS=1 -DLIVES=1 -DCRASHES=0 -DFAULTS=0",
	"AMBIGUOUS_IS_LOST":    "-DREQUESTS=1 -DLIVES=1 -DCRASHES=0 -DFAULTS=1",
	"AMBIGUOUS_IS_WON":     "-DREQUESTS=1 -DLIVES=1 -DCRASHES=0 -DFAULTS=1",
	"ANSWERS_FIRST":        "-DREQUESTS=1 -DLIVES=1 -DCRASHES=1 -DFAULTS=0",
	"SENDS_AGAIN":          "-DREQUESTS=1 -DLIVES=1 -DCRASHES=0 -DFAULTS=0",
	"SETTLES_ANY_ATTEMPT":  "-DREQUESTS=2 -DLIVES=1 -DCRASHES=0 -DFAULTS=0",
	"SETTLES_ACROSS_LIVES": "-DREQUESTS=1 -DLIVES=2 -DCRASHES=0 -DFAULTS=0",
	"TOMBSTONE_FORGOTTEN":  "-DREQUESTS=1 -DLIVES=1 -DCRASHES=0 -DFAULTS=0",
	"UNKNOWN_FORGOTTEN":    "-DREQUESTS=1 -DLIVES=2 -DCRASHES=0 -DFAULTS=0",
	"MISMATCH_RUNS":        "-DREQUESTS=1 -DLIVES=1 -DCRASHES=0 -DFAULTS=0",
	"FENCE_RESTARTS":       "-DREQUESTS=1 -DLIVES=2 -DCRASHES=0 -DFAULTS=0",
	"PAST_FORGOTTEN":       "-DREQUESTS=1 -DLIVES=1 -DCRASHES=0 -DFAULTS=0 -DRETRY",
	"REPORT_OVERRULES":     "-DREQUESTS=1 -DLIVES=1 -DCRASHES=0 -DFAULTS=0 -DANY_OPERATOR",
	"WAITER_UNCHECKED":     "-DREQUESTS=1 -DLIVES=2 -DCRASHES=0 -DFAULTS=0",
	"OWNER_UNCHECKED":      "-DREQUESTS=1 -DLIVES=2 -DCRASHES=0 -DFAULTS=0",
}

// TestTheModelCanFail plants a defect at a time. An assertion has to fail for each: what the verifier cannot tell from the protocol
// was not checked. Without any, none of these searches fails.
func TestTheModelCanFail(t *testing.T) {
	s := findSpin(t)
	model, err := os.ReadFile("atmost.pml")
	if err != nil {
		t.Fatal(err)
	}
	for defect, where := range defects {
		if !strings.Contains(string(model), defect) {
			t.Errorf("the model knows no %s", defect)
		}
		t.Run(defect, func(t *testing.T) {
			t.Parallel()
			f := s.search(t, configuration{name: defect, defines: where + " -D" + defect})
			if f.Errors == 0 || !strings.Contains(f.output, "assertion violated") {
				t.Errorf("nothing fails\n%s", f.output)
			}
			t.Log(firstLine(f.output))
		})
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func commit(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
