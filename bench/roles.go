package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

type roleArguments struct{ database, upstream string }

// play serves as one of the processes of a run, until ctx ends. It prints its address.
func play(ctx context.Context, role string, args roleArguments) error {
	var handler http.Handler
	switch role {
	case "plain":
		p, err := newPlain(ctx, args.database, args.upstream)
		if err != nil {
			return err
		}
		defer p.pool.Close()
		handler = p
	case "upstream":
		handler = http.HandlerFunc(answerAtOnce)
	default:
		return fmt.Errorf("there is no role %s", role)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}

var result = `{"charge_id":"ch_1","status":"paid","description":"` + strings.Repeat("y", 148) + `"}`

// answerAtOnce is an upstream that does nothing, and says that it did.
func answerAtOnce(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, result)
}
