package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/atmost-dev/atmost"
)

// ErrInjected is wrapped by every error that a FaultyStore makes up.
var ErrInjected = errors.New("storetest: injected fault")

// Fault is a way in which one Apply goes wrong.
type Fault int

// The faults.
const (
	// Unavailable does nothing and says so.
	Unavailable Fault = iota
	// AmbiguousDone does the write and answers atmost.ErrAmbiguous.
	AmbiguousDone
	// AmbiguousLost does nothing and answers atmost.ErrAmbiguous.
	AmbiguousLost
	// AmbiguousLater answers atmost.ErrAmbiguous and does the write when the Injection is released.
	AmbiguousLater
	// Blocked waits until the Injection is released, and only then asks the store.
	Blocked
	// AnswerBlocked asks the store, and keeps its answer until the Injection is released.
	AnswerBlocked
)

// FaultyStore is a Store whose calls fail on demand. Its methods may be called from any number of goroutines.
type FaultyStore struct {
	atmost.Store

	mu      sync.Mutex
	down    bool
	pending []*Injection
}

// Faulty wraps store. Without an injection it is the store itself.
func Faulty(store atmost.Store) *FaultyStore { return &FaultyStore{Store: store} }

// Injection is one fault that was asked for.
type Injection struct {
	fault   Fault
	match   func(atmost.Event) bool
	skip    int
	hit     chan struct{}
	release chan struct{}
	once    sync.Once
	later   func()
}

// Of matches the events of one type: Of[*atmost.Claim], for example.
func Of[E atmost.Event](event atmost.Event) bool {
	_, ok := event.(E)
	return ok
}

// Next makes the next Apply whose event matches go wrong; a nil match is met by every event.
func (s *FaultyStore) Next(fault Fault, match func(atmost.Event) bool) *Injection {
	return s.Nth(1, fault, match)
}

// Nth makes the nth Apply from now whose event matches go wrong, counting from 1. Of several injections that one call
// meets, the earliest happens; each counts all calls that reach it.
func (s *FaultyStore) Nth(n int, fault Fault, match func(atmost.Event) bool) *Injection {
	if match == nil {
		match = func(atmost.Event) bool { return true }
	}
	i := &Injection{fault: fault, match: match, skip: n - 1, hit: make(chan struct{}), release: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, i)
	return i
}

// SetDown makes every call but Close fail, with nothing done, until it is set back.
func (s *FaultyStore) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// Hit is closed once the fault has met its call: where the fault does the write, after that.
func (i *Injection) Hit() <-chan struct{} { return i.hit }

// Release ends the waiting of a Blocked or AnswerBlocked call; of an AmbiguousLater one it does the write before it returns.
// It waits until the fault has met its call, and does nothing when it is called again.
func (i *Injection) Release() {
	<-i.hit
	i.once.Do(func() {
		if i.later != nil {
			i.later()
		}
		close(i.release)
	})
}

// take finds the injection that an event meets, if any.
func (s *FaultyStore) take(event atmost.Event) (*Injection, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, errDown
	}
	for n, i := range s.pending {
		if !i.match(event) {
			continue
		}
		if i.skip > 0 {
			i.skip--
			continue
		}
		s.pending = append(s.pending[:n:n], s.pending[n+1:]...)
		return i, nil
	}
	return nil, nil
}

var (
	errDown      = fmt.Errorf("%w: the store cannot be reached", ErrInjected)
	errAmbiguous = fmt.Errorf("%w: %w", ErrInjected, atmost.ErrAmbiguous)
)

// Apply is the store's, or the fault that was injected.
func (s *FaultyStore) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	i, err := s.take(event)
	if err != nil {
		return atmost.Step{}, err
	}
	if i == nil {
		return s.Store.Apply(ctx, id, event)
	}
	switch i.fault {
	case AmbiguousDone:
		_, _ = s.Store.Apply(ctx, id, event)
		close(i.hit)
		return atmost.Step{}, errAmbiguous
	case AmbiguousLost:
		close(i.hit)
		return atmost.Step{}, errAmbiguous
	case AmbiguousLater:
		i.later = func() { _, _ = s.Store.Apply(context.WithoutCancel(ctx), id, event) }
		close(i.hit)
		return atmost.Step{}, errAmbiguous
	case Blocked:
		close(i.hit)
		<-i.release
		return s.Store.Apply(ctx, id, event)
	case AnswerBlocked:
		step, err := s.Store.Apply(ctx, id, event)
		close(i.hit)
		<-i.release
		return step, err
	}
	close(i.hit)
	return atmost.Step{}, errDown
}

func (s *FaultyStore) isDown() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return errDown
	}
	return nil
}

// Lookup is the store's, unless it is down.
func (s *FaultyStore) Lookup(ctx context.Context, id atmost.ID) (atmost.Record, error) {
	if err := s.isDown(); err != nil {
		return atmost.Record{}, err
	}
	return s.Store.Lookup(ctx, id)
}

// List is the store's, unless it is down.
func (s *FaultyStore) List(ctx context.Context, q atmost.Query) (atmost.Page, error) {
	if err := s.isDown(); err != nil {
		return atmost.Page{}, err
	}
	return s.Store.List(ctx, q)
}

// Audit is the store's, unless it is down.
func (s *FaultyStore) Audit(ctx context.Context, before uint64, limit int) ([]atmost.AuditEntry, error) {
	if err := s.isDown(); err != nil {
		return nil, err
	}
	return s.Store.Audit(ctx, before, limit)
}

// Sweep is the store's, unless it is down.
func (s *FaultyStore) Sweep(ctx context.Context, limit int) (atmost.Swept, error) {
	if err := s.isDown(); err != nil {
		return atmost.Swept{}, err
	}
	return s.Store.Sweep(ctx, limit)
}
