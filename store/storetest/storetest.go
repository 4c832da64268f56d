// Package storetest holds implementations of atmost.Store to the contract in its doc comments. An implementation runs
// the suite from one test:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Harness {
//			clock := storetest.NewClock()
//			return storetest.Harness{Store: mystore.New(clock), Clock: clock}
//		})
//	}
//
// Every answer of the store is compared with atmost.Transition and atmost.Age, beside what each case says itself.
package storetest

import (
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
)

// Harness is one fresh, empty store under test and the ways in which the suite moves its world.
type Harness struct {
	// Store is closed by the suite.
	Store atmost.Store
	// Clock is the time by which Store judges.
	Clock Clock
	// Reopen opens again what a Store that was closed has kept, as the next process would. It is nil for a store that
	// keeps nothing.
	Reopen func() atmost.Store
	// Shared tells that Store is one of any number that keep the same records: opening it does not say that nobody executes what is
	// processing.
	Shared bool
}

// Clock is the time of a store under test. A store that follows a process's clocks is given a *ManualClock; one that
// asks a server for the time brings its own implementation, whose Step may do nothing.
type Clock interface {
	// Now is what the store's now must be, to the microsecond, as long as Step was not called.
	Now() time.Time
	// Advance lets time pass.
	Advance(d time.Duration)
	// Step sets the wall clock, forward or back, while no time passes.
	Step(d time.Duration)
}

// sweepLag is how much later than due the suite expects a Sweep to find expired results and keys. Lapsed leases are
// found when they are due.
const sweepLag = time.Hour

// Run holds the stores that open returns to the contract, one fresh store for each case.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	cases := []struct {
		name string
		run  func(s *subject)
	}{
		{"Claim/Absent", claimAbsent},
		{"Claim/SameTokenAgain", claimSameTokenAgain},
		{"Claim/Mismatch", claimMismatch},
		{"Claim/TellsState", claimTellsState},
		{"Claim/AfterNotExecuted", claimAfterNotExecuted},
		{"Claim/PoliciesAreStored", claimPoliciesAreStored},
		{"Claim/ScopesIsolate", claimScopesIsolate},
		{"Claim/FenceOutlivesKey", claimFenceOutlivesKey},
		{"Claim/FenceOutlivesSweepAtOnce", claimFenceOutlivesSweepAtOnce},
		{"Renew", renew},
		{"Renew/Lapsed", renewLapsed},
		{"Finish/Outcomes", finishOutcomes},
		{"Finish/Repeated", finishRepeated},
		{"Finish/Late", finishLate},
		{"Finish/Contradiction", finishContradiction},
		{"Finish/WithClaimed", finishWithClaimed},
		{"Finish/WrongToken", finishWrongToken},
		{"Finish/PastIsBounded", finishPastIsBounded},
		{"Finish/ReplaysBytes", finishReplaysBytes},
		{"Finish/BigResult", finishBigResult},
		{"Finish/RecordIsCallers", finishRecordIsCallers},
		{"Resolve", resolve},
		{"Resolve/ByPerson", resolvedByPerson},
		{"Erase", erased},
		{"Forget", forgotten},
		{"History/IsBounded", historyIsBounded},
		{"Claim/KeepsTrace", claimKeepsTrace},
		{"Lapse/OnRead", lapseOnRead},
		{"Lapse/OnClaim", lapseOnClaim},
		{"Expiry/Result", expiryResult},
		{"Expiry/Key", expiryKey},
		{"Expiry/NeverWhileOpen", expiryNeverWhileOpen},
		{"Expiry/NeverComesBack", expiryNeverComesBack},
		{"Expiry/WallClockStepped", expiryWallClockStepped},
		{"List/Order", listOrder},
		{"List/Pages", listPages},
		{"List/OnlyState", listOnlyState},
		{"List/Lapsed", listLapsed},
		{"List/Filters", listFilters},
		{"Sweep/Nothing", sweepNothing},
		{"Sweep/Lapsed", sweepLapsed},
		{"Sweep/Expired", sweepExpired},
		{"Sweep/Limit", sweepLimit},
		{"Sweep/StaleIndex", sweepStaleIndex},
		{"Sweep/AgainstClaims", sweepAgainstClaims},
		{"Sweep/AgainstReports", sweepAgainstReports},
		{"Concurrent/OneWinner", concurrentOneWinner},
		{"Concurrent/Linearizable", concurrentLinearizable},
		{"Concurrent/ContextCancelled", concurrentContextCancelled},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(newSubject(t, open(t))) })
	}
	durable := []struct {
		name string
		run  func(s *subject)
	}{
		{"Durable/Everything", durableEverything},
		{"Durable/Restart", durableRestart},
		{"Durable/Time", durableTime},
	}
	for _, c := range durable {
		t.Run(c.name, func(t *testing.T) {
			h := open(t)
			if h.Reopen == nil {
				_ = h.Store.Close()
				t.Skip("the store keeps nothing")
			}
			c.run(newSubject(t, h))
		})
	}
	t.Run("Sequences", func(t *testing.T) { sequences(t, open) })
}
