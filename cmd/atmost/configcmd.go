package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"
)

const envConfig = "ATMOST_CONFIG"

// sourceOf is where the configuration of a command comes from: file, or else what the environment names.
func sourceOf(p process, file string) source {
	if file == "" {
		file, _ = p.env(envConfig)
	}
	return source{file: file, env: p.env, read: os.ReadFile}
}

// sourceFlags gives a command the flag --config and those of the settings named. What it returns tells, once the command was
// given its arguments, where its configuration comes from.
func sourceFlags(c *cobra.Command, p process, names ...string) func() source {
	file := c.Flags().String("config", "", "configuration file (environment "+envConfig+")")
	defaults := defaultConfig()
	for _, s := range settings() {
		usage := serveFlags()[s.name]
		switch {
		case !slices.Contains(names, s.name):
		case s.truth:
			c.Flags().Bool(flagName(s.name), false, fmt.Sprintf("%s (environment %s)", usage, envName(s.name)))
		default:
			c.Flags().String(flagName(s.name), "", fmt.Sprintf("%s (environment %s, default %q)", usage, envName(s.name), s.get(&defaults)))
		}
	}
	return func() source {
		s := sourceOf(p, *file)
		s.flags = map[string]string{}
		for _, name := range names {
			if f := c.Flags().Lookup(flagName(name)); f.Changed {
				s.flags[name] = f.Value.String()
			}
		}
		return s
	}
}

func configCommand(p process) *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check or print the configuration", Args: cobra.NoArgs}
	c.Run = func(*cobra.Command, []string) { _ = c.Help() }
	var file string
	c.PersistentFlags().StringVar(&file, "config", "", "the file, if it is not an argument (environment "+envConfig+")")
	load := func(args []string) (source, config, error) {
		if len(args) == 1 {
			file = args[0]
		}
		s := sourceOf(p, file)
		loaded, err := s.load()
		return s, loaded, err
	}
	c.AddCommand(&cobra.Command{
		Use: "check [FILE]", Short: "Tell whether the configuration is right", Args: cobra.MaximumNArgs(1),
		Long: "Reads the file and the environment as serve would, and tells every mistake with its line. Exits with 2 if there is one.",
		RunE: func(_ *cobra.Command, args []string) error {
			s, loaded, err := load(args)
			if err != nil {
				return err
			}
			if s.file == "" {
				return problems{{text: "there is nothing to check; name a file: atmost config check FILE"}}
			}
			_, err = fmt.Fprintf(p.stdout, "%s: ok, operations: %d\n", s.file, len(loaded.Operations))
			return err
		},
	}, &cobra.Command{
		Use: "print [FILE]", Short: "Print the configuration in effect", Args: cobra.MaximumNArgs(1),
		Long: "Prints what comes of the defaults, the file and the environment, as a file. Values of headers, and passwords, are redacted.",
		RunE: func(_ *cobra.Command, args []string) error {
			_, loaded, err := load(args)
			if err != nil {
				return err
			}
			_, err = p.stdout.Write(render(loaded))
			return err
		},
	})
	return c
}
