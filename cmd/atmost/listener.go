package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// listener is an address and what is served there.
type listener struct {
	net.Listener
	name   string
	server *http.Server
}

func openListener(ctx context.Context, name, address string) (*listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("the %s listener cannot use %s: %w", name, address, cause(err))
	}
	return &listener{Listener: l, name: name}, nil
}

// serve returns nil after shutdown or close.
func (l *listener) serve() error {
	if err := l.server.Serve(l.Listener); !errors.Is(err, http.ErrServerClosed) {
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

// loopback reports whether only this machine can reach the listener.
func (l *listener) loopback() bool {
	a, ok := l.Addr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}
