package atmosttest

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/atmost-dev/atmost"
)

// process is one life of the service: what it knows beside its records.
type process struct {
	store   *mortal
	engine  *atmost.Engine
	handler http.Handler
}

// end ends the process, like a crash or at the end of the test. What it was executing is cancelled.
func (p *process) end() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	p.engine.Close(ended)
}

// mortal is the records as one process has them: it cannot write any more once it is dead.
type mortal struct {
	atmost.Store
	mu   sync.RWMutex // held to write, so that nothing is written after death
	dead chan struct{}
}

var errDead = errors.New("atmosttest: this process of the service has crashed")

func (m *mortal) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.dead)
}

func (m *mortal) alive() bool {
	select {
	case <-m.dead:
		return false
	default:
		return true
	}
}

// Secret is that of the records.
func (m *mortal) Secret() [32]byte { return m.Store.(atmost.Keyed).Secret() }

func (m *mortal) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if !m.alive() {
		return atmost.Step{}, errDead
	}
	return m.Store.Apply(ctx, id, event)
}

func (m *mortal) Lookup(ctx context.Context, id atmost.ID) (atmost.Record, error) {
	if !m.alive() {
		return atmost.Record{}, errDead
	}
	return m.Store.Lookup(ctx, id)
}
