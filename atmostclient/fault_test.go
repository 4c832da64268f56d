package atmostclient_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmostclient"
	"github.com/atmost-dev/atmost/internal/faultproxy"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/memstore"
)

// network is a real service, reached over TCP through a proxy that does to each connection what a test says.
type network struct {
	*testing.T
	proxy   *faultproxy.Proxy
	url     string
	effects atomic.Int64
}

func connect(t *testing.T) *network {
	n := &network{T: t}
	charge := does(func(context.Context, atmost.Attempt) atmost.Outcome {
		n.effects.Add(1)
		return completed(`"paid"`)
	})
	e, err := atmost.New(t.Context(), memstore.New(memstore.Options{}), atmost.Options{Operations: map[string]atmost.Operation{"charge": {Executor: charge}, "work": {}}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(server.New(e, server.Options{}))
	if n.proxy, err = faultproxy.New(s.Listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	n.url = "http://" + n.proxy.Addr()
	t.Cleanup(func() {
		n.proxy.Close()
		e.Close(context.Background())
		s.Close()
	})
	return n
}

// client returns a client with connections of its own. Once it makes a second one, the network is in order again.
func (n *network) client(heals bool) *atmostclient.Client {
	n.Helper()
	var dials atomic.Int64
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) > 1 && heals {
			n.proxy.Set(faultproxy.Fault{})
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	n.Cleanup(transport.CloseIdleConnections)
	c, err := atmostclient.New(n.url, atmostclient.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		n.Fatal(err)
	}
	return c
}

// requestBytes and answerBytes are more than one request, and one answer, has.
const (
	requestBytes = 480
	answerBytes  = 480
	stride       = 30
)

// points are the places at which a connection can end: before, within and after either direction's bytes.
func points(kinds ...faultproxy.Kind) (all []faultproxy.Fault) {
	for _, kind := range kinds {
		for after := 0; after < requestBytes; after += stride {
			all = append(all, faultproxy.Fault{Kind: kind, Direction: faultproxy.Request, After: after})
		}
		for after := 0; after < answerBytes; after += stride {
			all = append(all, faultproxy.Fault{Kind: kind, Direction: faultproxy.Response, After: after})
		}
	}
	return all
}

func keyOf(f faultproxy.Fault) string { return atmost.KeyOf(int(f.Kind), int(f.Direction), f.After) }

// TestAConnectionEndsAnywhere: one effect, and the right answer, on a new connection and on one that was in use.
func TestAConnectionEndsAnywhere(t *testing.T) {
	t.Parallel()
	n := connect(t)
	for _, f := range points(faultproxy.Reset, faultproxy.Close) {
		for _, used := range []bool{false, true} {
			c := n.client(true)
			if used {
				n.execute(c, "first")
			}
			before := n.effects.Load()
			n.proxy.Set(f)
			n.execute(c, fmt.Sprint(keyOf(f), used))
			n.proxy.Set(faultproxy.Fault{})
			if effects := n.effects.Load() - before; effects != 1 && !t.Failed() {
				t.Errorf("%+v, used: %v: %d effects", f, used, effects)
			}
		}
	}
}

func (n *network) execute(c *atmostclient.Client, key string) {
	n.Helper()
	r, err := c.Execute(n.Context(), charge(key))
	if err != nil || string(r.JSON) != `"paid"` {
		n.Errorf("%s, %v", r.JSON, err)
	}
}

// TestNothingArrivesAnyMore: what happened nobody knows, and is told so; later the same key has one effect, and the right answer.
func TestNothingArrivesAnyMore(t *testing.T) {
	t.Parallel()
	n := connect(t)
	for _, f := range points(faultproxy.Drop) {
		key := keyOf(f)
		before := n.effects.Load()
		n.proxy.Set(f)
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Millisecond)
		r, err := n.client(false).Execute(ctx, charge(key))
		cancel()
		n.proxy.Set(faultproxy.Fault{})
		var none *atmostclient.NoAnswerError
		switch {
		case err == nil && string(r.JSON) == `"paid"`: // the fault came after the answer
		case !errors.As(err, &none) || atmost.ExecutedOf(err) != atmost.ExecutedUnknown || !errors.Is(err, context.DeadlineExceeded):
			t.Errorf("%+v: %s, %v", f, r.JSON, err)
		}
		n.execute(n.client(false), key)
		if effects := n.effects.Load() - before; effects != 1 {
			t.Errorf("%+v: %d effects", f, effects)
		}
	}
}

// TestOnceWhereverAConnectionEnds: the function runs once, and everybody has its result.
func TestOnceWhereverAConnectionEnds(t *testing.T) {
	t.Parallel()
	n := connect(t)
	for _, of := range []string{"claim", "report"} {
		for _, f := range points(faultproxy.Reset) {
			key := of + keyOf(f)
			call := work(key).Call
			ran := 0
			c := n.client(true)
			if of == "claim" {
				n.proxy.Set(f)
			}
			result, err := atmost.Once(t.Context(), c, call, func(context.Context, atmost.Attempt) (string, error) {
				ran++
				if of == "report" {
					n.proxy.Set(f)
				}
				return "done", nil
			})
			n.proxy.Set(faultproxy.Fault{})
			if err != nil || result != "done" || ran != 1 {
				t.Errorf("%+v of the %s: %q, %v; it ran %d times", f, of, result, err, ran)
			}
			if result, err := atmost.Once(t.Context(), n.client(true), call, func(context.Context, atmost.Attempt) (string, error) { return "again", nil }); result != "done" {
				t.Errorf("%+v of the %s: the next caller has %q, %v", f, of, result, err)
			}
		}
	}
}

// TestTheServiceIsNotThere: nothing can have been executed by this call; but the key may have been used before, so nothing is claimed.
func TestTheServiceIsNotThere(t *testing.T) {
	n := connect(t)
	n.proxy.Refuse()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := n.client(false).Execute(ctx, charge("k"))
	var none *atmostclient.NoAnswerError
	if !errors.As(err, &none) || none.Tries < 2 || atmost.ExecutedOf(err) != atmost.ExecutedUnknown {
		t.Error(err)
	}
	if err := n.proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	n.execute(n.client(false), "k")
	if n.effects.Load() != 1 {
		t.Errorf("%d effects", n.effects.Load())
	}
}
