package pgstore_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/pgtest"
	"github.com/atmost-dev/atmost/store/pgstore"
)

// insertCompleted stores completed records of a scope and a key that are SQL expressions of n.
func insertCompleted(t *testing.T, url, scope, key string, from, to int) {
	t.Helper()
	pgtest.Exec(t, url, fmt.Sprintf(`INSERT INTO atmost_records (version, fence, deadline, created_at, updated_at, result_expires, key_expires, due,
		result_retention, key_retention, attempt, contradictions, upstream_status, state, settled_by, not_kept, on_unknown, executed_by,
		scope, key, operation, algorithm, digest, token, result)
		SELECT n, n, 1, 1, 1, 4e15, 4e15, 4e15, 1, 1, 1, 0, 200, 2, 0, 0, 0, 0, %s, %s, 'o', 'a', sha256(''), substr(sha256(''), 1, 16), '1'
		FROM generate_series(%d, %d) n`, scope, key, from, to))
}

// TestListBounded: a page is of a bounded number of rows, and if none of them is asked for it says where to go on. A row that makes no sense
// is left out, and stops nobody.
func TestListBounded(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	s := newStore(t, url, pgstore.Options{Logger: slog.New(slog.DiscardHandler)})
	insertCompleted(t, url, `'a'`, `to_char(n, 'FM0000')`, 1, 2500)
	insertCompleted(t, url, `'scope' || to_char(n, 'FM0000')`, `'k'`, 1, 2500)
	text := func(v string) *string { return &v }
	pgtest.Exec(t, url, `UPDATE atmost_records SET state = 3 WHERE key IN ('0007', '0008', '2400') OR scope = 'scope2300'`,
		`UPDATE atmost_records SET settled_by = 77 WHERE key = '1000'`) // the last that is looked at for the first page
	for name, c := range map[string]struct {
		q     atmost.Query
		pages []int // how many records each is of
	}{
		"a state":              {atmost.Query{State: atmost.Failed, Limit: 10}, []int{2, 0, 1, 0, 1, 0}},
		"a state, few":         {atmost.Query{State: atmost.Failed, Limit: 1}, []int{1, 1, 0, 1, 0, 1}},
		"a state of a scope":   {atmost.Query{State: atmost.Failed, Scope: text("a"), Limit: 10}, []int{2, 0, 1}},
		"another operation":    {atmost.Query{Operation: text("x"), Limit: 10}, []int{0, 0, 0, 0, 0, 0}},
		"a key":                {atmost.Query{Key: text("k"), Limit: 2000}, []int{2000, 500}},
		"a key of one scope":   {atmost.Query{Key: text("2400"), Limit: 10}, []int{1, 0, 0}},
		"a key and its scope":  {atmost.Query{Scope: text("a"), Key: text("2400"), State: atmost.Failed, Limit: 10}, []int{1}},
		"a key in no state":    {atmost.Query{Key: text("k"), State: atmost.Failed, Limit: 10}, []int{0, 0, 1}},
		"a scope":              {atmost.Query{Scope: text("a"), Limit: 1000}, []int{1000, 1000, 499}},
		"a scope that is none": {atmost.Query{Scope: text("b"), Limit: 10}, []int{0}},
		"what is unknown":      {atmost.Query{State: atmost.Unknown, Limit: 10}, []int{0}},
		"what is processing":   {atmost.Query{State: atmost.Processing, Operation: text("o"), Limit: 10}, []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			var pages []int
			for more := true; more; {
				page, err := s.List(t.Context(), c.q)
				if err != nil {
					t.Fatal(err)
				}
				pages = append(pages, len(page.Records))
				c.q.After, more = page.Next, page.More
			}
			if fmt.Sprint(pages) != fmt.Sprint(c.pages) {
				t.Errorf("the pages have %v records, want %v", pages, c.pages)
			}
		})
	}
	for _, q := range []atmost.Query{{Scope: text("nul\x00")}, {Key: text("nul\x00")}, {Scope: text("s"), Key: text("\xff")}, {After: atmost.ID{Key: "\x00"}}} {
		q.Limit = 1
		if _, err := s.List(t.Context(), q); atmost.CodeOf(err) != atmost.CodeInvalidRequest {
			t.Errorf("%+v, which cannot be: %v", q, err)
		}
	}
	if page, err := s.List(t.Context(), atmost.Query{Key: text(""), Limit: 1}); err != nil || len(page.Records) != 0 {
		t.Errorf("the empty key, which cannot be: %+v, %v", page, err)
	}
}

// TestResultIsMissing: what is to be replayed and is not there is no record, and no part of an answer. What is not replayed is told.
func TestResultIsMissing(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	var log bytes.Buffer
	s := newStore(t, url, pgstore.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	insertCompleted(t, url, `'s'`, `'k' || n`, 1, 2)
	pgtest.Exec(t, url, `UPDATE atmost_records SET result = NULL WHERE key = 'k1'`, `UPDATE atmost_records SET result = '' WHERE key = 'k2'`)
	ids := []atmost.ID{{Scope: "s", Key: "k1"}, {Scope: "s", Key: "k2"}}
	for _, id := range ids {
		_, looked := s.Lookup(t.Context(), id)
		_, claimed := s.Apply(t.Context(), id, newClaim())
		for doing, err := range map[string]error{"look up": looked, "claim": claimed} {
			if err == nil || atmost.CodeOf(err) != atmost.CodeInternal || !strings.Contains(err.Error(), "its result is missing") {
				t.Errorf("%s %v: %v", doing, id, err)
			}
		}
	}
	if settled, err := s.Settled(t.Context(), ids); err != nil || len(settled) != 0 {
		t.Errorf("settled are %+v, %v", settled, err)
	}
	if page, err := s.List(t.Context(), atmost.Query{Limit: 10}); err != nil || len(page.Records) != 2 {
		t.Errorf("listed are %+v, %v", page, err)
	}
	if !strings.Contains(log.String(), "key_digest="+ids[0].Digest()) {
		t.Errorf("logged is %q", &log)
	}
}
