package pgstore

import (
	"fmt"
	"strings"
)

// insertable are the columns of a row, each with its type, as the arguments of a statement are named.
var insertable = [...][2]string{
	{"fence", "bigint"},
	{"deadline", "bigint"},
	{"created_at", "bigint"},
	{"updated_at", "bigint"},
	{"result_expires", "bigint"},
	{"key_expires", "bigint"},
	{"due", "bigint"},
	{"result_retention", "bigint"},
	{"key_retention", "bigint"},
	{"attempt", "integer"},
	{"contradictions", "integer"},
	{"upstream_status", "integer"},
	{"state", "smallint"},
	{"settled_by", "smallint"},
	{"not_kept", "smallint"},
	{"on_unknown", "smallint"},
	{"executed_by", "smallint"},
	{"scope", "text"},
	{"key", "text"},
	{"operation", "text"},
	{"algorithm", "text"},
	{"digest", "bytea"},
	{"token", "bytea"},
	{"message", "bytea"},
	{"past", "bytea"},
	{"history", "bytea"},
	{"trace", "bytea"},
	{"paths", "bytea"},
	{"result", "bytea"},
}

// statements are the texts of what a store sends often.
type statements struct {
	readOne, readMany, insert, update string
	updateAudited                     string // by a person
	claim, finish, renew              together
	finishClaimed                     together // for reporters who have what they claimed
	due, forget, rewrite              string
	list                              listing
}

// together is a statement in two forms: for many calls, whose arguments are arrays, and for one.
type together struct{ many, one string }

// sql fills in what depends on the store: its clock, and how the server tells its timeline.
func (s *Store) sql(text string) string {
	timeline, recorded := currentTimeline, currentTimeline
	if s.anonymous {
		timeline, recorded = "'"+anonymousTimeline+"'", "m.timeline"
	}
	return strings.NewReplacer("{now}", s.options.now, "{at}", s.options.at, "{timeline}", timeline, "{recorded}", recorded, "{columns}", columns,
		"{lag}", fmt.Sprint(forgetLag.Microseconds())).Replace(text)
}

// unguarded is the part of a claim's condition that holds while the server is the one of which the instance knows that nothing
// is guarded: by itself a guard is only ever put up when the timeline changes. The argument is what Store.opened returns.
const unguarded = `{timeline} = $14::text`

// asJudged is the part of a condition that holds while the guard is what a claim was judged by.
const asJudged = `EXISTS (SELECT FROM atmost_meta m WHERE m.id = 1 AND m.guard_version = @guard AND m.timeline = {recorded})`

func (s *Store) prepare() statements {
	var names, values, sets, nulls []string
	for _, c := range insertable {
		names = append(names, c[0])
		values = append(values, "@"+c[0]+"::"+c[1])
		if c[0] != "scope" && c[0] != "key" {
			sets = append(sets, c[0]+" = @"+c[0])
		}
	}
	for c := range strings.SplitSeq(columns, ",") {
		name := strings.TrimPrefix(strings.TrimSpace(c), "r.")
		nulls = append(nulls, "NULL::"+typeOf(name))
	}
	all := strings.Join(names, ", ")
	update := `UPDATE atmost_records SET version = version + 1, ` + strings.Join(sets, ", ") +
		` WHERE scope = @scope AND key = @key AND version = @version AND {now} < @until
		AND (NOT @claim::boolean OR ` + asJudged + `)`
	finishOne := one(finishMany, "scope text", "key text", "token bytea", "state smallint", "not_kept smallint", "status integer",
		"message bytea", "result bytea", "drops boolean")
	renewOne := one(renewMany, "scope text", "key text", "token bytea", "lease bigint")
	return statements{
		readOne: s.sql(`SELECT {now}, m.guarded_since, m.guard_version, m.timeline = {recorded},
			EXISTS (SELECT FROM atmost_admitted a WHERE a.scope = $1 AND a.since = m.guarded_since), {columns}
			FROM atmost_meta m LEFT JOIN atmost_records r ON r.scope = $1 AND r.key = $2 WHERE m.id = 1`),
		readMany: s.sql(`SELECT {now}, r.scope, r.key, {columns} FROM unnest($1::text[], $2::text[]) AS i(scope, key)
			CROSS JOIN LATERAL (SELECT * FROM atmost_records r WHERE r.scope = i.scope AND r.key = i.key OFFSET 0) r`),
		insert: s.sql(`INSERT INTO atmost_records (version, ` + all + `) SELECT @fence::bigint, ` + strings.Join(values, ", ") +
			` WHERE ` + asJudged + ` ON CONFLICT DO NOTHING`),
		update:        s.sql(update),
		updateAudited: s.sql(audited(update)),
		claim:         together{many: s.sql(claimManyText(all, strings.Join(nulls, ", "))), one: s.sql(claimOneText(all))},
		finish:        together{many: s.sql(finishMany + whole), one: s.sql(finishOne + whole)},
		finishClaimed: together{many: s.sql(finishMany + changedMany), one: s.sql(finishOne + changedOne)},
		renew:         together{many: s.sql(renewMany), one: s.sql(renewOne)},
		due:           s.sql(listDue),
		forget:        forgetMany,
		rewrite:       rewriteMany,
		list: listing{
			all: s.sql(listed(listAll)), processing: s.sql(listed(listProcessing)), unknown: s.sql(listed(listUnknown)),
			one: s.sql(listed(listOne)), key: s.sql(listKey),
		},
	}
}

func typeOf(column string) string {
	for _, c := range insertable {
		if c[0] == column {
			return c[1]
		}
	}
	return "bigint" // version
}

// claimManyText claims what is absent, and reads what is not. It neither waits for nor locks a row that is there; what another
// claim is just inserting it skips, once that is done.
func claimManyText(all, nulls string) string {
	return `WITH seen AS MATERIALIZED (
		SELECT i.s, i.k, i.o, i.a, i.d, i.tk, i.lease, i.rr, i.kr, i.ou, i.eb, i.sp, i.pa, r.*
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::bigint[], $8::bigint[],
			$9::bigint[], $10::smallint[], $11::smallint[], $12::bytea[], $13::bytea[]) AS i(s, k, o, a, d, tk, lease, rr, kr, ou, eb, sp, pa)
		LEFT JOIN LATERAL (SELECT * FROM atmost_records r WHERE r.scope = i.s AND r.key = i.k OFFSET 0) r ON true),
	made AS (
		INSERT INTO atmost_records (version, ` + all + `)
		SELECT {at}, {at}, {at} + n.lease, {at}, {at}, 0, 0, NULL, n.rr, n.kr, 1, 0, 0, 1, 0, 0, n.ou, n.eb,
			n.s, n.k, n.o, n.a, n.d, n.tk, NULL, NULL, NULL, n.sp, n.pa, NULL
		FROM seen n WHERE n.version IS NULL AND ` + unguarded + `
		ON CONFLICT DO NOTHING RETURNING scope, key)
	SELECT {at}, r.scope, r.key, {columns} FROM seen r WHERE r.version IS NOT NULL
	UNION ALL SELECT {at}, made.scope, made.key, ` + nulls + ` FROM made`
}

// claimOneText claims if nothing is there. It returns the time, or no row. If there is a row it can wait for who holds that.
func claimOneText(all string) string {
	return `INSERT INTO atmost_records (version, ` + all + `)
		SELECT {at}, {at}, {at} + $7::bigint, {at}, {at}, 0, 0, NULL, $8::bigint, $9::bigint, 1, 0, 0, 1, 0, 0,
			$10::smallint, $11::smallint, $1::text, $2::text, $3::text, $4::text, $5::bytea, $6::bytea, NULL, NULL, NULL, $12::bytea, $13::bytea, NULL
		WHERE ` + unguarded + ` ON CONFLICT DO NOTHING RETURNING fence`
}

// Reports and renewals are judged by the moment at which their row is theirs to change, and stamped with the one at which they
// arrived.

// whole is what a report returns that has no record of its claim: all of the row but the result, which the caller has.
var whole = ` RETURNING {at}, r.scope, r.key, ` + withoutResult

// What a report returns that has it is its number, and what may have changed since the claim, in finishedColumns.
const (
	changedMany     = ` RETURNING {at}, i.n, r.contradictions, r.past, r.history`
	changedOne      = ` RETURNING {at}, 1::bigint, r.contradictions, r.past, r.history`
	finishedColumns = 5
)

const finishMany = `UPDATE atmost_records r SET version = r.version + 1, state = i.state, settled_by = 0, not_kept = i.not_kept,
		upstream_status = i.status, message = i.message, result = i.result, updated_at = {at}, deadline = least(r.deadline, {at}),
		result_expires = CASE WHEN i.state IN (2, 3) THEN {at} + r.result_retention / 1000 ELSE 0 END,
		key_expires = {at} + greatest(r.key_retention, r.result_retention) / 1000,
		due = CASE WHEN i.drops AND r.result_retention / 1000 < r.key_retention / 1000 THEN {at} + r.result_retention / 1000
			ELSE {at} + greatest(r.key_retention, r.result_retention) / 1000 + {lag} END
	FROM unnest($1::text[], $2::text[], $3::bytea[], $4::smallint[], $5::smallint[], $6::integer[], $7::bytea[],
		$8::bytea[], $9::boolean[]) WITH ORDINALITY AS i(scope, key, token, state, not_kept, status, message, result, drops, n)
	WHERE r.scope = i.scope AND r.key = i.key AND r.token = i.token AND r.state = 1 AND r.deadline > {now}`

const renewMany = `UPDATE atmost_records r SET version = r.version + 1, deadline = {at} + i.lease, updated_at = {at}
	FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[]) AS i(scope, key, token, lease)
	WHERE r.scope = i.scope AND r.key = i.key AND r.token = i.token AND r.state = 1 AND r.deadline > {now}
		AND r.deadline < {at} + i.lease
	RETURNING {at}, r.scope, r.key, {columns}`

// one is a statement of many calls for one: a join with a row of arguments would take longer than all the rest.
func one(many string, arguments ...string) string {
	head, rest, _ := strings.Cut(many, "\n\tFROM unnest(")
	_, where, _ := strings.Cut(rest, "\n\tWHERE ")
	text := head + "\n\tWHERE " + where
	for i, name := range arguments {
		field, kind, _ := strings.Cut(name, " ")
		text = strings.ReplaceAll(text, "i."+field, fmt.Sprintf("$%d::%s", i+1, kind))
	}
	return text
}

// mine are the rows of a sweep that are still as it read them, and that nobody holds.
const mine = `WITH mine AS (SELECT r.scope, r.key, i.n FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS i(scope, key, version, n)
	JOIN atmost_records r ON r.scope = i.scope AND r.key = i.key AND r.version = i.version FOR UPDATE OF r SKIP LOCKED)`

const forgetMany = mine + `
	DELETE FROM atmost_records r USING mine WHERE r.scope = mine.scope AND r.key = mine.key RETURNING r.scope, r.key`

// rewriteMany writes what time makes of rows: none that it changes keeps its result.
const rewriteMany = mine + `, new AS (SELECT * FROM unnest($4::smallint[], $5::smallint[], $6::smallint[], $7::integer[], $8::bytea[],
		$9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bytea[]) WITH ORDINALITY
		AS i(state, settled_by, not_kept, status, message, updated_at, deadline, result_expires, key_expires, due, history, n))
	UPDATE atmost_records r SET version = r.version + 1, state = new.state, settled_by = new.settled_by, not_kept = new.not_kept,
		upstream_status = new.status, message = new.message, result = NULL, updated_at = new.updated_at, deadline = new.deadline,
		result_expires = new.result_expires, key_expires = new.key_expires, due = new.due, history = new.history
	FROM mine JOIN new ON new.n = mine.n WHERE r.scope = mine.scope AND r.key = mine.key RETURNING r.scope, r.key`

// listDue looks by the statement's time: what may be another with each row cannot be looked up in an index.
const listDue = `(SELECT {at}, r.scope, r.key, {columns} FROM atmost_records r
	WHERE r.state = 1 AND r.deadline <= {at} ORDER BY r.deadline LIMIT $1)
	UNION ALL (SELECT {at}, r.scope, r.key, {columns} FROM atmost_records r
	WHERE r.due IS NOT NULL AND r.due <= {at} ORDER BY r.due LIMIT $1) LIMIT $1`

// withoutResult are columns but for the result, which is not read.
var withoutResult = strings.TrimSuffix(columns, "r.result") + "NULL::bytea"

// listing is what List asks, by where it looks.
type listing struct{ all, processing, unknown, one, key string }

// listed tells of the rows that from yields, at most $3, in their order. If there are none it tells the time.
func listed(from string) string {
	return `SELECT {at}, coalesce(r.scope, ''), coalesce(r.key, ''), ` + withoutResult + ` FROM (SELECT) now
		LEFT JOIN (` + from + ` LIMIT $3) r ON true ORDER BY r.scope, r.key`
}

const (
	listAll = `SELECT * FROM atmost_records r WHERE (r.scope, r.key) > ($1::text, $2::text) ORDER BY r.scope, r.key`
	listOne = `SELECT * FROM atmost_records r WHERE r.scope = $1::text AND r.key = $2::text`

	listUnknown = `SELECT * FROM atmost_records r WHERE r.state = 5 AND (r.scope, r.key) > ($1::text, $2::text) ORDER BY r.scope, r.key`

	// listProcessing sorts what is under way, which is what is executed at a time and the leases that clients hold: an index in this
	// order would cost every claim. It is materialized so that nobody thinks of reading all keys in their order instead.
	listProcessing = `WITH processing AS MATERIALIZED (SELECT * FROM atmost_records WHERE state = 1)
		SELECT * FROM processing r WHERE (r.scope, r.key) > ($1::text, $2::text) ORDER BY r.scope, r.key`
)

// listKey looks for the key $4 in $3 scopes, from that of the first row that follows, and tells of each, whether it has the key or
// not. It steps from scope to scope in the index.
var listKey = `WITH RECURSIVE scopes AS (
		(SELECT r.scope, 1 AS n FROM atmost_records r WHERE (r.scope, r.key) > ($1::text, $2::text) ORDER BY r.scope, r.key LIMIT 1)
		UNION ALL
		SELECT next.scope, s.n + 1 FROM scopes s CROSS JOIN LATERAL (
			SELECT r.scope FROM atmost_records r WHERE r.scope > s.scope ORDER BY r.scope, r.key LIMIT 1) next WHERE s.n < $3::bigint)
	SELECT {at}, coalesce(s.scope, ''), $4::text, ` + withoutResult + ` FROM (SELECT) now LEFT JOIN scopes s ON true
	LEFT JOIN LATERAL (SELECT * FROM atmost_records r WHERE r.scope = s.scope AND r.key = $4::text OFFSET 0) r ON true ORDER BY s.scope`
