package main

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"
)

func gatewayCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use: "gateway", Short: "Run the gateway alone", Args: noArguments,
		Long: "Runs the reverse proxy of the configuration's section gateway, without the service's own API, until SIGTERM or SIGINT.\n" +
			"SIGHUP reloads its routes from the file.\n" +
			"With that section, serve runs both.",
	}
	flags := slices.DeleteFunc(slices.Collect(maps.Keys(serveFlags())), func(name string) bool { return name == "listen" })
	load := sourceFlags(c, p, flags...)
	c.RunE = func(c *cobra.Command, _ []string) error {
		s := load()
		s.gatewayAlone = true
		return serve(c.Context(), p, s)
	}
	return c
}
