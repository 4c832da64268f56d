package pgstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// proof tells when what was read is surely replicated. A standby receives commits in their order, so it has all that was
// visible when a commit began which it later confirmed.
type proof struct {
	clock atomic.Int64 // counts the statements that began

	mu        sync.Mutex
	confirmed int64 // the latest beginning of a statement whose commit was confirmed
	waiting   []*proofWait
	proving   bool // a commit for those who wait is under way
}

type proofWait struct {
	after int64
	done  chan error
}

// begin marks the beginning of a statement.
func (p *proof) begin() int64 { return p.clock.Add(1) }

// confirm tells that the statement that began at mark wrote, and that its commit was confirmed.
func (p *proof) confirm(mark int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.confirmed = max(p.confirmed, mark)
	p.waiting = slices.DeleteFunc(p.waiting, func(w *proofWait) bool {
		if w.after < p.confirmed {
			w.done <- nil
			return true
		}
		return false
	})
}

// replicated returns once everything that was read before is known to be on a standby, where one is configured. One commit
// serves all who wait, and those of requests serve as well.
func (s *Store) replicated(ctx context.Context) error {
	if !s.synchronous.Load() {
		return nil
	}
	p := &s.proof
	w := &proofWait{after: p.clock.Load(), done: make(chan error, 1)}
	p.mu.Lock()
	p.waiting = append(p.waiting, w)
	if !p.proving {
		p.proving = true
		s.calls.Go(s.prove)
	}
	p.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		p.waiting = slices.DeleteFunc(p.waiting, func(x *proofWait) bool { return x == w })
		return fmt.Errorf("pgstore: %w: no standby confirmed in time what was read", errNotSent)
	}
}

// emptyCommit writes and changes nothing.
const emptyCommit = `SELECT pg_logical_emit_message(true, 'atmost', '')`

// prove commits for those who wait until nobody does.
func (s *Store) prove() {
	p := &s.proof
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*s.options.Timeout)
		_, err := s.run(ctx, statement{sql: emptyCommit, args: arguments(), wrote: anyRow})
		cancel()
		p.mu.Lock()
		if err != nil {
			for _, w := range p.waiting {
				w.done <- fmt.Errorf("pgstore: %w: what was read may not be replicated: %v", errNotSent, err)
			}
			p.waiting = nil
		}
		if len(p.waiting) == 0 {
			p.proving = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}
