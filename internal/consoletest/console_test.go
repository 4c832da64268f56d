package consoletest

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// scene is what the scripts tell of one scene that they played.
type scene struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error"`
}

// mostTime is only ever used up by what hangs.
const mostTime = 5 * time.Minute

// TestConsole plays every scene of testdata/scenes.mjs. What the console looked like is left in the directory shots.
func TestConsole(t *testing.T) {
	have := findTools(t)
	shots, err := filepath.Abs("shots")
	if err != nil {
		t.Fatal(err)
	}
	given, err := json.Marshal(map[string]any{
		"chromium": have.chromium, "shots": shots, "root": os.Getuid() == 0,
		"service": start(t, newStore(), "memory"), "busy": start(t, newStore(), "pebble"), "guarded": start(t, guardedStore(t), "pebble"),
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), have.node, "testdata/run.mjs", string(given))
	cmd.Env = append(os.Environ(), "TZ=UTC")
	cmd.WaitDelay = time.Second
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(mostTime, func() { _ = cmd.Process.Kill() })
	defer hung.Stop()
	played := 0
	for lines := bufio.NewScanner(out); lines.Scan(); played++ {
		var s scene
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Logf("%.1f s", s.Seconds)
			if s.Error != "" {
				t.Error(s.Error)
			}
		})
	}
	if err := cmd.Wait(); err != nil || played == 0 {
		t.Errorf("%d scenes were played, then: %v", played, err)
	}
}
