package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

func auditCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use: "audit", Short: "List what people changed, the newest first", Args: noArguments,
		Long: "Lists who changed what, and why: every key that was settled, erased or forgotten, and every scope that was admitted.",
	}
	api := addAdminFlags(c.Flags(), p)
	limit := c.Flags().Int("limit", 50, "how many at most; 0 means all")
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
		l := listing[wire.AdminAuditEntry]{
			to: o, header: []string{"AT", "ACTOR", "ACTION", "SCOPE", "KEY", "ATTEMPT", "BEFORE", "AFTER", "REASON"}, row: o.auditRow,
		}
		q, n := url.Values{"limit": {strconv.Itoa(atmost.MaxPage)}}, 0
		for {
			var page wire.AdminAudit
			if err := a.get(c.Context(), "/admin/v1/audit", q, &page); err != nil {
				return errors.Join(l.print(), err)
			}
			for _, e := range page.Entries {
				if *limit > 0 && n == *limit {
					err := l.print()
					if err == nil {
						_, err = fmt.Fprintln(p.stderr, "there are more: say --limit 0 for all of them")
					}
					return err
				}
				n++
				if err := l.add(e); err != nil {
					return err
				}
			}
			if page.NextCursor == "" {
				return l.print()
			}
			q.Set("cursor", page.NextCursor)
		}
	}
	return c
}

func (o *output) auditRow(e wire.AdminAuditEntry) []string {
	attempt := ""
	if e.Attempt != 0 {
		attempt = strconv.FormatUint(uint64(e.Attempt), 10)
	}
	return []string{moment(e.At), plain(e.Actor), e.Action, scopeOf(e.Scope), plain(e.Key), attempt, o.state(e.Before), o.state(e.After), plain(e.Reason)}
}
