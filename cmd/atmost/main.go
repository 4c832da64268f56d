// Command atmost is the service: it performs operations at most once per idempotency key, over HTTP.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // wrong arguments or a wrong configuration
	exitAbsent  = 3 // there is no such key
	exitRefused = 4 // the key is not, or not any more, as it needs to be, or may have been forgotten
	exitAway    = 5 // the service could not be reached
)

func main() {
	// Room for two: a second request to end must not get lost behind the first.
	signals := make(chan os.Signal, 2)
	os.Exit(run(context.Background(), os.Args[1:], process{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, interactive: isTerminal(os.Stdin) && isTerminal(os.Stderr),
		env: os.LookupEnv, signals: signals, logging: muteStandardLog,
		own: func() { signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP) },
	}))
}

// process is what a command has of the world.
type process struct {
	stdin          io.Reader
	stdout, stderr io.Writer // data and messages
	interactive    bool      // there is somebody who can be asked
	env            func(string) (string, bool)
	signals        <-chan os.Signal
	own            func()             // if not nil, has signals come by that channel; until then they end the process
	logging        func(*slog.Logger) // if not nil, told once which log the service writes
}

// ownSignals is for commands that have something to bring to an end: what would end the process comes by a channel from then on.
func (p process) ownSignals() <-chan os.Signal {
	if p.own != nil {
		p.own()
	}
	return p.signals
}

// run performs one command and returns the exit code.
func run(ctx context.Context, args []string, p process) int {
	began := false
	root := rootCommand(p)
	root.PersistentPreRun = func(*cobra.Command, []string) { began = true }
	root.SetArgs(args)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintln(p.stderr, errorText(err, began))
	var away unreachableError
	switch code := atmost.CodeOf(err); {
	case !began, errors.Is(err, errConfig), code == atmost.CodeInvalidRequest:
		return exitUsage
	case errors.As(err, &away):
		return exitAway
	case code == atmost.CodeKeyNotFound:
		return exitAbsent
	case code == atmost.CodeStateConflict, code == atmost.CodeOutcomeUnknown:
		return exitRefused
	}
	return exitFailure
}

// errorText is what is printed of an error; began tells that the arguments were right.
func errorText(err error, began bool) string {
	var wrong problems
	switch {
	case errors.As(err, &wrong):
		return wrong.Error() // as compilers do, so that editors find the lines
	case !began:
		return "atmost: " + err.Error() + "\nSee atmost --help."
	}
	return "atmost: " + err.Error()
}

// noArguments is for commands that take none: cobra's own takes one for the name of a command.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments", c.Name())
	}
	return nil
}

func rootCommand(p process) *cobra.Command {
	root := &cobra.Command{
		Use:   "atmost",
		Short: "Performs operations at most once per idempotency key",
		Long: "Atmost performs operations at most once per idempotency key, and answers every retry with the same bytes.\n" +
			"New here? Try: atmost dev",
		SilenceErrors: true, SilenceUsage: true, Args: cobra.NoArgs,
		Run: func(c *cobra.Command, _ []string) { _ = c.Help() },
	}
	root.AddCommand(serveCommand(p), gatewayCommand(p), devCommand(p), configCommand(p), doctorCommand(p), versionCommand(p),
		keysCommand(p), explainCommand(p), auditCommand(p), statsCommand(p), admitCommand(p), guardCommand(p),
		migrateCommand(p), backupCommand(p), restoreCommand(p))
	return root
}
