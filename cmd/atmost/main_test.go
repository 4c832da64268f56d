package main

import (
	"os"
	"strings"
	"testing"

	"github.com/atmost-dev/atmost/internal/pgtest"
)

// envAsProgram lets the test binary be the real program, for scripts and for tests that kill it. Every process that a test
// starts inherits it; those that the fuzzer starts are told apart by their flags.
const envAsProgram = "RUN_AS_ATMOST"

// envAsUpstream names the ledger of the upstream that the test binary then is instead; see upstreamProcess.
const envAsUpstream = "RUN_AS_UPSTREAM"

func TestMain(m *testing.M) {
	flagged := len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "-test.")
	switch {
	case flagged:
	case os.Getenv(envAsUpstream) != "":
		serveLedger(os.Args[1], os.Getenv(envAsUpstream))
	case os.Getenv(envAsProgram) != "":
		main()
	}
	if err := os.Setenv(envAsProgram, "1"); err != nil {
		panic(err)
	}
	pgtest.Main(m)
}
