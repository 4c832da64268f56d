package server_test

import (
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
)

var notKept = facts{Status: 410, Code: "RESULT_NOT_KEPT", Executed: "yes", Retry: "no", Attempt: "1", Replayed: "true", Expires: expires}

// A result that expired is told as such and never made anew; a key that is forgotten is new.
func TestRetention(t *testing.T) {
	for name, c := range map[string]struct {
		outcome atmost.Outcome
		kept    facts
	}{
		"completed": {completed("1"), isReplayed("1")},
		"failed": {atmost.Outcome{State: atmost.Failed, Message: "no", UpstreamStatus: 400}, facts{
			Status: 424, Code: "EXECUTION_FAILED", Executed: "yes", Retry: "no", Attempt: "1", Replayed: "true", Expires: expires,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, one(answers(c.outcome)))
			s.execute("k", charge)
			s.clock.Advance(24*time.Hour - time.Microsecond)
			s.check(s.execute("k", charge), c.kept)
			s.clock.Advance(time.Microsecond)
			for range 2 {
				a := s.execute("k", charge)
				s.check(a, notKept)
				s.checkBody(a, `{"error":{"code":"RESULT_NOT_KEPT","message":"the operation was executed; its result is no longer kept","details":{"reason":"expired","outcome":"`+name+`"}}}`)
			}
			s.check(s.execute("k", refund), isMismatch("OPERATION_MISMATCH"))
			s.clock.Advance(29*24*time.Hour - time.Microsecond)
			s.check(s.execute("k", charge), notKept)
			s.clock.Advance(time.Microsecond)
			s.check(s.status("k"), facts{Status: 404, Code: "KEY_NOT_FOUND", Executed: "unknown", Retry: "same-key"})
			want := c.kept
			want.Replayed, want.Expires = "false", "Thu, 24 Dec 2026 12:00:00 GMT"
			s.check(s.execute("k", charge), want)
		})
	}
}

func TestResultTooLarge(t *testing.T) {
	s := start(t, one(answers(atmost.Outcome{State: atmost.Completed, NotKept: atmost.TooLarge, UpstreamStatus: 200})))
	want := notKept
	want.Replayed = "false"
	const body = `{"error":{"code":"RESULT_NOT_KEPT","message":"the operation was executed; its result was too large to keep","details":{"reason":"too_large","outcome":"completed"}}}`
	first := s.execute("k", charge)
	s.check(first, want)
	s.checkBody(first, body)
	for range 2 {
		a := s.execute("k", charge)
		s.check(a, notKept)
		s.checkBody(a, body)
		s.clock.Advance(24 * time.Hour)
	}
}

// What is not executed, or not known, has no result that could expire.
func TestUnknownIsKept(t *testing.T) {
	s := start(t, one(answers(atmost.Outcome{State: atmost.Unknown, Message: "lost"})))
	s.execute("k", charge)
	s.clock.Advance(100 * 365 * 24 * time.Hour)
	s.check(s.execute("k", charge), facts{Status: 409, Code: "OUTCOME_UNKNOWN", Executed: "unknown", Retry: "poll", Attempt: "1"})
}
