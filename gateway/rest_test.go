package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/atmost-dev/atmost/gateway"
)

// An answer that is too large to keep holds the upstream no longer than its caller is there, and both go on.
func TestTheRestOfAnAnswerEnds(t *testing.T) {
	log.SetOutput(io.Discard)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	for name, tc := range map[string]struct {
		more   bool // the upstream goes on sending
		caller func(net.Conn, *http.Response)
	}{
		"the caller hangs up":      {false, func(conn net.Conn, _ *http.Response) { _ = conn.Close() }},
		"the upstream stalls":      {false, func(_ net.Conn, resp *http.Response) { _, _ = io.Copy(io.Discard, resp.Body) }},
		"the caller reads no more": {true, func(net.Conn, *http.Response) {}},
	} {
		t.Run(name, func(t *testing.T) {
			ended, giveUp := make(chan struct{}), make(chan struct{})
			a := &api{do: func(w http.ResponseWriter, r *http.Request) {
				defer close(ended)
				_, _ = io.Copy(io.Discard, r.Body)
				for err := error(nil); err == nil; {
					_, err = io.WriteString(w, strings.Repeat("x", 1<<16))
					_ = http.NewResponseController(w).Flush()
					if !tc.more {
						select {
						case <-r.Context().Done():
						case <-giveUp:
							return
						}
					}
				}
			}}
			srv := start(t, a, func(c *gateway.Config) {
				c.Route.Upstream.MaxResult = 100
				c.Route.Operation.Timeout = time.Minute
				if name != "the caller hangs up" {
					c.Route.Operation.Timeout = time.Second
				}
			})
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: 1\r\n\r\n1")
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			tc.caller(conn, resp)
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Error("the upstream still answers")
				close(giveUp)
				_ = conn.Close()
			}
		})
	}
}

// Trailers reach the first caller also after an answer that is too large to keep, whether or not they were announced.
func TestTrailersOfALargeAnswer(t *testing.T) {
	a := &api{do: func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Sum")
		_, _ = fmt.Fprint(w, strings.Repeat("x", 1<<20))
		w.Header().Set("X-Sum", "1")
		w.Header().Set(http.TrailerPrefix+"X-More", "2")
	}}
	srv := start(t, a, func(c *gateway.Config) { c.Route.Upstream.MaxResult = 100 })
	got := send(t, srv, "POST", "/", "1", "Idempotency-Key", "k")
	if len(got.body) != 1<<20 || got.Trailer.Get("X-Sum") != "1" || got.Trailer.Get("X-More") != "2" {
		t.Errorf("got %d bytes and %v", len(got.body), got.Trailer)
	}
}
