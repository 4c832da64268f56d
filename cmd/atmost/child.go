package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// child is a service in a process of its own. When start has returned it is ready.
type child struct {
	cmd       *exec.Cmd
	addresses map[string]string // of its listeners, by name
	ended     chan struct{}     // closed once the process has ended and its log has been read
	err       error             // how it ended, nil for exit code 0; valid then
}

// logLine is one line of a child's log.
type logLine struct {
	Level, Msg        string
	Listener, Address string
	text              string // the whole line
}

// startChild runs this program with args, and returns when it is ready, or has ended. Settings that the environment of this
// process has do not reach it, those of env do. Its log, which must be JSON at level info, goes to onLine, line by line.
func startChild(ctx context.Context, args, env []string, onLine func(logLine)) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, args...), addresses: map[string]string{}, ended: make(chan struct{})}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "ATMOST_") {
			c.cmd.Env = append(c.cmd.Env, v)
		}
	}
	c.cmd.Env = append(c.cmd.Env, env...)
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go c.read(stderr, ready, onLine)
	select {
	case <-ready:
		return c, nil
	case <-c.ended:
		return c, fmt.Errorf("the service ended before it was ready: %w", c.err)
	}
}

// read reads the log until the process ends.
func (c *child) read(stderr io.Reader, ready chan struct{}, onLine func(logLine)) {
	defer close(c.ended)
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		l := logLine{text: lines.Text()}
		_ = json.Unmarshal(lines.Bytes(), &l) // what is no JSON is told as it is
		switch {
		case l.Msg == logListening:
			c.addresses[l.Listener] = l.Address
		case l.Msg == logReady && ready != nil:
			close(ready)
			ready = nil
		}
		if onLine != nil {
			onLine(l)
		}
	}
	c.err = c.cmd.Wait()
}

// url is where the public API is.
func (c *child) url() string { return "http://" + c.addresses[listenerPublic] }

// kill ends the process as a power cut would: it gets no chance to do anything.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // fails if it has ended
	<-c.ended
}

// stop asks the process to end, and returns how it did.
func (c *child) stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-c.ended
	return c.err
}
