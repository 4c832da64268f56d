package pgstore

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/pgtest"
)

// TestPlans: no statement reads more than it tells of, however many keys are stored. It is by the server's clock, as tests' own makes
// other plans.
func TestPlans(t *testing.T) {
	const stored = 5000
	url := pgtest.Database(t)
	if _, err := Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pgtest.Exec(t, url, fmt.Sprintf(`INSERT INTO atmost_records (version, fence, deadline, created_at, updated_at, result_expires, key_expires, due,
		result_retention, key_retention, attempt, contradictions, upstream_status, state, settled_by, not_kept, on_unknown, executed_by,
		scope, key, operation, algorithm, digest, token)
		SELECT n, n, 4e15, 1, 1, 0, 0, CASE WHEN n %% 10 > 0 THEN 4e15 END, 1, 1, 1, 0, 200, CASE WHEN n %% 10 > 0 THEN 2 ELSE 1 END, 0, 0, 0, 0,
			'', n::text, 'o', 'a', '', '' FROM generate_series(1, %d) n`, stored), "ANALYZE atmost_records")
	settings := make([]string, 0, len(session()))
	for name, value := range session() {
		settings = append(settings, fmt.Sprintf("SET %s = '%s'", name, value))
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), strings.Join(settings, ";")); err != nil {
		t.Fatal(err)
	}
	claim := &call{id: atmost.ID{Key: "new"}, event: &atmost.Claim{Operation: "o"}}
	finish := &call{id: atmost.ID{Key: "17"}, event: &atmost.Finish{}}
	renew := &call{id: atmost.ID{Key: "17"}, event: &atmost.Renew{}}
	two := func(c *call) []*call { return []*call{c, {id: atmost.ID{Key: "z"}, event: c.event}} }
	for name, st := range map[string]struct {
		sql  string
		args []any
		most int // rows that may be read in vain
	}{
		"read one":          {s.text.readOne, []any{"", "17"}, 10},
		"read many":         {s.text.readMany, []any{[]string{"", ""}, []string{"17", "18"}}, 10},
		"due":               {s.text.due, []any{1000}, 10},
		"claim one":         {s.text.claim.one, claiming.one(s, claim), 10},
		"claim many":        {s.text.claim.many, claiming.many(s, two(claim)), 10},
		"finish one":        {s.text.finish.one, finishing.one(s, finish), 10},
		"finish many":       {s.text.finishClaimed.many, finishing.many(s, two(finish)), 10},
		"renew many":        {s.text.renew.many, renewing.many(s, two(renew)), 10},
		"list all":          {s.text.list.all, []any{"", "", 100}, 100},
		"list unknown":      {s.text.list.unknown, []any{"", "", 100}, 10},
		"list processing":   {s.text.list.processing, []any{"", "", 100}, stored / 10}, // all that is processing
		"list one":          {s.text.list.one, []any{"", "17", 100}, 10},
		"list a key":        {s.text.list.key, []any{"", "", 100, "17"}, 100},
		"audit":             {listAudit, []any{int64(stored), 10}, 10},
		"forget what is so": {s.text.forget, []any{[]string{""}, []string{"17"}, []int64{3}}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			rows, err := conn.Query(t.Context(), "EXPLAIN (ANALYZE, TIMING OFF) "+st.sql, st.args...)
			if err != nil {
				t.Fatal(err)
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			plan := strings.Join(lines, "\n")
			for _, m := range regexp.MustCompile(`(?:Rows Removed by Filter: |Scan.*actual rows=)(\d+)`).FindAllStringSubmatch(plan, -1) {
				if n, _ := strconv.Atoi(m[1]); n > st.most+1000*min(st.most/100, 1) {
					t.Errorf("%d rows were read:\n%s", n, plan)
				}
			}
			if strings.Contains(plan, "Seq Scan on atmost_records") {
				t.Errorf("all rows are read:\n%s", plan)
			}
		})
	}
}
