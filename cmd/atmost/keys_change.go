package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// outcomeFlags say how an attempt ended.
type outcomeFlags struct {
	outcome, result, code, message string
}

func addOutcomeFlags(c *cobra.Command) *outcomeFlags {
	f := &outcomeFlags{}
	c.Flags().StringVar(&f.outcome, "outcome", "", "completed, failed or not_executed")
	c.Flags().StringVar(&f.result, "result", "", "of completed: the result to be replayed, JSON or @FILE (default: null)")
	c.Flags().StringVar(&f.code, "error-code", "", "of failed: the error's code, to be replayed")
	c.Flags().StringVar(&f.message, "error-message", "", "of failed: the error's message, to be replayed")
	_ = c.RegisterFlagCompletionFunc("outcome", cobra.FixedCompletions([]string{"completed", "failed", "not_executed"}, cobra.ShellCompDirectiveNoFileComp))
	return f
}

// resolve is what the flags say, but for the attempt.
func (f *outcomeFlags) resolve(by atmost.Actor) (r wire.AdminResolve, err error) {
	r = wire.AdminResolve{Outcome: f.outcome, Actor: by.Name, Reason: by.Reason}
	wrong := func(flag, text string) error { return problems{{path: flag, text: text}} }
	switch f.outcome {
	case "completed", "failed", "not_executed":
	case "":
		return r, wrong("--outcome", "say how the attempt ended: completed, failed or not_executed")
	default:
		return r, wrong("--outcome", fmt.Sprintf("%q is none of completed, failed, not_executed", f.outcome))
	}
	if f.result != "" {
		if f.outcome != "completed" {
			return r, wrong("--result", "only what is completed has one")
		}
		if r.Result, err = jsonValue("--result", f.result); err != nil {
			return r, err
		}
	}
	if f.outcome == "failed" {
		if f.code == "" {
			return r, wrong("--error-code", "say which error is replayed, for example declined")
		}
		r.Error = &wire.AdminError{Code: f.code, Message: f.message}
	} else if f.code != "" || f.message != "" {
		return r, wrong("--error-code", "only what is failed has an error")
	}
	return r, nil
}

// meaning is what becomes of what is resolved so.
func (f *outcomeFlags) meaning() string {
	switch f.outcome {
	case "completed":
		return "The operation happened; every request with the key is answered with the result from now on."
	case "failed":
		return "The operation was refused for good; every request with the key is answered with that error from now on."
	}
	return "The operation surely did not happen. The next request with the key EXECUTES it: if it did happen, it happens twice."
}

// whole is for commands that change one key, or all that match.
func whole(c *cobra.Command, args []string) error {
	all, _ := c.Flags().GetBool("all-matching")
	switch {
	case all && len(args) > 0:
		return fmt.Errorf("%s takes a key, or --all-matching, not both", c.Name())
	case !all && len(args) != 1:
		return fmt.Errorf("%s takes one key, or --all-matching with filters", c.Name())
	}
	return nil
}

// changeFlags are those of a command that changes one key, or all that match.
type changeFlags struct {
	*accountFlags
	filter  *filterFlags
	all     bool
	dryRun  bool
	rate    int
	attempt uint32
	out     *output
}

func addChangeFlags(c *cobra.Command, p process, api *adminFlags, withState bool) *changeFlags {
	f := &changeFlags{filter: addFilterFlags(c, api, withState), accountFlags: addAccountFlags(c.Flags(), p), out: addOutputFlag(c.Flags(), p)}
	completeOutput(c)
	c.Flags().Lookup("scope").Usage = `the key's scope (default: none); with --all-matching only those of this scope`
	c.Flags().BoolVar(&f.all, "all-matching", false, "change all that the filters mean, instead of one key")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "with --all-matching: change nothing, only count")
	c.Flags().IntVar(&f.rate, "rate", 100, "with --all-matching: how many to change in a second, at most")
	c.Flags().Uint32Var(&f.attempt, "attempt", 0, "the attempt that was looked at; nothing is changed if there is another")
	f.addYesFlag(c.Flags())
	return f
}

// check finds what does not go together.
func (f *changeFlags) check() error {
	for _, flag := range []string{"operation", "older-than", "state", "dry-run", "rate"} {
		if set := f.filter.flags.Lookup(flag); !f.all && set != nil && set.Changed {
			return problems{{path: "--" + flag, text: "it needs --all-matching"}}
		}
	}
	if f.all && f.attempt != 0 {
		return problems{{path: "--attempt", text: "each key has its own; leave it out with --all-matching"}}
	}
	if f.rate < 1 || f.rate > 1000 {
		return problems{{path: "--rate", text: "it is not between 1 and 1000"}}
	}
	return errors.Join(f.out.check(), f.filter.check())
}

// bulk changes all that match, part by part, and tells how many those were. What is to be changed was counted before.
func (f *changeFlags) bulk(c *cobra.Command, a *adminAPI, request wire.AdminBulk, warning string) error {
	request.Filter, request.Rate = f.filter.filter(), f.rate
	run := func(dry bool) (total wire.AdminBulkResult, err error) {
		request.DryRun, request.Cursor = dry, ""
		for {
			var part wire.AdminBulkResult
			if err := a.post(c.Context(), "/admin/v1/bulk", request, &part); err != nil {
				return total, err
			}
			total.Matched, total.Changed, total.Refused = total.Matched+part.Matched, total.Changed+part.Changed, total.Refused+part.Refused
			if !dry && isTerminal(f.process.stderr) && part.NextCursor != "" {
				_, _ = fmt.Fprintf(f.process.stderr, "\r%d changed so far", total.Changed)
			}
			if request.Cursor = part.NextCursor; request.Cursor == "" {
				return total, nil
			}
		}
	}
	if request.Action == "resolve" {
		request.Filter.State = "unknown"
	}
	counted, err := run(true)
	if err != nil || f.dryRun {
		if err == nil {
			err = f.told(counted, "would be changed", counted.Matched)
		}
		return err
	}
	if counted.Matched > 0 {
		if err := f.confirm(fmt.Sprintf("%d keys match. %s", counted.Matched, warning), "yes"); err != nil {
			return err
		}
	}
	total, err := run(false)
	if isTerminal(f.process.stderr) {
		_, _ = fmt.Fprint(f.process.stderr, "\r\x1b[K") // how far it had come
	}
	if err != nil {
		return fmt.Errorf("at least %d were changed, and maybe more, as the last answer is missing: %w", total.Changed, err)
	}
	return f.told(total, "changed", total.Changed)
}

func (f *changeFlags) told(r wire.AdminBulkResult, what string, n int) error {
	return f.out.value(r, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%d %s\n", n, what)
		if r.Refused > 0 {
			_, _ = fmt.Fprintf(w, "%d had moved on, and stayed as they were\n", r.Refused)
		}
	})
}

// one changes one key, and shows how it is then.
func (f *changeFlags) one(c *cobra.Command, a *adminAPI, id atmost.ID, action string, request any) error {
	var r wire.AdminRecord
	if err := a.post(c.Context(), pathOf(id, action), request, &r); err != nil {
		return err
	}
	return f.out.value(r, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s: attempt %d is %s now\n", plain(r.Key), r.Attempt, f.out.state(r.State))
	})
}

func keysResolveCommand(p process, api *adminFlags) *cobra.Command {
	c := &cobra.Command{
		Use: "resolve (KEY --attempt N | --all-matching) --outcome OUTCOME --reason TEXT", Short: "Settle what is unknown", Args: whole,
		Long: `Settles an attempt of which nobody knows how it ended. Find out first, from the system that the operation calls, what it did:

  completed     it happened, and --result is what every request with the key gets from now on
  failed        it was refused for good, with --error-code and --error-message
  not_executed  it surely did not happen: the next request with the key EXECUTES it

Only the attempt that you looked at is settled, and only while it is unknown.`,
		Example: `  atmost keys resolve order-7 --attempt 1 --outcome completed --result '{"charge_id":"ch_1"}' --reason 'the bank shows it, ticket 7'
  atmost keys resolve --all-matching --operation mail.send --older-than 1h --outcome not_executed --reason 'the relay was down' --dry-run`,
	}
	f, outcome := addChangeFlags(c, p, api, false), addOutcomeFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		by, err := f.account()
		if err = errors.Join(f.check(), err); err != nil {
			return err
		}
		request, err := outcome.resolve(by)
		if err != nil {
			return err
		}
		a, err := api.api()
		if err != nil {
			return err
		}
		if f.all {
			return f.bulk(c, a, wire.AdminBulk{
				Action: "resolve", Outcome: request.Outcome, Result: request.Result, Error: request.Error, Actor: by.Name, Reason: by.Reason,
			}, outcome.meaning())
		}
		id, err := identity(f.filter.scope, args[0])
		if err != nil {
			return err
		}
		if request.ExpectedAttempt = f.attempt; f.attempt == 0 {
			return problems{{path: "--attempt", text: "say which attempt you looked at: atmost keys show tells its number"}}
		}
		if err := f.confirm(outcome.meaning(), "yes"); err != nil {
			return err
		}
		return f.one(c, a, id, "resolve", request)
	}
	return c
}

func keysEraseCommand(p process, api *adminFlags) *cobra.Command {
	c := &cobra.Command{
		Use: "erase (KEY | --all-matching) --reason TEXT", Short: "Erase a result, and keep the key", Args: whole,
		Long: `Erases the result of a key. The key stays, so nothing is executed again: requests with it are answered RESULT_NOT_KEPT. That cannot be
undone. To let a key be executed again is another thing: atmost keys forget.`,
		Example: "  atmost keys erase order-7 --reason 'the customer asked for it, ticket 8'",
	}
	f := addChangeFlags(c, p, api, true)
	c.RunE = func(c *cobra.Command, args []string) error {
		by, err := f.account()
		if err = errors.Join(f.check(), err); err != nil {
			return err
		}
		a, err := api.api()
		if err != nil {
			return err
		}
		const warning = "Results that are erased cannot be had again; their keys stay, and nothing is executed."
		if f.all {
			return f.bulk(c, a, wire.AdminBulk{Action: "erase", Actor: by.Name, Reason: by.Reason}, warning)
		}
		id, err := identity(f.filter.scope, args[0])
		if err != nil {
			return err
		}
		if err := f.confirm(warning, "yes"); err != nil {
			return err
		}
		return f.one(c, a, id, "erase", wire.AdminChange{ExpectedAttempt: f.attempt, Actor: by.Name, Reason: by.Reason})
	}
	return c
}

func keysForgetCommand(p process, api *adminFlags) *cobra.Command {
	c := &cobra.Command{
		Use: "forget KEY --reason TEXT", Short: "Forget a key, so that it can be EXECUTED AGAIN", Args: oneKey,
		Long: `Forgets a key. THE NEXT REQUEST WITH IT EXECUTES THE OPERATION, whatever was executed before; a client that still retries is enough. Only
a key that is completed, failed or not_executed can be forgotten. To drop a result only: atmost keys erase.`,
		Example: "  atmost keys forget order-7 --reason 'refunded, to be charged again, ticket 9'",
	}
	identity := addScopeFlag(c.Flags())
	account := addAccountFlags(c.Flags(), p)
	account.addYesFlag(c.Flags())
	attempt := c.Flags().Uint32("attempt", 0, "the attempt that was looked at; nothing is changed if there is another")
	c.RunE = func(c *cobra.Command, args []string) error {
		by, err := account.account()
		id, err2 := identity(args[0])
		if err = errors.Join(err, err2); err != nil {
			return err
		}
		a, err := api.api()
		if err != nil {
			return err
		}
		if err := account.confirm("THE NEXT REQUEST WITH THIS KEY EXECUTES THE OPERATION AGAIN, whatever was executed before.", id.Key); err != nil {
			return err
		}
		var gone wire.AdminForgotten
		if err := a.post(c.Context(), pathOf(id, "forget"), wire.AdminChange{ExpectedAttempt: *attempt, Actor: by.Name, Reason: by.Reason}, &gone); err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, "%s: it is forgotten; the next request with it executes the operation\n", plain(id.Key))
		return err
	}
	return c
}
