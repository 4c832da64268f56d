package main

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/pebblestore"
)

func serveCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use: "serve", Short: "Run the service", Args: noArguments,
		Long: "Runs the service until SIGTERM or SIGINT. SIGHUP reloads certificates, encryption keys, and from the file the operations and the gateway's routes.\n" +
			"Each setting is taken from the flag, else from the environment (ATMOST_LISTEN…), else from the file, else it has its default.",
	}
	load := sourceFlags(c, p, slices.Collect(maps.Keys(serveFlags()))...)
	c.RunE = func(c *cobra.Command, _ []string) error { return serve(c.Context(), p, load()) }
	return c
}

func serve(ctx context.Context, p process, s source) error {
	signals := p.ownSignals()
	loaded, err := s.load()
	if err != nil {
		return err
	}
	log := p.newLogger(loaded)
	service, err := newProgram(ctx, s, loaded, log, atmost.Events{})
	if err != nil {
		return err
	}
	if err := service.Run(ctx, signals); err != nil {
		return err // the process ends now: closing could wait for what hangs
	}
	service.Close()
	return nil
}

// announce logs what is served where, and what is dangerous about it.
func (p *program) announce() {
	for _, l := range p.listeners {
		p.log.Info(logListening, "listener", l.name, "address", l.Addr().String(), "tls", l.secured())
		switch {
		case l.loopback(), l.certificates != nil && l.certificates.files.ClientCA != "":
		case l.name == listenerAdmin:
			p.log.Warn("THE ADMIN LISTENER IS OPEN TO THE NETWORK, as admin_insecure says: it has no authentication, and whoever reaches it can "+
				"have keys executed again, and profile the process", "address", l.Addr().String())
		case l.name == listenerHealth:
			p.log.Warn("the health listener is open to the network: whoever reaches it can read the metrics", "address", l.Addr().String())
		}
	}
	if s, ok := p.store.(*pebblestore.Store); ok && s.Guarded() { // one in PostgreSQL tells by itself, whenever it happens
		p.log.Warn("THE STORE IS GUARDED: it may have forgotten what was claimed last, so new keys are answered OUTCOME_UNKNOWN; see atmost admit --help")
	}
	if p.source.file == "" && len(p.config.Operations) == 0 {
		p.log.Warn("there is no configuration file, so there are no operations: nothing can be executed; name one with --config")
	}
}
