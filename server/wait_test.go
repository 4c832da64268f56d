package server_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/storetest"
)

// pipes is a network without sockets, whose time is the bubble's.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	close  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.close.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.conns <- server
	return client, nil
}

// inBubble runs f with a service whose timers take no time. Each connection that the service closed is told.
func inBubble(t *testing.T, c config, f func(s *service, p *pipes, closed <-chan struct{})) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := assemble(t, c, storetest.NewClock())
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		closed := make(chan struct{}, 100)
		listening := &http.Server{Handler: s.handler, ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				closed <- struct{}{}
			}
		}}
		go func() { _ = listening.Serve(p) }()
		transport := &http.Transport{DialContext: p.dial}
		s.url, s.client = "http://pipe", &http.Client{Transport: transport}
		f(s, p, closed)
		transport.CloseIdleConnections()
		s.engine.Close(t.Context())
		if err := listening.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// How long a request waits, when the execution does not end.
func TestWaits(t *testing.T) {
	stubborn := does(func(context.Context, atmost.Attempt) atmost.Outcome {
		<-time.After(time.Hour) // whatever its context says
		return completed("1")
	})
	o := atmost.Operation{Executor: stubborn, Timeout: 90 * time.Second, DuplicateWait: 7 * time.Second}
	inBubble(t, oneOf(o), func(s *service, _ *pipes, _ <-chan struct{}) {
		waits := func(ask func() answer, took time.Duration, want facts) {
			t.Helper()
			begin := time.Now()
			s.check(ask(), want)
			if got := time.Since(begin); got != took {
				t.Errorf("the request waited for %v, want %v", got, took)
			}
		}
		execute := func(key, prefer string) func() answer {
			if prefer == "" {
				return func() answer { return s.execute(key, charge) }
			}
			return func() answer { return s.execute(key, charge, "Prefer", prefer) }
		}
		status := func(prefer string) func() answer {
			return func() answer { return s.status("k", "Prefer", prefer) }
		}
		applied := func(status int, applied string) facts {
			want := isProcessing("1")
			want.Status, want.Applied = status, applied
			return want
		}
		waits(execute("k", ""), 95*time.Second, applied(202, "")) // time-out and grace
		waits(execute("k", ""), 7*time.Second, applied(202, ""))
		waits(execute("k", "wait=9"), 9*time.Second, applied(202, "wait=9"))
		waits(execute("k", "wait=3600"), time.Minute, applied(202, "wait=60"))
		waits(execute("k", "respond-async"), 0, applied(202, "respond-async"))
		waits(execute("l", "wait=1"), time.Second, applied(202, "wait=1"))
		waits(execute("m", "wait=99999999999999999999"), time.Minute, applied(202, "wait=60"))
		waits(execute("n", "respond-async"), 0, applied(202, "respond-async"))
		waits(status("return=minimal"), 0, applied(200, ""))
		waits(status("wait=0"), 0, applied(200, "wait=0"))
		waits(status("wait=2"), 2*time.Second, applied(200, "wait=2"))
		waits(status("wait=61"), time.Minute, applied(200, "wait=60"))
	})
}

// Who asks for the state waits as long as that is not settled, also when the outcome is unknown.
func TestStatusWaitsForUnknown(t *testing.T) {
	inBubble(t, one(answers(atmost.Outcome{State: atmost.Unknown, Message: "lost"})), func(s *service, _ *pipes, _ <-chan struct{}) {
		s.execute("k", charge)
		unknown := facts{Status: 200, Code: "OUTCOME_UNKNOWN", Executed: "unknown", Retry: "poll", Attempt: "1"}
		s.check(s.status("k"), unknown)
		begin := time.Now()
		unknown.Applied = "wait=9"
		s.check(s.status("k", "Prefer", "wait=9"), unknown)
		if took := time.Since(begin); took != 9*time.Second {
			t.Errorf("the request waited for %v", took)
		}
	})
}
