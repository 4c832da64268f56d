// Package atmosttest runs the service inside a test, and lets things go wrong when the test says so: a reply is lost, the service
// crashes, a lease lapses, time passes. So a program's own tests show what it does then.
package atmosttest

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/upstream"
)

// Service is a service in a test's process, which keeps its records in memory. Its methods may be called from any number of
// goroutines, also from an upstream that it is just calling.
type Service struct {
	// URL is where it listens.
	URL string

	tb         testing.TB
	operations map[string]atmost.Operation
	unlisted   *atmost.Operation
	clock      *clock
	records    *memstore.Store
	server     *httptest.Server

	mu      sync.Mutex
	process *process
	losses  int // replies to be lost

	crashed sync.WaitGroup // processes that end
}

// Option configures a Service.
type Option func(*Service)

// WithOperation has the service know an operation, as o says: without an Executor it is one that clients perform.
func WithOperation(name string, o atmost.Operation) Option {
	return func(s *Service) { s.operations[name] = o }
}

// WithUpstream has the service execute an operation by calling url, as atmost serve does by default.
func WithUpstream(name, url string) Option {
	return func(s *Service) {
		transport := upstream.NewTransport(upstream.TransportOptions{})
		s.tb.Cleanup(transport.CloseIdleConnections)
		u, err := upstream.New(upstream.Config{URL: url, Transport: transport})
		if err != nil {
			s.tb.Fatal(err)
		}
		s.operations[name] = atmost.Operation{Executor: u}
	}
}

// WithUnlisted has clients perform every operation that the service does not know.
func WithUnlisted() Option { return func(s *Service) { s.unlisted = &atmost.Operation{} } }

// Start starts a service, which ends with the test.
func Start(tb testing.TB, options ...Option) *Service {
	tb.Helper()
	s := &Service{tb: tb, operations: map[string]atmost.Operation{}, clock: &clock{start: time.Now()}}
	for _, o := range options {
		o(s)
	}
	s.records = memstore.New(memstore.Options{Clock: s.clock})
	s.process = s.boot()
	s.server = httptest.NewServer(s)
	s.URL = s.server.URL
	tb.Cleanup(func() {
		s.current().end()
		s.crashed.Wait()
		s.server.Close()
	})
	return s
}

// housekeeping is how soon the service notices that time has passed.
const housekeeping = 10 * time.Millisecond

// boot starts a process of the service.
func (s *Service) boot() *process {
	p := &process{store: &mortal{Store: s.records, dead: make(chan struct{})}}
	var err error
	p.engine, err = atmost.New(context.Background(), p.store, atmost.Options{Operations: s.operations, Unlisted: s.unlisted, Clock: s.clock, Housekeeping: housekeeping})
	if err != nil {
		s.tb.Fatal(err)
	}
	p.handler = server.New(p.engine, server.Options{})
	return p
}

func (s *Service) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// Record returns what is stored of id: with state atmost.Absent if nothing is.
func (s *Service) Record(id atmost.ID) atmost.Record {
	r, _ := s.records.Lookup(context.Background(), id) // which never fails
	return r
}
