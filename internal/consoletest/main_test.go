// Package consoletest drives the console in a real browser: the page as it is shipped, before the real handlers and engine.
package consoletest

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
