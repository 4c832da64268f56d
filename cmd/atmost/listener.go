package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"golang.org/x/net/netutil"
)

// listener is an address and what is served there.
type listener struct {
	net.Listener
	name         string
	server       *http.Server
	certificates *certificates // nil: no TLS
}

// openListener opens one that has most connections at a time. Those that come beyond that wait until others end.
func openListener(ctx context.Context, name, address string, most int) (*listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("the %s listener cannot use %s: %w", name, address, cause(err))
	}
	return &listener{Listener: netutil.LimitListener(l, most), name: name}, nil
}

// serve returns nil after shutdown or close.
func (l *listener) serve() error {
	serve := func() error { return l.server.Serve(l.Listener) }
	if l.certificates != nil {
		l.server.TLSConfig = l.certificates.config()
		serve = func() error { return l.server.ServeTLS(l.Listener, "", "") }
	}
	if err := serve(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("the %s listener stopped: %w", l.name, err)
	}
	return nil
}

// shutdown lets requests under way end until ctx does.
func (l *listener) shutdown(ctx context.Context) {
	if l.server.Shutdown(ctx) != nil {
		_ = l.server.Close()
	}
}

func (l *listener) close() {
	if l.server != nil {
		_ = l.server.Close()
	}
	_ = l.Close() // again, perhaps: then it only says so
}

// secured is what a listener asks for, in logs: "off", "on", or "client certificates".
func (l *listener) secured() string {
	switch {
	case l.certificates == nil:
		return "off"
	case l.certificates.files.ClientCA == "":
		return "on"
	}
	return "client certificates"
}

// loopback reports whether only this machine can reach the listener.
func (l *listener) loopback() bool {
	a, ok := l.Addr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}
