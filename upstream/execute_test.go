package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/faultproxy"
)

func TestStatuses(t *testing.T) {
	const (
		completed, failed    = atmost.Completed, atmost.Failed
		notExecuted, unknown = atmost.NotExecuted, atmost.Unknown
	)
	for _, tc := range []struct {
		status int
		want   atmost.State
		listed atmost.State // where the configuration lists the status
	}{
		{status: 200, want: completed},
		{status: 201, want: completed},
		{status: 204, want: completed},
		{status: 299, want: completed},
		{status: 300, want: failed},
		{status: 302, want: failed},
		{status: 304, want: failed},
		{status: 307, want: failed},
		{status: 400, want: failed},
		{status: 404, want: failed},
		{status: 407, want: failed},
		{status: 408, want: unknown},
		{status: 409, want: failed},
		{status: 425, want: failed},
		{status: 429, want: failed},
		{status: 498, want: failed},
		{status: 499, want: unknown},
		{status: 500, want: unknown},
		{status: 501, want: unknown},
		{status: 502, want: unknown},
		{status: 503, want: unknown},
		{status: 504, want: unknown},
		{status: 599, want: unknown},
		{status: 600, want: unknown},
		{status: 999, want: unknown},
		{status: 503, want: notExecuted, listed: notExecuted},
		{status: 429, want: notExecuted, listed: notExecuted},
		{status: 408, want: notExecuted, listed: notExecuted},
		{status: 501, want: failed, listed: failed},
		{status: 500, want: failed, listed: failed},
		{status: 499, want: failed, listed: failed},
	} {
		t.Run(fmt.Sprint(tc.status, " listed ", tc.listed), func(t *testing.T) {
			var calls atomic.Int32
			srv := start(t, "http", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.Header().Set("Location", "/elsewhere")
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tc.status)
				if tc.status != 204 && tc.status != 304 {
					_, _ = io.WriteString(w, " {\"n\":1.10}\n")
				}
			}))
			u := newUpstream(t, srv.URL, func(c *Config) {
				switch tc.listed {
				case notExecuted:
					c.NotExecutedStatus = []int{tc.status}
				case failed:
					c.FinalStatus = []int{tc.status}
				}
			})
			want := atmost.Outcome{State: tc.want, UpstreamStatus: tc.status}
			switch tc.want {
			case completed, failed:
				want.Result = []byte(" {\"n\":1.10}\n")
				if tc.status == 204 || tc.status == 304 {
					want.Result = []byte("null")
				}
				if tc.want == failed {
					want.Message = fmt.Sprintf("the upstream answered %d", tc.status)
				}
			case unknown:
				want.Message = fmt.Sprintf("the upstream answered %d; the request may have been processed", tc.status)
			default:
				want.Message = fmt.Sprintf("the upstream answered %d, by which it says that nothing happened", tc.status)
			}
			if diff := cmp.Diff(want, u.Execute(t.Context(), anAttempt)); diff != "" {
				t.Error(diff)
			}
			if calls.Load() != 1 {
				t.Errorf("%d calls", calls.Load())
			}
		})
	}
}

// An answer that says that it is not final is not taken for that, whatever its status, unless that is listed.
func TestAnswersThatAreNotFinal(t *testing.T) {
	for _, tc := range []struct {
		status      int
		name, value string
		want        atmost.State
	}{
		{409, "Retry-After", "1", atmost.Unknown},
		{409, "Idempotency-Retry", "poll", atmost.Unknown},
		{202, "Idempotency-Retry", "poll", atmost.Unknown}, // as the service itself answers what it still executes
		{404, "Idempotency-Retry", "same-key", atmost.Unknown},
		{410, "Idempotency-Retry", "no", atmost.Failed},
		{200, "Retry-After", "1", atmost.Completed},
		{422, "Retry-After", "1", atmost.Failed},
		{429, "Idempotency-Retry", "same-key", atmost.NotExecuted},
		{423, "Idempotency-Retry", "poll", atmost.Failed},
	} {
		srv := start(t, "http", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(tc.name, tc.value)
			w.WriteHeader(tc.status)
		}))
		u := newUpstream(t, srv.URL, func(c *Config) { c.NotExecutedStatus, c.FinalStatus = []int{429}, []int{423} })
		if o := u.Execute(t.Context(), anAttempt); o.State != tc.want {
			t.Errorf("%d with %s: %s is %v, want %v", tc.status, tc.name, tc.value, o.State, tc.want)
		}
	}
}

// What comes instead of a proper answer.
func TestAnswersOfBadUpstreams(t *testing.T) {
	const (
		broken = "the connection to the upstream broke before it answered; the request may have been processed"
		cut    = "the upstream answered %d, but its answer broke off; the request may have been processed"
		noHTTP = "the upstream's answer is not valid HTTP; the request may have been processed"
		big    = "the header of the upstream's answer is over 256 KiB; the request may have been processed"
		early  = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
	)
	limit := strings.Repeat("1", 64)
	for name, tc := range map[string]struct {
		says string
		want atmost.Outcome
	}{
		"nothing":         {"", atmost.Outcome{State: atmost.Unknown, Message: broken}},
		"half a header":   {"HTTP/1.1 200 OK\r\nContent-", atmost.Outcome{State: atmost.Unknown, Message: broken}},
		"no HTTP":         {"220 mail.example ESMTP\r\n", atmost.Outcome{State: atmost.Unknown, Message: noHTTP}},
		"no header":       {"HTTP/1.1 200 OK\r\n\x00\r\n\r\n", atmost.Outcome{State: atmost.Unknown, Message: noHTTP}},
		"only 1xx":        {early, atmost.Outcome{State: atmost.Unknown, Message: broken}},
		"a header of 1 M": {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", atmost.Outcome{State: atmost.Unknown, Message: big}},

		"1xx, then 200": {
			early + "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1",
			atmost.Outcome{State: atmost.Completed, UpstreamStatus: 200, Result: []byte("1")},
		},
		"101": {
			"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
			atmost.Outcome{State: atmost.Unknown, UpstreamStatus: 101, Message: "the upstream answered 101; the request may have been processed"},
		},
		"200 cut short": {
			"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123",
			atmost.Outcome{State: atmost.Unknown, UpstreamStatus: 200, Message: fmt.Sprintf(cut, 200)},
		},
		"200 cut between chunks": {
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n",
			atmost.Outcome{State: atmost.Unknown, UpstreamStatus: 200, Message: fmt.Sprintf(cut, 200)},
		},
		"404 cut short": {
			"HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\n123",
			atmost.Outcome{State: atmost.Unknown, UpstreamStatus: 404, Message: fmt.Sprintf(cut, 404)},
		},
		"302 cut short": {
			"HTTP/1.1 302 Found\r\nContent-Length: 10\r\n\r\n123",
			atmost.Outcome{State: atmost.Unknown, UpstreamStatus: 302, Message: fmt.Sprintf(cut, 302)},
		},
		"not_executed_status cut short": {
			"HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\n123",
			atmost.Outcome{State: atmost.NotExecuted, UpstreamStatus: 503, Message: "the upstream answered 503, by which it says that nothing happened"},
		},
		"500 cut short": {
			"HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\n123",
			atmost.Outcome{State: atmost.Unknown, UpstreamStatus: 500, Message: "the upstream answered 500; the request may have been processed"},
		},

		"as long as allowed": {
			"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 64\r\n\r\n" + limit,
			atmost.Outcome{State: atmost.Completed, UpstreamStatus: 200, Result: []byte(limit)},
		},
		"too long": {
			"HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n" + limit + "1",
			atmost.Outcome{State: atmost.Completed, UpstreamStatus: 200, NotKept: atmost.TooLarge},
		},
		"too long, length not told": {
			"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + limit + "1",
			atmost.Outcome{State: atmost.Completed, UpstreamStatus: 200, NotKept: atmost.TooLarge},
		},
		"too long, cut after the limit": {
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n41\r\n" + limit + "1",
			atmost.Outcome{State: atmost.Completed, UpstreamStatus: 200, NotKept: atmost.TooLarge},
		},
		"422 too long": {
			"HTTP/1.1 422 No\r\nContent-Length: 65\r\n\r\n" + limit + "1",
			atmost.Outcome{State: atmost.Failed, UpstreamStatus: 422, NotKept: atmost.TooLarge, Message: "the upstream answered 422"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			addr := raw(t, says(tc.says))
			change := func(c *Config) {
				c.MaxResult = 64
				c.NotExecutedStatus = []int{503}
			}
			if diff := cmp.Diff(tc.want, newUpstream(t, "http://"+addr, change).Execute(t.Context(), anAttempt)); diff != "" {
				t.Error(diff)
			}
			// Forward judges in the same way, but makes no result. Nothing of the first call's is used: that connection is about to be closed.
			u := newUpstream(t, "http://"+addr, change)
			answer, o := u.Forward(t.Context(), anAttempt, u.request(t.Context(), anAttempt), anAttempt.Payload)
			if answer != nil && answer.Rest != nil {
				_ = answer.Rest.Close()
			}
			if answer != nil && answer.Status < 200 {
				t.Errorf("a switch of protocols was handed over as an answer: %+v", answer)
			}
			tc.want.Result, tc.want.NotKept = nil, atmost.Kept
			if diff := cmp.Diff(tc.want, o); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFaultsOnTheWay(t *testing.T) {
	const notExecuted, unknown = atmost.NotExecuted, atmost.Unknown
	for name, tc := range map[string]struct {
		fault   faultproxy.Fault
		want    atmost.State
		effects int32
	}{
		"reset at the request's first byte":  {faultproxy.Fault{Kind: faultproxy.Reset}, unknown, 0},
		"reset in the request's header":      {faultproxy.Fault{Kind: faultproxy.Reset, After: 20}, unknown, 0},
		"reset after the request":            {faultproxy.Fault{Kind: faultproxy.Reset, Direction: faultproxy.Response}, unknown, 1},
		"closed after the request":           {faultproxy.Fault{Kind: faultproxy.Close, Direction: faultproxy.Response}, unknown, 1},
		"reset in the answer's header":       {faultproxy.Fault{Kind: faultproxy.Reset, Direction: faultproxy.Response, After: 20}, unknown, 1},
		"closed in the answer's header":      {faultproxy.Fault{Kind: faultproxy.Close, Direction: faultproxy.Response, After: 20}, unknown, 1},
		"reset one byte before the end":      {faultproxy.Fault{Kind: faultproxy.Reset, Direction: faultproxy.Response, After: len(fixedAnswer) - 1}, unknown, 1},
		"closed one byte before the end":     {faultproxy.Fault{Kind: faultproxy.Close, Direction: faultproxy.Response, After: len(fixedAnswer) - 1}, unknown, 1},
		"closed after the last byte":         {faultproxy.Fault{Kind: faultproxy.Close, Direction: faultproxy.Response, After: len(fixedAnswer)}, atmost.Completed, 1},
		"the same, connections refused then": {faultproxy.Fault{}, notExecuted, 0},
	} {
		for _, reused := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reused %t", name, reused), func(t *testing.T) {
				var effects atomic.Int32
				p := proxyTo(t, raw(t, func(c net.Conn) {
					for br := bufio.NewReader(c); ; {
						r, err := http.ReadRequest(br)
						if err != nil {
							return
						}
						if _, err := io.Copy(io.Discard, r.Body); err != nil {
							return
						}
						effects.Add(1)
						_, _ = io.WriteString(c, fixedAnswer)
					}
				}))
				u := newUpstream(t, "http://"+p.Addr(), nil)
				if tc.want == notExecuted {
					p.Refuse()
				} else if reused {
					if o := u.Execute(t.Context(), anAttempt); o.State != atmost.Completed {
						t.Fatalf("warm-up: %+v", o)
					}
					effects.Store(0)
				}
				p.Set(tc.fault)
				if o := u.Execute(t.Context(), anAttempt); o.State != tc.want {
					t.Errorf("got %+v, want %s", o, tc.want)
				}
				if n := effects.Load(); n != tc.effects {
					t.Errorf("%d effects, want %d", n, tc.effects)
				}
				if tc.want != notExecuted && p.Accepted() != 1 {
					t.Errorf("%d connections, want 1", p.Accepted())
				}
			})
		}
	}
}

const fixedAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}"

func TestNotReached(t *testing.T) {
	srv := start(t, "https", http.NotFoundHandler())
	for name, tc := range map[string]struct {
		err  error // of connecting; nil: connect
		want string
	}{
		"refused":   {refused, "the upstream refused the connection"},
		"no name":   {&net.OpError{Op: "dial", Err: &net.DNSError{Name: "secret.example", IsNotFound: true}}, "the upstream's name could not be resolved"},
		"timed out": {&net.OpError{Op: "dial", Err: context.DeadlineExceeded}, "connecting to the upstream took too long"},
		"other":     {errors.New("no route to secret.example"), "no connection to the upstream could be made"},
		"TLS":       {nil, "the upstream's certificate is signed by an authority that is not trusted"},
	} {
		t.Run(name, func(t *testing.T) {
			var logged error
			u := newUpstream(t, srv.URL, func(c *Config) { c.OnError = func(err error) { logged = err } })
			if tc.err != nil {
				u.transport.connect = func(context.Context, string, string) (net.Conn, error) { return nil, tc.err }
			}
			if diff := cmp.Diff(atmost.Outcome{State: atmost.NotExecuted, Message: tc.want}, u.Execute(t.Context(), anAttempt)); diff != "" {
				t.Error(diff)
			}
			if logged == nil || tc.err != nil && !errors.Is(logged, tc.err) {
				t.Errorf("logged %v, want the cause", logged)
			}
		})
	}
}

// The whole time-out passes, on the bubble's clock.
func TestTimeouts(t *testing.T) {
	for name, tc := range map[string]struct {
		serve func(c net.Conn)
		want  atmost.Outcome
		took  time.Duration // 0: all
	}{
		"while connecting": {serve: nil, want: atmost.Outcome{State: atmost.NotExecuted, Message: "there was no connection to the upstream within 30s"}},
		"while sending": {
			serve: func(c net.Conn) { _, _ = c.Read(make([]byte, 10)) },
			want:  atmost.Outcome{State: atmost.Unknown, Message: "the upstream did not answer within 30s; the request may have been processed"},
		},
		"while waiting": {
			serve: says(""),
			want:  atmost.Outcome{State: atmost.Unknown, Message: "the upstream did not answer within 30s; the request may have been processed"},
		},
		"in the answer's header": {
			serve: says("HTTP/1.1 200 OK\r\n"),
			want:  atmost.Outcome{State: atmost.Unknown, Message: "the upstream did not answer within 30s; the request may have been processed"},
		},
		"in the answer's body": {
			serve: says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
			want:  atmost.Outcome{State: atmost.Unknown, UpstreamStatus: 200, Message: "the upstream answered 200, but not to the end within 30s; the request may have been processed"},
		},
		"in the body of a status that decides": {
			serve: says("HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\n{"),
			want:  atmost.Outcome{State: atmost.NotExecuted, UpstreamStatus: 503, Message: "the upstream answered 503, by which it says that nothing happened"},
			took:  drainWithin,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hold := make(chan struct{})
				n := &network{serve: func(c net.Conn) { tc.serve(c); <-hold }}
				u, end := n.upstream(t)
				u.statuses, _ = atmost.NewStatuses([]int{503}, nil)
				if tc.serve == nil {
					u.transport.connect = func(ctx context.Context, _, _ string) (net.Conn, error) {
						<-ctx.Done() // net/http ends it when nobody waits any more
						return nil, ctx.Err()
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				began := time.Now()
				if diff := cmp.Diff(tc.want, u.Execute(ctx, anAttempt)); diff != "" {
					t.Error(diff)
				}
				want := tc.took
				if want == 0 {
					want = 30 * time.Second
				}
				if took := time.Since(began); took != want {
					t.Errorf("took %v", took)
				}
				close(hold)
				end()
			})
		})
	}
}

func TestCalledOff(t *testing.T) {
	for name, tc := range map[string]struct {
		says, want string
	}{
		"before the answer": {"", "the execution was stopped before the upstream answered; the request may have been processed"},
		"in the answer": {
			"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
			"the upstream answered 200, but the execution was stopped before the answer's end; the request may have been processed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				hold := make(chan struct{})
				n := &network{serve: func(c net.Conn) { says(tc.says)(c); <-hold }}
				u, end := n.upstream(t)
				outcome := make(chan atmost.Outcome)
				go func() { outcome <- u.Execute(ctx, anAttempt) }()
				synctest.Wait()
				cancel(errors.New("a cause of the caller's own"))
				if o := <-outcome; o.State != atmost.Unknown || o.Message != tc.want {
					t.Errorf("got %+v", o)
				}
				close(hold)
				end()
			})
		})
	}
}

func TestAnAnswerBeforeTheRequestWasReadCounts(t *testing.T) {
	answered := make(chan struct{})
	addr := raw(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReaderSize(c, 16)); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Much\r\nContent-Length: 0\r\n\r\n")
		<-answered
	})
	a := anAttempt
	a.Payload = append(append([]byte(`"`), bytes.Repeat([]byte("x"), 16<<20)...), '"') // more than buffers hold
	o := newUpstream(t, "http://"+addr, nil).Execute(t.Context(), a)
	close(answered)
	want := atmost.Outcome{State: atmost.Failed, UpstreamStatus: 413, Message: "the upstream answered 413", Result: []byte("null")}
	if diff := cmp.Diff(want, o); diff != "" {
		t.Error(diff)
	}
}

// A slow answer is one too, and a slow way of the request harms nothing.
func TestSlow(t *testing.T) {
	for _, d := range []faultproxy.Direction{faultproxy.Request, faultproxy.Response} {
		srv := start(t, "http", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.Copy(w, r.Body)
		}))
		p := proxyTo(t, srv.Listener.Addr().String())
		step := make(chan struct{})
		p.Set(faultproxy.Fault{Kind: faultproxy.Step, Direction: d, Step: step})
		outcome := make(chan atmost.Outcome)
		go func() { outcome <- newUpstream(t, "http://"+p.Addr(), nil).Execute(t.Context(), anAttempt) }()
		for range 100 {
			step <- struct{}{}
		}
		close(step)
		if o := <-outcome; o.State != atmost.Completed || string(o.Result) != string(anAttempt.Payload) {
			t.Errorf("got %+v", o)
		}
	}
}

func TestConnectionsAreReused(t *testing.T) {
	for _, answer := range []string{
		fixedAnswer,
		"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nlater",
		"HTTP/1.1 204 Fine\r\n\r\n",
	} {
		p := proxyTo(t, raw(t, func(c net.Conn) {
			for br := bufio.NewReader(c); ; {
				r, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(c, answer)
			}
		}))
		u := newUpstream(t, "http://"+p.Addr(), nil)
		for range 3 {
			u.Execute(t.Context(), anAttempt)
		}
		if n := p.Accepted(); n != 1 {
			t.Errorf("%q: %d connections, want 1", answer, n)
		}
	}
}
