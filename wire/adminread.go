package wire

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

var (
	actorMember    = member{"actor", "who does this"}
	reasonMember   = member{"reason", "why"}
	expectedMember = member{"expected_attempt", "the attempt that was looked at"}
	outcomeMember  = member{"outcome", "completed, failed or not_executed"}

	changeBody  = newObject("the body", actorMember, reasonMember, member{name: expectedMember.name})
	resolveBody = newObject("the body", expectedMember, outcomeMember, actorMember, reasonMember, member{name: "result"}, member{name: "error"})
	backupBody  = newObject("the body", actorMember, reasonMember)
	admitBody   = newObject("the body", actorMember, reasonMember, member{name: "scopes"}, member{name: "all"})
	bulkBody    = newObject("the body", member{"filter", "an object that says which records are meant"}, member{"action", "resolve or erase"},
		actorMember, reasonMember, member{name: "dry_run"}, member{name: "rate"}, member{name: "cursor"},
		member{name: outcomeMember.name}, member{name: "result"}, member{name: "error"})
	filterObject = newObject("the member filter",
		member{name: "state"}, member{name: "operation"}, member{name: "scope"}, member{name: "key"}, member{name: "older_than"})
)

// ParseAdminChange reads the body of a request to erase or forget. As for all bodies of the admin API the rules are those of
// ParseExecute. What the members say, beyond their types, is the caller's to check.
func ParseAdminChange(body []byte) (AdminChange, error) {
	f := read(changeBody, body)
	c := AdminChange{ExpectedAttempt: f.attempt(), Actor: f.text("actor"), Reason: f.text("reason")}
	return c, f.err
}

// ParseAdminResolve reads the body of a request to settle an unknown attempt. The result is a part of body, exactly as sent.
func ParseAdminResolve(body []byte) (AdminResolve, error) {
	f := read(resolveBody, body)
	r := AdminResolve{
		ExpectedAttempt: f.attempt(), Outcome: f.text("outcome"), Result: f.value("result"), Error: f.error(),
		Actor: f.text("actor"), Reason: f.text("reason"),
	}
	return r, f.err
}

// ParseAdminCompare reads the body of a request to compare. The payload is a part of body, exactly as sent.
func ParseAdminCompare(body []byte) (AdminCompare, error) {
	operation, payload, err := ParseExecute(body)
	return AdminCompare{Operation: operation, Payload: payload}, err
}

// ParseAdminAdmit reads the body of a request to lift the guard.
func ParseAdminAdmit(body []byte) (AdminAdmit, error) {
	f := read(admitBody, body)
	a := AdminAdmit{Scopes: f.texts("scopes"), All: f.truth("all"), Actor: f.text("actor"), Reason: f.text("reason")}
	return a, f.err
}

// ParseAdminBulk reads the body of a bulk change. The result is a part of body, exactly as sent.
func ParseAdminBulk(body []byte) (AdminBulk, error) {
	f := read(bulkBody, body)
	b := AdminBulk{
		Action: f.text("action"), DryRun: f.truth("dry_run"), Rate: int(f.number("rate", 1<<31-1)), Cursor: f.text("cursor"),
		Outcome: f.text("outcome"), Result: f.value("result"), Error: f.error(),
		Actor: f.text("actor"), Reason: f.text("reason"),
	}
	if f.err != nil {
		return AdminBulk{}, f.err
	}
	filter := read(filterObject, f.value("filter"))
	b.Filter = AdminFilter{
		State: filter.text("state"), Operation: filter.name("operation"), Scope: filter.name("scope"), Key: filter.name("key"),
		OlderThan: filter.text("older_than"),
	}
	return b, filter.err
}

// ParseAdminBackup reads the body of a request for a backup.
func ParseAdminBackup(body []byte) (AdminBackup, error) {
	f := read(backupBody, body)
	b := AdminBackup{Actor: f.text("actor"), Reason: f.text("reason")}
	return b, f.err
}

// fields are the values of an object's members. Once one is not of the type that it is asked for as, err says so, and all that is
// asked for is zero.
type fields struct {
	object *object
	values [10][]byte
	err    error
}

func read(o *object, body []byte) *fields {
	f := &fields{object: o}
	f.err = o.read(body, f.values[:])
	return f
}

// value is what the member called name is: a part of what was read, nil if it is not there.
func (f *fields) value(name string) []byte {
	if f.err != nil {
		return nil
	}
	return f.values[slices.IndexFunc(f.object.members, func(m member) bool { return m.name == name })]
}

// wrong says that a member is not what it has to be.
func (f *fields) wrong(name, has string) {
	if f.err == nil {
		f.err = invalid("the member %s is not %s", name, has)
	}
}

// name is a string, nil if it is not there.
func (f *fields) name(name string) *string {
	value := f.value(name)
	if value == nil {
		return nil
	}
	s, ok := text(value)
	if !ok {
		f.wrong(name, "a string")
		return nil
	}
	return &s
}

// text is a string, "" if it is not there; one that is there and empty says nothing.
func (f *fields) text(name string) string {
	s := f.name(name)
	if s == nil {
		return ""
	}
	if *s == "" {
		f.err = invalid("the member %s is empty", name)
	}
	return *s
}

// number is a positive one, 0 if it is not there.
func (f *fields) number(name string, most uint64) uint64 {
	value := f.value(name)
	if value == nil {
		return 0
	}
	n, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil || n < 1 || n > most {
		f.wrong(name, "a whole number from 1 to "+strconv.FormatUint(most, 10))
		return 0
	}
	return n
}

func (f *fields) attempt() uint32 { return uint32(f.number(expectedMember.name, 1<<32-1)) }

func (f *fields) truth(name string) bool {
	switch value := f.value(name); string(value) {
	case "true":
		return true
	case "false", "":
	default:
		f.wrong(name, "true or false")
	}
	return false
}

// texts is an array of strings, nil if it is not there.
func (f *fields) texts(name string) []string {
	value := f.value(name)
	if value == nil {
		return nil
	}
	if value[0] != '[' {
		f.wrong(name, "an array of strings")
		return nil
	}
	d := jsontext.NewDecoder(bytes.NewReader(value))
	_, _ = d.ReadToken() // all of it was read before, so there are no errors
	all := []string{}
	for d.PeekKind() != ']' {
		element, _ := d.ReadValue()
		s, ok := text(element)
		if !ok {
			f.wrong(name, "an array of strings")
			return nil
		}
		all = append(all, s)
	}
	return all
}

// error is the member error, nil if it is not there.
func (f *fields) error() *AdminError {
	value := f.value("error")
	if value == nil {
		return nil
	}
	inner := read(errorObject, value)
	e := AdminError{Code: inner.text("code")}
	if message := inner.name("message"); message != nil {
		e.Message = *message
	}
	if f.err = inner.err; f.err != nil {
		return nil
	}
	return &e
}
