package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

func auditCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use: "audit", Short: "List what people changed, the newest first", Args: noArguments,
		Long: "Lists who changed what, and why: every key that was settled, erased or forgotten, every backup, every guard, and every scope that was admitted.\n" +
			"With --follow it prints the newest, the oldest of them first, and then what is added, until it is interrupted.\n" +
			"A service that is restarted meanwhile is waited for, and nothing is missed.",
	}
	api := addAdminFlags(c.Flags(), p)
	limit := c.Flags().Int("limit", 50, "how many at most; 0 means all")
	follow := c.Flags().BoolP("follow", "f", false, "go on with what is added, until it is interrupted")
	o := addOutputFlag(c.Flags(), p)
	completeOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *limit < 0 {
			return problems{{path: "--limit", text: "it is negative"}}
		}
		a, err := api.api()
		if err = errors.Join(err, o.check()); err != nil {
			return err
		}
		if *follow {
			t := trail{output: o, most: *limit}
			return p.again(c.Context(), followEvery, func(ctx context.Context) error { return t.look(ctx, a) })
		}
		l := listing[wire.AdminAuditEntry]{
			to: o, header: []string{"AT", "ACTOR", "ACTION", "SCOPE", "KEY", "ATTEMPT", "BEFORE", "AFTER", "REASON"}, row: o.auditRow,
		}
		n, more := 0, false
		err = a.audit(c.Context(), atmost.MaxPage, func(e wire.AdminAuditEntry) (bool, error) {
			if more = *limit > 0 && n == *limit; more {
				return false, nil
			}
			n++
			return true, l.add(e)
		})
		if err = l.end(err); err == nil && more {
			_, err = fmt.Fprintln(p.stderr, "there are more: say --limit 0 for all of them")
		}
		return err
	}
	return c
}

// audit calls f for the entries of the audit trail, the newest first, until it has enough of them. It asks for so many at a time.
func (a *adminAPI) audit(ctx context.Context, atATime int, f func(wire.AdminAuditEntry) (more bool, err error)) error {
	q := url.Values{"limit": {strconv.Itoa(atATime)}}
	return paged(ctx, a, "/admin/v1/audit", q, func(p wire.AdminAudit) ([]wire.AdminAuditEntry, string) { return p.Entries, p.NextCursor }, f)
}

// How often audit --follow asks for what was added, and for how many entries at a time.
const (
	followEvery = time.Second
	fewAdded    = 50
)

// trail follows the audit trail.
type trail struct {
	*output
	most  int    // of the entries that are there when it begins, 0 for all
	began bool   // it has seen what was there then
	last  uint64 // the newest of those, and of what was added
}

// look prints what was added.
func (t *trail) look(ctx context.Context, a *adminAPI) error {
	var added []wire.AdminAuditEntry
	newest := uint64(0)
	err := a.audit(ctx, fewAdded, func(e wire.AdminAuditEntry) (bool, error) {
		if newest = max(newest, e.Number); newest < t.last {
			t.setBack()
		}
		if e.Number <= t.last || !t.began && t.most > 0 && len(added) == t.most {
			return false, nil
		}
		added = append(added, e)
		return true, nil
	})
	if err != nil {
		return err
	}
	if newest < t.last { // there is nothing
		t.setBack()
	}
	t.began = true
	for _, e := range slices.Backward(added) {
		t.last = e.Number
		if t.format != asTable {
			err = t.json(e, false)
		} else {
			_, err = fmt.Fprintln(t.stdout, strings.TrimRight(strings.Join(t.auditRow(e), "  "), " "))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setBack has the trail begin anew.
func (t *trail) setBack() {
	t.began, t.last = false, 0
	_, _ = fmt.Fprintln(t.stderr, "atmost: the trail is shorter than it was, as of a store that was set back; what follows is from its newest part on")
}

func (o *output) auditRow(e wire.AdminAuditEntry) []string {
	attempt := ""
	if e.Attempt != 0 {
		attempt = strconv.FormatUint(uint64(e.Attempt), 10)
	}
	return []string{moment(e.At), plain(e.Actor), e.Action, scopeOf(e.Scope), plain(e.Key), attempt, o.state(e.Before), o.state(e.After), plain(e.Reason)}
}
