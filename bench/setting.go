package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/atmost-dev/atmost/internal/pgtest"
)

// setting is everything that runs while it is measured.
type setting struct {
	dir           string
	cluster       *pgtest.Cluster
	children      []*exec.Cmd
	plain, atmost contender
}

// contender is one that is measured.
type contender struct {
	address string
	pid     int
}

func setUp(ctx context.Context) (*setting, error) {
	s := &setting{}
	if err := s.open(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *setting) open(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp("", "atmost-bench-"); err != nil {
		return err
	}
	if s.cluster, err = pgtest.Start(pgtest.Config{Disk: true}); err != nil {
		return err
	}
	ours, theirs := s.cluster.URL("ours"), s.cluster.URL("plain")
	if err := execute(ctx, s.cluster.URL("postgres"), "CREATE DATABASE ours", "CREATE DATABASE plain"); err != nil {
		return err
	}
	if err := execute(ctx, theirs, plainSchema); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	target, err := s.role(self, "-role", "upstream")
	if err != nil {
		return err
	}
	upstream := "http://" + target.address + "/charges"
	if s.plain, err = s.role(self, "-role", "plain", "-database", theirs, "-upstream", upstream); err != nil {
		return err
	}
	return s.serve(ctx, ours, upstream)
}

func execute(ctx context.Context, url string, statements ...string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// role starts this program in a role, in which it prints its address.
func (s *setting) role(program string, args ...string) (c contender, err error) {
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return c, err
	}
	if err := s.start(cmd); err != nil {
		return c, err
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		return c, fmt.Errorf("%s did not start", strings.Join(args[:2], " "))
	}
	return contender{lines.Text(), cmd.Process.Pid}, nil
}

func (s *setting) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.children = append(s.children, cmd)
	return nil
}

// serve builds the program and starts it, on a database of its own, configured as it comes.
func (s *setting) serve(ctx context.Context, database, upstream string) error {
	program := filepath.Join(s.dir, "atmost")
	tree, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/atmost-dev/atmost").Output()
	if err != nil {
		return fmt.Errorf("this is to be run in its own directory: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/atmost")
	build.Dir, build.Stderr = strings.TrimSpace(string(tree)), os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building atmost: %w", err)
	}
	file := filepath.Join(s.dir, "atmost.yaml")
	config := fmt.Sprintf("store: %s\nlisten: 127.0.0.1:0\nadmin: \"\"\nlog: {format: text}\noperations: {charge: {url: '%s'}}\n", database, upstream)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	cmd := exec.Command(program, "serve", "--migrate", "--config", file)
	out, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := s.start(cmd); err != nil {
		return err
	}
	var log bytes.Buffer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&log, lines.Text())
		if _, rest, ok := strings.Cut(lines.Text(), "listener=public address="); ok {
			s.atmost = contender{rest, cmd.Process.Pid}
		}
		if strings.Contains(lines.Text(), "msg=ready") {
			go func() {
				for lines.Scan() {
					fmt.Fprintln(os.Stderr, lines.Text())
				}
			}()
			return nil
		}
	}
	return errors.New("atmost did not start:\n" + log.String())
}

func (s *setting) close() {
	for _, child := range s.children {
		_ = child.Process.Kill()
		_ = child.Wait()
	}
	if s.cluster != nil {
		s.cluster.Remove()
	}
	_ = os.RemoveAll(s.dir)
}
