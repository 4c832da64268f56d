package storetest

import (
	"fmt"
	"slices"

	"github.com/atmost-dev/atmost"
)

// list lists once, and holds the answer to order and limit.
func (s *subject) list(state atmost.State, after atmost.ID, limit int) []atmost.Record {
	s.Helper()
	got, err := s.Store.List(s.ctx, state, after, limit)
	if err != nil {
		s.Fatalf("List(%v): %v", state, err)
	}
	if len(got) > limit {
		s.Fatalf("List(%v) returned %d records, the limit is %d", state, len(got), limit)
	}
	last := after
	for _, r := range got {
		if compareIDs(r.ID, last) <= 0 {
			s.Fatalf("List(%v) after %v: %v follows %v", state, after, r.ID, last)
		}
		last = r.ID
	}
	return got
}

// listAll pages through all records that stand in state.
func (s *subject) listAll(state atmost.State, page int) []atmost.Record {
	s.Helper()
	var all []atmost.Record
	after := atmost.ID{}
	for {
		got := s.list(state, after, page)
		all = append(all, got...)
		if len(got) < page {
			return all
		}
		after = got[len(got)-1].ID
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
	got := s.list(atmost.Processing, atmost.ID{}, 100)
	if !slices.Equal(idsOf(got), ids) {
		s.Fatalf("listed %v, want %v", idsOf(got), ids)
	}
	for _, r := range got {
		if diff := diffRecords(s.stored(r.ID), r); diff != "" {
			s.Fatalf("List (-want +got):\n%s", diff)
		}
	}
	for i := range ids {
		if got := idsOf(s.list(atmost.Processing, ids[i], 100)); !slices.Equal(got, ids[i+1:]) {
			s.Fatalf("listed %v after %v, want %v", got, ids[i], ids[i+1:])
		}
	}
	between := atmost.ID{Scope: "a", Key: "ba"}
	if got := idsOf(s.list(atmost.Processing, between, 2)); !slices.Equal(got, ids[4:6]) {
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
		if got := idsOf(s.listAll(atmost.Unknown, page)); !slices.Equal(got, ids) {
			s.Fatalf("pages of %d: listed %v, want %v", page, got, ids)
		}
	}
}

// listOnlyState takes one record through all states.
func listOnlyState(s *subject) {
	check := func(processing, unknown int) {
		s.Helper()
		if p, u := len(s.listAll(atmost.Processing, 10)), len(s.listAll(atmost.Unknown, 10)); p != processing || u != unknown {
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
	got := append(s.list(atmost.Processing, atmost.ID{}, 10), s.list(atmost.Unknown, atmost.ID{}, 10)...)
	if len(got) != 1 || got[0].State != atmost.Unknown {
		s.Fatalf("a lapsed record is listed as %+v", got)
	}
	s.sweep(10)
	if got := s.list(atmost.Unknown, atmost.ID{}, 10); len(got) != 1 {
		s.Fatalf("a swept record is listed as %+v", got)
	}
	if got := s.list(atmost.Processing, atmost.ID{}, 10); len(got) != 0 {
		s.Fatalf("a swept record is listed as processing: %+v", got)
	}
}
