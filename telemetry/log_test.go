package telemetry

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
)

func TestLog(t *testing.T) {
	var b bytes.Buffer
	emit(Log(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))))
	digest := atmost.ID{Scope: "tenant-7", Key: "key-7"}.Digest()
	got := strings.Split(strings.TrimSpace(strings.ReplaceAll(b.String(), digest, "DIGEST")), "\n")
	want := []string{
		`level=INFO msg="an execution did not complete" key_digest=DIGEST operation=pay attempt=2 outcome=failed reason="the upstream answered 402" took=1s upstream_status=402`,
		`level=WARN msg="an execution may or may not have had its effect" key_digest=DIGEST operation=pay attempt=2 outcome=unknown reason="no answer" took=1s`,
		`level=ERROR msg="an outcome is lost, as the store does not know the attempt any more: the operation may run again" key_digest=DIGEST operation=pay attempt=2 outcome=completed`,
		`level=ERROR msg="two accounts of one attempt differ: the operation may have run twice" key_digest=DIGEST operation=pay`,
		`level=WARN msg="a lease ended without a report" key_digest=DIGEST operation=pay attempt=2 outcome=unknown`,
		`level=WARN msg="a probe did not find out what an execution did" key_digest=DIGEST operation=pay reason="the upstream answered 401" not_logged=0`,
		`level=ERROR msg="an executor or a prober panicked" operation=pay panic="a value of type string" stack="goroutine 1"`,
		`level=ERROR msg="an executor or a prober panicked" operation=pay panic="runtime error: integer divide by zero" stack="goroutine 2"`,
		`level=INFO msg="an unknown outcome was settled by a probe" key_digest=DIGEST operation=pay attempt=2 outcome=completed`,
		`level=INFO msg="an unknown outcome was settled by a person" audit=1 actor=ada reason=ticket key_digest=DIGEST operation=pay attempt=2 outcome=completed`,
		`level=INFO msg="a person had a result erased" audit=2 actor=ada reason=ticket key_digest=DIGEST operation=pay attempt=2 outcome=completed`,
		`level=INFO msg="a person had a key forgotten: it may be executed anew" audit=3 actor=ada reason=ticket key_digest=DIGEST operation=pay attempt=2 outcome=completed`,
		`level=INFO msg="a person had a scope admitted: its keys that were forgotten may be executed anew" audit=4 actor=ada reason=ticket`,
		`level=INFO msg="a person had all scopes admitted: keys that were forgotten may be executed anew" audit=5 actor=ada reason=ticket`,
		`level=ERROR msg="the store failed" doing=finish error="disk on fire" not_logged=0`,
		`level=ERROR msg="the store failed" doing=claim error="disk on fire" not_logged=0`,
		`level=WARN msg="an execution was given up at the end of the process" key_digest=DIGEST operation=pay outcome=unknown stored=true`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(b.String(), "-7") {
		t.Error("a key, a scope, a payload or a result is in the log")
	}
}

func TestLimiter(t *testing.T) {
	now := time.Unix(1000, 0)
	l := &limiter{now: func() time.Time { return now }, kinds: map[string]*window{}}
	for i, step := range []struct {
		after  time.Duration
		kind   string
		missed int
		ok     bool
	}{
		{0, "a", 0, true},
		{0, "a", 0, false},
		{0, "b", 0, true},
		{999 * time.Millisecond, "a", 0, false},
		{time.Millisecond, "a", 2, true},
		{time.Second, "a", 0, true},
		{0, "b", 0, true},
	} {
		now = now.Add(step.after)
		if missed, ok := l.allow(step.kind); missed != step.missed || ok != step.ok {
			t.Errorf("step %d: %d, %v", i, missed, ok)
		}
	}
}

// An attempt that the end of the process interrupts ends, too, and is told once. What it then does know is news.
func TestLogTellsAbandonedOnce(t *testing.T) {
	var b bytes.Buffer
	e := atmost.Tee(Log(slog.New(slog.NewTextHandler(&b, nil))), atmost.Events{})
	for key, state := range map[string]atmost.State{"a": atmost.Unknown, "b": atmost.Completed, "c": atmost.Failed} {
		id := atmost.ID{Key: key}
		e.Abandoned(id, "pay", atmost.Unknown, true)
		e.Ended(atmost.Attempt{ID: id, Operation: "pay"}, atmost.Outcome{State: state}, time.Second)
	}
	e.Ended(atmost.Attempt{ID: atmost.ID{Key: "a"}, Operation: "pay"}, atmost.Outcome{State: atmost.Unknown}, time.Second)
	if n := strings.Count(b.String(), "level=WARN"); n != 4 {
		t.Errorf("%d warnings, want 4: three interrupted, and one that ended in doubt by itself\n%s", n, b.String())
	}
	if n := strings.Count(b.String(), "outcome=failed"); n != 1 {
		t.Errorf("the late failure is told %d times", n)
	}
}
