package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/atmost-dev/atmost"
)

// terminal is one that the real program runs on, as the foreground process.
type terminal struct {
	*testing.T
	master *os.File
	cmd    *exec.Cmd
	shown  strings.Builder
}

// onTerminal starts the program with args, and variables beside those of this process.
func onTerminal(t *testing.T, env []string, args ...string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, self, args...)
	c.Env = append(os.Environ(), env...)
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return &terminal{T: t, master: master, cmd: c}
}

// wait waits until the terminal shows text.
func (term *terminal) wait(text string) {
	term.Helper()
	for b := make([]byte, 1024); !strings.Contains(term.shown.String(), text); {
		n, err := term.master.Read(b)
		term.shown.Write(b[:n])
		if err != nil {
			term.Fatalf("it never showed %q: %q, %v", text, term.shown.String(), err)
		}
	}
}

func (term *terminal) press(keys string) {
	term.Helper()
	if _, err := term.master.WriteString(keys); err != nil {
		term.Fatal(err)
	}
}

// end waits until the program has ended, and returns how it did, and all that was shown.
func (term *terminal) end() (*os.ProcessState, string) {
	for b := make([]byte, 1024); ; {
		n, err := term.master.Read(b)
		term.shown.Write(b[:n])
		if err != nil { // nobody is at the other end any more
			break
		}
	}
	_ = term.cmd.Wait()
	return term.cmd.ProcessState, term.shown.String()
}

const interrupt = "\x03" // Ctrl-C

// TestTerminal: on a terminal there are colours, questions, and Ctrl-C.
func TestTerminal(t *testing.T) {
	d := newDesk(t)
	d.unknown("k")
	state := func() atmost.State {
		t.Helper()
		r, err := d.engine.Status(t.Context(), atmost.ID{Key: "k"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return r.State
	}
	const red = "\x1b[31munknown\x1b[0m"
	if exit, shown := onTerminal(t, nil, "keys", "list", "--admin", d.url).end(); exit.ExitCode() != exitOK || !strings.Contains(shown, red) {
		t.Errorf("%v, %q", exit, shown)
	}
	if exit, shown := onTerminal(t, []string{"NO_COLOR=1"}, "keys", "list", "--admin", d.url).end(); exit.ExitCode() != exitOK || strings.Contains(shown, "\x1b") {
		t.Errorf("without colours: %v, %q", exit, shown)
	}

	watching := onTerminal(t, nil, "keys", "watch", "k", "--admin", d.url)
	watching.wait(red)
	watching.press(interrupt)
	if exit, shown := watching.end(); exit.ExitCode() != exitOK {
		t.Errorf("watch: %v, %q", exit, shown)
	}

	resolve := []string{"keys", "resolve", "k", "--attempt", "1", "--outcome", "completed", "--reason", "r", "--admin", d.url}
	asked := onTerminal(t, nil, resolve...)
	asked.wait("Type yes to go on: ")
	asked.press(interrupt)
	exit, shown := asked.end()
	if status := exit.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGINT || state() != atmost.Unknown {
		t.Errorf("interrupted: %v, %q, the key is %v", exit, shown, state())
	}
	asked = onTerminal(t, nil, resolve...)
	asked.wait("Type yes to go on: ")
	asked.press("yes\n")
	if exit, shown := asked.end(); exit.ExitCode() != exitOK || state() != atmost.Completed {
		t.Errorf("confirmed: %v, %q, the key is %v", exit, shown, state())
	}
}

// TestBulkOnTerminal: a change of many, part by part, tells how far it has come, and in the end once how many were changed.
func TestBulkOnTerminal(t *testing.T) {
	left := 2
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, _ := io.ReadAll(r.Body)
		if left--; left == 0 || strings.Contains(string(asked), `"dry_run":true`) {
			left = 3
			_, _ = io.WriteString(w, `{"matched":3,"changed":1,"refused":0}`)
			return
		}
		_, _ = io.WriteString(w, `{"matched":1,"changed":1,"refused":0,"next_cursor":"c"}`)
	}))
	defer srv.Close()
	exit, shown := onTerminal(t, nil, "keys", "erase", "--all-matching", "--operation", "pay", "--reason", "r", "--yes", "--admin", srv.URL).end()
	if want := "\r1 changed so far\r2 changed so far\r\x1b[K3 changed\r\n"; exit.ExitCode() != exitOK || shown != want {
		t.Errorf("%v, %q, want %q", exit, shown, want)
	}
}
