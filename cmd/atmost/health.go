package main

import (
	"context"
	"errors"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/pgstore"
)

var errNotServing = errors.New("the instance is starting or shutting down")

var errGuarded = errors.New("guarded: new keys are refused until they are admitted, see atmost admit --help")

func (p *program) checkServing(context.Context) error {
	if !p.ready.Load() {
		return errNotServing
	}
	return nil
}

// storeCheck is about the store. One that instances share is no reason to take them all out of service when it is away: then
// they answer that it is, and are there when it is back.
func (p *program) storeCheck() server.Check {
	if s, ok := p.store.(*pgstore.Store); ok {
		return server.Check{Name: "store", Informs: true, Ready: func(context.Context) error {
			switch stats := s.Stats(); {
			case stats.Down != "":
				return errors.New(stats.Down + "; the log has more")
			case stats.Guarded:
				return errGuarded
			}
			return nil
		}}
	}
	return server.Check{Name: "store", Ready: p.checkStore}
}

// checkStore looks up a key that no client can have used. A store that refuses to say whether it has forgotten the key, as a
// restored one does, can be used.
func (p *program) checkStore(ctx context.Context) error {
	_, err := p.store.Lookup(ctx, atmost.ID{Key: "ready check"})
	if atmost.CodeOf(err) == atmost.CodeOutcomeUnknown {
		return nil
	}
	return err
}
