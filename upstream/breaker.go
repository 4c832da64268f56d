package upstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	breakerFailures = 20
	breakerOpen     = time.Second
)

// breaker spares an upstream that cannot be connected to, and its callers the wait. Only failures to get a connection
// open it, whatever is answered over one closes it. Half open, it lets one request through at a time.
type breaker struct {
	*gobreaker.TwoStepCircuitBreaker[struct{}]
}

func newBreaker() breaker {
	return breaker{gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:     breakerOpen,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
		// An execution that was called off says nothing about the upstream, nor does what became of a kept connection.
		IsExcluded: func(err error) bool { return errors.Is(err, context.Canceled) || errors.Is(err, errStale) },
	})}
}

// allow asks leave to connect. done must be called in the end, and counts once: with nil as soon as there is a
// connection, so that a slow answer keeps nobody waiting.
func (b breaker) allow() (done func(error), err error) {
	report, err := b.Allow()
	if err != nil {
		return nil, err
	}
	var once sync.Once
	return func(err error) { once.Do(func() { report(err) }) }, nil
}
