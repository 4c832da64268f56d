package pgtest

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Bouncer starts a PgBouncer in transaction mode in front of the server at server, and returns the URL of the same database by way
// of it. It ends with the test, which is skipped where there is no PgBouncer and none can be installed.
func Bouncer(t testing.TB, server string, settings ...string) string {
	t.Helper()
	program := findBouncer()
	if program == "" {
		err := install("pgbouncer")
		if program = findBouncer(); program == "" {
			skipFor(t, "PgBouncer: install the package pgbouncer", err)
		}
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(base(false), "pgbouncer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	conf := fmt.Sprintf("[databases]\n* = host=%s port=%s user=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 4\nmax_client_conn = 200\n",
		u.Hostname(), u.Port(), u.User.Username(), port)
	for _, s := range settings {
		conf += s + "\n"
	}
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, file)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: unprivileged()}
	p, err := start(cmd)
	if err == nil {
		t.Cleanup(func() { p.stop(syscall.SIGKILL) })
		err = p.ready("process up")
	}
	if err != nil {
		t.Fatal(err)
	}
	u.Host = addr
	return u.String()
}

func findBouncer() string {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin") {
		if isProgram(dir, "pgbouncer") {
			return filepath.Join(dir, "pgbouncer")
		}
	}
	return ""
}
