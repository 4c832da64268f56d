package server

import (
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// defaultLimit is how many records, or entries of the audit trail, are shown at a time.
const defaultLimit = 100

var errCursor = invalid("the cursor is none that an answer has told")

// parameters reads the query of a request, which may have these parameters only, each once.
func parameters(r *http.Request, known ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("the query is malformed")
	}
	for name, all := range values {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			return nil, invalid("there are no parameters here")
		case !slices.Contains(known, name):
			return nil, invalid("there is an unknown parameter; those of this path are " + strings.Join(known, ", "))
		case len(all) > 1:
			return nil, invalid("the parameter " + name + " is there more than once")
		}
	}
	return values, nil
}

// onlyParameters reads the query of a request that has none.
func onlyParameters(r *http.Request) error {
	_, err := parameters(r)
	return err
}

// recordParameters tells whether the result is to be shown.
func recordParameters(r *http.Request) (withResult bool, err error) {
	values, err := parameters(r, "result")
	if err != nil || !values.Has("result") {
		return false, err
	}
	switch values.Get("result") {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, invalid("the parameter result is not true or false")
}

// listQuery reads which records are asked for.
func listQuery(r *http.Request) (q atmost.Query, err error) {
	values, err := parameters(r, "state", "operation", "scope", "key", "older_than", "limit", "cursor")
	if err != nil {
		return q, err
	}
	name := func(parameter string) *string {
		if !values.Has(parameter) {
			return nil
		}
		value := values.Get(parameter)
		return &value
	}
	for _, parameter := range []string{"state", "older_than", "cursor"} {
		if values.Has(parameter) && values.Get(parameter) == "" {
			return q, invalid("the parameter " + parameter + " is empty; leave it out")
		}
	}
	q, err = queryOf(wire.AdminFilter{
		State: values.Get("state"), Operation: name("operation"), Scope: name("scope"), Key: name("key"), OlderThan: values.Get("older_than"),
	}, values.Get("cursor"))
	if err != nil {
		return q, err
	}
	q.Limit, err = limitOf(values)
	return q, err
}

// queryOf is what a filter means, beginning after what a cursor names, if it is not empty. The engine judges the names.
func queryOf(f wire.AdminFilter, cursor string) (q atmost.Query, err error) {
	q = atmost.Query{Operation: f.Operation, Scope: f.Scope, Key: f.Key}
	if f.State != "" {
		if q.State, err = stateOf(f.State); err != nil {
			return q, err
		}
	}
	if f.OlderThan != "" {
		if q.Age, err = wire.ParseDuration(f.OlderThan); err != nil {
			return q, invalid(`older_than is not a duration; write numbers and their units, "30s", "1h30m" or "720h" for example`)
		}
	}
	if cursor != "" {
		var ok bool
		if q.After, ok = wire.ParseAdminCursor(cursor); !ok {
			return q, errCursor
		}
	}
	return q, nil
}

func stateOf(name string) (atmost.State, error) {
	for s := atmost.Processing; s <= atmost.Unknown; s++ {
		if s.String() == name {
			return s, nil
		}
	}
	return atmost.Absent, invalid("there is no such state; those of a record are processing, completed, failed, not_executed and unknown")
}

// auditParameters tells which part of the audit trail is asked for.
func auditParameters(r *http.Request) (before uint64, limit int, err error) {
	values, err := parameters(r, "limit", "cursor")
	if err != nil {
		return 0, 0, err
	}
	if values.Has("cursor") {
		if before, err = numberOf(values.Get("cursor"), math.MaxInt64); err != nil {
			return 0, 0, errCursor
		}
	}
	limit, err = limitOf(values)
	return before, limit, err
}

func limitOf(values url.Values) (int, error) {
	if !values.Has("limit") {
		return defaultLimit, nil
	}
	n, err := numberOf(values.Get("limit"), atmost.MaxPage)
	if err != nil {
		return 0, invalid("the parameter limit is not a whole number from 1 to " + strconv.Itoa(atmost.MaxPage))
	}
	return int(n), nil
}

// numberOf reads a number from 1 to most, in digits alone.
func numberOf(s string, most uint64) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n < 1 || n > most {
		return 0, strconv.ErrRange
	}
	return n, nil
}
