package atmost

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Actor is a person who changes a record by hand, and why. Nobody checks who it is: that is for what stands in front.
type Actor struct {
	Name, Reason string
}

// MaxActor bounds the name of an actor, in bytes; MaxNote bounds the reason.
const MaxActor = 100

// Validate reports whether a is told well enough for the audit trail: with a name and a reason that are text in one line, within
// their bounds. The error is an *Error with CodeInvalidRequest.
func (a Actor) Validate() error {
	for _, part := range []struct {
		name, value string
		limit       int
	}{{"actor", a.Name, MaxActor}, {"reason", a.Reason, MaxNote}} {
		wrong := ""
		switch {
		case strings.TrimSpace(part.value) == "":
			wrong = "is missing: the audit trail tells who did what, and why"
		case len(part.value) > part.limit:
			wrong = "is too long"
		case !utf8.ValidString(part.value) || strings.ContainsFunc(part.value, func(r rune) bool { return !unicode.IsGraphic(r) }):
			wrong = "has characters that cannot be shown in a line"
		}
		if wrong != "" {
			return &Error{Code: CodeInvalidRequest, Message: "the " + part.name + " " + wrong}
		}
	}
	return nil
}

// Action is what a person did. The numbers are stored.
type Action uint8

// What a person can do.
const (
	// AuditResolve: settle an unknown attempt.
	AuditResolve Action = 1
	// AuditErase: drop a result.
	AuditErase Action = 2
	// AuditForget: make a key absent.
	AuditForget Action = 3
	// AuditAdmit: lift the guard from a scope, AuditAdmitAll from all.
	AuditAdmit    Action = 4
	AuditAdmitAll Action = 5
	// AuditGuard: tell that the store was set back, and may have forgotten keys.
	AuditGuard Action = 6
	// AuditBackup: have a backup made. The entry is in the backup, too, and tells where that ends.
	AuditBackup Action = 7
)

var actionNames = [...]string{"", "resolve", "erase", "forget", "admit", "admit_all", "guard", "backup"}

// String is the name in the API.
func (a Action) String() string {
	if a == 0 || int(a) >= len(actionNames) {
		return "invalid"
	}
	return actionNames[a]
}

// AuditEntry is one line of the audit trail, which tells every change that a person made, and is kept as long as the store is.
type AuditEntry struct {
	// Number grows from entry to entry.
	Number uint64
	At     Time
	Actor  Actor
	Action Action
	// ID is the record's; of AuditAdmit only its scope counts, of those after it nothing.
	ID        ID
	Operation string
	Attempt   uint32
	// Before and After are where the record stood.
	Before, After State
}

// audited is the step by which a person changed r, or, if by is nil, a probe did.
func (by *Actor) audited(action Action, before State, r Record, now Time) Step {
	step := Step{Record: r, Changed: true}
	if by != nil {
		step.Audit = &AuditEntry{
			At: now, Actor: *by, Action: action, ID: r.ID, Operation: r.Operation, Attempt: r.Attempt, Before: before, After: r.State,
		}
	}
	return step
}
