// Package pgstore keeps records in PostgreSQL, for any number of engines in any number of processes that share one database.
//
// The database decides: every step is one statement that changes a row only if that is as the step was judged by, and time is the
// database's. Requests that wait at the same moment share statements. What is answered is durable as the database's
// settings make it: with synchronous replication also on a standby, even where another instance wrote it.
//
// Behind PgBouncer in transaction mode everything works but Migrate. That a pooler is in between is noticed by its refusing, or
// ignoring, the settings of a session; each transaction then brings its own.
package pgstore

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atmost-dev/atmost"
)

// Store is an atmost.Store in a PostgreSQL database.
type Store struct {
	pool      *pgxpool.Pool
	options   Options
	text      statements
	pooled    bool // settings of a session are somebody else's
	anonymous bool // the server does not tell who it is
	secret    [32]byte

	proof       proof
	synchronous atomic.Bool // commits wait for a standby
	guarded     atomic.Bool
	open        atomic.Pointer[string] // see Store.opened
	// asynchronous is the last timeline on which commits were seen not to wait for a standby.
	asynchronous atomic.Pointer[string]
	down         atomic.Pointer[error] // see Stats.Down

	claims, finishes, renewals *batcher

	calls sync.WaitGroup // under way, and what they left running
	stop  context.CancelFunc
	watch sync.WaitGroup
}

var (
	_ atmost.Store   = (*Store)(nil)
	_ atmost.Watcher = (*Store)(nil)
	_ atmost.Guard   = (*Store)(nil)
	_ atmost.Keyed   = (*Store)(nil)
)

// call is one Apply, which may be left behind by its caller.
type call struct {
	id    atmost.ID
	event atmost.Event
	began time.Time
	stage atomic.Int32
	queue *batcher // that it waits in, nil if it goes alone
	twins []*call  // for the same ID, that have to wait for what comes of this one
	found *found   // what a shared statement told of it, nil if nothing
	done  chan struct{}
	step  atmost.Step // valid, as err is, once done is closed
	err   error
}

// The stages of a call.
const (
	idle    = iota // nothing of it is at the server
	sent           // a statement that may change its record is
	dropped        // its caller is gone: nothing is sent any more
)

func (c *call) begin() bool { return c.stage.CompareAndSwap(idle, sent) }

// undone takes note that what was sent had no effect.
func (c *call) undone() { c.stage.CompareAndSwap(sent, idle) }

func (c *call) answer(step atmost.Step, err error) {
	c.step, c.err = step, err
	close(c.done)
}

// Apply is described at atmost.Store. It returns within Options.Timeout: with an ambiguous error if a statement was under way.
func (s *Store) Apply(_ context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	if err := storable(id, event); err != nil {
		return atmost.Step{}, err
	}
	s.calls.Add(1)
	defer s.calls.Done()
	c := &call{id: id, event: event, began: time.Now(), done: make(chan struct{})}
	switch e := event.(type) {
	case *atmost.Claim:
		if e.Paths != nil { // a claim is sent with them whether it wins or not, and maybe more than once
			claim := *e
			claim.Paths = sync.OnceValue(e.Paths)
			c.event = &claim
		}
		s.claims.add(c)
	case *atmost.Renew:
		s.renewals.add(c)
	case *atmost.Finish:
		if e.Outcome.State == atmost.Unknown {
			s.alone(c, nil)
			break
		}
		s.finishes.add(c)
	case atmost.Restart: // no instance knows what others execute
		r, err := s.Lookup(context.Background(), id)
		return atmost.Step{Record: r}, err
	default:
		s.alone(c, nil)
	}
	select {
	case <-c.done:
		return c.step, c.err
	default:
	}
	timeout := time.NewTimer(time.Until(c.began.Add(s.options.Timeout)))
	defer timeout.Stop()
	select {
	case <-c.done:
		return c.step, c.err
	case <-timeout.C:
	}
	if c.stage.CompareAndSwap(idle, dropped) {
		c.queue.forget(c)
		return atmost.Step{}, errTimeout
	}
	select {
	case <-c.done:
		return c.step, c.err
	default:
		return atmost.Step{}, failed(errAmbiguousTimeout)
	}
}

var errAmbiguousTimeout = errors.Join(atmost.ErrAmbiguous, errors.New("the database did not answer in time"))

// storable refuses what the columns cannot hold.
func storable(id atmost.ID, event atmost.Event) error {
	bad := !isText(id.Scope) || !isText(id.Key)
	var by *atmost.Actor
	switch e := event.(type) {
	case *atmost.Claim:
		bad = bad || !isText(e.Operation) || !isText(string(e.Fingerprint.Algorithm))
	case *atmost.Resolve:
		by = e.By
	case *atmost.Erase:
		by = &e.By
	case *atmost.Forget:
		by = &e.By
	}
	if bad {
		return &atmost.Error{Code: atmost.CodeInvalidRequest, Message: "the idempotency key, its scope or the operation has characters that cannot be stored"}
	}
	if by != nil {
		return storableActor(*by)
	}
	return nil
}

func storableActor(by atmost.Actor) error {
	if isText(by.Name) && isText(by.Reason) {
		return nil
	}
	return &atmost.Error{Code: atmost.CodeInvalidRequest, Message: "the actor, or the reason, has characters that cannot be stored"}
}

func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// Secret is described at atmost.Keyed. A database that was copied has the same.
func (s *Store) Secret() [32]byte { return s.secret }

// Close is described at atmost.Store.
func (s *Store) Close() error {
	s.stop()
	s.watch.Wait()
	s.calls.Wait()
	s.pool.Close()
	return nil
}
