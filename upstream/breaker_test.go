package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
)

// network is what a Transport connects to in a synctest bubble, where real connections would stop the clock.
type network struct {
	dials   int
	err     error          // of the next dials
	serve   func(net.Conn) // the far end of the others
	running sync.WaitGroup
}

func (n *network) dial(context.Context, string, string) (net.Conn, error) {
	n.dials++
	if n.err != nil {
		return nil, n.err
	}
	near, far := net.Pipe()
	n.running.Go(func() {
		defer far.Close()
		n.serve(far)
	})
	return near, nil
}

// upstream makes an Upstream in the bubble that calls n. end must be called when all is done.
func (n *network) upstream(t *testing.T) (u *Upstream, end func()) {
	u = newUpstream(t, "http://h/", func(c *Config) {
		c.Transport = NewTransport(TransportOptions{})
		c.Transport.connect = n.dial
	})
	return u, func() {
		u.transport.CloseIdleConnections()
		n.running.Wait()
	}
}

var refused = &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}

const spared = "the upstream could not be reached several times in a row and was not tried again yet"

func TestBreakerSparesWhatCannotBeReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{err: refused, serve: says("HTTP/1.1 500 no\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")}
		u, end := n.upstream(t)
		defer end()
		execute := func() atmost.Outcome { return u.Execute(t.Context(), anAttempt) }
		for range breakerFailures {
			if o := execute(); o.State != atmost.NotExecuted || o.Message == spared {
				t.Fatalf("got %+v", o)
			}
		}
		if diff := cmp.Diff(atmost.Outcome{State: atmost.NotExecuted, Message: spared}, execute()); diff != "" {
			t.Error(diff)
		}
		if n.dials != breakerFailures {
			t.Errorf("%d dials, want %d", n.dials, breakerFailures)
		}

		time.Sleep(breakerOpen + 1) // of the bubble's clock: half open, one may try
		execute()
		if o := execute(); o.Message != spared || n.dials != breakerFailures+1 {
			t.Errorf("after a failed trial: %+v, %d dials", o, n.dials)
		}

		time.Sleep(breakerOpen + 1)
		n.err = nil
		for range 3 {
			if o := execute(); o.UpstreamStatus != 500 {
				t.Errorf("after a good trial: %+v", o)
			}
		}
	})
}

func TestBreakerIgnoresWhatIsNoFailureToConnect(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"status 503": says("HTTP/1.1 503 no\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
		"status 404": says("HTTP/1.1 404 no\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
		"no answer":  says(""),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{serve: serve}
				u, end := n.upstream(t)
				defer end()
				for range 2 * breakerFailures {
					u.Execute(t.Context(), anAttempt)
				}
				if n.dials != 2*breakerFailures {
					t.Errorf("%d dials, want %d", n.dials, 2*breakerFailures)
				}
			})
		})
	}
	t.Run("called off", func(t *testing.T) {
		n := &network{err: refused}
		u, end := n.upstream(t)
		defer end()
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("a cause of the caller's own"))
		for range 2 * breakerFailures {
			if o := u.Execute(ctx, anAttempt); o.Message != "the execution was stopped before it reached the upstream" {
				t.Fatalf("got %+v", o)
			}
		}
	})
}

// While the one that was let through waits for its answer, the others are let through too: there is a connection.
func TestBreakerClosesWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		n := &network{err: refused}
		n.serve = func(c net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
				return
			}
			<-answer
			_, _ = io.WriteString(c, "HTTP/1.1 204 fine\r\nConnection: close\r\n\r\n")
		}
		u, end := n.upstream(t)
		defer end()
		for range breakerFailures {
			u.Execute(t.Context(), anAttempt)
		}
		time.Sleep(breakerOpen + 1)
		n.err = nil
		outcomes := make(chan atmost.Outcome, 2)
		for range 2 {
			go func() { outcomes <- u.Execute(t.Context(), anAttempt) }()
			synctest.Wait()
		}
		close(answer)
		for range 2 {
			if o := <-outcomes; o.State != atmost.Completed {
				t.Errorf("got %+v", o)
			}
		}
	})
}
