package pgtest

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Config says how a cluster differs from PostgreSQL's defaults.
type Config struct {
	// Settings are lines of postgresql.conf.
	Settings []string
	// Disk keeps the data where fsync costs what it does, for measurements; otherwise it is in memory if possible.
	Disk bool
}

// Cluster is one PostgreSQL server with a directory of its own.
type Cluster struct {
	bin, dir string
	addr     string
	settings []string

	mu      sync.Mutex
	process *process // nil while stopped
}

// New starts a cluster that ends with the test.
func New(t testing.TB, config Config) *Cluster {
	t.Helper()
	c, err := newCluster(binaries(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Remove)
	return c
}

// Start starts a cluster for a program that is no test, and removes it when it is done.
func Start(config Config) (*Cluster, error) {
	bin, err := haveBinaries()
	if bin == "" {
		return nil, fmt.Errorf("pgtest: there is no PostgreSQL %d or newer: %w", oldest, err)
	}
	return newCluster(bin, config)
}

func newCluster(bin string, config Config) (*Cluster, error) {
	c, err := prepare(bin, config)
	if err != nil {
		return nil, err
	}
	if err := c.run("initdb", "-D", c.data(), "-U", "atmost", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"); err != nil {
		c.Remove()
		return nil, err
	}
	if err := c.Start(); err != nil {
		c.Remove()
		return nil, err
	}
	return c, nil
}

func prepare(bin string, config Config) (*Cluster, error) {
	sweepStale(base(config.Disk))
	dir, err := os.MkdirTemp(base(config.Disk), fmt.Sprintf("pgtest-%d-", os.Getpid()))
	if err != nil {
		return nil, err
	}
	if cred := unprivileged(); cred != nil {
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return &Cluster{bin: bin, dir: dir, addr: l.Addr().String(), settings: config.Settings}, nil
}

// sweepStale deletes what processes left in dir that were killed, and so could not: their servers are gone with them.
func sweepStale(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, "pgtest-*-*"))
	for _, l := range left {
		pid, err := strconv.Atoi(strings.Split(filepath.Base(l), "-")[1])
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(l)
		}
	}
}

// base is the directory for clusters: one that the unprivileged user can enter.
func base(disk bool) string {
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err == nil && !disk && info.Mode()&fs.ModeSticky != 0 {
		return memory
	}
	if os.Getuid() == 0 {
		return "/tmp"
	}
	return os.TempDir()
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// Addr is host and port to connect to.
func (c *Cluster) Addr() string { return c.addr }

// URL is that of a database, by way of TCP.
func (c *Cluster) URL(database string) string { return URL(c.addr, database) }

// URL is that of a database of a cluster that is reached at addr.
func URL(addr, database string) string {
	return "postgres://atmost@" + addr + "/" + database + "?sslmode=disable"
}

// Database creates an empty database and returns its URL.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	return createDatabase(t, c.URL("postgres"))
}

// Start starts the server, if it is stopped, and waits until it answers.
func (c *Cluster) Start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process != nil {
		return nil
	}
	_, port, _ := net.SplitHostPort(c.addr)
	settings := append([]string{
		"listen_addresses=127.0.0.1", "port=" + port, "unix_socket_directories=" + c.dir, "logging_collector=off",
		"log_destination=stderr", "lc_messages=C", "max_connections=150", "shared_buffers=64MB", "wal_level=replica",
	}, c.settings...)
	args := []string{"-D", c.data()}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	p, err := start(c.command("postgres", args...))
	if err == nil {
		err = p.ready("database system is ready to accept")
	}
	if err != nil {
		return err
	}
	c.process = p
	return nil
}

// Stop ends the server: in order, having told its clients, or at once, as a crash would.
func (c *Cluster) Stop(crash bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return
	}
	c.process.stop(map[bool]os.Signal{false: syscall.SIGINT, true: syscall.SIGQUIT}[crash])
	c.process = nil
}

// Set changes settings that a reload can change.
func (c *Cluster) Set(t testing.TB, settings ...string) {
	t.Helper()
	statements := make([]string, 0, len(settings)+1)
	for _, s := range settings {
		statements = append(statements, "ALTER SYSTEM SET "+s)
	}
	Exec(t, c.URL("postgres"), append(statements, "SELECT pg_reload_conf()")...)
}

// Standby starts a second cluster that follows c, as a standby of the name given, and ends with the test.
func (c *Cluster) Standby(t testing.TB, name string) *Cluster {
	t.Helper()
	s, err := prepare(c.bin, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Remove)
	host, port, _ := net.SplitHostPort(c.addr)
	if err := s.run("pg_basebackup", "-D", s.data(), "-h", host, "-p", port, "-U", "atmost", "-c", "fast", "--no-sync"); err != nil {
		t.Fatal(err)
	}
	s.settings = append(slices.Clone(c.settings), fmt.Sprintf("primary_conninfo=host=%s port=%s user=atmost application_name=%s", host, port, name))
	signal := filepath.Join(s.data(), "standby.signal")
	if err := os.WriteFile(signal, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// Promote makes a standby a primary.
func (c *Cluster) Promote(t testing.TB) {
	t.Helper()
	if !Query[bool](t, c.URL("postgres"), "SELECT pg_promote(true, 30)") {
		t.Fatal("pgtest: the standby was not promoted")
	}
}

func (c *Cluster) run(program string, args ...string) error {
	if out, err := c.command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}

// command runs one of PostgreSQL's programs as a user without privileges, without what this process's environment says
// about other servers.
func (c *Cluster) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, program), args...)
	cmd.Dir = c.dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PG") })
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: unprivileged()}
	return cmd
}

// Pid is the process that all of the server's others descend from, 0 while it is stopped.
func (c *Cluster) Pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return 0
	}
	return c.process.cmd.Process.Pid
}

// Remove ends the server at once, and deletes its directory.
func (c *Cluster) Remove() {
	c.Stop(true)
	_ = os.RemoveAll(c.dir)
}
