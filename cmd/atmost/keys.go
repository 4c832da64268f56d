package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// keysCommand is what operators see of records, and do to them, by the admin API of a running service.
func keysCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use: "keys", Short: "See keys, and settle what is unknown", Args: cobra.NoArgs,
		Long: "Sees the keys of a running service, and settles what nobody else can, by its admin listener.",
	}
	c.Run = func(*cobra.Command, []string) { _ = c.Help() }
	api := addAdminFlags(c.PersistentFlags(), p)
	c.AddCommand(keysListCommand(p, api), keysShowCommand(p, api), keysWatchCommand(p, api),
		keysResolveCommand(p, api), keysEraseCommand(p, api), keysForgetCommand(p, api), keysDigestCommand(p))
	return c
}

// oneKey is for commands whose argument is a key.
func oneKey(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s takes one key", c.Name())
	}
	return nil
}

// addScopeFlag gives a command about one key the flag --scope. What it returns is the record's identity.
func addScopeFlag(flags *pflag.FlagSet) func(key string) (atmost.ID, error) {
	scope := flags.String("scope", "", "the key's scope (default: none)")
	return func(key string) (atmost.ID, error) { return identity(*scope, key) }
}

// identity is that of a key that was given as an argument.
func identity(scope, key string) (atmost.ID, error) {
	id := atmost.ID{Scope: scope, Key: key}
	if err := id.Validate(); err != nil {
		return id, problems{{text: err.Error()}}
	}
	return id, nil
}

// filterFlags say which records are meant.
type filterFlags struct {
	flags                        *pflag.FlagSet
	state, operation, scope, key string
	olderThan                    string
	one                          bool // key is the one that is meant: without a scope it has none
}

func addFilterFlags(c *cobra.Command, api *adminFlags, withState bool) *filterFlags {
	f := &filterFlags{flags: c.Flags()}
	if withState {
		f.flags.StringVar(&f.state, "state", "", "only those that are processing, completed, failed, not_executed or unknown")
		_ = c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(
			[]string{"processing", "completed", "failed", "not_executed", "unknown"}, cobra.ShellCompDirectiveNoFileComp))
	}
	f.flags.StringVar(&f.operation, "operation", "", "only those of this operation")
	_ = c.RegisterFlagCompletionFunc("operation", api.completeOperations)
	f.flags.StringVar(&f.scope, "scope", "", `only those of this scope; "" means those without one`)
	f.flags.StringVar(&f.olderThan, "older-than", "", "only those that changed last so long ago, at least, for example 1h30m")
	return f
}

// check refuses a filter that was given and is empty, as by a variable that is not set: it would mean everything. An empty scope means
// the keys without one.
func (f *filterFlags) check() error {
	for _, name := range []string{"state", "operation", "older-than", "key"} {
		if flag := f.flags.Lookup(name); flag != nil && flag.Changed && flag.Value.String() == "" {
			return problems{{path: "--" + name, text: "it is empty; leave it out to mean all"}}
		}
	}
	return nil
}

// filter is what the flags say. What was not given means everything.
func (f *filterFlags) filter() wire.AdminFilter {
	given := func(name string, value *string) *string {
		if !f.flags.Changed(name) {
			return nil
		}
		return value
	}
	filter := wire.AdminFilter{State: f.state, Operation: given("operation", &f.operation), Scope: given("scope", &f.scope), OlderThan: f.olderThan}
	if f.key != "" {
		filter.Key = &f.key
	}
	if f.one {
		filter.Scope = &f.scope
	}
	return filter
}

// query is a filter as the parameters of a list.
func queryFor(f wire.AdminFilter) url.Values {
	q := url.Values{}
	for name, value := range map[string]*string{"state": &f.State, "older_than": &f.OlderThan} {
		if *value != "" {
			q.Set(name, *value)
		}
	}
	for name, value := range map[string]*string{"operation": f.Operation, "scope": f.Scope, "key": f.Key} {
		if value != nil {
			q.Set(name, *value)
		}
	}
	return q
}

// completeOperations completes the names of operations by asking the service, or else by the file that the environment names.
func (a *adminFlags) completeOperations(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	names, err := a.operations(c.Context())
	if err != nil {
		if loaded, err := sourceOf(a.process, "").load(); err == nil {
			names = slices.Sorted(maps.Keys(loaded.Operations))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completionPatience is how long whoever presses a key waits for a service.
const completionPatience = 2 * time.Second

func (a *adminFlags) operations(ctx context.Context) ([]string, error) {
	api, err := a.api()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	var o wire.AdminOverview
	if err := api.get(ctx, "/admin/v1/overview", nil, &o); err != nil {
		return nil, err
	}
	names := make([]string, len(o.Operations))
	for i, op := range o.Operations {
		names[i] = op.Name
	}
	return names, nil
}

// each calls f for the records that filter means, in the order of scope and key, until it has enough of them.
func (a *adminAPI) each(ctx context.Context, filter wire.AdminFilter, f func(wire.AdminKey) (more bool, err error)) error {
	q := queryFor(filter)
	q.Set("limit", strconv.Itoa(atmost.MaxPage))
	return paged(ctx, a, "/admin/v1/keys", q, func(p wire.AdminKeys) ([]wire.AdminKey, string) { return p.Keys, p.NextCursor }, f)
}

func keysListCommand(p process, api *adminFlags) *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List keys", Args: noArguments,
		Example: "  atmost keys list --state unknown --older-than 10m\n  atmost keys list --operation payment.charge --limit 0 -o jsonl",
	}
	f := addFilterFlags(c, api, true)
	c.Flags().StringVar(&f.key, "key", "", "only those with this key, of whatever scope")
	limit := c.Flags().Int("limit", 100, "how many at most; 0 means all")
	o := addOutputFlag(c.Flags(), p)
	completeOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *limit < 0 {
			return problems{{path: "--limit", text: "it is negative"}}
		}
		a, err := api.api()
		if err = errors.Join(err, o.check(), f.check()); err != nil {
			return err
		}
		n, more := 0, false
		l := listing[wire.AdminKey]{to: o, header: keyHeader, row: o.keyRow}
		err = a.each(c.Context(), f.filter(), func(k wire.AdminKey) (bool, error) {
			if more = *limit > 0 && n == *limit; more {
				return false, nil
			}
			n++
			return true, l.add(k)
		})
		if err = l.end(err); err == nil && more {
			_, err = fmt.Fprintln(p.stderr, "there are more: say --limit 0 for all of them")
		}
		return err
	}
	return c
}

var keyHeader = []string{"SCOPE", "KEY", "OPERATION", "STATE", "ATTEMPT", "UPDATED", "MESSAGE"}

func (o *output) keyRow(k wire.AdminKey) []string {
	return []string{
		scopeOf(k.Scope), plain(k.Key), plain(k.Operation), o.state(k.State), strconv.FormatUint(uint64(k.Attempt), 10), moment(k.UpdatedAt), short(plain(k.Message), 60),
	}
}

// record asks for all that is known of id.
func (a *adminAPI) record(ctx context.Context, id atmost.ID, withResult bool) (r wire.AdminRecord, err error) {
	q := url.Values{}
	if withResult {
		q.Set("result", "true")
	}
	return r, a.get(ctx, pathOf(id, ""), q, &r)
}

func keysShowCommand(p process, api *adminFlags) *cobra.Command {
	c := &cobra.Command{
		Use: "show KEY", Short: "Show one key, and what it went through", Args: oneKey,
		Long: "Shows one key, and what it went through. What all of it means: atmost explain KEY.",
	}
	identity := addScopeFlag(c.Flags())
	result := c.Flags().Bool("result", false, "show the result, too")
	o := addOutputFlag(c.Flags(), p)
	completeOutput(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		id, err := identity(args[0])
		a, err2 := api.api()
		if err = errors.Join(err, err2, o.check()); err != nil {
			return err
		}
		if o.format == asTable {
			r, err := a.record(c.Context(), id, *result)
			if err != nil {
				return err
			}
			return o.value(r, o.recordTable(r))
		}
		// As it was answered: the result keeps its bytes.
		path := pathOf(id, "")
		if *result {
			path += "?result=true"
		}
		answer, err := a.ask(c.Context(), http.MethodGet, path, nil)
		if err != nil {
			return err
		}
		if err := a.decode(answer, new(wire.AdminRecord)); err != nil {
			return err
		}
		line := bytes.NewBuffer(answer)
		if o.format == asLines { // no line ends within a string or a number, which keep their bytes
			line = new(bytes.Buffer)
			_ = json.Compact(line, answer) // it has been decoded
		}
		_, err = fmt.Fprintf(p.stdout, "%s\n", line)
		return err
	}
	return c
}

func keysDigestCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use: "digest KEY", Short: "Print the digest by which logs and traces name a key", Args: oneKey,
		Long: "Prints the digest by which log lines and spans name a key (key_digest). It asks no service.",
	}
	identity := addScopeFlag(c.Flags())
	c.RunE = func(_ *cobra.Command, args []string) error {
		id, err := identity(args[0])
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.stdout, id.Digest())
		return err
	}
	return c
}

// jsonValue reads a JSON value that is given as itself, or as @FILE.
func jsonValue(flag, value string) (json.RawMessage, error) {
	text := []byte(value)
	if file, named := trimAt(value); named {
		read, err := os.ReadFile(file)
		if err != nil {
			return nil, problems{{path: flag, text: err.Error()}}
		}
		text = read
	}
	if !json.Valid(text) {
		return nil, problems{{path: flag, text: "it is not a JSON value; a text needs quotes of its own: '\"done\"'"}}
	}
	return text, nil
}

func trimAt(value string) (file string, named bool) {
	if len(value) > 1 && value[0] == '@' {
		return value[1:], true
	}
	return value, false
}
