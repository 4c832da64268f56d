package atmost

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

const (
	// proofLease is longer than a store that is of any use stalls. A process that dies during the proof leaves a record for as long.
	proofLease = time.Minute
	// proofPatience is how long the store is asked again what became of a claim of the proof.
	proofPatience = 5 * time.Second
)

// prove has a store show that two claims of one key exclude each other, before anything is entrusted to it. The key cannot be
// a client's, as it has a space, and is forgotten within seconds.
func prove(ctx context.Context, store Store, clock Clock) error {
	nonce := NewToken()
	id := ID{Key: "self-test " + hex.EncodeToString(nonce[:])}
	type result struct {
		claim *Claim
		step  Step
		err   error
	}
	results, begin := make(chan result, 2), clock.Elapsed()
	for range cap(results) {
		claim := &Claim{
			Operation: "self-test", Token: NewToken(), Lease: proofLease,
			Policy: Policy{OnUnknown: RetryUnknown, ResultRetention: MinRetention, KeyRetention: MinRetention},
		}
		go func() {
			step, err := confirmed(ctx, store, id, claim)
			results <- result{claim, step, err}
		}()
	}
	first, second := <-results, <-results
	if err := errors.Join(first.err, second.err); CodeOf(err) == CodeOutcomeUnknown || errors.Is(err, ErrFull) {
		return nil // guarded, or full: no new key can be claimed
	} else if err != nil {
		return fmt.Errorf("the store failed its self-test: %w", err)
	}
	won := make([]Token, 0, 2)
	for _, r := range []result{first, second} {
		if r.claim.Won(r.step.Record) {
			won = append(won, r.claim.Token)
		}
	}
	if took := clock.Elapsed() - begin; len(won) == 2 && took >= leaseLasts(proofLease) {
		return fmt.Errorf("the store took %v for its self-test, which proves nothing then", took) // one may have won after the other
	} else if len(won) != 1 {
		return fmt.Errorf("the store failed its self-test: of two claims of one key %d won; it cannot keep any promise", len(won))
	}
	_, err := confirmed(ctx, store, id, &Finish{Token: won[0], Outcome: Outcome{State: NotExecuted}})
	if err != nil && !errors.Is(err, ErrAmbiguous) { // else it is forgotten when its lease has lapsed
		return fmt.Errorf("the store failed its self-test: %w", err)
	}
	return nil
}

// confirmed has the store judge an event, again while its fate is unknown.
func confirmed(ctx context.Context, store Store, id ID, event Event) (Step, error) {
	end := time.Now().Add(proofPatience)
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		step, err := store.Apply(ctx, id, event)
		if !errors.Is(err, ErrAmbiguous) || time.Now().After(end) || !sleep(ctx, pause) {
			return step, err
		}
	}
}
