package consoletest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/atmost-dev/atmost/internal/debian"
	"github.com/atmost-dev/atmost/internal/skip"
)

// tools is what a browser is driven with. Its scripts are in testdata, and so are, once they are installed, the modules that these need.
type tools struct{ node, chromium string }

// findTools finds them, and installs what is not there, or skips the test.
func findTools(t *testing.T) tools {
	t.Helper()
	found, err := haveTools()
	if err != nil {
		skip.Test(t, "THE CONSOLE WAS NOT TRIED IN A BROWSER: it takes chromium, node (18 or later) and npm (on Debian: apt-get install chromium nodejs npm): "+err.Error())
	}
	return found
}

func haveTools() (tools, error) {
	node, err := program("nodejs", "node")
	if err != nil {
		return tools{}, err
	}
	chromium, err := program("chromium", "chromium", "chromium-browser", "google-chrome")
	if err != nil {
		return tools{}, err
	}
	return tools{node, chromium}, haveModules()
}

// program is the first of the names that is installed, or what the package of Debian's brings.
func program(pkg string, names ...string) (string, error) {
	for _, name := range names {
		if found, err := exec.LookPath(name); err == nil {
			return found, nil
		}
	}
	if err := debian.Install(nil, pkg); err != nil {
		return "", fmt.Errorf("%s is not installed: %w", names[0], err)
	}
	return exec.LookPath(names[0])
}

// haveModules installs the modules that the lock file names, unless they are there.
func haveModules() error {
	const modules = "testdata/node_modules"
	lock, err := os.ReadFile("testdata/package-lock.json")
	if err != nil {
		return err
	}
	stamp := filepath.Join(modules, ".installed-from")
	if have, err := os.ReadFile(stamp); err == nil && bytes.Equal(have, lock) {
		return nil
	}
	npm, err := program("npm", "npm")
	if err != nil {
		return err
	}
	cmd := exec.Command(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = "testdata"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w: %s", err, out[max(0, len(out)-500):])
	}
	return os.WriteFile(stamp, lock, 0o644)
}
