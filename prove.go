package atmost

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// prove has a store show that two claims of one key exclude each other, before anything is entrusted to it. The key cannot be
// a client's, as it has a space, and is forgotten within seconds.
func prove(ctx context.Context, store Store) error {
	nonce := NewToken()
	id := ID{Key: "self-test " + hex.EncodeToString(nonce[:])}
	claims := [2]Claim{}
	results := make(chan error, len(claims))
	won := make(chan Token, len(claims))
	for i := range claims {
		claims[i] = Claim{
			Operation: "self-test", Token: NewToken(), Lease: time.Second,
			Policy: Policy{OnUnknown: RetryUnknown, ResultRetention: MinRetention, KeyRetention: MinRetention},
		}
		go func() {
			step, err := store.Apply(ctx, id, &claims[i])
			if err == nil && claims[i].Won(step.Record) {
				won <- claims[i].Token
			}
			results <- err
		}()
	}
	if err := errors.Join(<-results, <-results); CodeOf(err) == CodeOutcomeUnknown || errors.Is(err, ErrFull) {
		return nil // guarded, or full: no new key can be claimed
	} else if err != nil {
		return fmt.Errorf("the store failed its self-test: %w", err)
	}
	if len(won) != 1 {
		return fmt.Errorf("the store failed its self-test: of two claims of one key %d won; it cannot keep any promise", len(won))
	}
	if _, err := store.Apply(ctx, id, &Finish{Token: <-won, Outcome: Outcome{State: NotExecuted}}); err != nil {
		return fmt.Errorf("the store failed its self-test: %w", err)
	}
	return nil
}
