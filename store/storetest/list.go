package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/atmost-dev/atmost"
)

// list asks for one page, and holds the answer to order, limit and filter.
func (s *subject) list(q atmost.Query) atmost.Page {
	s.Helper()
	page, err := s.Store.List(s.ctx, q)
	if err != nil {
		s.Fatalf("List(%+v): %v", q, err)
	}
	if len(page.Records) > q.Limit {
		s.Fatalf("List(%+v) returned %d records", q, len(page.Records))
	}
	last := q.After
	for _, r := range page.Records {
		if compareIDs(r.ID, last) <= 0 {
			s.Fatalf("List(%+v): %v follows %v", q, r.ID, last)
		}
		if last = r.ID; r.Result != nil {
			s.Fatalf("List(%+v): %v has a result", q, r.ID)
		}
	}
	if page.More && compareIDs(page.Next, last) < 0 {
		s.Fatalf("List(%+v): the next page begins after %v, this one ends with %v", q, page.Next, last)
	}
	if page.More && compareIDs(page.Next, q.After) <= 0 {
		s.Fatalf("List(%+v): the next page begins after %v, where this one did or before", q, page.Next)
	}
	if now := s.at().Now; page.Now != now {
		s.Fatalf("List(%+v) is of %v, now is %v", q, page.Now, now)
	}
	return page
}

// standing lists up to 100 records that stand in state, on one page.
func (s *subject) standing(state atmost.State, after atmost.ID) []atmost.Record {
	s.Helper()
	page := s.list(atmost.Query{State: state, After: after, Limit: 100})
	if page.More {
		s.Fatalf("List(%v) is not complete after %d records", state, len(page.Records))
	}
	return page.Records
}

// listAll pages through all records that q asks for.
func (s *subject) listAll(q atmost.Query) []atmost.Record {
	s.Helper()
	var all []atmost.Record
	for {
		page := s.list(q)
		all = append(all, page.Records...)
		if !page.More {
			return all
		}
		q.After = page.Next
	}
}

func listOrder(s *subject) {
	ids := []atmost.ID{
		{Scope: "", Key: "b"},
		{Scope: "", Key: "z"},
		{Scope: "a", Key: "!"},
		{Scope: "a", Key: "b"},
		{Scope: "a", Key: "bb"},
		{Scope: "a!", Key: "a"},
		{Scope: "ab", Key: "a"},
		{Scope: "~", Key: "~"},
	}
	for _, i := range []int{5, 0, 7, 2, 6, 1, 4, 3} {
		s.ok(ids[i], claim(i+1), atmost.Processing)
	}
	got := s.standing(atmost.Processing, atmost.ID{})
	if !slices.Equal(idsOf(got), ids) {
		s.Fatalf("listed %v, want %v", idsOf(got), ids)
	}
	for _, r := range got {
		if diff := diffRecords(s.stored(r.ID), r); diff != "" {
			s.Fatalf("List (-want +got):\n%s", diff)
		}
	}
	for i := range ids {
		if got := idsOf(s.standing(atmost.Processing, ids[i])); !slices.Equal(got, ids[i+1:]) {
			s.Fatalf("listed %v after %v, want %v", got, ids[i], ids[i+1:])
		}
	}
	between := atmost.ID{Scope: "a", Key: "ba"}
	if got := idsOf(s.list(atmost.Query{State: atmost.Processing, After: between, Limit: 2}).Records); !slices.Equal(got, ids[4:6]) {
		s.Fatalf("listed %v after %v, want %v", got, between, ids[4:6])
	}
}

func listPages(s *subject) {
	var ids []atmost.ID
	for i := range 23 {
		id := atmost.ID{Scope: fmt.Sprint("s", i%3), Key: fmt.Sprint("k", i)}
		ids = append(ids, id)
		s.ok(id, claim(i+1), atmost.Processing)
		s.ok(id, finish(i+1, unknown), atmost.Unknown)
	}
	ids = sortedIDs(ids)
	for _, page := range []int{1, 2, 7, 23, 24} {
		if got := idsOf(s.listAll(atmost.Query{State: atmost.Unknown, Limit: page})); !slices.Equal(got, ids) {
			s.Fatalf("pages of %d: listed %v, want %v", page, got, ids)
		}
	}
}

// listOnlyState takes one record through all states.
func listOnlyState(s *subject) {
	check := func(processing, unknown int) {
		s.Helper()
		if p, u := len(s.listAll(atmost.Query{State: atmost.Processing, Limit: 10})), len(s.listAll(atmost.Query{State: atmost.Unknown, Limit: 10})); p != processing || u != unknown {
			s.Fatalf("%d are listed as processing and %d as unknown, want %d and %d", p, u, processing, unknown)
		}
	}
	check(0, 0)
	s.ok(someID, claim(1), atmost.Processing)
	check(1, 0)
	s.ok(someID, finish(1, unknown), atmost.Unknown)
	check(0, 1)
	s.ok(someID, &atmost.Resolve{Attempt: 1, Outcome: notExecuted}, atmost.NotExecuted)
	check(0, 0)
	s.ok(someID, claim(2), atmost.Processing)
	s.ok(someID, &atmost.Renew{Token: token(2), Lease: 2 * lease}, atmost.Processing)
	check(1, 0)
	s.ok(someID, finish(2, completed(`1`)), atmost.Completed)
	check(0, 0)
	s.Clock.Advance(keyRetention + sweepLag)
	s.sweep(10)
	check(0, 0)
}

// listLapsed: until it is swept, a record that lapsed is listed under one of the states.
func listLapsed(s *subject) {
	s.ok(someID, claim(1), atmost.Processing)
	s.Clock.Advance(lease)
	got := append(s.standing(atmost.Processing, atmost.ID{}), s.standing(atmost.Unknown, atmost.ID{})...)
	if len(got) != 1 || got[0].State != atmost.Unknown {
		s.Fatalf("a lapsed record is listed as %+v", got)
	}
	s.sweep(10)
	if got := s.standing(atmost.Unknown, atmost.ID{}); len(got) != 1 {
		s.Fatalf("a swept record is listed as %+v", got)
	}
	if got := s.standing(atmost.Processing, atmost.ID{}); len(got) != 0 {
		s.Fatalf("a swept record is listed as processing: %+v", got)
	}
}

// listFilters asks for each of what can be asked for, alone and together.
func listFilters(s *subject) {
	ids := []atmost.ID{{Key: "a"}, {Key: "b"}, {Scope: "s", Key: "a"}, {Scope: "s", Key: "b"}, {Scope: "t", Key: "a"}}
	for i, id := range ids {
		c := claim(i + 1)
		if i%2 == 1 {
			c.Operation = "refund"
		}
		s.ok(id, c, atmost.Processing)
		s.Clock.Advance(time.Second)
	}
	s.ok(ids[0], finish(1, completed(`1`)), atmost.Completed)
	s.ok(ids[1], finish(2, failed), atmost.Failed)
	s.ok(ids[2], finish(3, unknown), atmost.Unknown)
	s.ok(ids[3], finish(4, notExecuted), atmost.NotExecuted)
	text := func(v string) *string { return &v }
	cases := []struct {
		q    atmost.Query
		want []int
	}{
		{atmost.Query{}, []int{0, 1, 2, 3, 4}},
		{atmost.Query{State: atmost.Completed}, []int{0}},
		{atmost.Query{State: atmost.Failed}, []int{1}},
		{atmost.Query{State: atmost.Unknown}, []int{2}},
		{atmost.Query{State: atmost.NotExecuted}, []int{3}},
		{atmost.Query{State: atmost.Processing}, []int{4}},
		{atmost.Query{Operation: text("refund")}, []int{1, 3}},
		{atmost.Query{Operation: text("none")}, nil},
		{atmost.Query{Scope: text("")}, []int{0, 1}},
		{atmost.Query{Scope: text("s")}, []int{2, 3}},
		{atmost.Query{Key: text("a")}, []int{0, 2, 4}},
		{atmost.Query{Scope: text("s"), Key: text("a")}, []int{2}},
		{atmost.Query{Scope: text("s"), State: atmost.Processing}, nil},
		{atmost.Query{State: atmost.Unknown, Scope: text("s"), Operation: text("charge")}, []int{2}},
		{atmost.Query{After: ids[1]}, []int{2, 3, 4}},
		{atmost.Query{After: ids[2], Scope: text("s")}, []int{3}},
		{atmost.Query{Age: time.Second}, []int{4}},
		{atmost.Query{Age: time.Second + 1000}, nil},
	}
	for _, c := range cases {
		for _, limit := range []int{1, 2, 100} {
			c.q.Limit = limit
			got := s.listAll(c.q)
			var want []atmost.ID
			for _, i := range c.want {
				want = append(want, ids[i])
			}
			if !slices.Equal(idsOf(got), want) && len(got)+len(want) > 0 {
				s.Fatalf("List(%+v): %v, want %v", c.q, idsOf(got), want)
			}
			for _, r := range got {
				want := atmost.Age(s.stored(r.ID), s.at())
				want.Result = nil
				if diff := diffRecords(want, r); diff != "" {
					s.Fatalf("List(%+v) (-want +got):\n%s", c.q, diff)
				}
			}
		}
	}
}
