package proof

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"
	"time"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	tracked := filepath.Join(dir, "tracked")
	change(t, tracked, "1")
	for _, args := range [][]string{
		{"init", "-q"},
		{"add", "."},
		{"-c", "user.name=n", "-c", "user.email=n@example.org", "commit", "-q", "-m", "m"},
	} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
	file := filepath.Join(dir, "docs", "proof", "f.json")
	read := func() (r record) {
		t.Helper()
		if err := Write(file, map[string]int{"rounds": 3}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	_ = read() // its own file is no change
	r := read()
	at, err := time.Parse(time.RFC3339, r.Date)
	if err != nil || time.Since(at) > time.Minute {
		t.Errorf("the date is %s", r.Date)
	}
	if !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(r.Commit) {
		t.Errorf("the commit is %q", r.Commit)
	}
	if m := r.Machine; m.CPUs != runtime.NumCPU() || m.Go != runtime.Version() || m.Kernel == "" {
		t.Errorf("the machine is %+v", m)
	}
	if got, _ := json.Marshal(r.Figures); string(got) != `{"rounds":3}` {
		t.Errorf("the figures are %s", got)
	}
	change(t, tracked, "2")
	if changed := read(); changed.Commit != r.Commit+" and changes" {
		t.Errorf("after a change the commit is %q", changed.Commit)
	}
}

func TestNoRepository(t *testing.T) {
	if err := Write(filepath.Join(t.TempDir(), "f.json"), nil); err == nil {
		t.Error("figures of no commit were written")
	}
}

func change(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
