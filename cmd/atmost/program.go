package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/console"
	"github.com/atmost-dev/atmost/gateway"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/sealed"
	"github.com/atmost-dev/atmost/telemetry"
	"github.com/atmost-dev/atmost/upstream"
)

// program is the running service.
type program struct {
	source     source
	config     config                      // replaced by reload, which only Run calls
	operations map[string]atmost.Operation // of the engine, likewise
	gateway    atomic.Pointer[gateway.Gateway]
	routes     map[string]atmost.Operation // of the gateway, and of those that were there before it
	log        *slog.Logger
	tracing    *tracing     // nil: there is none
	store      atmost.Store // as it was opened
	ring       *sealed.Ring // nil: results are not encrypted
	engine     *atmost.Engine
	transport  *upstream.Transport
	listeners  []*listener // those for clients first
	ready      atomic.Bool
	serving    sync.WaitGroup
	failed     chan error // of a listener that stopped by itself
}

// The names of the listeners, in logs.
const (
	listenerPublic  = "public"
	listenerGateway = "gateway"
	listenerAdmin   = "admin"
	listenerHealth  = "health"
)

// The log lines by which others see how far a start has come.
const (
	logListening = "listening"
	logReady     = "ready"
)

// newProgram opens the store and the listeners, and answers nothing yet. Events, beside the program's own, are told what the
// engine does.
func newProgram(ctx context.Context, s source, c config, log *slog.Logger, events atmost.Events) (*program, error) {
	p := &program{
		source: s, config: c, log: log, failed: make(chan error, 4),
		transport: upstream.NewTransport(upstream.TransportOptions{}),
	}
	if err := p.open(ctx, events); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *program) open(ctx context.Context, events atmost.Events) error {
	// The addresses come first: another instance is more often found there than on the store's lock.
	if err := p.listen(ctx); err != nil {
		return err
	}
	operations, err := p.build(p.config.Operations)
	if err != nil {
		return err
	}
	p.operations = operations
	g, err := p.buildGateway(p.config.Gateway)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	p.gateway.Store(g)
	p.routes = p.routesWith(g)
	if err := migrateBefore(ctx, p.config, p.log); err != nil {
		return err
	}
	metrics := prometheus.NewRegistry()
	if p.store, err = openStore(ctx, p.config, p.log, batches(metrics, p.config)); err != nil {
		return err
	}
	p.log.Info("store opened", "store", shownStore(p.config.Store))
	if p.tracing, err = startTracing(ctx, p.source.env, p.log); err != nil {
		return err
	}
	events = atmost.Tee(events, atmost.Tee(telemetry.NewPrometheus(metrics), telemetry.Log(p.log)))
	hidden, err := p.hide(ctx)
	if err != nil {
		return err
	}
	kind, _ := storeKind(p.config.Store)
	store := p.tracing.maker().Store(telemetry.MeterStore(metrics, kind, hidden))
	p.engine, err = atmost.New(ctx, store, atmost.Options{
		Operations: p.performed(operations, p.routes), Unlisted: p.config.unlisted(), MaxPending: p.config.MaxPending, ClaimPatience: p.config.ClaimPatience,
		Events: events,
	})
	if err != nil {
		return err
	}
	p.observe(metrics)
	p.handlers(metrics)
	return nil
}

func (p *program) listen(ctx context.Context) error {
	c := p.config
	gateway := gatewayConfig{}
	if c.Gateway != nil {
		gateway = *c.Gateway
	}
	for _, l := range []struct {
		name, address string
		files         tlsFiles
	}{
		{listenerPublic, c.Listen, c.TLS},
		{listenerGateway, gateway.Listen, gateway.TLS},
		{listenerAdmin, c.Admin, c.AdminTLS},
		{listenerHealth, c.Health, c.HealthTLS},
	} {
		if l.address == "" {
			continue
		}
		opened, err := openListener(ctx, l.name, l.address, c.MaxConnections)
		if err != nil {
			return err
		}
		p.listeners = append(p.listeners, opened)
		if l.name == listenerAdmin && !opened.loopback() && l.files.ClientCA == "" && !c.AdminInsecure { // a name may lead anywhere
			return fmt.Errorf("the admin listener is not opened: %s is %s, which can be reached from other machines: %w", l.address, opened.Addr(), errOpenAdmin)
		}
		if l.files.Cert == "" {
			continue
		}
		if opened.certificates, err = newCertificates(l.name, l.files, p.log); err != nil {
			return fmt.Errorf("the %s listener cannot use TLS: %w", l.name, err)
		}
	}
	return nil
}

// handlers gives each listener what it serves.
func (p *program) handlers(metrics *prometheus.Registry) {
	checks := []server.Check{
		{Name: "serving", Ready: p.checkServing},
		p.storeCheck(),
	}
	scrape := metricsHandler(metrics, p.log)
	for _, l := range p.listeners {
		var h http.Handler
		readTimeout := p.config.ReadTimeout
		switch l.name {
		case listenerGateway:
			h, readTimeout = p.tracing.maker().Handler(http.HandlerFunc(p.serveGateway)), 0 // what passes through may take its time
		case listenerAdmin:
			kind, _ := storeKind(p.config.Store)
			h = named(server.Admin(p.engine, server.AdminOptions{
				MaxBody: p.config.MaxBody, Log: p.log, Metrics: scrape, Console: console.Handler(), Checks: checks,
				Version: buildVersion().Version, Store: kind, Backup: p.backups(),
			}))
		case listenerHealth:
			h = server.Health(p.log, scrape, checks...)
		default:
			h = p.tracing.maker().Handler(server.New(p.engine, server.Options{MaxBody: p.config.MaxBody, Log: p.log}))
		}
		l.server = &http.Server{
			Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: readTimeout,
			IdleTimeout: p.config.IdleTimeout, MaxHeaderBytes: int(p.config.MaxHeader),
			DisableGeneralOptionsHandler: true, // "OPTIONS *" is answered like any other path that is not there
			ErrorLog:                     slog.NewLogLogger(p.log.Handler(), slog.LevelWarn),
		}
	}
}

// serveGateway has a request served by the gateway that there is when it comes.
func (p *program) serveGateway(w http.ResponseWriter, r *http.Request) {
	p.gateway.Load().Handler(p.engine).ServeHTTP(w, r)
}

// certificates are those of all listeners that have any.
func (p *program) certificates() (all []*certificates) {
	for _, l := range p.listeners {
		if l.certificates != nil {
			all = append(all, l.certificates)
		}
	}
	return all
}

// address is where the listener called name listens, nil if there is none.
func (p *program) address(name string) net.Addr {
	for _, l := range p.listeners {
		if l.name == name {
			return l.Addr()
		}
	}
	return nil
}

// errForced ends a program that was told to end a second time.
var errForced = errors.New("ended at once, by a second signal")

// Run serves until ctx ends or a signal says so, then drains. A second signal ends it at once, with an error. SIGHUP reloads
// the operations, the gateway, certificates and encryption keys.
func (p *program) Run(ctx context.Context, signals <-chan os.Signal) error {
	p.announce()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	p.serving.Go(func() { watch(watching, p.certificates()) })
	for _, l := range p.listeners {
		p.serving.Go(func() { p.failed <- l.serve() }) // there is room for each
	}
	p.ready.Store(true)
	p.log.Info(logReady, "operations", len(p.config.Operations), "pid", os.Getpid())
	p.notify(notifyReady)
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGHUP {
				p.reload()
				continue
			}
			return p.drain(ctx, signals)
		case <-ctx.Done():
			return p.drain(ctx, signals)
		case err := <-p.failed:
			p.ready.Store(false)
			return err
		}
	}
}
