package pgstore_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/pgtest"
	"github.com/atmost-dev/atmost/store/pgstore"
)

// refusal returns the text of the error with which Open refuses.
func refusal(t *testing.T, url string, o pgstore.Options) string {
	t.Helper()
	s, err := pgstore.Open(t.Context(), url, o)
	if err == nil {
		_ = s.Close()
		t.Fatal("Open did not refuse")
	}
	return err.Error()
}

func TestMigrate(t *testing.T) {
	url := pgtest.Database(t)
	secret := strings.Replace(url, "atmost@", "atmost:s3cret@", 1)
	if text := refusal(t, secret, pgstore.Options{}); !strings.Contains(text, "atmost migrate up --store 'postgres://") || strings.Contains(text, "s3cret") {
		t.Errorf("without a schema: %s", text)
	}
	if steps, err := pgstore.MigrationStatus(t.Context(), url); err != nil || len(steps) == 0 || steps[0].Applied {
		t.Errorf("status before: %+v, %v", steps, err)
	}
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			if _, err := pgstore.Migrate(t.Context(), url); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	steps, err := pgstore.MigrationStatus(t.Context(), url)
	if err != nil || len(steps) == 0 {
		t.Fatalf("status after: %+v, %v", steps, err)
	}
	for _, s := range steps {
		if !s.Applied {
			t.Errorf("%+v", s)
		}
	}
	apply(t, newStore(t, url, pgstore.Options{}), atmost.ID{Key: "k"}, newClaim())

	pgtest.Exec(t, url, `INSERT INTO atmost_migrations (version_id, is_applied) VALUES (99, true)`)
	newStore(t, url, pgstore.Options{}) // newer, and compatible
	pgtest.Exec(t, url, `UPDATE atmost_meta SET needs = 99`)
	if text := refusal(t, url, pgstore.Options{}); !strings.Contains(text, "newer release") {
		t.Errorf("of a schema that is too new: %s", text)
	}
}

func TestRefused(t *testing.T) {
	for _, setting := range []string{"synchronous_commit = off", "default_transaction_read_only = on"} {
		url := migrated(t, pgtest.Database(t))
		name := url[strings.LastIndex(url, "/")+1:]
		name, _, _ = strings.Cut(name, "?")
		pgtest.Exec(t, url, "ALTER DATABASE "+name+" SET "+setting)
		t.Log(refusal(t, url, pgstore.Options{}))
	}
	unsafe := pgtest.New(t, pgtest.Config{Settings: []string{"fsync=off"}})
	url := migrated(t, unsafe.Database(t))
	if text := refusal(t, url, pgstore.Options{}); !strings.Contains(text, "fsync is off") {
		t.Error(text)
	}
	apply(t, newStore(t, url, pgstore.Options{UnsafeDurability: true}), atmost.ID{Key: "k"}, newClaim())

	// A copy of a database is not the database, nor is one that was restored, which is made in the same way.
	url = migrated(t, pgtest.Database(t))
	first := open(t, url, pgstore.Options{})
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(url[strings.LastIndex(url, "/")+1:], "?")
	pgtest.Exec(t, strings.Replace(url, name, "postgres", 1), "CREATE DATABASE copy_of_"+name+" TEMPLATE "+name)
	if text := refusal(t, strings.Replace(url, name, "copy_of_"+name, 1), pgstore.Options{}); !strings.Contains(text, "is a copy, or was restored") {
		t.Error(text)
	}

	// Who may not see the server's identity is not taken for another server, and who may at last adopts it.
	number := pgtest.Query[string](t, url, `SELECT oid::text FROM pg_database WHERE datname = current_database()`)
	pgtest.Exec(t, url, `UPDATE atmost_meta SET system = 'unknown/`+number+`'`)
	adopts := open(t, url, pgstore.Options{})
	if err := adopts.Close(); err != nil {
		t.Fatal(err)
	}
	if got := pgtest.Query[string](t, url, `SELECT system FROM atmost_meta`); !strings.HasSuffix(got, "/"+number) || strings.HasPrefix(got, "unknown") {
		t.Errorf("the identity is %s", got)
	}
	pgtest.Exec(t, url, `CREATE ROLE blind_`+name+` LOGIN`, `GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO blind_`+name,
		`REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public`)
	if text := refusal(t, strings.Replace(url, "atmost@", "blind_"+name+"@", 1), pgstore.Options{}); !strings.Contains(text, "may not execute pg_control_system() any more") {
		t.Error(text)
	}

	url = migrated(t, pgtest.Database(t))
	newStore(t, url, pgstore.Options{})
	pgtest.Exec(t, url, `UPDATE atmost_meta SET system = '42'`)
	if text := refusal(t, url, pgstore.Options{}); !strings.Contains(text, "is a copy, or was restored") {
		t.Error(text)
	}
}
