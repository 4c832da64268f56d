// Package model checks a formal model of the protocol, exhaustively within bounds, and that the model's properties can fail.
package model

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
