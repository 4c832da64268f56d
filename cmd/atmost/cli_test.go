package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/wire"
)

// desk is the admin API over an engine of its own, and commands that ask it.
type desk struct {
	*testing.T
	engine *atmost.Engine
	url    string
}

func newDesk(t *testing.T) *desk {
	e, err := atmost.New(t.Context(), memstore.New(memstore.Options{}), atmost.Options{Operations: map[string]atmost.Operation{"pay": {}, "post": {}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(context.Background()) })
	srv := httptest.NewServer(server.Admin(e, server.AdminOptions{Metrics: http.NotFoundHandler()}))
	t.Cleanup(srv.Close)
	return &desk{t, e, srv.URL}
}

// unknown leaves key's attempt unknown.
func (d *desk) unknown(key string) {
	d.Helper()
	c, err := d.engine.Claim(d.Context(), atmost.ClaimCall{Call: atmost.Call{ID: atmost.ID{Key: key}, Operation: "pay", Payload: []byte("1")}, Lease: time.Minute})
	if err == nil {
		_, err = d.engine.Fail(d.Context(), atmost.ID{Key: key}, c.Lease.Token, atmost.Failure{Code: "c", Message: "no \x1b[2Janswer", Executed: atmost.ExecutedUnknown})
	}
	if err != nil {
		d.Fatal(err)
	}
}

// run runs a command with what is typed on a terminal, if there is one.
func (d *desk) run(typed string, terminal bool, args ...string) (code int, stdout, stderr string) {
	var out, messages bytes.Buffer
	code = run(d.Context(), append(args, "--admin", d.url), process{
		stdin: strings.NewReader(typed), stdout: &out, stderr: &messages, interactive: terminal,
		env: func(string) (string, bool) { return "", false },
	})
	return code, out.String(), messages.String()
}

// TestConfirm: what cannot be taken back is asked about on a terminal, and without one has to be said beforehand.
func TestConfirm(t *testing.T) {
	d := newDesk(t)
	d.unknown("k")
	resolve := []string{"keys", "resolve", "k", "--attempt", "1", "--outcome", "not_executed", "--reason", "r"}
	forget := []string{"keys", "forget", "k", "--reason", "r"}
	for _, c := range []struct {
		args     []string
		typed    string
		terminal bool
		code     int
		says     string
	}{
		{resolve, "yes\n", false, exitUsage, "say --yes"},
		{resolve, "no\n", true, exitFailure, "EXECUTES it"},
		{resolve, "", true, exitFailure, "nothing was changed"},
		{resolve, "yes\n", true, exitOK, "Type yes to go on: "},
		{forget, "yes\n", true, exitFailure, "Type k to go on: "},
		{forget, "k\n", false, exitUsage, "say --yes"},
		{forget, "k\n", true, exitOK, "EXECUTES THE OPERATION AGAIN"},
		{[]string{"keys", "erase", "--all-matching", "--operation", "pay", "--reason", "r"}, "", false, exitOK, "0 changed"},
	} {
		code, stdout, stderr := d.run(c.typed, c.terminal, c.args...)
		if code != c.code || !strings.Contains(stdout+stderr, c.says) {
			t.Errorf("%v, typed %q: exit code %d, %s%s; want %d, %s", c.args, c.typed, code, stdout, stderr, c.code, c.says)
		}
	}
}

// TestPlain: what others wrote cannot do anything to the terminal that it is shown on.
func TestPlain(t *testing.T) {
	d := newDesk(t)
	d.unknown("k")
	for _, args := range [][]string{{"keys", "list"}, {"keys", "show", "k"}, {"explain", "k"}} {
		code, stdout, _ := d.run("", false, args...)
		if code != exitOK || strings.Contains(stdout, "\x1b") || !strings.Contains(stdout, `no \x1b[2Janswer`) {
			t.Errorf("%v: exit code %d, %q", args, code, stdout)
		}
	}
}

// TestOneLine: a record is one row, and one line of jsonl, whatever is in its message and its result, which keeps its bytes.
func TestOneLine(t *testing.T) {
	d := newDesk(t)
	const result = "{\r\n\t\"name\": \"é 🦄 \\n\",\n\n\"n\": 42.00}"
	by := atmost.Actor{Name: "ada", Reason: "r"}
	for _, key := range []string{"k", "other"} {
		d.unknown(key)
	}
	if _, err := d.engine.Resolve(t.Context(), atmost.ID{Key: "k"}, atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Completed, Result: []byte(result)}, By: &by}); err != nil {
		t.Fatal(err)
	}
	_, all, _ := d.run("", false, "keys", "show", "k", "--result")
	_, row, _ := strings.Cut(all, "\nresult  ")
	row, _, _ = strings.Cut(row, "\n")
	if want := `{\r\n\t"name": "é 🦄 \n",\n\n"n": 42.00}`; strings.TrimSpace(row) != want {
		t.Errorf("the row is %s, want %s", row, want)
	}
	if _, line, _ := d.run("", false, "keys", "show", "k", "--result", "-o", "jsonl"); strings.Count(line, "\n") != 1 ||
		!strings.HasSuffix(line, `,"result":{"name":"é 🦄 \n","n":42.00}}`+"\n") {
		t.Errorf("the line is %q", line)
	}
	if _, whole, _ := d.run("", false, "keys", "show", "k", "--result", "-o", "json"); !strings.HasSuffix(whole, `,"result":`+result+"}\n") {
		t.Errorf("the bytes are %q", whole)
	}
	for hostile, want := range map[string]string{
		"a\nb\r\x00\x9b": `a\nb\r\x00\x9b`, "\u202eabc\u2028": `\u202eabc\u2028`, "\u009b2J": `\u009b2J`, `a "b" \c é`: `a "b" \c é`, "\ufffd": "\ufffd",
	} {
		if got := plain(hostile); got != want {
			t.Errorf("%q is shown as %s, want %s", hostile, got, want)
		}
	}
}

// TestWatch follows a key until it is interrupted.
func TestWatch(t *testing.T) {
	d := newDesk(t)
	d.unknown("k")
	d.unknown("other")
	for _, format := range []string{asTable, asLines} {
		out, in := io.Pipe()
		signals := make(chan os.Signal, 1)
		var watching sync.WaitGroup
		watching.Go(func() {
			args := []string{"keys", "watch", "k", "--interval", "100ms", "--admin", d.url, "-o", format}
			if code := run(t.Context(), args, process{
				stdout: in, stderr: io.Discard, signals: signals, env: func(string) (string, bool) { return "", false },
			}); code != exitOK {
				t.Errorf("exit code %d", code)
			}
			_ = in.Close()
		})
		lines := bufio.NewScanner(out)
		wants := func(state string) {
			t.Helper()
			if !lines.Scan() || !strings.Contains(lines.Text(), state) || strings.Contains(lines.Text(), "other") {
				t.Errorf("%q, want %s", lines.Text(), state)
			}
		}
		wants("unknown")
		by := atmost.Actor{Name: "a", Reason: "r"}
		if _, err := d.engine.Resolve(t.Context(), atmost.ID{Key: "k"}, atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Completed}, By: &by}); err != nil {
			t.Fatal(err)
		}
		wants("completed")
		if _, err := d.engine.Forget(t.Context(), atmost.ID{Key: "k"}, atmost.Forget{By: by}); err != nil {
			t.Fatal(err)
		}
		wants("gone")
		signals <- os.Interrupt
		watching.Wait()
		d.unknown("k")
	}
}

// TestCompletion: operations are completed by asking the service, states and outcomes by what there is.
func TestCompletion(t *testing.T) {
	d := newDesk(t)
	for want, args := range map[string][]string{
		"pay post":                               {"keys", "list", "--admin", d.url, "--operation", ""},
		"pay  post":                              {"explain", "k", "--admin", d.url, "--operation", ""},
		"processing completed failed":            {"keys", "list", "--state", ""},
		"completed failed not_executed":          {"keys", "resolve", "k", "--outcome", ""},
		"table json jsonl":                       {"audit", "--output", ""},
		"email.send payment.charge report.build": {"keys", "list", "--admin", "127.0.0.1:1", "--operation", ""},
	} {
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"__complete"}, args...), process{
			stdout: &out, stderr: io.Discard, env: func(name string) (string, bool) {
				value, set := map[string]string{envConfig: "../../examples/atmost.yaml", "MAIL_TOKEN": "t"}[name]
				return value, set
			},
		})
		got := strings.Join(strings.Fields(out.String()), " ")
		if want = strings.Join(strings.Fields(want), " "); code != exitOK || !strings.HasPrefix(got, want) {
			t.Errorf("%v: exit code %d, %s; want %s", args, code, got, want)
		}
	}
}

// TestAdminURL: the listener's address is taken as the listener takes it, or as a URL.
func TestAdminURL(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:8081":    "http://127.0.0.1:8081",
		":8081":             "http://127.0.0.1:8081",
		"0.0.0.0:8081":      "http://127.0.0.1:8081",
		"[::]:8081":         "http://127.0.0.1:8081",
		"[::1]:8081":        "http://[::1]:8081",
		"host:1":            "http://host:1",
		"https://host/ops/": "https://host/ops",
		"host":              "",
		"ftp://host":        "",
		"http://":           "",
		"http://[::1":       "",
	} {
		got, err := adminURL(address, false)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", address, got, err, want)
		}
	}
	if got, err := adminURL("host:1", true); got != "https://host:1" || err != nil {
		t.Errorf("with certificates: %q, %v", got, err)
	}
}

// TestNotTheService: what answers, and is not the admin listener, is told apart from a refusal.
func TestNotTheService(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"a page":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"not found": func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) },
		"a page to log in": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/login" {
				t.Error("it followed a redirect")
			}
			http.Redirect(w, r, "/login", http.StatusFound)
		},
		"cut off": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "9") },
		"other error": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(418)
			_, _ = io.WriteString(w, `{"error":"tea"}`)
		},
	} {
		srv := httptest.NewServer(h)
		d := &desk{T: t, url: srv.URL}
		if code, _, stderr := d.run("", false, "keys", "list"); code != exitAway || !strings.Contains(stderr, srv.URL) {
			t.Errorf("%s: exit code %d, %s", name, code, stderr)
		}
		srv.Close()
	}
}

// TestPassword: one in the URL of the service is in no message.
func TestPassword(t *testing.T) {
	for _, url := range []string{"http://ada:secret@127.0.0.1:1", "ftp://ada:secret@host", "http://ada:secret@127.0.0.1:x"} {
		d := &desk{T: t, url: url}
		if code, stdout, stderr := d.run("", false, "keys", "list"); code == exitOK || stderr == "" || strings.Contains(stdout+stderr, "secret") {
			t.Errorf("%s: exit code %d, %s%s", url, code, stdout, stderr)
		}
	}
}

// TestFollow follows the audit trail, from its newest entry on, until it is interrupted.
func TestFollow(t *testing.T) {
	d := newDesk(t)
	settle := func(key, reason string) {
		t.Helper()
		d.unknown(key)
		by := atmost.Actor{Name: "ada", Reason: reason}
		if _, err := d.engine.Resolve(t.Context(), atmost.ID{Key: key}, atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Completed}, By: &by}); err != nil {
			t.Fatal(err)
		}
	}
	for _, reason := range []string{"first", "second", "third"} {
		settle(reason, reason)
	}
	for _, format := range []string{asTable, asLines} {
		out, in := io.Pipe()
		signals := make(chan os.Signal, 1)
		var following sync.WaitGroup
		following.Go(func() {
			if code := run(t.Context(), []string{"audit", "--follow", "--limit", "2", "--admin", d.url, "-o", format}, process{
				stdout: in, stderr: io.Discard, signals: signals, env: func(string) (string, bool) { return "", false },
			}); code != exitOK {
				t.Errorf("exit code %d", code)
			}
			_ = in.Close()
		})
		lines := bufio.NewScanner(out)
		wants := func(reason string) {
			t.Helper()
			if !lines.Scan() || !strings.Contains(lines.Text(), reason) {
				t.Errorf("%q, want %s", lines.Text(), reason)
			}
		}
		if format == asTable {
			wants("second")
			wants("third")
		} else {
			wants("fourth table")
			wants("fifth table")
		}
		settle("4"+format, "fourth "+format)
		settle("5"+format, "fifth "+format)
		wants("fourth " + format)
		wants("fifth " + format)
		signals <- os.Interrupt
		following.Wait()
	}
}

// TestAgain: who asks for much asks seldom, and who is told to end does not wait for an answer.
func TestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, signals := time.Now(), make(chan os.Signal, 1)
		var asked []time.Duration
		err := process{signals: signals}.again(t.Context(), 2*time.Second, func(ctx context.Context) error {
			asked = append(asked, time.Since(begin))
			if len(asked) == 3 {
				signals <- os.Interrupt
				<-ctx.Done()
				return ctx.Err()
			}
			time.Sleep(time.Duration(len(asked)) * 200 * time.Millisecond)
			return nil
		})
		if want := []time.Duration{0, 2200 * time.Millisecond, 6200 * time.Millisecond}; err != nil || !slices.Equal(asked, want) {
			t.Errorf("asked after %v, %v; want %v", asked, err, want)
		}
	})
}

// TestExplain: each state and policy has its words, and its next command.
func TestExplain(t *testing.T) {
	id := atmost.ID{Key: "k", Scope: "s"}
	at := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	record := func(state string, set func(*wire.AdminRecord)) wire.AdminRecord {
		r := wire.AdminRecord{AdminKey: wire.AdminKey{State: state, Attempt: 2, Operation: "pay", ExecutedBy: "service", OnUnknown: "hold", Message: "why"}}
		if set != nil {
			set(&r)
		}
		return r
	}
	for _, c := range []struct {
		r                  wire.AdminRecord
		means, again, next string
	}{
		{record("processing", func(r *wire.AdminRecord) { r.LeaseExpires = &at }), "performed by the service. If it does not report before its lease ends, at 2026-11-25 08:00:00Z, it is unknown.", "waits for this attempt", "keys watch k --scope s"},
		{record("processing", func(r *wire.AdminRecord) { r.ExecutedBy = "client" }), "the client that holds its lease.", "Nothing runs beside it", "keys watch"},
		{record("processing", func(r *wire.AdminRecord) { r.LeaseExpires, r.OnUnknown = &at, "retry" }), "presumed to have had no effect, and the next request runs it again", "", ""},
		{record("processing", func(r *wire.AdminRecord) { r.LeaseExpires, r.OnUnknown = &at, "probe" }), "the operation's target is asked", "", ""},
		{record("completed", func(r *wire.AdminRecord) { r.ResultExpires = &at }), "kept until 2026-11-25 08:00:00Z", "replayed, and nothing is executed", "keys show k --result --scope s"},
		{record("completed", func(r *wire.AdminRecord) { r.NotKept, r.KeyExpires = "erased", &at }), "a person erased it", "RESULT_NOT_KEPT, and nothing is executed, until the key is forgotten at 2026-11-25 08:00:00Z.", "keys show k --scope s"},
		{record("completed", func(r *wire.AdminRecord) { r.NotKept = "expired" }), "its retention has ended", "", ""},
		{record("completed", func(r *wire.AdminRecord) { r.NotKept = "too_large" }), "larger than max_result", "", ""},
		{record("failed", nil), "an error that is final (why)", "the same error is replayed", "keys show k --result"},
		{record("failed", func(r *wire.AdminRecord) { r.NotKept, r.KeyExpires = "expired", &at }), "The error is not there to be had: its retention has ended.", "RESULT_NOT_KEPT, and nothing is executed, until the key is forgotten at 2026-11-25 08:00:00Z.", ""},
		{record("failed", func(r *wire.AdminRecord) { r.NotKept = "erased" }), "a person erased it", "RESULT_NOT_KEPT", ""},
		{record("failed", func(r *wire.AdminRecord) { r.NotKept = "too_large" }), "an error that is final (why).", "the same error is replayed", ""},
		{record("not_executed", nil), "surely had no effect (why)", "as attempt 3.", "keys show"},
		{record("not_executed", func(r *wire.AdminRecord) { r.SettledBy = "nobody" }), "on_unknown: retry", "may be the second time", ""},
		{record("not_executed", func(r *wire.AdminRecord) { r.SettledBy = "resolve" }), "somebody settled it so", "as attempt 3.", ""},
		{record("unknown", nil), "may have happened, and nobody knows (why)", "Never ask with another key", "keys resolve k --attempt 2 --outcome completed --result JSON --reason TEXT --scope s"},
		{record("unknown", func(r *wire.AdminRecord) { r.OnUnknown = "probe" }), "asks the operation's target again and again", "", "keys watch"},
	} {
		e := explain(id, c.r, false)
		if !strings.Contains(e.Means, c.means) || !strings.Contains(e.Again, c.again) || !strings.Contains(strings.Join(e.Next, "\n"), c.next) || e.Warning != "" {
			t.Errorf("%s: %+v\nwant %q, %q, %q", c.r.State, e, c.means, c.again, c.next)
		}
	}
	if e := explain(id, record("not_executed", nil), true); !strings.Contains(e.Again, "until the key's scope is admitted") || !slices.Contains(e.Next, "atmost admit --help") {
		t.Errorf("in a guarded store: %+v", e)
	}
	if e := explain(id, record("completed", func(r *wire.AdminRecord) { r.Contradictions = 1 }), false); !strings.Contains(e.Warning, "TWICE") {
		t.Errorf("a contradiction: %q", e.Warning)
	}
}

// TestQuantile estimates within a bucket, and never beyond the last one that ends.
func TestQuantile(t *testing.T) {
	h := &dto.Histogram{SampleCount: proto.Uint64(10)}
	for i, n := range []uint64{4, 8} {
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: proto.Float64(float64(i + 1)), CumulativeCount: proto.Uint64(n)})
	}
	for q, want := range map[float64]float64{.2: .5, .4: 1, .6: 1.5, .99: 2} {
		if got := quantile(h, q); got != want {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
	if got := quantile(&dto.Histogram{}, .5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// TestNextCommands: what explain says to type next is, as a shell takes it, a command of this program that means the key that was asked
// about, whatever that looks like. What no shell takes is said beside it.
func TestNextCommands(t *testing.T) {
	p := process{env: func(string) (string, bool) { return "", false }}
	for _, name := range []string{"k", "-k", "--reason", "--", "it's", `$HOME"`, "`id`", "a;b&c|d>e", "=ls", "~", "#7", `back\slash`, "*"} {
		id := atmost.ID{Key: name, Scope: name}
		for _, state := range []string{"absent", "processing", "completed", "failed", "not_executed", "unknown"} {
			e := absent(id, false)
			if state != e.State {
				e = explain(id, wire.AdminRecord{AdminKey: wire.AdminKey{State: state, Attempt: 1, Operation: "pay", OnUnknown: "probe"}}, false)
			}
			if (state == "unknown") != (e.Advice != "") {
				t.Errorf("%s: advice %q", state, e.Advice)
			}
			for _, next := range e.Next {
				typed, err := exec.Command("sh", "-c", `atmost() { printf '%s\0' "$@"; }; `+next).CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v: %s", next, err, typed)
				}
				c, rest, err := rootCommand(p).Find(strings.Split(strings.TrimSuffix(string(typed), "\x00"), "\x00"))
				if err == nil {
					err = c.ParseFlags(rest)
				}
				if err != nil {
					t.Errorf("%s: %v", next, err)
				}
				means := slices.Equal(c.Flags().Args(), []string{id.Key}) && c.Flags().Lookup("scope").Value.String() == id.Scope
				if state == "absent" { // the key may be in another scope
					means = c.Name() == "audit" || c.Flags().Lookup("key").Value.String() == id.Key
				}
				if !means {
					t.Errorf("%s: %s means %q", state, next, c.Flags().Args())
				}
			}
		}
	}
}

// TestEmptyFilters: a filter that is given and empty, as by a variable that is not set, does not mean everything.
func TestEmptyFilters(t *testing.T) {
	d := newDesk(t)
	d.unknown("k")
	for _, args := range [][]string{
		{"keys", "list", "--state", ""},
		{"keys", "list", "--key", ""},
		{"keys", "watch", "--operation", ""},
		{"keys", "watch", ""},
		{"keys", "erase", "--all-matching", "--operation", "pay", "--older-than", "", "--reason", "r", "--yes"},
		{"keys", "resolve", "--all-matching", "--operation", "pay", "--rate", "0", "--outcome", "failed", "--error-code", "c", "--reason", "r", "--yes"},
	} {
		if code, stdout, stderr := d.run("", false, args...); code != exitUsage || stdout != "" {
			t.Errorf("%q: exit code %d, %s%s", args, code, stdout, stderr)
		}
	}
}

// TestNoAnswer: an answer that lacks what such a one always has is none.
func TestNoAnswer(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	defer srv.Close()
	d := &desk{T: t, url: srv.URL}
	for _, args := range [][]string{
		{"keys", "list", "-o", "json"},
		{"keys", "show", "k"},
		{"keys", "forget", "k", "--reason", "r", "--yes"},
		{"keys", "show", "k", "-o", "json"},
		{"explain", "k"},
		{"audit"},
		{"backup"},
		{"admit", "--all", "--reason", "r", "--yes"},
		{"stats"},
	} {
		if code, stdout, stderr := d.run("", false, args...); code != exitAway || stdout != "" {
			t.Errorf("%q: exit code %d, %s%s", args, code, stdout, stderr)
		}
	}
}
