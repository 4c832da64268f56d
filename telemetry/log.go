package telemetry

import (
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atmost-dev/atmost"
)

// Log returns events that log what an operator may have to look after: one line for each execution that did not complete, each
// lapse, settlement and contradiction, each change that a person made, each outcome that is lost, each attempt that was abandoned, and each panic. Failures of the store come in masses, and
// so do probes in vain: of each kind of the former, and of each operation's of the latter, at most one a second is logged, with
// how many were not.
func Log(log *slog.Logger) atmost.Events {
	failures, vain := newLimiter(), newLimiter()
	var (
		ending    atomic.Bool // before that nothing is abandoned
		abandoned sync.Map    // of atmost.ID: the attempt was told of, and may yet end
	)
	return atmost.Events{
		Ended: func(a atmost.Attempt, o atmost.Outcome, took time.Duration) {
			told := false
			if ending.Load() {
				_, told = abandoned.LoadAndDelete(a.ID)
			}
			if o.State == atmost.Completed || told && o.State == atmost.Unknown {
				return
			}
			args := []any{
				"key_digest", a.ID.Digest(), "operation", a.Operation, "attempt", a.Number,
				"outcome", o.State.String(), "reason", o.Message, "took", took.String(),
			}
			if o.UpstreamStatus != 0 {
				args = append(args, "upstream_status", o.UpstreamStatus)
			}
			if o.State == atmost.Unknown {
				log.Warn("an execution may or may not have had its effect", args...)
				return
			}
			log.Info("an execution did not complete", args...)
		},
		Contradicted: func(id atmost.ID, operation string) {
			log.Error("two accounts of one attempt differ: the operation may have run twice", "key_digest", id.Digest(), "operation", operation)
		},
		Dropped: func(a atmost.Attempt, outcome atmost.State) {
			log.Error("an outcome is lost, as the store does not know the attempt any more: the operation may run again",
				"key_digest", a.ID.Digest(), "operation", a.Operation, "attempt", a.Number, "outcome", outcome.String())
		},
		Lapsed: func(r atmost.Record) {
			log.Warn("a lease ended without a report", record(r)...)
		},
		Probed: func(id atmost.ID, operation string, o atmost.Outcome) {
			if found(o) != atmost.Unknown {
				return // Settled tells
			}
			if missed, now := vain.allow(operation); now {
				log.Warn("a probe did not find out what an execution did", "key_digest", id.Digest(), "operation", operation,
					"reason", o.Message, "not_logged", missed)
			}
		},
		Panicked: func(operation string, value any, stack []byte) {
			log.Error("an executor or a prober panicked", "operation", operation, "panic", harmless(value), "stack", string(stack))
		},
		Settled: func(r atmost.Record, by *atmost.Actor) {
			if by == nil { // else Changed tells
				log.Info("an unknown outcome was settled by a probe", record(r)...)
			}
		},
		Changed: func(e atmost.AuditEntry) {
			args := []any{"audit", e.Number, "actor", e.Actor.Name, "reason", e.Actor.Reason}
			if e.Attempt != 0 {
				args = append(args, "key_digest", e.ID.Digest(), "operation", e.Operation, "attempt", e.Attempt, "outcome", e.After.String())
			}
			log.Info(deeds[e.Action], args...)
		},
		StoreFailed: func(doing string, err error) {
			if missed, now := failures.allow(doing); now {
				log.Error("the store failed", "doing", doing, "error", err, "not_logged", missed)
			}
		},
		Abandoned: func(id atmost.ID, operation string, outcome atmost.State, stored bool) {
			abandoned.Store(id, nil)
			ending.Store(true)
			log.Warn("an execution was given up at the end of the process",
				"key_digest", id.Digest(), "operation", operation, "outcome", outcome.String(), "stored", stored)
		},
	}
}

// deeds are what a person did, in words.
var deeds = map[atmost.Action]string{
	atmost.AuditResolve:  "an unknown outcome was settled by a person",
	atmost.AuditErase:    "a person had a result erased",
	atmost.AuditForget:   "a person had a key forgotten: it may be executed anew",
	atmost.AuditAdmit:    "a person had a scope admitted: its keys that were forgotten may be executed anew",
	atmost.AuditAdmitAll: "a person had all scopes admitted: keys that were forgotten may be executed anew",
}

func record(r atmost.Record) []any {
	return []any{"key_digest", r.ID.Digest(), "operation", r.Operation, "attempt", r.Attempt, "outcome", r.State.String()}
}

// harmless is what may be logged of a panic's value. The runtime's own say what is wrong with the program; any other may hold
// a payload, so only its type is told: the stack says where it comes from.
func harmless(value any) string {
	if err, ok := value.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a value of type %T", value)
}

// limiter lets through one event of each kind per second. There are few kinds.
type limiter struct {
	now   func() time.Time
	mu    sync.Mutex
	kinds map[string]*window
}

func newLimiter() *limiter { return &limiter{now: time.Now, kinds: map[string]*window{}} }

type window struct {
	last   time.Time
	missed int
}

// allow reports whether the event may be told, and how many of its kind were not since the last that was.
func (l *limiter) allow(kind string) (missed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, w := l.now(), l.kinds[kind]
	switch {
	case w == nil:
		w = &window{}
		l.kinds[kind] = w
	case now.Sub(w.last) < time.Second:
		w.missed++
		return 0, false
	}
	missed, w.missed, w.last = w.missed, 0, now
	return missed, true
}
