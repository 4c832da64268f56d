// Package pgtest runs PostgreSQL for tests: private clusters in temporary directories, as a user without privileges, that end
// with the test process whatever becomes of it.
//
// ATMOST_TEST_POSTGRES, the URL of a server on which databases may be created, replaces the cluster that tests share.
// A test that restarts its server, or sets it up in a way of its own, still needs PostgreSQL's programs.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/atmost-dev/atmost/internal/skip"
)

// oldest is the first major version that the project supports.
const oldest = 14

// Main runs a package's tests, ends what they shared, and exits.
func Main(m *testing.M) {
	code := m.Run()
	shared.mu.Lock()
	if shared.cluster != nil {
		shared.cluster.Remove()
	}
	os.Exit(code)
}

var shared struct {
	mu      sync.Mutex
	cluster *Cluster
	err     error
}

// Database creates an empty database on the cluster that the tests of this process share and returns its URL. The test is
// skipped where there is no PostgreSQL and none can be installed. The package's TestMain calls Main.
func Database(t testing.TB) string {
	t.Helper()
	if server := os.Getenv("ATMOST_TEST_POSTGRES"); server != "" {
		return createDatabase(t, server)
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.cluster == nil && shared.err == nil {
		shared.cluster, shared.err = newCluster(binaries(t), Config{})
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return createDatabase(t, shared.cluster.URL("postgres"))
}

func createDatabase(t testing.TB, server string) string {
	t.Helper()
	name := "t_" + strings.ToLower(rand.Text()[:12])
	Exec(t, server, "CREATE DATABASE "+name)
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal("pgtest: ATMOST_TEST_POSTGRES is no URL")
	}
	u.Path = "/" + name
	if os.Getenv("ATMOST_TEST_POSTGRES") != "" {
		t.Cleanup(func() { Exec(t, server, "DROP DATABASE "+name+" WITH (FORCE)") })
	}
	return u.String()
}

// Exec runs statements, one after the other, on a connection of their own.
func Exec(t testing.TB, server string, statements ...string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// Query returns the one value of one row.
func Query[T any](t testing.TB, server, query string, args ...any) T {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var v T
	if err := conn.QueryRow(ctx, query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// binaries returns the directory of PostgreSQL's programs, installed if need be and possible, or skips the test.
func binaries(t testing.TB) string {
	t.Helper()
	dir, err := haveBinaries()
	if dir == "" {
		skipFor(t, fmt.Sprintf("PostgreSQL %d or newer: install the package postgresql, or set ATMOST_TEST_POSTGRES to a server's URL", oldest), err)
	}
	return dir
}

// haveBinaries installs PostgreSQL's programs if they are missing. The error tells why they could not be.
func haveBinaries() (dir string, err error) {
	if dir := findBinaries(); dir != "" {
		return dir, nil
	}
	err = install("postgresql")
	return findBinaries(), err
}

// skipFor skips the test for want of something that could not be installed.
func skipFor(t testing.TB, missing string, err error) {
	t.Helper()
	skip.Test(t, fmt.Sprintf("%s needs %s (%v)", t.Name(), missing, err))
}

// findBinaries looks for the newest installed version, or what is in PATH.
func findBinaries() string {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), dirs...) {
		if v := version(dir); v != 0 && v < oldest {
			continue
		}
		if isProgram(dir, "initdb") && isProgram(dir, "postgres") && isProgram(dir, "pg_basebackup") {
			return dir
		}
	}
	return ""
}

func isProgram(dir, name string) bool {
	info, err := os.Stat(filepath.Join(dir, name))
	return err == nil && info.Mode()&0o111 != 0
}

// version is the major version in a path of Debian's, 0 in others.
func version(dir string) int {
	v, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	return v
}
