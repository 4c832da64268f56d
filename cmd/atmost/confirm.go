package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os/user"
	"strings"

	"github.com/spf13/pflag"

	"github.com/atmost-dev/atmost"
)

// accountFlags say who changes something, and why. That goes into the audit trail.
type accountFlags struct {
	process       process
	actor, reason string
	yes           bool
}

func addAccountFlags(flags *pflag.FlagSet, p process) *accountFlags {
	a := &accountFlags{process: p}
	flags.StringVar(&a.reason, "reason", "", "why, for the audit trail, where everybody who may look at keys reads it")
	flags.StringVar(&a.actor, "actor", "", "who, for the audit trail (default: the name of the account that runs this)")
	return a
}

// addYesFlag is for what is asked about first.
func (a *accountFlags) addYesFlag(flags *pflag.FlagSet) {
	flags.BoolVar(&a.yes, "yes", false, "do not ask; needed where there is no terminal to ask on")
}

// account is what the flags say.
func (a *accountFlags) account() (atmost.Actor, error) {
	if strings.TrimSpace(a.reason) == "" {
		return atmost.Actor{}, problems{{path: "--reason", text: "say why: whoever reads the audit trail wants to know"}}
	}
	name := a.actor
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	return atmost.Actor{Name: cmp.Or(name, "unknown"), Reason: a.reason}, nil
}

var errNotConfirmed = problems{{text: "nothing was changed: say --yes, as there is no terminal to ask on"}}

// confirm asks whether to go on, on a terminal. The answer has to be word.
func (a *accountFlags) confirm(question, word string) error {
	if a.yes {
		return nil
	}
	p := a.process
	if !p.interactive {
		return errNotConfirmed
	}
	if _, err := fmt.Fprintf(p.stderr, "%s\nType %s to go on: ", question, word); err != nil {
		return err
	}
	line, _ := bufio.NewReader(p.stdin).ReadString('\n')
	if strings.TrimSpace(line) != word {
		return errors.New("nothing was changed")
	}
	return nil
}
