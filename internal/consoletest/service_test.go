package consoletest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/console"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/telemetry"
)

// service is the whole service but its binary. Its addresses end in a slash.
type service struct {
	Public string `json:"public"`
	Admin  string `json:"admin"`
	// Prefixed is the admin listener behind a proxy that has put a path before it.
	Prefixed string `json:"prefixed"`
}

// start starts a service with operations whose attempts end as their payloads say.
func start(t *testing.T, store atmost.Store, kind string) service {
	t.Helper()
	registry := prometheus.NewRegistry()
	charge := &charger{}
	engine, err := atmost.New(t.Context(), store, atmost.Options{
		Operations: map[string]atmost.Operation{
			"payment.charge": {Executor: charge, Timeout: 10 * time.Second},
			"order.create":   {Executor: charge, Timeout: 5 * time.Second},
			"email.send":     {Executor: charge, Timeout: 20 * time.Second},
			"report.render":  {Executor: charge, Timeout: 5 * time.Minute},
			"invoice.number": {}, // clients execute it
		},
		Events: telemetry.NewPrometheus(registry),
	})
	if err != nil {
		t.Fatal(err)
	}
	telemetry.RegisterEngine(registry, engine)
	admin := server.Admin(engine, server.AdminOptions{
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), Console: console.Handler(), Version: "v1.0.0", Store: kind,
	})
	s := service{Public: listen(t, server.New(engine, server.Options{})), Admin: listen(t, admin)}
	s.Prefixed = listen(t, http.StripPrefix("/ops/atmost", proxy(t, s.Admin))) + "ops/atmost/"
	t.Cleanup(func() { // first: requests that wait are answered then
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what is stuck is not waited for
		engine.Close(ctx)
	})
	return s
}

func listen(t *testing.T, h http.Handler) string {
	l := httptest.NewServer(h)
	t.Cleanup(l.Close)
	return l.URL + "/"
}

// proxy forwards to target, and keeps the name that the browser knows, by which the admin API tells its own pages from others'.
func proxy(t *testing.T, target string) http.Handler {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}
}

// charger does what the payload asks for.
type charger struct{ charged atomic.Int64 }

func (c *charger) Execute(ctx context.Context, a atmost.Attempt) atmost.Outcome {
	payload := string(a.Payload)
	switch {
	case strings.Contains(payload, `"declined"`):
		return atmost.Outcome{State: atmost.Failed, Message: "the card was declined", UpstreamStatus: 402, Result: []byte(`{"code":"card_declined"}`)}
	case strings.Contains(payload, `"lost"`):
		return atmost.Outcome{State: atmost.Unknown, Message: "the connection was reset before the response came"}
	case strings.Contains(payload, `"down"`):
		return atmost.Outcome{State: atmost.NotExecuted, Message: "connection refused"}
	case strings.Contains(payload, `"hostile"`):
		return atmost.Outcome{State: atmost.Unknown, Message: `<img src=x onerror="document.title='taken over'">`}
	case strings.Contains(payload, `"stuck"`):
		<-ctx.Done()
		return atmost.Outcome{State: atmost.Unknown, Message: "the service ended"}
	}
	select { // as long as an upstream takes, mostly
	case <-time.After(time.Duration(1+rand.ExpFloat64()*5) * time.Millisecond):
	case <-ctx.Done():
	}
	result := fmt.Sprintf(`{"charge_id":"ch_%d","status":"paid","amount":42.00}`, c.charged.Add(1))
	return atmost.Outcome{State: atmost.Completed, Result: []byte(result), UpstreamStatus: 200}
}

// guardedStore is one that was restored from a backup, so to speak.
func guardedStore(t *testing.T) atmost.Store {
	t.Helper()
	dir := t.TempDir()
	open := func() *pebblestore.Store {
		s, err := pebblestore.Open(dir, pebblestore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err := open().Close(); err != nil {
		t.Fatal(err)
	}
	if err := pebblestore.Guard(dir, atmost.Actor{Name: "ada", Reason: "restored, ticket 11"}, pebblestore.Options{}); err != nil {
		t.Fatal(err)
	}
	s := open()
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newStore() atmost.Store { return memstore.New(memstore.Options{}) }
