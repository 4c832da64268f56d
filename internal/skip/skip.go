// Package skip skips tests loudly: go test keeps to itself what was skipped, and make test prints the notes left here.
package skip

import (
	"errors"
	"os"
	"testing"
)

// notesVariable names the environment variable with the file for notes.
const notesVariable = "SKIPPED_TESTS"

// Note leaves a note of what was not tested, what is missing for it, and how to get that. It does not skip.
func Note(t testing.TB, why string) {
	t.Helper()
	t.Log("NOT TESTED: " + why)
	notes := os.Getenv(notesVariable)
	if notes == "" {
		return
	}
	f, err := os.OpenFile(notes, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(why + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// Test leaves a note and skips the test.
func Test(t testing.TB, why string) {
	t.Helper()
	Note(t, why)
	t.SkipNow()
}
