package storetest

import (
	"fmt"
	"slices"
	"strings"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
)

var operator = atmost.Actor{Name: "ada", Reason: "the bank says so, see ticket 7"}

// checkAudit compares the audit trail with the model's, by pages.
func (s *subject) checkAudit(page int) {
	s.Helper()
	var got []atmost.AuditEntry
	for before, last := uint64(0), uint64(0); ; {
		entries, err := s.Store.Audit(s.ctx, before, page)
		if err != nil {
			s.Fatalf("Audit(%d): %v", before, err)
		}
		if len(entries) > page {
			s.Fatalf("Audit(%d, %d) returned %d entries", before, page, len(entries))
		}
		for _, e := range entries {
			if e.Number == 0 || last != 0 && e.Number >= last {
				s.Fatalf("Audit(%d): number %d follows %d", before, e.Number, last)
			}
			last, e.Number = e.Number, 0
			got = append(got, e)
		}
		if len(entries) < page {
			break
		}
		before = last
	}
	slices.Reverse(got)
	if len(got)+len(s.audit) == 0 {
		return
	}
	if diff := gocmp.Diff(s.audit, got); diff != "" {
		s.Fatalf("the audit trail (-want +got):\n%s", diff)
	}
}

// history is what a record's timeline tells, but for times.
func history(r atmost.Record) string {
	var told []string
	for _, e := range r.Timeline() {
		told = append(told, strings.TrimSpace(fmt.Sprintf("%d %v %v %s", e.Attempt, e.What, e.Outcome, e.Actor)))
	}
	return strings.Join(told, "; ")
}

func (s *subject) wentThrough(id atmost.ID, want ...string) {
	s.Helper()
	if got := history(s.lookup(id)); got != strings.Join(want, "; ") {
		s.Fatalf("%v went through\n%s, want\n%s", id, got, strings.Join(want, "; "))
	}
}

// resolvedByPerson: who said so, and why, is in the record and in the trail, and nothing that was known before is lost.
func resolvedByPerson(s *subject) {
	s.ok(someID, claimWith(1, atmost.HoldUnknown, atmost.ByClient), atmost.Processing)
	s.Clock.Advance(lease / 2)
	s.ok(someID, &atmost.Renew{Token: token(1), Lease: lease}, atmost.Processing)
	s.wentThrough(someID, "1 claimed absent", "1 renewed absent")
	s.Clock.Advance(lease)
	s.wentThrough(someID, "1 claimed absent", "1 renewed absent", "1 lapsed unknown")
	s.sweep(10)
	s.ok(someID, &atmost.Probed{Attempt: 1, Message: "no answer"}, atmost.Unknown)
	s.Clock.Advance(lease)
	s.ok(someID, &atmost.Probed{Attempt: 1, Message: "no answer"}, atmost.Unknown)
	s.unchanged(someID, &atmost.Probed{Attempt: 2, Message: "no answer"}, atmost.Unknown)
	s.refused(someID, &atmost.Resolve{Attempt: 2, Outcome: completed(`1`), By: &operator}, atmost.CodeStateConflict)
	s.checkAudit(10)
	s.ok(someID, &atmost.Resolve{Attempt: 1, Outcome: notExecuted, By: &operator}, atmost.NotExecuted)
	s.refused(someID, &atmost.Resolve{Attempt: 1, Outcome: completed(`1`), By: &operator}, atmost.CodeStateConflict)
	s.ok(someID, claim(2), atmost.Processing)
	s.refused(someID, finish(1, completed(`1`)), atmost.CodeLeaseLost)
	s.ok(someID, finish(2, completed(`2`)), atmost.Completed)
	s.wentThrough(someID, "1 claimed absent", "1 renewed absent", "1 lapsed unknown", "1 probed absent", "1 resolved not_executed ada",
		"2 claimed absent", "0 contradicted completed", "2 reported completed")
	s.checkAudit(1)
}

// erased: the result is gone, at once and for good, the key is not.
func erased(s *subject) {
	s.refused(someID, &atmost.Erase{By: operator}, atmost.CodeStateConflict)
	s.ok(someID, claim(1), atmost.Processing)
	s.refused(someID, &atmost.Erase{By: operator}, atmost.CodeStateConflict)
	s.ok(someID, finish(1, completed(`"secret"`)), atmost.Completed)
	s.refused(someID, &atmost.Erase{Attempt: 2, By: operator}, atmost.CodeStateConflict)
	s.ok(someID, &atmost.Erase{Attempt: 1, By: operator}, atmost.Completed)
	r := s.found(someID, atmost.Completed)
	if r.Result != nil || r.NotKept != atmost.Erased || atmost.CodeOf(r.Err()) != atmost.CodeResultNotKept {
		s.Fatalf("the erased record is %+v", r)
	}
	s.unchanged(someID, &atmost.Erase{By: operator}, atmost.Completed)
	s.unchanged(someID, claim(2), atmost.Completed)
	s.unchanged(someID, finish(1, completed(`"secret"`)), atmost.Completed) // its first answer may have been lost
	s.Clock.Advance(resultRetention + sweepLag)
	s.sweep(10)
	if r := s.found(someID, atmost.Completed); r.NotKept != atmost.Erased {
		s.Fatalf("the erased record became %+v", r)
	}
	s.Clock.Advance(keyRetention)
	s.sweep(10)
	s.found(someID, atmost.Absent)
	s.checkAudit(10)
}

// forgotten: only what is known to have ended can be, and the next claim is a new one, with a higher fence.
func forgotten(s *subject) {
	s.refused(someID, &atmost.Forget{By: operator}, atmost.CodeStateConflict)
	before := s.ok(someID, claim(1), atmost.Processing).Record
	s.Clock.Advance(1000)
	s.refused(someID, &atmost.Forget{By: operator}, atmost.CodeStateConflict)
	s.ok(someID, finish(1, unknown), atmost.Unknown)
	s.refused(someID, &atmost.Forget{By: operator}, atmost.CodeStateConflict)
	s.ok(someID, &atmost.Resolve{Attempt: 1, Outcome: failed}, atmost.Failed)
	s.refused(someID, &atmost.Forget{Attempt: 2, By: operator}, atmost.CodeStateConflict)
	s.ok(someID, &atmost.Forget{Attempt: 1, By: operator}, atmost.Absent)
	s.found(someID, atmost.Absent)
	if got := s.listAll(atmost.Query{Limit: 10}); len(got) != 0 {
		s.Fatalf("a forgotten key is listed: %v", idsOf(got))
	}
	s.sweep(10)
	s.refused(someID, finish(1, completed(`1`)), atmost.CodeLeaseLost)
	after := s.ok(someID, claim(2), atmost.Processing).Record
	if after.Attempt != 1 || after.Fence <= before.Fence {
		s.Fatalf("the key was forgotten with fence %d, and claimed with %d, as attempt %d", before.Fence, after.Fence, after.Attempt)
	}
	s.Clock.Advance(keyRetention / 2)
	s.sweep(10)
	s.checkAudit(10)
}

// historyIsBounded: the oldest entries go first.
func historyIsBounded(s *subject) {
	for n := 1; n <= atmost.MaxHistory; n++ {
		s.ok(someID, claim(n), atmost.Processing)
		s.ok(someID, finish(n, notExecuted), atmost.NotExecuted)
		s.Clock.Advance(1000)
	}
	r := s.lookup(someID)
	if len(r.History.Entries) != atmost.MaxHistory || r.History.Dropped != atmost.MaxHistory-2 {
		s.Fatalf("%d entries, %d dropped", len(r.History.Entries), r.History.Dropped)
	}
}

// claimKeepsTrace: what a claim says of the span and of the payload is kept with the attempt that it begins.
func claimKeepsTrace(s *subject) {
	c := claim(1)
	c.Trace, c.Paths = atmost.SpanID{0: 1, 23: 2}, func() []byte { return []byte{1, 2, 3, 4} }
	s.ok(someID, c, atmost.Processing)
	again := claim(2)
	again.Trace = atmost.SpanID{0: 3}
	s.unchanged(someID, again, atmost.Processing)
	s.ok(someID, finish(1, notExecuted), atmost.NotExecuted)
	s.ok(someID, again, atmost.Processing)
	s.ok(someID, s.withClaimed(someID, finish(2, completed(`1`))), atmost.Completed)
}
