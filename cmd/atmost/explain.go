package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// explained is what explain prints.
type explained struct {
	Scope string `json:"scope"`
	Key   string `json:"key"`
	State string `json:"state"` // absent, if there is no record
	// Means says what the state is, Again what becomes of a request with the key.
	Means string `json:"means"`
	Again string `json:"again"`
	// Warning is there if the promise may have been broken.
	Warning string `json:"warning,omitempty"`
	// Advice says what to do first, if anything, Next are commands that lead on, as a shell takes them.
	Advice   string              `json:"advice,omitempty"`
	Next     []string            `json:"next"`
	Request  string              `json:"request,omitempty"` // how the request that was given compares
	Compared *wire.AdminCompared `json:"compared,omitempty"`
	Record   *wire.AdminRecord   `json:"record,omitempty"`
}

func explainCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use: "explain KEY", Short: "Explain one key: what became of it, whether to ask again, what to do", Args: oneKey,
		Long: `Explains one key of a running service in plain words: its state, what it went through, what becomes of a request with it, and which command
comes next. With --operation and --payload it tells whether that request is the one that the key was used for, and what differs.`,
		Example: `  atmost explain order-7
  atmost explain order-7 --scope tenant-3 --operation payment.charge --payload '{"amount":4200,"currency":"EUR"}'`,
	}
	api := addAdminFlags(c.Flags(), p)
	identity := addScopeFlag(c.Flags())
	operation := c.Flags().String("operation", "", "compare with a request for this operation")
	payload := c.Flags().String("payload", "", "its payload, JSON or @FILE")
	_ = c.RegisterFlagCompletionFunc("operation", api.completeOperations)
	o := addOutputFlag(c.Flags(), p)
	completeOutput(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		id, err := identity(args[0])
		a, err2 := api.api()
		if err = errors.Join(err, err2, o.check()); err != nil {
			return err
		}
		if (*operation == "") != (*payload == "") {
			return problems{{text: "a request that is to be compared has both: --operation and --payload"}}
		}
		request := wire.AdminCompare{Operation: *operation}
		if *payload != "" {
			if request.Payload, err = jsonValue("--payload", *payload); err != nil {
				return err
			}
		}
		r, err := a.record(c.Context(), id, false)
		switch code := atmost.CodeOf(err); code {
		case atmost.CodeKeyNotFound, atmost.CodeOutcomeUnknown: // the latter of what may have been forgotten
			return o.explained(absent(id, code == atmost.CodeOutcomeUnknown))
		}
		if err != nil {
			return err
		}
		guarded := false
		if r.State == atmost.NotExecuted.String() {
			if guarded, err = a.guarded(c.Context()); err != nil {
				return err
			}
		}
		e := explain(id, r, guarded)
		if *payload != "" {
			if err := a.post(c.Context(), pathOf(id, "compare"), request, &e.Compared); err != nil {
				return err
			}
			e.Request = comparison(r, *e.Compared)
		}
		return o.explained(e)
	}
	return c
}

func (o *output) explained(e explained) error {
	return o.value(e, func(w io.Writer) {
		say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
		say("%s is %s.\n", plain(e.Key), o.state(e.State))
		say("What that means\n  %s", e.Means)
		if e.Warning != "" {
			say("\nWARNING\n  %s", e.Warning)
		}
		say("\nIs it safe to ask again?\n  %s", e.Again)
		if e.Request != "" {
			say("\nThe request that you gave\n  %s", e.Request)
		}
		say("\nWhat to do next")
		if e.Advice != "" {
			say("  %s", e.Advice)
		}
		for _, command := range e.Next {
			say("  %s", command)
		}
		if e.Record != nil {
			say("\nWhat it went through")
			timeline(w, *e.Record)
		}
	})
}

// absent explains a key that has no record.
func absent(id atmost.ID, guarded bool) explained {
	e := explained{Scope: id.Scope, Key: id.Key, State: atmost.Absent.String()}
	if guarded {
		e.Means = "The store does not know the key. But it may have forgotten keys (it was restored, or a standby was promoted), so it refuses to take this one for new."
		e.Again = "Yes: it is answered OUTCOME_UNKNOWN, and nothing is executed until its scope is admitted."
		e.Next = []string{"atmost admit --help"}
		return e
	}
	e.Means = "The store does not know the key: it was never used in this scope, or was forgotten, or its retention has ended."
	e.Again = "It is executed, as for the first time. If it was used long ago, look for its effect first."
	e.Next = []string{"atmost keys list --key " + quoted(id.Key), "atmost audit"}
	return e
}

// guarded reports whether the service's store may have forgotten keys.
func (a *adminAPI) guarded(ctx context.Context) (bool, error) {
	var o wire.AdminOverview
	err := a.get(ctx, "/admin/v1/overview", nil, &o)
	return o.Guarded, err
}

// explain explains a record, for each state and policy, of a store that is guarded or not.
func explain(id atmost.ID, r wire.AdminRecord, guarded bool) explained {
	e := explained{Scope: id.Scope, Key: id.Key, State: r.State, Record: &r}
	command := func(verb string, flags ...string) { e.Next = append(e.Next, keyCommand(id, verb, flags...)) }
	why := ""
	if r.Message != "" {
		why = " (" + plain(r.Message) + ")"
	}
	switch r.State {
	case "processing":
		by := "the service"
		if r.ExecutedBy == atmost.ByClient.String() {
			by = "the client that holds its lease"
		}
		e.Means = fmt.Sprintf("Attempt %d is under way, performed by %s.", r.Attempt, by)
		if r.LeaseExpires != nil {
			e.Means += fmt.Sprintf(" If it does not report before its lease ends, at %s, it is %s.", moment(*r.LeaseExpires), afterLapse(r.OnUnknown))
		}
		e.Again = "Yes: a request with the same key waits for this attempt, or is told that it is processing. Nothing runs beside it."
		command("watch")
	case "completed":
		e.Means, e.Again = completed(r)
		if r.NotKept == "" {
			command("show", "--result")
		} else {
			command("show")
		}
	case "failed":
		e.Means, e.Again = failed(r, why)
		command("show", "--result")
	case "not_executed":
		e.Means, e.Again = notExecuted(r, why)
		command("show")
		if guarded {
			e.Again += " But the store was set back, and is guarded: if that was after this attempt ended, the answer is OUTCOME_UNKNOWN, and nothing is executed, until the key's scope is admitted."
			e.Next = append(e.Next, "atmost admit --help")
		}
	case "unknown":
		e.Means = fmt.Sprintf("Attempt %d may have happened, and nobody knows%s. Nothing is executed for this key until that is settled.", r.Attempt, why)
		e.Again = "Yes: it is answered OUTCOME_UNKNOWN, and nothing is executed. Never ask with another key instead: that would execute it a second time."
		if r.OnUnknown == atmost.ProbeUnknown.String() {
			e.Means += " The service asks the operation's target again and again; a probe that finds out settles it."
			command("watch")
		}
		e.Advice = fmt.Sprintf("Find out, from what %s calls, whether attempt %d happened; then settle it by one of these. After not_executed the next request executes it.",
			plain(r.Operation), r.Attempt)
		attempt := fmt.Sprintf("--attempt %d", r.Attempt)
		command("resolve", attempt, "--outcome completed --result JSON --reason TEXT")
		command("resolve", attempt, "--outcome failed --error-code CODE --reason TEXT")
		command("resolve", attempt, "--outcome not_executed --reason TEXT")
	}
	if r.Contradictions > 0 {
		e.Warning = "Two accounts of one attempt differ: the operation may have run TWICE. Look for both effects where the operation has them; the contradicted entries below say when."
	}
	return e
}

func afterLapse(onUnknown string) string {
	switch onUnknown {
	case atmost.RetryUnknown.String():
		return "presumed to have had no effect, and the next request runs it again"
	case atmost.ProbeUnknown.String():
		return "unknown, and the operation's target is asked"
	}
	return "unknown"
}

func completed(r wire.AdminRecord) (means, again string) {
	means = fmt.Sprintf("Attempt %d had its effect.", r.Attempt)
	if r.NotKept == "" {
		if r.ResultExpires != nil {
			means += " Its result is kept until " + moment(*r.ResultExpires) + "."
		}
		return means, "Yes: the result is replayed, and nothing is executed."
	}
	lost, again := notKept(r)
	return means + " Its result is not there to be had: " + lost + ".", again
}

// failed explains an attempt whose error is final.
func failed(r wire.AdminRecord, why string) (means, again string) {
	means = fmt.Sprintf("Attempt %d was answered with an error that is final%s.", r.Attempt, why)
	if r.NotKept == atmost.Expired.String() || r.NotKept == atmost.Erased.String() {
		lost, again := notKept(r)
		return means + " The error is not there to be had: " + lost + ".", again
	}
	return means, "Yes: the same error is replayed, and nothing is executed. Whether to attempt it anew is a decision of your business."
}

// notKept tells why there is no result, and what is answered instead.
func notKept(r wire.AdminRecord) (why, again string) {
	lost := map[string]string{"expired": "its retention has ended", "too_large": "it was larger than max_result", "erased": "a person erased it"}
	again = "Yes: it is answered RESULT_NOT_KEPT, and nothing is executed"
	if r.KeyExpires != nil {
		again += ", until the key is forgotten at " + moment(*r.KeyExpires)
	}
	return cmp.Or(lost[r.NotKept], r.NotKept), again + "."
}

func notExecuted(r wire.AdminRecord, why string) (means, again string) {
	again = fmt.Sprintf("Yes: the next request with the key executes it, as attempt %d.", r.Attempt+1)
	switch r.SettledBy {
	case "nobody":
		means = fmt.Sprintf("Nobody knows how attempt %d ended%s. It is taken for not executed, as the operation says on_unknown: retry, because its target is idempotent by itself.", r.Attempt, why)
		again += " If its target is not idempotent after all, that may be the second time."
	case "resolve":
		means = fmt.Sprintf("Attempt %d had no effect: somebody settled it so, a probe or a person; see below.", r.Attempt)
	default:
		means = fmt.Sprintf("Attempt %d surely had no effect%s.", r.Attempt, why)
	}
	return means, again
}

// comparison tells what becomes of a request that was compared with the record.
func comparison(r wire.AdminRecord, c wire.AdminCompared) string {
	switch {
	case c.Same:
		return "It is the one that the key was used for."
	case !c.SameOperation:
		return fmt.Sprintf("It is refused with OPERATION_MISMATCH: the key was used for %s.", plain(r.Operation))
	case len(c.Differs) == 0:
		return "It is refused with PAYLOAD_MISMATCH: the key was used with another payload. Where it differs is not known."
	}
	paths := make([]string, len(c.Differs))
	for i, path := range c.Differs {
		paths[i] = cmp.Or(plain(path), `"" (the members of the whole)`)
	}
	return "It is refused with PAYLOAD_MISMATCH: the key was used with another payload. What differs: " + strings.Join(paths, ", ")
}

// keyCommand is a command of keys about id, with flags as they are written, as a shell takes it.
func keyCommand(id atmost.ID, verb string, flags ...string) string {
	if id.Scope != "" {
		flags = append(flags, "--scope "+quoted(id.Scope))
	}
	key := quoted(id.Key)
	if strings.HasPrefix(id.Key, "-") { // no flag, for all its looks
		flags = append(flags, "-- "+key)
	} else {
		flags = append([]string{key}, flags...)
	}
	return "atmost keys " + verb + " " + strings.Join(flags, " ")
}

// The "=" is not first, as zsh would look for a program of that name.
var needsNoQuotes = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,-][A-Za-z0-9_./:@%+=,-]*$`)

// quoted is an argument as a shell takes it.
func quoted(argument string) string {
	if needsNoQuotes.MatchString(argument) {
		return argument
	}
	return "'" + strings.ReplaceAll(argument, "'", `'\''`) + "'"
}
