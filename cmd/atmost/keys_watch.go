package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

func keysWatchCommand(p process, api *adminFlags) *cobra.Command {
	c := &cobra.Command{
		Use: "watch [KEY]", Short: "Follow what becomes of keys", Args: cobra.MaximumNArgs(1),
		Long: `Follows one key, or all that the filters mean: prints how they are, then each change, until it is interrupted. It asks the service again
and again, less often if that takes long, so it may miss what came and went in between; what it prints is in the order in which it saw it.
A service that is restarted meanwhile is waited for.`,
		Example: "  atmost keys watch --state unknown\n  atmost keys watch order-7 --scope tenant-3",
	}
	f := addFilterFlags(c, api, true)
	every := c.Flags().Duration("interval", 2*time.Second, "how often to ask, 100ms at least")
	o := addOutputFlag(c.Flags(), p)
	completeOutput(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if *every < 100*time.Millisecond {
			return problems{{path: "--interval", text: "it is less than 100ms"}}
		}
		a, err := api.api()
		if err = errors.Join(err, o.check(), f.check()); err != nil {
			return err
		}
		if len(args) == 1 {
			if _, err := identity(f.scope, args[0]); err != nil {
				return err
			}
			f.one, f.key = true, args[0]
		}
		w := watcher{output: o, seen: map[string]string{}}
		return p.again(c.Context(), *every, func(ctx context.Context) error { return w.look(ctx, a, f.filter()) })
	}
	return c
}

// again calls f, and again and again, until it fails or p is told to end. It does so every so often, but no more than a tenth of the
// time: who asks for much leaves the service time for others. Once the service has answered, that it does not is told, and outlasted.
func (p process) again(ctx context.Context, every time.Duration, f func(context.Context) error) error {
	signals := p.ownSignals()
	ctx, cancel := context.WithCancel(ctx)
	var listening sync.WaitGroup
	listening.Go(func() {
		select {
		case <-signals:
			cancel() // also what is asked just now
		case <-ctx.Done():
		}
	})
	defer func() {
		cancel()
		listening.Wait()
	}()
	answered, lost := false, time.Duration(0) // how long the last wait for an answer was
	for {
		begin := time.Now()
		err := f(ctx)
		wait := max(every, 9*time.Since(begin))
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !(answered && passing(err)):
			return err
		case err != nil:
			if lost == 0 {
				_, _ = fmt.Fprintf(p.stderr, "atmost: %v; it is asked again until it answers\n", err)
			}
			lost = max(every, min(2*lost, mostWait))
			wait = lost
		default:
			if lost > 0 {
				_, _ = fmt.Fprintln(p.stderr, "atmost: the service answers again")
			}
			answered, lost = true, 0
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// mostWait bounds how long nobody asks a service that did not answer, unless it is to be asked less often anyway.
const mostWait = 15 * time.Second

// passing reports whether err is of a service that is restarted, or whose store is away: it may well answer later.
func passing(err error) bool {
	var away unreachableError
	switch atmost.CodeOf(err) {
	case atmost.CodeStoreUnavailable, atmost.CodeShuttingDown, atmost.CodeOverloaded:
		return true
	}
	return errors.As(err, &away)
}

// watcher remembers how records were when it saw them last, by their ids.
type watcher struct {
	*output
	seen map[string]string
}

// look prints what changed.
func (w *watcher) look(ctx context.Context, a *adminAPI, filter wire.AdminFilter) error {
	now := map[string]string{}
	err := a.each(ctx, filter, func(k wire.AdminKey) (bool, error) {
		now[k.ID] = fmt.Sprintf("%d %s %s %v", k.Attempt, k.State, k.NotKept, k.UpdatedAt)
		if w.seen[k.ID] == now[k.ID] {
			return true, nil
		}
		w.seen[k.ID] = now[k.ID] // also if the rest of the list is lost
		return true, w.tell(k)
	})
	if err != nil {
		return err
	}
	for id := range w.seen {
		if now[id] == "" {
			if err := w.gone(id); err != nil {
				return err
			}
			delete(w.seen, id)
		}
	}
	return nil
}

func (w *watcher) tell(k wire.AdminKey) error {
	if w.format != asTable {
		return w.json(k, false)
	}
	row := w.keyRow(k)
	_, err := fmt.Fprintln(w.stdout, strings.TrimRight(strings.Join(row, "  "), " "))
	return err
}

// gone tells that a record is not among those that are asked for any more.
func (w *watcher) gone(id string) error {
	named, err := wire.ParseAdminID(id)
	if err != nil {
		return err
	}
	if w.format != asTable {
		return w.json(map[string]string{"id": id, "scope": named.Scope, "key": named.Key, "state": "gone"}, false)
	}
	_, err = fmt.Fprintf(w.stdout, "%s  %s  gone: it does not match any more, or is forgotten\n", scopeOf(named.Scope), plain(named.Key))
	return err
}
