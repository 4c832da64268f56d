package pebblestore_test

import (
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/fingerprint"
)

// The events that the tests of this package ask for.

func token(n int) atmost.Token { return atmost.Token{byte(n), 15: 1} }

func claim(n int) *atmost.Claim {
	return &atmost.Claim{
		Operation:   "charge",
		Fingerprint: fingerprint.Fingerprint{Algorithm: "a1", Digest: [32]byte{7}},
		Token:       token(n),
		Lease:       30 * time.Second,
		Policy:      atmost.Policy{ResultRetention: time.Hour, KeyRetention: 24 * time.Hour},
	}
}

func claimByClient(n int) *atmost.Claim {
	c := claim(n)
	c.Policy.ExecutedBy = atmost.ByClient
	return c
}

func finish(n int, o atmost.Outcome) *atmost.Finish {
	return &atmost.Finish{Token: token(n), Outcome: o}
}

var (
	completed   = atmost.Outcome{State: atmost.Completed, Result: []byte(`{"id": 1}`), UpstreamStatus: 201}
	failed      = atmost.Outcome{State: atmost.Failed, Result: []byte(`{"error": "declined"}`), UpstreamStatus: 402}
	notExecuted = atmost.Outcome{State: atmost.NotExecuted, Message: "refused"}
	unknown     = atmost.Outcome{State: atmost.Unknown, Message: "reset"}
)

var someID = atmost.ID{Scope: "s", Key: "some"}
