package main

import (
	"bytes"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atmost-dev/atmost/internal/pgtest"
	"github.com/atmost-dev/atmost/store/pgstore"
)

// migrated prepares the database at url.
func migrated(t testing.TB, url string) string {
	t.Helper()
	if _, err := pgstore.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	return url
}

// command runs one command in this process, and returns its exit code and what it wrote.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, messages bytes.Buffer
	code = run(t.Context(), args, process{stdout: &out, stderr: &messages, env: func(string) (string, bool) { return "", false }})
	return code, out.String(), messages.String()
}

// with is a database's URL with other credentials, and another database if there is one.
func with(t *testing.T, database, user, password, name string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	if name != "" {
		u.Path = "/" + name
	}
	return u.String()
}

// TestDatabaseRefused: why a database cannot be used is said in one line, which shows no password.
func TestDatabaseRefused(t *testing.T) {
	hba := filepath.Join(t.TempDir(), "hba.conf")
	const rules = "local all all trust\nhost all checked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n"
	if err := errors.Join(os.WriteFile(hba, []byte(rules), 0o644), openPath(hba)); err != nil {
		t.Fatal(err)
	}
	cluster := pgtest.New(t, pgtest.Config{Settings: []string{"hba_file=" + hba}})
	database := migrated(t, cluster.Database(t))
	pgtest.Exec(t, database, "CREATE ROLE checked LOGIN PASSWORD 'other'", "CREATE ROLE stranger LOGIN",
		"CREATE ROLE careless LOGIN SUPERUSER", "ALTER ROLE careless SET synchronous_commit = off",
		"CREATE ROLE reader LOGIN SUPERUSER", "ALTER ROLE reader SET default_transaction_read_only = on")
	standby := cluster.Standby(t, "s")

	const secret = "s3cret%"
	as := func(user string) string { return with(t, database, user, secret, "") }
	for name, c := range map[string]struct{ store, want string }{
		"nobody there":   {with(t, "postgres://127.0.0.1:1/db", "atmost", secret, ""), "connection refused"},
		"several hosts":  {strings.Replace(with(t, "postgres://127.0.0.1:1/db", "atmost", secret, ""), ":1/", ":1,127.0.0.1:2/", 1), "127.0.0.1:2"},
		"wrong password": {as("checked"), `password authentication failed for user "checked"`},
		"no such role":   {as("nobody"), `role "nobody" does not exist`},
		"no database":    {with(t, database, "atmost", secret, "missing"), `database "missing" does not exist`},
		"no rights":      {as("stranger"), "permission denied for table atmost_migrations"},
		"no schema":      {with(t, database, "atmost", secret, "postgres"), "run: atmost migrate up --store 'postgres://atmost:xxxxx@"},
		"not durable":    {as("careless"), "the server acknowledges what it can lose (fsync is on, synchronous_commit is off, a synchronous standby is configured: false): the promise cannot be kept; set both to on, or accept that with --unsafe-durability"},
		"read-only":      {as("reader"), "read-only"},
		"a standby":      {strings.Replace(as("atmost"), cluster.Addr(), standby.Addr(), 1), "the server is in recovery: a standby, or not yet promoted"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := command(t, "serve", "--listen", "127.0.0.1:0", "--admin", "", "--store", c.store)
			t.Log(stderr)
			if code != exitFailure || !strings.HasPrefix(stderr, "atmost: the store postgres://") || !strings.Contains(stderr, c.want) {
				t.Errorf("exit code %d, want %q", code, c.want)
			}
			if strings.Contains(stderr, "s3cret") || strings.Count(stderr, "\n") != 1 {
				t.Error("it shows the password, or has several lines")
			}
		})
	}
}

// openPath lets other users reach a file in a test's temporary directory.
func openPath(file string) error {
	var err error
	for dir := filepath.Dir(file); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		err = errors.Join(err, os.Chmod(dir, 0o755))
	}
	return err
}

// TestSharedStoreAway: an instance whose database is away stays ready, and tells of it; it needs no restart.
func TestSharedStoreAway(t *testing.T) {
	cluster := pgtest.New(t, pgtest.Config{})
	up := newGated(t)
	close(up.open)
	r := boot(t, "store: "+cluster.Database(t)+"\nmigrate: true\nclaim_patience: 500ms\ndrain_timeout: 0s\noperations: {a: {url: '"+up.URL+"'}}\n")
	t.Cleanup(func() { cluster.Stop(true) }) // its goroutines are not the program's
	r.log.wait(t, "the database was migrated")
	r.get(t, listenerAdmin, "/readyz?verbose").want(t, 200, "[+] store: ok")
	for _, m := range []string{"atmost_store_up 1", "atmost_store_guarded 0", "atmost_store_connections_max 16", "atmost_store_connections "} {
		r.get(t, listenerAdmin, "/metrics").want(t, 200, m)
	}
	r.execute(t, "before", request).want(t, 200, "completed")

	cluster.Stop(false)
	r.execute(t, "meanwhile", request).want(t, 503, "STORE_UNAVAILABLE")
	r.execute(t, "before", request).want(t, 503, "STORE_UNAVAILABLE")
	r.log.wait(t, "the database cannot be used")
	r.get(t, listenerAdmin, "/readyz").want(t, 200, "ready")
	r.get(t, listenerAdmin, "/readyz?verbose").want(t, 200, "[!] store: nothing listens where the database should; the log has more\n")
	r.get(t, listenerAdmin, "/metrics").want(t, 200, "atmost_store_up 0")

	if err := cluster.Start(); err != nil {
		t.Fatal(err)
	}
	r.execute(t, "before", request).want(t, 200, "completed")
	r.execute(t, "after", request).want(t, 200, "completed")
	r.log.wait(t, "the database can be used again")
	r.get(t, listenerAdmin, "/readyz?verbose").want(t, 200, "[+] store: ok")
	r.get(t, listenerAdmin, "/metrics").want(t, 200, "atmost_store_up 1")
	if n := len(up.arrived); n != 2 {
		t.Errorf("%d effects", n)
	}
}
