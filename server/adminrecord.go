package server

import (
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// keyOf is a record as lists show it.
func keyOf(r atmost.Record) wire.AdminKey {
	k := wire.AdminKey{
		ID: wire.AdminID(r.ID), Scope: r.ID.Scope, Key: r.ID.Key, Operation: r.Operation, State: r.State.String(), Attempt: r.Attempt,
		ExecutedBy: r.Policy.ExecutedBy.String(), OnUnknown: r.Policy.OnUnknown.String(),
		NotKept: r.NotKept.String(), UpstreamStatus: r.UpstreamStatus, Message: r.Message, Contradictions: r.Contradictions,
		CreatedAt: r.CreatedAt.Std(), UpdatedAt: r.UpdatedAt.Std(),
		ResultExpires: momentOf(r.ResultExpires), KeyExpires: momentOf(r.KeyExpires),
	}
	if r.State == atmost.Processing {
		k.LeaseExpires = momentOf(r.Deadline)
	} else {
		k.SettledBy = r.SettledBy.String()
	}
	return k
}

// recordOf is a record with all that is known of it, but its result.
func (a *admin) recordOf(r atmost.Record) wire.AdminRecord {
	timeline := r.Timeline()
	shown := wire.AdminRecord{
		AdminKey: keyOf(r), Fence: r.Fence, Fingerprint: r.Fingerprint.String(), Replays: a.engine.Replays(r.ID),
		History: make([]wire.AdminEntry, len(timeline)), HistoryDropped: r.History.Dropped, TraceID: r.Trace.TraceID(),
	}
	for i, e := range timeline {
		shown.History[i] = wire.AdminEntry{
			At: e.At.Std(), What: e.What.String(), Attempt: e.Attempt, Outcome: outcomeName(e.Outcome), Actor: e.Actor, Note: e.Note,
		}
	}
	return shown
}

func entryOf(e atmost.AuditEntry) wire.AdminAuditEntry {
	shown := wire.AdminAuditEntry{
		Number: e.Number, At: e.At.Std(), Actor: e.Actor.Name, Reason: e.Actor.Reason, Action: e.Action.String(),
		Scope: e.ID.Scope, Key: e.ID.Key, Operation: e.Operation, Attempt: e.Attempt,
	}
	if e.ID.Key != "" {
		shown.ID, shown.Before, shown.After = wire.AdminID(e.ID), e.Before.String(), e.After.String()
	}
	return shown
}

// outcomeName is empty where nothing is said.
func outcomeName(s atmost.State) string {
	if s == atmost.Absent {
		return ""
	}
	return s.String()
}

func momentOf(t atmost.Time) *time.Time {
	if t == 0 {
		return nil
	}
	at := t.Std()
	return &at
}
