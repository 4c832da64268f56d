package server

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// What one bulk request does at most, so that it has its answer long before a proxy gives up on it.
const (
	bulkTime    = 10 * time.Second
	bulkChanges = 1000
	bulkCounted = 20_000 // by a dry run
)

// The changes in a second.
const (
	defaultRate = 100
	maxRate     = 1000
)

// bulk is one thing that is done to many records.
type bulk struct {
	engine *atmost.Engine
	query  atmost.Query
	// meant tells which of the records that the query finds can be changed, change does it.
	meant  func(atmost.Record) bool
	change func(context.Context, atmost.Record) error
	dry    bool
	pause  time.Duration // from one change to the next, at least
}

func (a *admin) bulk(w http.ResponseWriter, r *http.Request) (any, error) {
	asked, err := posted(a, w, r, wire.ParseAdminBulk)
	if err != nil {
		return nil, err
	}
	by := atmost.Actor{Name: asked.Actor, Reason: asked.Reason}
	if err := by.Validate(); err != nil {
		return nil, err
	}
	b := &bulk{engine: a.engine, dry: asked.DryRun, pause: time.Second / defaultRate}
	if asked.Rate > maxRate {
		return nil, invalid("the rate is over " + strconv.Itoa(maxRate) + " records a second")
	}
	if asked.Rate > 0 {
		b.pause = time.Second / time.Duration(asked.Rate)
	}
	if b.query, err = queryOf(asked.Filter, asked.Cursor); err != nil {
		return nil, err
	}
	if err := b.prepare(asked, by); err != nil {
		return nil, err
	}
	return b.run(r.Context())
}

// prepare takes what is to be done, each change to the attempt that was seen.
func (b *bulk) prepare(asked wire.AdminBulk, by atmost.Actor) error {
	switch asked.Action {
	case atmost.AuditResolve.String():
		outcome, err := outcomeOf(asked.Outcome, asked.Result, asked.Error)
		if err != nil {
			return err
		}
		if b.query.State != atmost.Unknown {
			return invalid("only what is unknown can be resolved: the filter's state has to be unknown")
		}
		b.meant = func(r atmost.Record) bool { return r.State == atmost.Unknown }
		b.change = func(ctx context.Context, r atmost.Record) error {
			_, err := b.engine.Resolve(ctx, r.ID, atmost.Resolve{Attempt: r.Attempt, Outcome: outcome, By: &by})
			return err
		}
	case atmost.AuditErase.String():
		switch {
		case asked.Outcome != "" || asked.Result != nil || asked.Error != nil:
			return invalid("outcome, result and error are for the action resolve")
		case asked.Filter == (wire.AdminFilter{}):
			return invalid("an empty filter means every record; say which results are to be erased")
		case b.query.State != atmost.Absent && !b.query.State.Final():
			return invalid("only results can be erased: the filter's state has to be completed or failed, or left out")
		}
		b.meant = atmost.Record.Erasable
		b.change = func(ctx context.Context, r atmost.Record) error {
			_, err := b.engine.Erase(ctx, r.ID, atmost.Erase{Attempt: r.Attempt, By: by})
			return err
		}
	default:
		return invalid("the action is not resolve or erase")
	}
	return nil
}

// run does a part of it. An error is only returned if nothing was done; else the next part meets it again.
func (b *bulk) run(ctx context.Context) (result wire.AdminBulkResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, bulkTime)
	defer cancel()
	pace := time.NewTicker(b.pause)
	defer pace.Stop()
	b.query.Limit = atmost.MaxPage
	if !b.dry {
		b.query.Limit = int(bulkTime / b.pause)
	}
	for {
		page, err := b.engine.List(ctx, b.query)
		if err != nil {
			return b.interrupted(result, err)
		}
		for _, r := range page.Records {
			switch more, err := b.do(ctx, pace, r, &result); {
			case err != nil:
				return b.interrupted(result, err)
			case !more:
				return b.interrupted(result, nil)
			}
			b.query.After = r.ID
		}
		if !page.More {
			return result, nil
		}
		b.query.After = page.Next
		if ctx.Err() != nil || result.Matched >= bulkCounted {
			return b.interrupted(result, nil)
		}
	}
}

// interrupted is the result of a part that is followed by another.
func (b *bulk) interrupted(result wire.AdminBulkResult, err error) (wire.AdminBulkResult, error) {
	if err != nil && result == (wire.AdminBulkResult{}) {
		return result, err
	}
	result.NextCursor = wire.AdminID(b.query.After)
	return result, nil
}

// do does one of the records that were found, unless this part ends before it.
func (b *bulk) do(ctx context.Context, pace *time.Ticker, r atmost.Record, result *wire.AdminBulkResult) (done bool, err error) {
	if !b.meant(r) {
		return true, nil
	}
	if b.dry {
		result.Matched++
		return true, nil
	}
	if result.Matched == bulkChanges || result.Matched > 0 && !wait(ctx, pace) {
		return false, nil
	}
	switch err := b.change(ctx, r); atmost.CodeOf(err) {
	case "":
		result.Changed++
	case atmost.CodeStateConflict, atmost.CodeKeyNotFound:
		result.Refused++
	default:
		return false, err
	}
	result.Matched++
	return true, nil
}

// wait waits for the time of the next change, which does not come if ctx ends first.
func wait(ctx context.Context, pace *time.Ticker) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case <-pace.C:
		return true
	case <-ctx.Done():
		return false
	}
}
