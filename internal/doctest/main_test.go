// Package doctest holds what the documentation shows and says: its examples are run, its snippets are compared with the files
// they come from, and its links are followed.
package doctest

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
