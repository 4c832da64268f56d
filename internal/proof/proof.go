// Package proof writes down what long runs came to, so that a figure that is told can be traced to a commit and a machine.
package proof

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// record is the file: what every run has in common, and its own figures.
type record struct {
	Date    string  `json:"date"`
	Commit  string  `json:"commit"`
	Machine machine `json:"machine"`
	Figures any     `json:"figures"`
}

type machine struct {
	CPUs     int    `json:"cpus"`
	Platform string `json:"platform"`
	Kernel   string `json:"kernel"`
	Go       string `json:"go"`
}

// Write replaces file by figures, as JSON, with the moment, the machine, and the commit that is checked out where the file is; if
// what is checked out was changed since, the commit is followed by " and changes". Directories that are missing are made.
func Write(file string, figures any) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	commit, err := commitIn(dir)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(record{
		Date:    time.Now().UTC().Format(time.RFC3339),
		Commit:  commit,
		Machine: machine{runtime.NumCPU(), runtime.GOOS + "/" + runtime.GOARCH, kernel(), runtime.Version()},
		Figures: figures,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

func commitIn(dir string) (string, error) {
	commit, err := git(dir, "rev-parse", "HEAD")
	if err != nil {
		return "", err
	}
	// What other runs came to changes nothing of what was run.
	changes, err := git(dir, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)docs/proof")
	if changes != "" {
		commit += " and changes"
	}
	return commit, err
}

func git(dir string, args ...string) (string, error) {
	out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).Output()
	if err != nil {
		return "", fmt.Errorf("proof: git %s in %s: %w", args[0], dir, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// kernel is the release of the system's, "" where it does not say.
func kernel() string {
	out, _ := exec.Command("uname", "-r").Output()
	return strings.TrimSpace(string(out))
}
