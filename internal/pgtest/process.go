package pgtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// unprivileged is the user that servers run as where this process is root, which they refuse to be.
func unprivileged() *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return nil
}

// process is a server that this process started. It does not outlive it.
type process struct {
	cmd   *exec.Cmd
	lines chan string // what it logs, until ready returned
	ended chan struct{}
}

// start starts cmd, and has the system end it together with this process.
func start(cmd *exec.Cmd) (*process, error) {
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	p := &process{cmd: cmd, lines: make(chan string), ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread whose death the signal tells of
		defer runtime.UnlockOSThread()
		defer close(p.ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.read(stderr)
			_ = cmd.Wait()
		}
	}()
	return p, <-started
}

func (p *process) read(stderr io.Reader) {
	defer close(p.lines)
	for s := bufio.NewScanner(stderr); s.Scan(); {
		p.lines <- s.Text()
	}
}

// ready waits for a line with text in it, and lets go of all that follow.
func (p *process) ready(text string) error {
	var last []string
	for line := range p.lines {
		if strings.Contains(line, text) {
			go func() {
				for range p.lines { // so that it does not block
				}
			}()
			return nil
		}
		last = append(last[max(0, len(last)-9):], line)
	}
	<-p.ended
	return fmt.Errorf("pgtest: the server did not start: %s", strings.Join(last, "\n"))
}

// stop signals the process and waits for its end.
func (p *process) stop(s os.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = p.cmd.Process.Kill()
	}
	<-p.ended
}
