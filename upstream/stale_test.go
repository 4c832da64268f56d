package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
)

const surplus = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n\"surplus\""

// answersTwice sends the request's body back, or nothing, and then the surplus, in one write.
func answersTwice(effects *atomic.Int32, body bool) func(net.Conn) {
	return func(c net.Conn) {
		for br := bufio.NewReader(c); ; {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			got, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			effects.Add(1)
			answer := "HTTP/1.1 204 No Content\r\n\r\n"
			if body {
				answer = fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(got), got)
			}
			_, _ = io.WriteString(c, answer+surplus)
		}
	}
}

// The worst case, held still: the next request has the connection, and net/http looks at what is left in its buffer only
// when that request has been announced to it.
func TestASurplusAnswerIsFoundTooLate(t *testing.T) {
	for _, proto := range []string{"http", "https"} {
		t.Run(proto, func(t *testing.T) {
			var effects atomic.Int32
			u := served(t, proto, answersTwice(&effects, true))
			given, look := make(chan struct{}), make(chan struct{})
			stop := sync.OnceFunc(func() { close(given); <-look })
			first := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{PutIdleConn: func(error) { stop() }})
			outcomes := make(chan atmost.Outcome)
			go func() { outcomes <- u.Execute(first, anAttempt) }()
			<-given
			goOn := sync.OnceFunc(func() { close(look) })
			second := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { goOn() }})
			a := anAttempt
			a.Payload = []byte(`"second"`)
			for i, o := range []atmost.Outcome{u.Execute(second, a), <-outcomes} {
				if want := []string{`"second"`, string(anAttempt.Payload)}[i]; o.State != atmost.Completed || string(o.Result) != want {
					t.Errorf("got %s %q %q, want %s", o.State, o.Result, o.Message, want)
				}
			}
			if n := effects.Load(); n != 2 {
				t.Errorf("%d effects, want 2", n)
			}
		})
	}
}

// An upstream that answers every request twice, in one write, while others wait for the connection.
func TestASurplusAnswerAnswersNothing(t *testing.T) {
	log.SetOutput(io.Discard) // net/http complains
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	const clients, each = 8, 25
	for _, proto := range []string{"http", "https"} {
		for _, body := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, with a body %t", proto, body), func(t *testing.T) {
				var effects atomic.Int32
				u := served(t, proto, answersTwice(&effects, body))
				var (
					running sync.WaitGroup
					slot    = make(chan struct{}, 1) // of the operation's concurrency
				)
				for i := range clients {
					running.Go(func() {
						for j := range each {
							a := anAttempt
							a.Payload = fmt.Appendf(nil, `"%d %d"`, i, j)
							want := "null"
							if body {
								want = string(a.Payload)
							}
							slot <- struct{}{}
							o := u.Execute(t.Context(), a)
							<-slot
							if o.State != atmost.Completed || string(o.Result) != want {
								t.Errorf("got %s %q %q, want %s", o.State, o.Result, o.Message, want)
							}
						}
					})
				}
				running.Wait()
				if n := effects.Load(); n != clients*each {
					t.Errorf("%d effects, want %d", n, clients*each)
				}
			})
		}
	}
}

// served makes an Upstream that is served by serve, over TLS if proto is https.
func served(t *testing.T, proto string, serve func(net.Conn)) *Upstream {
	t.Helper()
	if proto == "http" {
		return newUpstream(t, "http://"+raw(t, serve), nil)
	}
	srv, config := certificate(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	serveListener(t, l, serve)
	return newUpstream(t, "https://"+l.Addr().String(), func(c *Config) { c.Transport = newTransport(t, srv) })
}

// mortal is a connection whose other end can be made to look closed.
type mortal struct {
	*net.TCPConn
	once sync.Once
	gone chan struct{} // closed by our own Close
}

func (m *mortal) Close() error {
	m.once.Do(func() { close(m.gone) })
	return m.TCPConn.Close()
}

// SyscallConn hides the connection's own: here it is the Read that must notice the end.
func (m *mortal) SyscallConn() {}

// dying makes u's kept connections end after a request was given them, before it is written, and net/http notice.
func dying(t *testing.T, u *Upstream) (ctx context.Context, kept, made *atomic.Int32) {
	kept, made = &atomic.Int32{}, &atomic.Int32{}
	connect := u.transport.connect
	u.transport.connect = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := connect(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &mortal{TCPConn: c.(*net.TCPConn), gone: make(chan struct{})}, nil
	}
	// A caller's hook is called after ours.
	return httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if !info.Reused {
			made.Add(1)
			return
		}
		kept.Add(1)
		c := info.Conn
		if t, ok := c.(*tls.Conn); ok {
			c = t.NetConn()
		}
		m := c.(*countedConn).Conn.(*mortal)
		_ = m.CloseRead()
		<-m.gone
	}}), kept, made
}

// keep leaves u with n unused connections. The upstream sends to came for each request and answers when leave is closed.
func keep(ctx context.Context, u *Upstream, n int, came <-chan struct{}, leave chan<- struct{}) {
	var running sync.WaitGroup
	for range n {
		running.Go(func() { u.Execute(ctx, anAttempt) })
	}
	for range n {
		<-came
	}
	close(leave)
	running.Wait()
}

func TestAKeptConnectionThatIsDeadIsReplaced(t *testing.T) {
	for _, proto := range []string{"http", "https"} {
		for _, idle := range []int{1, maxStale, maxStale + 2} {
			t.Run(fmt.Sprintf("%s, %d kept", proto, idle), func(t *testing.T) {
				var (
					effects     atomic.Int32
					came, leave = make(chan struct{}, idle+1), make(chan struct{})
				)
				srv := start(t, proto, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					effects.Add(1)
					came <- struct{}{}
					<-leave
					w.Header().Set("Content-Type", "application/json")
					_, _ = io.Copy(w, r.Body)
				}))
				u := newUpstream(t, srv.URL, func(c *Config) { c.Transport = newTransport(t, srv) })
				ctx, kept, made := dying(t, u)
				keep(ctx, u, idle, came, leave)
				if kept.Load() != 0 || int(made.Load()) != idle {
					t.Fatalf("%d connections were kept, %d made, want %d", kept.Load(), made.Load(), idle)
				}
				effects.Store(0)
				o := u.Execute(ctx, anAttempt)
				if o.State != atmost.Completed || string(o.Result) != string(anAttempt.Payload) {
					t.Errorf("got %s %q %s", o.State, o.Result, o.Message)
				}
				if n := effects.Load(); n != 1 {
					t.Errorf("%d effects, want 1", n)
				}
				if n := int(kept.Load()); n != min(idle, maxStale) {
					t.Errorf("%d kept connections were tried, want %d", n, min(idle, maxStale))
				}
				if n := int(made.Load()); n != idle+1 {
					t.Errorf("%d connections were made, want %d", n, idle+1)
				}
			})
		}
	}
}

// A request of somebody else's is tried once, and ended is what is called off.
func TestADeadKeptConnectionMeansNotSent(t *testing.T) {
	for _, proto := range []string{"http", "https"} {
		t.Run(proto, func(t *testing.T) {
			var effects atomic.Int32
			srv := start(t, proto, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { effects.Add(1) }))
			var logged error
			u := newUpstream(t, srv.URL, func(c *Config) {
				c.Transport = newTransport(t, srv)
				c.OnError = func(err error) { logged = err }
			})
			ctx, kept, made := dying(t, u)
			u.Execute(ctx, anAttempt)
			r, _ := http.NewRequestWithContext(ctx, "POST", srv.URL, strings.NewReader("x"))
			_, err := u.transport.RoundTrip(r)
			var unsent *NotSentError
			if !errors.As(err, &unsent) || kept.Load() != 1 || made.Load() != 1 {
				t.Errorf("got %v after %d kept connections and %d new ones, want a NotSentError after one each", err, kept.Load(), made.Load())
			}

			u.Execute(ctx, anAttempt)
			ended, end := context.WithCancel(ctx)
			ended = httptrace.WithClientTrace(ended, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { end() }})
			want := atmost.Outcome{State: atmost.NotExecuted, Message: "the execution was stopped before it reached the upstream"}
			if diff := cmp.Diff(want, u.Execute(ended, anAttempt)); diff != "" {
				t.Error(diff)
			}
			if !errors.Is(logged, errStale) {
				t.Errorf("logged %v, which tells the breaker nothing of the kept connection", logged)
			}
			if kept.Load() != 2 || made.Load() != 2 || effects.Load() != 2 {
				t.Errorf("%d kept connections, %d new ones, %d effects, want 2 each", kept.Load(), made.Load(), effects.Load())
			}
		})
	}
}

func TestBreakerIgnoresKeptConnections(t *testing.T) {
	b := newBreaker()
	for range 2 * breakerFailures {
		done, err := b.allow()
		if err != nil {
			t.Fatal(err)
		}
		done(&NotSentError{Err: fmt.Errorf("%w: %w", errStale, io.EOF)})
	}
}

// An answer that comes while net/http already takes it for the next request's, of which nothing was written yet.
func TestAnAnswerBeforeTheRequestAnswersNothing(t *testing.T) {
	log.SetOutput(io.Discard) // net/http may complain
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	for _, proto := range []string{"http", "https"} {
		t.Run(proto, func(t *testing.T) {
			say, more := make(chan struct{}), make(chan bool, 1)
			u := served(t, proto, func(c net.Conn) {
				says(fixedAnswer)(c)
				<-say
				_, _ = io.WriteString(c, surplus)
				n, _ := c.Read(make([]byte, 1))
				more <- n > 0
			})
			if o := u.Execute(t.Context(), anAttempt); o.State != atmost.Completed {
				t.Fatalf("warm-up: %+v", o)
			}
			ended, once := make(chan struct{}), sync.OnceFunc(func() { close(say) })
			// Called when net/http expects an answer, and the request is still in its buffer.
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteHeaderField: func(string, []string) {
				once()
				<-ended
			}})
			r, _ := http.NewRequestWithContext(ctx, "POST", u.cfg.URL, strings.NewReader("x"))
			resp, err := u.transport.RoundTrip(r)
			close(ended)
			var unsent *NotSentError
			if !errors.As(err, &unsent) || !errors.Is(err, errStale) {
				t.Errorf("got %v, %v, want a NotSentError", resp, err)
			}
			if <-more {
				t.Error("something was sent")
			}
		})
	}
}

// held is a connection of which a Read ends when it is told to.
type held struct {
	net.Conn
	reading chan struct{} // closed when a Read is under way
	bytes   chan int      // for each Read
}

func (h held) Read([]byte) (int, error)    { close(h.reading); return <-h.bytes, nil }
func (h held) Write(p []byte) (int, error) { return len(p), nil }
func (h held) Close() error                { return nil }

func TestArming(t *testing.T) {
	for name, tc := range map[string]struct {
		before, during func(c *countedConn, h held, cancel func())
		ready, opens   bool
		took           time.Duration
	}{
		"a Read is under way": {before: func(c *countedConn, h held, _ func()) {
			go c.Read(make([]byte, 1)) //nolint:errcheck // it is told what to do
			<-h.reading
		}, ready: true, opens: true},
		"a Read begins":  {during: func(c *countedConn, _ held, _ func()) { go c.Read(make([]byte, 1)) }, ready: true, opens: true}, //nolint:errcheck // the same
		"closed before":  {before: func(c *countedConn, _ held, _ func()) { _ = c.Close() }},
		"closed":         {during: func(c *countedConn, _ held, _ func()) { _ = c.Close() }},
		"called off":     {during: func(_ *countedConn, _ held, cancel func()) { cancel() }},
		"nothing":        {took: readyWithin},
		"woken for none": {before: func(c *countedConn, _ held, _ func()) { c.changed <- struct{}{} }, took: readyWithin},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := held{reading: make(chan struct{}), bytes: make(chan int)}
				defer close(h.bytes)
				c := newCountedConn(h)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tc.before != nil {
					tc.before(c, h, cancel)
				}
				if tc.during != nil {
					go func() {
						synctest.Wait() // until arm waits
						tc.during(c, h, cancel)
					}()
				}
				began := time.Now()
				if got := c.arm(ctx); got != tc.ready || c.closed.Load() == tc.ready {
					t.Errorf("ready: %t, closed: %t, want %t, %t", got, c.closed.Load(), tc.ready, !tc.ready)
				}
				if took := time.Since(began); took != tc.took {
					t.Errorf("took %v, want %v", took, tc.took)
				}
				if n, err := c.Write([]byte("x")); (n == 1) != tc.opens || (err == nil) != tc.opens {
					t.Errorf("wrote %d, %v", n, err)
				}
				if c.refuse() == tc.opens {
					t.Errorf("dead: %t", !tc.opens)
				}
			})
		})
	}
}

// What comes between arm and the first Write ends the connection, what comes after the Write does not.
func TestTheFirstOfReadAndWriteDecides(t *testing.T) {
	for _, first := range []string{"read", "write"} {
		t.Run(first, func(t *testing.T) {
			h := held{reading: make(chan struct{}), bytes: make(chan int)}
			c := newCountedConn(h)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = c.Read(make([]byte, 1))
			}()
			<-h.reading
			if !c.arm(t.Context()) {
				t.Fatal("not armed")
			}
			if first == "write" {
				_, _ = c.Write([]byte("x"))
			}
			h.bytes <- 1
			<-ended
			n, err := c.Write([]byte("x"))
			if (first == "write") != (n == 1) || (n == 0) != errors.Is(err, errRefused) {
				t.Errorf("wrote %d, %v", n, err)
			}
			if first == "read" && c.arm(t.Context()) {
				t.Error("a dead connection was armed")
			}
		})
	}
}

func TestKeptConnectionsAreClosedBeforeServersDo(t *testing.T) {
	if got := newTransport(t, nil).base.IdleConnTimeout; got != 4*time.Second {
		t.Errorf("after %v", got)
	}
	tr := NewTransport(TransportOptions{IdleTimeout: time.Second})
	if got := tr.base.IdleConnTimeout; got != time.Second {
		t.Errorf("set to 1s, after %v", got)
	}
}
