package server_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/storetest"
)

// store is a memstore that counts what requests ask of it, tells of each look-up once it has an answer, and fails on demand.
type store struct {
	atmost.Store
	calls  atomic.Int64
	fail   atomic.Pointer[func() error]
	looked chan struct{} // if not nil
	panics atomic.Bool   // what requests call; the engine's own rounds only list, and are let be
	// listed, if not nil, is called when a list that operators ask for, by an operation, has its answer.
	listed atomic.Pointer[func()]
}

// Secret is the memstore's.
func (s *store) Secret() [32]byte { return s.Store.(atmost.Keyed).Secret() }

func (s *store) called() error {
	s.calls.Add(1)
	if s.panics.Load() {
		panic("a secret cause")
	}
	if f := s.fail.Load(); f != nil {
		return (*f)()
	}
	return nil
}

func (s *store) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	if err := s.called(); err != nil {
		return atmost.Step{}, err
	}
	return s.Store.Apply(ctx, id, event)
}

func (s *store) List(ctx context.Context, q atmost.Query) (atmost.Page, error) {
	if f := s.fail.Load(); f != nil {
		if err := (*f)(); err != nil {
			return atmost.Page{}, err
		}
	}
	page, err := s.Store.List(ctx, q)
	if f := s.listed.Load(); f != nil && q.Operation != nil {
		(*f)()
	}
	return page, err
}

func (s *store) Audit(ctx context.Context, before uint64, limit int) ([]atmost.AuditEntry, error) {
	if err := s.called(); err != nil {
		return nil, err
	}
	return s.Store.Audit(ctx, before, limit)
}

func (s *store) Lookup(ctx context.Context, id atmost.ID) (atmost.Record, error) {
	if err := s.called(); err != nil {
		return atmost.Record{}, err
	}
	r, err := s.Store.Lookup(ctx, id)
	if s.looked != nil {
		s.looked <- struct{}{}
	}
	return r, err
}

// does is an executor.
type does func(context.Context, atmost.Attempt) atmost.Outcome

func (f does) Execute(ctx context.Context, a atmost.Attempt) atmost.Outcome { return f(ctx, a) }

// answers is an executor that has one outcome after the other; the last one for good.
func answers(outcomes ...atmost.Outcome) does {
	return func(_ context.Context, a atmost.Attempt) atmost.Outcome {
		return outcomes[min(int(a.Number), len(outcomes))-1]
	}
}

func completed(result string) atmost.Outcome {
	return atmost.Outcome{State: atmost.Completed, Result: []byte(result), UpstreamStatus: 200}
}

// gate is an executor that tells of each attempt and waits for its outcome.
type gate struct {
	started chan atmost.Attempt
	outcome chan atmost.Outcome
	ran     atomic.Int64
}

func newGate() *gate {
	return &gate{started: make(chan atmost.Attempt), outcome: make(chan atmost.Outcome)}
}

func (g *gate) Execute(ctx context.Context, a atmost.Attempt) atmost.Outcome {
	g.ran.Add(1)
	select {
	case g.started <- a:
	case <-ctx.Done():
	}
	select {
	case o := <-g.outcome:
		return o
	case <-ctx.Done():
		return atmost.Outcome{State: atmost.Unknown, Message: "cancelled"}
	}
}

// config is a service to be. All is optional.
type config struct {
	operations map[string]atmost.Operation
	maxPending int
	maxBody    int64
	readTime   time.Duration
	records    atmost.Store // a memstore if nil
	looked     chan struct{}
	served     chan struct{} // told when a handler has returned
}

// service is the whole service but its binary, and a client that holds every exchange to the contract.
type service struct {
	*testing.T
	contract *contract
	clock    *storetest.ManualClock
	store    *store
	engine   *atmost.Engine
	handler  http.Handler
	log      *logBuffer
	url      string
	client   *http.Client
}

// one is the configuration of a service with one operation, charge.
func one(e atmost.Executor) config { return oneOf(atmost.Operation{Executor: e}) }

func oneOf(o atmost.Operation) config {
	return config{operations: map[string]atmost.Operation{"charge": o}}
}

func start(t *testing.T, c config) *service {
	t.Helper()
	s := assemble(t, c, storetest.NewClock())
	handler := s.handler
	if c.served != nil {
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() { c.served <- struct{}{} }()
			s.handler.ServeHTTP(w, r)
		})
	}
	listening := httptest.NewUnstartedServer(handler)
	listening.Config.ReadTimeout = c.readTime
	listening.Start()
	t.Cleanup(listening.Close)
	t.Cleanup(func() { s.engine.Close(t.Context()) }) // first: a request that waits is answered then
	s.url, s.client = listening.URL, listening.Client()
	return s
}

// assemble makes a service that does not listen.
func assemble(t *testing.T, c config, clock *storetest.ManualClock) *service {
	t.Helper()
	contract, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	s := &service{T: t, contract: contract, clock: clock, log: new(logBuffer)}
	s.store = &store{Store: c.records}
	if c.records == nil {
		s.store.Store = memstore.New(memstore.Options{Clock: clock})
	}
	var opened atmost.Store = s.store
	if guard, ok := c.records.(atmost.Guard); ok {
		opened = struct {
			*store
			atmost.Guard
		}{s.store, guard}
	}
	s.engine, err = atmost.New(t.Context(), opened, atmost.Options{Operations: c.operations, MaxPending: c.maxPending, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	s.store.looked = c.looked
	s.handler = server.New(s.engine, server.Options{MaxBody: c.maxBody, Log: slog.New(slog.NewTextHandler(s.log, nil))})
	return s
}

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
