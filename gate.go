package atmost

import (
	"context"
	"sync/atomic"
)

// gate counts who is inside, and can be shut and waited for.
type gate struct {
	inside atomic.Int64
	shut   atomic.Bool
	empty  chan struct{} // has an element when the last one may have left a gate that is shut
}

func newGate() *gate { return &gate{empty: make(chan struct{}, 1)} }

// enter reports how many are inside then, and whether the gate was open. Each enter is followed by one leave.
func (g *gate) enter() (inside int64, open bool) { return g.inside.Add(1), !g.shut.Load() }

func (g *gate) leave() {
	if g.inside.Add(-1) == 0 && g.shut.Load() {
		select {
		case g.empty <- struct{}{}:
		default:
		}
	}
}

// close shuts the gate, and waits until everybody has left or ctx ends.
func (g *gate) close(ctx context.Context) {
	g.shut.Store(true)
	for g.inside.Load() > 0 && ctx.Err() == nil {
		select {
		case <-g.empty:
		case <-ctx.Done():
		}
	}
}
