package main

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atmost-dev/atmost/internal/skip"
)

// transcript is what a command printed, for tests to wait for.
type transcript struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
}

func newTranscript() *transcript { return &transcript{changed: make(chan struct{})} }

func (p *transcript) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text.Write(b)
	close(p.changed)
	p.changed = make(chan struct{})
	return len(b), nil
}

// wait returns everything that was printed, once pattern is in it.
func (p *transcript) wait(t *testing.T, pattern string) string {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		p.mu.Lock()
		text, changed := p.text.String(), p.changed
		p.mu.Unlock()
		if regexp.MustCompile(pattern).MatchString(text) {
			return text
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("%q was never printed, but\n%s", pattern, text)
		}
	}
}

// TestDev does what the printed lines ask a newcomer to do.
func TestDev(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	defer func() { goleak.VerifyNone(t, leaks) }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	taken, err := net.Listen("tcp", "127.0.0.1:8080")
	if err == nil { // else it is taken already
		defer taken.Close()
	}
	stdout, signals, code := newTranscript(), make(chan os.Signal, 2), make(chan int, 1)
	go func() {
		code <- run(t.Context(), []string{"dev"}, process{
			stdout: stdout, stderr: os.Stderr, env: func(string) (string, bool) { return "", false }, signals: signals,
		})
	}()
	guide := stdout.wait(t, "Ctrl-C ends it")
	stdout.wait(t, "127.0.0.1:8080 is taken, so another port was chosen")
	curls := regexp.MustCompile(`curl -si (http://\S+)/v1/idempotency/execute -H 'Idempotency-Key: (\S+)' .* -d '(.+)'`).FindAllStringSubmatch(guide, -1)
	if len(curls) != 3 {
		t.Fatalf("%d lines to try in\n%s", len(curls), guide)
	}
	do := func(i int) reply {
		t.Helper()
		p, err := post(t.Context(), client, curls[i][1], curls[i][2], curls[i][3], "")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	quickstart(t, curls[0][1])
	first := do(0)
	first.want(t, 200, `{"status":"completed","result":{"charge_id":"ch_1","status":"paid"}}`)
	stdout.wait(t, `effect    payment.charge was performed for key order-1: {"charge_id":"ch_1"`)
	if again := do(0); again.body != first.body {
		t.Errorf("answered %s, and then %s", first.body, again.body)
	}
	stdout.wait(t, "replay    payment.charge: answered from the record")
	do(1).want(t, 422, "PAYLOAD_MISMATCH")
	stdout.wait(t, "refused   payment.charge")
	do(2).want(t, 409, "OUTCOME_UNKNOWN")
	stdout.wait(t, "unknown   payment.charge")

	if declined, err := post(t.Context(), client, curls[0][1], "d", `{"operation":"email.send","payload":{"simulate":"decline"}}`, ""); err != nil {
		t.Error(err)
	} else {
		declined.want(t, 424, `"upstream_status":402`)
	}
	explain := regexp.MustCompile(` (explain order-2 --admin http://\S+)`).FindStringSubmatch(guide)
	if explain == nil {
		t.Fatal("nobody is told how to have a key explained")
	}
	if exit, said, _ := command(t, strings.Fields(explain[1])...); exit != exitOK || !strings.Contains(said, "order-2 is ") {
		t.Errorf("exit code %d, %s", exit, said)
	}
	if page, err := client.Get(regexp.MustCompile(`http://\S+/console/`).FindString(guide)); err != nil {
		t.Error(err)
	} else if p, err := read(page); err != nil || p.status != http.StatusOK || !strings.Contains(p.body, "<title>") {
		t.Errorf("the console is %d, %v", p.status, err)
	}
	resp, err := client.Get(regexp.MustCompile(`http://\S+/ledger`).FindString(guide))
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := read(resp)
	if err != nil || strings.Count(ledger.body, `"operation"`) != 2 {
		t.Errorf("the ledger: %s, %v", ledger.body, err)
	}

	file := regexp.MustCompile(`\S+/atmost.yaml`).FindString(guide)
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	signals <- syscall.SIGINT
	if c := await(t, code); c != exitOK {
		t.Errorf("exit code %d", c)
	}
	if _, err := os.Stat(filepath.Dir(file)); !os.IsNotExist(err) {
		t.Errorf("the temporary directory is still there: %v", err)
	}
}

// quickstart sends the README's request twice to a service without records, and compares the answers with the README's.
func quickstart(t *testing.T, url string) {
	t.Helper()
	const dir = "../../examples/quickstart/"
	if _, err := exec.LookPath("curl"); err != nil {
		skip.Note(t, "the README's quick start: curl is not installed (apt-get install curl)")
		return
	}
	script, err := os.ReadFile(dir + "charge.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first.txt", "second.txt"} {
		want, err := os.ReadFile(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(string(script), "http://127.0.0.1:8080", url)).Output()
		if err != nil {
			t.Fatal(err)
		}
		head, body, _ := strings.Cut(strings.ReplaceAll(string(out), "\r\n", "\n"), "\n\n")
		var shown []string // headers that say nothing about idempotency are left out
		for line := range strings.SplitSeq(head, "\n") {
			if strings.HasPrefix(line, "HTTP/") || strings.HasPrefix(line, "Idempotency-") && !strings.HasPrefix(line, "Idempotency-Expires") {
				shown = append(shown, line)
			}
		}
		if got := strings.Join(shown, "\n") + "\n\n" + body + "\n"; got != string(want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}
