package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost/wire"
)

func keysWatchCommand(p process, api *adminFlags) *cobra.Command {
	c := &cobra.Command{
		Use: "watch [KEY]", Short: "Follow what becomes of keys", Args: cobra.MaximumNArgs(1),
		Long: `Follows one key, or all that the filters mean: prints how they are, then each change, until it is interrupted. It asks the service again
and again, so it may miss what came and went in between; what it prints is in the order in which it saw it.`,
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
		if err = errors.Join(err, o.check()); err != nil {
			return err
		}
		if len(args) == 1 {
			f.one, f.key = true, args[0]
		}
		w := watcher{output: o, seen: map[string]string{}}
		signals := p.ownSignals()
		again := time.NewTicker(*every)
		defer again.Stop()
		for {
			if err := w.look(c, a, f.filter()); err != nil {
				return err
			}
			select {
			case <-again.C:
			case <-signals:
				return nil
			case <-c.Context().Done():
				return nil
			}
		}
	}
	return c
}

// watcher remembers how records were when it saw them last, by their ids.
type watcher struct {
	*output
	seen map[string]string
}

// look prints what changed.
func (w *watcher) look(c *cobra.Command, a *adminAPI, filter wire.AdminFilter) error {
	now := map[string]string{}
	err := a.each(c.Context(), filter, func(k wire.AdminKey) (bool, error) {
		now[k.ID] = fmt.Sprintf("%d %s %s %v", k.Attempt, k.State, k.NotKept, k.UpdatedAt)
		if w.seen[k.ID] == now[k.ID] {
			return true, nil
		}
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
		}
	}
	w.seen = now
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
