package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/atmost-dev/atmost/wire"
)

// recordTable writes all that is known of a record.
func (o *output) recordTable(r wire.AdminRecord) func(io.Writer) {
	return func(w io.Writer) {
		rows := [][]string{{"key", plain(r.Key)}, {"scope", scopeOf(r.Scope)}, {"operation", plain(r.Operation)}, {"state", o.state(r.State)}}
		add := func(name, value string) {
			if value != "" {
				rows = append(rows, []string{name, value})
			}
		}
		add("message", plain(r.Message))
		add("attempt", strconv.FormatUint(uint64(r.Attempt), 10))
		add("executed by", r.ExecutedBy)
		add("on unknown", r.OnUnknown)
		add("settled by", r.SettledBy)
		add("not kept", r.NotKept)
		if r.UpstreamStatus != 0 {
			add("upstream status", strconv.Itoa(r.UpstreamStatus))
		}
		if r.Contradictions != 0 {
			add("contradictions", strconv.FormatUint(uint64(r.Contradictions), 10)+": THE OPERATION MAY HAVE RUN TWICE")
		}
		add("created", moment(r.CreatedAt))
		add("updated", moment(r.UpdatedAt))
		for _, t := range []struct {
			name string
			at   *time.Time
		}{{"lease expires", r.LeaseExpires}, {"result expires", r.ResultExpires}, {"key expires", r.KeyExpires}} {
			if t.at != nil {
				add(t.name, moment(*t.at))
			}
		}
		add("replays", fmt.Sprintf("%d, by this instance since it was started, about", r.Replays))
		add("fingerprint", r.Fingerprint)
		add("trace", r.TraceID)
		if r.Result != nil {
			add("result", plain(string(r.Result)))
		}
		columns(w, rows)
		_, _ = fmt.Fprintln(w)
		timeline(w, r)
	}
}

// timeline writes what a record went through.
func timeline(w io.Writer, r wire.AdminRecord) {
	rows := [][]string{{"AT", "ATTEMPT", "WHAT", "OUTCOME", "BY", "NOTE"}}
	if r.HistoryDropped > 0 {
		rows = append(rows, []string{"…", "", fmt.Sprintf("%d earlier entries were not kept", r.HistoryDropped)})
	}
	for _, e := range r.History {
		attempt := "-"
		if e.Attempt != 0 {
			attempt = strconv.FormatUint(uint64(e.Attempt), 10)
		}
		rows = append(rows, []string{e.At.UTC().Format("2006-01-02 15:04:05.000Z"), attempt, e.What, e.Outcome, plain(e.Actor), plain(e.Note)})
	}
	columns(w, rows)
}
