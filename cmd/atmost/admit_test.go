package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/pebblestore"
)

// TestAdmitPebble: a store that was restored from a backup is admitted while no service uses it.
func TestAdmitPebble(t *testing.T) {
	dir, backup, restored := filepath.Join(t.TempDir(), "store"), filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "restored")
	s, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Checkpoint(t.Context(), backup, atmost.Actor{Name: "ada", Reason: "r"}), s.Close(), pebblestore.Restore(backup, restored, pebblestore.Options{})); err != nil {
		t.Fatal(err)
	}
	expect := func(wantCode int, want string, args ...string) {
		t.Helper()
		code, stdout, stderr := command(t, append([]string{"admit", "--yes", "--reason", "r", "--store", "pebble:" + restored}, args...)...)
		if code != wantCode || !strings.Contains(stdout+stderr, want) {
			t.Errorf("%v: exit code %d, %s%s; want %d, %s", args, code, stdout, stderr, wantCode, want)
		}
	}
	service, log := spawn(t, restored, "")
	log.wait(t, "THE STORE IS GUARDED: it may have forgotten what was claimed last, so new keys are answered OUTCOME_UNKNOWN; see atmost admit --help")
	wantMetrics(t, service, "atmost_store_guarded 1")
	expect(exitFailure, restored+" is in use by another process", "--all")
	expect(exitFailure, "has to be stopped first", "--all")
	if err := service.stop(); err != nil {
		t.Fatal(err)
	}
	expect(exitOK, `admitted scope "a"; other scopes stay guarded`, "--scope", "a")
	expect(exitOK, "admitted all scopes", "--all")
	expect(exitOK, "is not guarded", "--all")
	if code, _, stderr := command(t, "admit", "--all", "--yes", "--reason", "r", "--store", "pebble:"+filepath.Join(restored, "none")); code != exitFailure || !strings.Contains(stderr, "there is no store in") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}
