package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/store/storetest"
	"github.com/atmost-dev/atmost/wire"
)

// operated is a service beside its admin API, whose traffic is held to its own document.
func operated(t *testing.T, c config) (s, o *service) {
	t.Helper()
	s = start(t, c)
	return s, s.operators()
}

// operators is the admin API of a service.
func (s *service) operators() *service {
	s.Helper()
	contract, err := theAdminContract()
	if err != nil {
		s.Fatal(err)
	}
	o := *s
	o.contract = contract
	o.handler = s.adminHandler()
	listening := httptest.NewServer(o.handler)
	s.Cleanup(listening.Close)
	o.url, o.client = listening.URL, listening.Client()
	return &o
}

func (s *service) adminHandler() http.Handler {
	return server.Admin(s.engine, server.AdminOptions{
		Log: slog.New(slog.NewTextHandler(s.log, nil)), Metrics: metrics, MaxBody: 10_000, Version: "v1.2.3", Store: "memory",
		Backup: func(_ context.Context, by atmost.Actor) (string, error) { return "/backups/" + by.Name, nil },
	})
}

// get asks for path under /admin/v1, and wants status.
func (s *service) get(path string, status int) answer {
	s.Helper()
	return s.wants(s.send(s.request(http.MethodGet, "/admin/v1"+path, "", "", nil), "", status < 400), status)
}

// change posts body to path under /admin/v1, and wants status.
func (s *service) change(path, body string, status int) answer {
	s.Helper()
	return s.wants(s.send(s.request(http.MethodPost, "/admin/v1"+path, "", body, nil), body, status != 400), status)
}

func (s *service) wants(a answer, status int) answer {
	s.Helper()
	if a.status != status {
		s.Fatalf("the answer is %d %s, want %d", a.status, a.body, status)
	}
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Request-Id") == "" {
		s.Errorf("the headers are %v", a.header)
	}
	return a
}

// refuses is an answer of the admin API that is an error.
func (s *service) refuses(a answer, code atmost.Code, part string) {
	s.Helper()
	s.check(a, facts{
		Status: wire.Status(code), Code: string(code), Executed: "unknown", Retry: string(code.Retry()), After: a.header.Get("Retry-After"),
	})
	if !strings.Contains(a.body, part) {
		s.Errorf("the error is %s; want %q in it", a.body, part)
	}
}

// read takes an answer's body for a T, all of which must be in it.
func read[T any](s *service, a answer) (v T) {
	s.Helper()
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		s.Fatalf("%v: %s", err, a.body)
	}
	return v
}

func record(scope, key string) string {
	return "/keys/" + wire.AdminID(atmost.ID{Scope: scope, Key: key})
}

// shown is a record as the admin API shows it.
func (s *service) shown(scope, key string) wire.AdminRecord {
	s.Helper()
	return read[wire.AdminRecord](s, s.get(record(scope, key), 200))
}

// told is what a history tells, but for times and notes.
func told(r wire.AdminRecord) string {
	var lines []string
	for _, e := range r.History {
		lines = append(lines, strings.Join(strings.Fields(fmt.Sprint(e.Attempt, " ", e.What, " ", e.Outcome, " ", e.Actor)), " "))
	}
	return strings.Join(lines, "; ")
}

const by = `"actor":"ada","reason":"the bank says so"`

// silent is an executor of which nobody knows what it did.
var silent = answers(atmost.Outcome{State: atmost.Unknown, Message: "no answer"})

func isUnknown() facts {
	return facts{Status: 409, Code: "OUTCOME_UNKNOWN", Executed: "unknown", Retry: "poll", Attempt: "1"}
}

// several is a service with a record of each state, and some in a scope; two hours ago they changed last.
func several(t *testing.T) (s, o *service) {
	running := newGate()
	s, o = operated(t, config{operations: map[string]atmost.Operation{
		"charge": {Executor: answers(completed(`{"id": 1.10}`))},
		"refund": {Executor: silent},
		"run":    {Executor: running, Timeout: time.Hour},
		"fail":   {Executor: answers(atmost.Outcome{State: atmost.Failed, UpstreamStatus: 402, Result: []byte(`"declined"`), Message: "the upstream answered 402"})},
		"refuse": {Executor: answers(atmost.Outcome{State: atmost.NotExecuted, Message: "connection refused"})},
		"report": {OnUnknown: atmost.RetryUnknown},
	}})
	for _, r := range [][3]string{
		{"a", "", "charge"}, {"b", "", "refund"}, {"c", "", "fail"}, {"d", "", "refuse"}, {"a", "t", "charge"}, {"b", "t", "refund"},
	} {
		var headers []string
		if r[1] != "" {
			headers = []string{"Idempotency-Scope", r[1]}
		}
		s.execute(r[0], `{"operation":"`+r[2]+`","payload":1}`, headers...)
	}
	s.clock.Advance(2 * time.Hour)
	s.check(s.execute("e", `{"operation":"run","payload":1}`, "Prefer", "wait=0"), facts{
		Status: 202, Executed: "unknown", Retry: "poll", After: "1", Attempt: "1", Applied: "wait=0",
	})
	<-running.started
	return s, o
}

// named are the keys of a list, with their scopes.
func named(keys wire.AdminKeys) string {
	var names []string
	for _, k := range keys.Keys {
		names = append(names, k.Scope+"/"+k.Key)
	}
	return strings.Join(names, " ")
}

// following is the parameter of the page that follows one, if one does.
func following(cursor string) string {
	if cursor == "" {
		return ""
	}
	return "&cursor=" + url.QueryEscape(cursor)
}

func TestKeysAreListed(t *testing.T) {
	_, o := several(t)
	for query, want := range map[string]string{
		"":                                   "/a /b /c /d /e t/a t/b",
		"?state=processing":                  "/e",
		"?state=completed":                   "/a t/a",
		"?state=failed":                      "/c",
		"?state=not_executed":                "/d",
		"?state=unknown":                     "/b t/b",
		"?operation=charge":                  "/a t/a",
		"?operation=other":                   "",
		"?scope=":                            "/a /b /c /d /e",
		"?scope=t":                           "t/a t/b",
		"?scope=other":                       "",
		"?key=b":                             "/b t/b",
		"?scope=&key=b":                      "/b",
		"?older_than=1h":                     "/a /b /c /d t/a t/b",
		"?older_than=2h0m":                   "/a /b /c /d t/a t/b",
		"?older_than=121m":                   "",
		"?older_than=0s":                     "/a /b /c /d /e t/a t/b",
		"?state=unknown&scope=t&operation=x": "",
		"?state=unknown&operation=refund&scope=t&key=b&older_than=1s&limit=1000": "t/b",
		"?cursor=" + wire.AdminID(atmost.ID{Key: "d"}) + "&limit=2":              "/e t/a",
		"?cursor=" + wire.AdminID(atmost.ID{Scope: "u", Key: "never"}):           "",
		"?scope=&cursor=" + wire.AdminID(atmost.ID{Scope: "u", Key: "never"}):    "",
	} {
		keys := read[wire.AdminKeys](o, o.get("/keys"+query, 200))
		if got := named(keys); got != want || keys.Keys == nil {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
		if more := keys.NextCursor != ""; more != strings.Contains(query, "limit=2") {
			t.Errorf("%s: the next cursor is %q", query, keys.NextCursor)
		}
	}
	var byPages []string
	for cursor, n := "", 0; n < 10; n++ {
		page := read[wire.AdminKeys](o, o.get("/keys?limit=3"+following(cursor), 200))
		byPages = append(byPages, named(page))
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	if want := []string{"/a /b /c", "/d /e t/a", "t/b"}; !slices.Equal(byPages, want) {
		t.Errorf("by pages: %q", byPages)
	}
}

func TestARecordInAList(t *testing.T) {
	_, o := several(t)
	moment := func(s string) time.Time {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	begin := moment("2026-11-23T12:00:00Z")
	result, key, lease := moment("2026-11-24T12:00:00Z"), moment("2026-12-23T12:00:00Z"), moment("2026-11-23T15:01:27Z")
	want := map[string]wire.AdminKey{
		"/c": {
			ID: "AGM", Key: "c", Operation: "fail", State: "failed", Attempt: 1, ExecutedBy: "service", OnUnknown: "hold", SettledBy: "report",
			UpstreamStatus: 402, Message: "the upstream answered 402", CreatedAt: begin, UpdatedAt: begin, ResultExpires: &result, KeyExpires: &key,
		},
		"/e": {
			ID: "AGU", Key: "e", Operation: "run", State: "processing", Attempt: 1, ExecutedBy: "service", OnUnknown: "hold",
			CreatedAt: begin.Add(2 * time.Hour), UpdatedAt: begin.Add(2 * time.Hour), LeaseExpires: &lease,
		},
		"t/b": {
			ID: "dABi", Scope: "t", Key: "b", Operation: "refund", State: "unknown", Attempt: 1, ExecutedBy: "service", OnUnknown: "hold",
			SettledBy: "nobody", Message: "no answer", CreatedAt: begin, UpdatedAt: begin,
		},
	}
	for _, k := range read[wire.AdminKeys](o, o.get("/keys", 200)).Keys {
		want, ok := want[k.Scope+"/"+k.Key]
		if diff := cmp.Diff(want, k); ok && diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// Pages hold every record that stands all the while once, whatever becomes of others; three walks go on as the records change.
func TestPagesWhileRecordsChange(t *testing.T) {
	s, o := operated(t, config{operations: map[string]atmost.Operation{
		"charge": {Executor: answers(completed("1"))}, "refund": {Executor: silent},
	}})
	const refund = `{"operation":"refund","payload":1}`
	for i := range 60 {
		s.execute(fmt.Sprintf("k%02d-stays", i), refund)
		s.execute(fmt.Sprintf("k%02d-moves", i), refund)
		s.execute(fmt.Sprintf("k%02d-ends", i), charge)
	}
	s.clock.Advance(time.Second)
	var work sync.WaitGroup
	work.Go(func() {
		for i := range 60 {
			o.change(record("", fmt.Sprintf("k%02d-moves", i))+"/resolve", `{"expected_attempt":1,"outcome":"not_executed",`+by+`}`, 200)
			o.change(record("", fmt.Sprintf("k%02d-ends", i))+"/forget", `{`+by+`}`, 200)
			s.execute(fmt.Sprintf("k%02d-new", 59-i), refund)
		}
	})
	for range 3 {
		work.Go(func() {
			seen := map[string]int{}
			last := ""
			for cursor := ""; ; {
				page := read[wire.AdminKeys](o, o.get("/keys?state=unknown&limit=7"+following(cursor), 200))
				for _, k := range page.Keys {
					if seen[k.Key]++; k.Key <= last {
						t.Errorf("%s follows %s", k.Key, last)
					}
					last = k.Key
				}
				if cursor = page.NextCursor; cursor == "" {
					break
				}
			}
			for i := range 60 {
				if key := fmt.Sprintf("k%02d-stays", i); seen[key] != 1 {
					t.Errorf("%s was listed %d times", key, seen[key])
				}
			}
			for key, n := range seen {
				if n != 1 || strings.HasSuffix(key, "-ends") {
					t.Errorf("%s was listed %d times", key, n)
				}
			}
		})
	}
	work.Wait()
}

// A store has a record of its self-test for a moment, which no path leads to. It is not shown, and ends no list.
func TestTheSelfTestIsNotListed(t *testing.T) {
	s, o := operated(t, one(silent))
	s.execute("a", charge)
	s.execute("z", charge)
	listed, pages := "", 0
	for cursor := "-"; cursor != ""; pages++ {
		page := read[wire.AdminKeys](o, o.get("/keys?limit=1"+following(strings.TrimPrefix(cursor, "-")), 200))
		listed += named(page)
		cursor = page.NextCursor
	}
	if listed != "/a/z" || pages != 3 {
		t.Errorf("%d pages hold %q", pages, listed)
	}
	empty := `"cursor":"` + wire.AdminID(atmost.ID{Key: "self-test \x01"}) + `"`
	o.refuses(o.change("/bulk", `{"filter":{"state":"unknown"},"action":"resolve","outcome":"completed",`+empty+`,`+by+`}`, 400), atmost.CodeInvalidRequest, "follows none")
}

func TestBadParameters(t *testing.T) {
	_, o := operated(t, one(silent))
	before := o.store.calls.Load()
	for path, part := range map[string]string{
		"/keys?stat=unknown":                    "unknown parameter",
		"/keys?State=unknown":                   "unknown parameter",
		"/keys?state=":                          "state is empty",
		"/keys?state=absent":                    "no such state",
		"/keys?state=Unknown":                   "no such state",
		"/keys?state=unknown&state=failed":      "more than once",
		"/keys?operation=":                      "operation",
		"/keys?operation=a%20b":                 "operation",
		"/keys?operation=%00":                   "operation",
		"/keys?scope=%FF":                       "scope",
		"/keys?scope=a%20b":                     "scope",
		"/keys?key=":                            "key",
		"/keys?key=" + strings.Repeat("k", 256): "key",
		"/keys?older_than=":                     "older_than is empty",
		"/keys?older_than=1":                    "older_than is not a duration",
		"/keys?older_than=-1h":                  "older_than is not a duration",
		"/keys?older_than=1d":                   "older_than is not a duration",
		"/keys?older_than=9999999999999h":       "older_than is not a duration",
		"/keys?limit=":                          "limit is not a whole number from 1 to 1000",
		"/keys?limit=0":                         "limit",
		"/keys?limit=1001":                      "limit",
		"/keys?limit=-1":                        "limit",
		"/keys?limit=%2B1":                      "limit",
		"/keys?limit=1.5":                       "limit",
		"/keys?cursor=":                         "cursor is empty",
		"/keys?cursor=!":                        "cursor",
		"/keys?cursor=AG%0AE":                   "cursor",
		"/keys?cursor=YQ":                       "cursor", // no separator
		"/keys?cursor=AA":                       "cursor", // no key
		"/keys?cursor=AGG":                      "cursor", // an ID's last bits are zero
		"/keys?%zz":                             "malformed",
		"/keys?a;b":                             "malformed",
		record("", "k") + "?result":             "true or false",
		record("", "k") + "?result=1":           "true or false",
		record("", "k") + "?results=true":       "unknown parameter",
		"/keys/x":                               "id",
		"/keys/AG%0AE":                          "id",
		"/keys/a%2Fb":                           "id",
		"/overview?x":                           "no parameters",
		"/audit?cursor=":                        "cursor",
		"/audit?cursor=0":                       "cursor",
		"/audit?cursor=x":                       "cursor",
		"/audit?cursor=9223372036854775808":     "cursor",
		"/audit?limit=0":                        "limit",
		"/audit?before=1":                       "unknown parameter",
	} {
		o.refuses(o.get(path, 400), atmost.CodeInvalidRequest, part)
	}
	o.untouched(before)
	o.get("/audit?cursor=9223372036854775807", 200)
}

func TestARecord(t *testing.T) {
	s, o := several(t)
	for range 3 {
		s.execute("a", `{"operation":"charge","payload":1}`)
	}
	r := o.shown("", "a")
	if r.Replays != 3 || r.Result != nil || r.Fence != 1795435200000000 || !strings.HasPrefix(r.Fingerprint, "json1:") {
		t.Errorf("the record is %+v", r)
	}
	if got := told(r); got != "1 claimed; 1 reported completed" {
		t.Errorf("it went through %q", got)
	}
	if a := o.get(record("", "a")+"?result=true", 200); !strings.HasSuffix(a.body, `,"result":{"id": 1.10}}`) {
		t.Errorf("the result is not as it is stored: %s", a.body)
	}
	if a := o.get(record("", "a")+"?result=false", 200); strings.Contains(a.body, `"result":`) {
		t.Errorf("the result is shown: %s", a.body)
	}
	if a := o.get(record("", "c")+"?result=true", 200); !strings.HasSuffix(a.body, `,"result":"declined"}`) {
		t.Errorf("the failure is not shown: %s", a.body)
	}
	if a := o.get(record("", "b")+"?result=true", 200); strings.Contains(a.body, `"result":`) {
		t.Errorf("what is unknown has a result: %s", a.body)
	}
	if r := o.shown("", "e"); told(r) != "1 claimed" || r.SettledBy != "" || r.LeaseExpires == nil {
		t.Errorf("the record is %+v", r)
	}
	s.clock.Advance(23 * time.Hour)
	if r := read[wire.AdminRecord](o, o.get(record("", "a")+"?result=true", 200)); r.Result != nil || r.NotKept != "expired" {
		t.Errorf("the record is %+v", r)
	}
	o.refuses(o.get(record("", "none"), 404), atmost.CodeKeyNotFound, "nothing is stored")
	o.refuses(o.get(record("u", "a"), 404), atmost.CodeKeyNotFound, "nothing is stored")
}

// What a person says is replayed as if the attempt had said it.
func TestResolve(t *testing.T) {
	for name, c := range map[string]struct {
		body string // of the request, without who and why
		want facts
		told string // to clients
	}{
		"completed": {`"outcome":"completed","result": { "n" : 1.10, "m":[ ] } `, isReplayed("1"), `{"status":"completed","result":{ "n" : 1.10, "m":[ ] }}`},
		"null":      {`"outcome":"completed","result":null`, isReplayed("1"), `{"status":"completed","result":null}`},
		"nothing":   {`"outcome":"completed"`, isReplayed("1"), `{"status":"completed","result":null}`},
		"failed": {
			`"outcome":"failed","error":{"code":"no_such_month","message":"there is \"no\" month 13"}`,
			facts{Status: 424, Code: "EXECUTION_FAILED", Executed: "yes", Retry: "no", Attempt: "1", Replayed: "true", Expires: expires},
			failureBody,
		},
		"just failed": {
			`"outcome":"failed"`,
			facts{Status: 424, Code: "EXECUTION_FAILED", Executed: "yes", Retry: "no", Attempt: "1", Replayed: "true", Expires: expires},
			`{"error":{"code":"EXECUTION_FAILED","message":"the operation failed"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := operated(t, one(silent))
			s.check(s.execute("k", charge), isUnknown())
			r := read[wire.AdminRecord](o, o.change(record("", "k")+"/resolve", `{"expected_attempt":1,`+c.body+`,`+by+`}`, 200))
			if r.State != strings.TrimPrefix(name, "just ") && name != "null" && name != "nothing" || r.SettledBy != "resolve" || r.Result != nil {
				t.Errorf("the record is %+v", r)
			}
			if got := told(r); got != "1 claimed; 1 reported unknown; 1 resolved "+r.State+" ada" || r.History[2].Note != "the bank says so" {
				t.Errorf("it went through %q", got)
			}
			for range 2 {
				a := s.execute("k", charge)
				s.check(a, c.want)
				s.checkBody(a, c.told)
			}
		})
	}
}

// A failure that a person tells of is stored as one that a client reports.
func TestAFailureIsReplayedAlike(t *testing.T) {
	s, o := operated(t, clients(atmost.Operation{}))
	s.check(s.post("claim", "k", claimA), isClaimed("1"))
	s.check(s.post("claim", "l", claimA), isClaimed("1"))
	s.post("fail", "k", failA)
	s.post("fail", "l", inDoubtA)
	o.change(record("", "l")+"/resolve",
		`{"expected_attempt":1,"outcome":"failed","error":{"code":"no_such_month","message":"there is \"no\" month 13"},`+by+`}`, 200)
	k, l := s.post("claim", "k", claimB), s.post("claim", "l", claimB)
	s.check(l, k.facts())
	s.checkBody(l, k.body)
}

func TestResolvedAsNotExecuted(t *testing.T) {
	s, o := operated(t, one(answers(atmost.Outcome{State: atmost.Unknown}, completed("2"))))
	s.check(s.execute("k", charge), isUnknown())
	r := read[wire.AdminRecord](o, o.change(record("", "k")+"/resolve", `{"expected_attempt":1,"outcome":"not_executed",`+by+`}`, 200))
	if r.State != "not_executed" || r.Message != "the operation was not executed" {
		t.Errorf("the record is %+v", r)
	}
	s.check(s.execute("k", charge), isExecuted("2"))
	if got := told(o.shown("", "k")); got != "1 claimed; 1 reported unknown; 1 resolved not_executed ada; 2 claimed; 2 reported completed" {
		t.Errorf("it went through %q", got)
	}
}

func TestResolveIsRefused(t *testing.T) {
	s, o := operated(t, one(silent))
	s.check(s.execute("k", charge), isUnknown())
	before := s.store.calls.Load()
	path := record("", "k") + "/resolve"
	for body, part := range map[string]string{
		``:                                   "the body is empty",
		`[]`:                                 "not a JSON object",
		`{}`:                                 "no member",
		`{"outcome":"completed",` + by + `}`: "expected_attempt",
		`{"expected_attempt":1,` + by + `}`:  "outcome",
		`{"expected_attempt":1,"outcome":"completed","actor":"ada"}`:                                                             "reason",
		`{"expected_attempt":1,"outcome":"completed","reason":"r"}`:                                                              "actor",
		`{"expected_attempt":1,"outcome":"completed","actor":"","reason":"r"}`:                                                   "actor is empty",
		`{"expected_attempt":1,"outcome":"completed","actor":" ","reason":"r"}`:                                                  "actor is missing",
		`{"expected_attempt":1,"outcome":"completed","actor":"a\nb","reason":"r"}`:                                               "cannot be shown",
		`{"expected_attempt":1,"outcome":"completed","actor":"a","reason":"` + strings.Repeat("r", 501) + `"}`:                   "reason is too long",
		`{"expected_attempt":0,"outcome":"completed",` + by + `}`:                                                                "expected_attempt is not a whole number",
		`{"expected_attempt":-1,"outcome":"completed",` + by + `}`:                                                               "expected_attempt",
		`{"expected_attempt":1.0,"outcome":"completed",` + by + `}`:                                                              "expected_attempt",
		`{"expected_attempt":"1","outcome":"completed",` + by + `}`:                                                              "expected_attempt",
		`{"expected_attempt":4294967296,"outcome":"completed",` + by + `}`:                                                       "expected_attempt",
		`{"expected_attempt":null,"outcome":"completed",` + by + `}`:                                                             "expected_attempt",
		`{"expected_attempt":1,"outcome":"unknown",` + by + `}`:                                                                  "the outcome is not completed",
		`{"expected_attempt":1,"outcome":"processing",` + by + `}`:                                                               "the outcome is not completed",
		`{"expected_attempt":1,"outcome":1,` + by + `}`:                                                                          "outcome is not a string",
		`{"expected_attempt":1,"outcome":"failed","result":1,` + by + `}`:                                                        "there is a result",
		`{"expected_attempt":1,"outcome":"not_executed","result":null,` + by + `}`:                                               "there is a result",
		`{"expected_attempt":1,"outcome":"completed","error":{"code":"c","message":"m"},` + by + `}`:                             "there is an error",
		`{"expected_attempt":1,"outcome":"not_executed","error":{"code":"c","message":"m"},` + by + `}`:                          "there is an error",
		`{"expected_attempt":1,"outcome":"failed","error":null,` + by + `}`:                                                      "the member error",
		`{"expected_attempt":1,"outcome":"failed","error":{"code":"c"},` + by + `}`:                                              "message",
		`{"expected_attempt":1,"outcome":"failed","error":{"code":"","message":"m"},` + by + `}`:                                 "code",
		`{"expected_attempt":1,"outcome":"failed","error":{"code":"c","message":"m","x":1},` + by + `}`:                          "unknown member",
		`{"expected_attempt":1,"outcome":"failed","error":{"code":"` + strings.Repeat("c", 256) + `","message":"m"},` + by + `}`: "255 bytes",
		`{"expected_attempt":1,"outcome":"completed",` + by + `,"x":1}`:                                                          "unknown member",
		`{"expected_attempt":1,"outcome":"completed",` + by + `,"Outcome":"failed"}`:                                             "unknown member",
		`{"expected_attempt":1,"outcome":"completed",` + by + `,"outcome":"failed"}`:                                             "duplicate member",
		`{"expected_attempt":1,"outcome":"completed",` + by + `,"result":{"a":1,"a":2}}`:                                         "duplicate member",
		`{"expected_attempt":1,"outcome":"completed",` + by + `,"result":[}`:                                                     "not valid JSON",
		`{"expected_attempt":1,"outcome":"completed",` + by + `,"result":"` + "\xff" + `"}`:                                      "not valid UTF-8",
		`{"expected_attempt":1,"outcome":"completed",` + by + `}{}`:                                                              "more than one JSON value",
	} {
		o.refuses(o.change(path, body, 400), atmost.CodeInvalidRequest, part)
	}
	right := `{"expected_attempt":1,"outcome":"completed",` + by + `}`
	o.refuses(o.change(path+"?dry_run=true", right, 400), atmost.CodeInvalidRequest, "no parameters")
	o.refuses(o.change("/keys/AA/resolve", right, 400), atmost.CodeInvalidRequest, "the id in the path")
	r := o.request(http.MethodPost, "/admin/v1"+path, "", right, nil)
	r.Header.Set("Content-Type", "text/plain")
	o.refuses(o.wants(o.send(r, right, false), 415), atmost.CodeUnsupportedMediaType, "application/json")
	large := `{"expected_attempt":1,"outcome":"completed",` + by + `,"result":"` + strings.Repeat("x", 10_000) + `"}`
	o.refuses(o.change(path, large, 413), atmost.CodePayloadTooLarge, "10000 bytes")
	s.untouched(before)

	o.refuses(o.change(record("", "none")+"/resolve", right, 404), atmost.CodeKeyNotFound, "nothing is stored")
	o.refuses(o.change(path, strings.Replace(right, "1", "2", 1), 409), atmost.CodeStateConflict, "the record is unknown, in attempt 1")
	o.change(path, right, 200)
	o.refuses(o.change(path, right, 409), atmost.CodeStateConflict, "the record is completed, in attempt 1")
	if trail := read[wire.AdminAudit](o, o.get("/audit", 200)); len(trail.Entries) != 1 {
		t.Errorf("the audit trail is %+v", trail)
	}
}

// Of operators who settle the same attempt at once, one does.
func TestOperatorsAtOnce(t *testing.T) {
	s, o := operated(t, one(silent))
	s.check(s.execute("k", charge), isUnknown())
	const many = 8
	statuses := make([]int, many)
	var work sync.WaitGroup
	for i := range many {
		work.Go(func() {
			body := fmt.Sprintf(`{"expected_attempt":1,"outcome":"completed","result":%d,%s}`, i, by)
			statuses[i] = o.send(o.request(http.MethodPost, "/admin/v1"+record("", "k")+"/resolve", "", body, nil), body, true).status
		})
	}
	work.Wait()
	winner := slices.Index(statuses, 200)
	if sorted := slices.Sorted(slices.Values(statuses)); sorted[0] != 200 || sorted[1] != 409 || sorted[many-1] != 409 {
		t.Fatalf("the answers are %v", statuses)
	}
	s.checkBody(s.execute("k", charge), fmt.Sprintf(`{"status":"completed","result":%d}`, winner))
	if trail := read[wire.AdminAudit](o, o.get("/audit", 200)); len(trail.Entries) != 1 {
		t.Errorf("the audit trail is %+v", trail)
	}
	if got := told(o.shown("", "k")); got != "1 claimed; 1 reported unknown; 1 resolved completed ada" {
		t.Errorf("it went through %q", got)
	}
}

// Whoever waits for an outcome that is unknown is answered when a person settles it.
func TestAWaiterGetsItsAnswer(t *testing.T) {
	c := one(silent)
	c.looked = make(chan struct{}, 100)
	s, o := operated(t, c)
	s.check(s.execute("k", charge), isUnknown())
	waiting := make(chan answer)
	go func() { waiting <- s.status("k", "Prefer", "wait=60") }()
	<-c.looked // for the request,
	<-c.looked // and once it waits
	o.change(record("", "k")+"/resolve", `{"expected_attempt":1,"outcome":"completed","result":7,`+by+`}`, 200)
	if a := <-waiting; !strings.HasSuffix(a.body, `,"result":7}`) {
		t.Errorf("the one who waited was told %s", a.body)
	}
}

// A report that comes after a person has settled the attempt, and tells another story, is seen.
func TestALateReportContradicts(t *testing.T) {
	for outcome, want := range map[string]struct {
		answer, state, told string
	}{
		"completed":    {`LEASE_LOST`, "completed", "1 claimed; 1 lapsed unknown; 1 resolved completed ada; 1 contradicted not_executed"},
		"not_executed": {`LEASE_LOST`, "not_executed", "1 claimed; 1 lapsed unknown; 1 resolved not_executed ada"},
	} {
		s, o := operated(t, clients(atmost.Operation{}))
		s.check(s.post("claim", "k", claimA), isClaimed("1"))
		s.clock.Advance(101 * time.Second)
		o.change(record("", "k")+"/resolve", `{"expected_attempt":1,"outcome":"`+outcome+`",`+by+`}`, 200)
		if outcome == "not_executed" { // the late truth wins, and that somebody was wrong is not lost
			s.check(s.post("complete", "k", completeA), facts{
				Status: 200, Executed: "yes", Retry: "no", Attempt: "1", Replayed: "false", Expires: "Tue, 24 Nov 2026 12:01:41 GMT",
			})
			want.state, want.told = "completed", want.told+"; 1 reported_late completed"
		} else {
			s.check(s.post("fail", "k", notDoneA), isLost(want.answer))
		}
		r := o.shown("", "k")
		if r.State != want.state || r.Contradictions != 1 || told(r) != want.told {
			t.Errorf("%s: the record is %s, with %d contradictions, and went through %q", outcome, r.State, r.Contradictions, told(r))
		}
	}
}

func TestEraseAndForget(t *testing.T) {
	runs := 0
	s, o := operated(t, one(does(func(context.Context, atmost.Attempt) atmost.Outcome {
		runs++
		return completed(fmt.Sprint(runs))
	})))
	s.checkBody(s.execute("k", charge), `{"status":"completed","result":1}`)
	s.clock.Advance(time.Second)
	for path, code := range map[string]atmost.Code{record("", "k"): atmost.CodeStateConflict, record("", "none"): atmost.CodeKeyNotFound} {
		for _, what := range []string{"/erase", "/forget"} {
			o.refuses(o.change(path+what, `{"expected_attempt":2,`+by+`}`, wire.Status(code)), code, "")
			o.refuses(o.change(path+what, `{"expected_attempt":0,`+by+`}`, 400), atmost.CodeInvalidRequest, "expected_attempt")
			o.refuses(o.change(path+what, `{"actor":"ada"}`, 400), atmost.CodeInvalidRequest, "reason")
			o.refuses(o.change(path+what, `{`+by+`,"outcome":"completed"}`, 400), atmost.CodeInvalidRequest, "unknown member")
		}
	}
	for range 2 { // the second changes nothing
		r := read[wire.AdminRecord](o, o.change(record("", "k")+"/erase", `{"expected_attempt":1,`+by+`}`, 200))
		if r.State != "completed" || r.NotKept != "erased" || told(r) != "1 claimed; 1 reported completed; 1 erased ada" {
			t.Errorf("the record is %+v", r)
		}
	}
	a := s.execute("k", charge)
	s.check(a, facts{Status: 410, Code: "RESULT_NOT_KEPT", Executed: "yes", Retry: "no", Attempt: "1", Replayed: "true", Expires: expires})
	s.checkBody(a, `{"error":{"code":"RESULT_NOT_KEPT","message":"the operation was executed; its result was erased","details":{"reason":"erased","outcome":"completed"}}}`)

	s.checkBody(o.change(record("", "k")+"/forget", `{`+by+`}`, 200), `{"state":"absent"}`)
	o.get(record("", "k"), 404)
	s.checkBody(s.execute("k", charge), `{"status":"completed","result":2}`)

	trail := read[wire.AdminAudit](o, o.get("/audit", 200))
	var done []string
	for _, e := range trail.Entries {
		done = append(done, fmt.Sprintln(e.Number, e.Action, e.ID, e.Key, e.Operation, e.Attempt, e.Before, e.After, e.Actor, e.Reason))
	}
	if want := []string{
		"2 forget AGs k charge 1 completed absent ada the bank says so\n", "1 erase AGs k charge 1 completed completed ada the bank says so\n",
	}; !slices.Equal(done, want) {
		t.Errorf("the audit trail is %q", done)
	}
}

// What has not ended cannot be forgotten: it may happen yet.
func TestWhatMayHappenYetIsNotForgotten(t *testing.T) {
	_, o := several(t)
	for _, key := range []string{"b", "e"} {
		o.refuses(o.change(record("", key)+"/forget", `{`+by+`}`, 409), atmost.CodeStateConflict, "can be forgotten")
		o.refuses(o.change(record("", key)+"/erase", `{`+by+`}`, 409), atmost.CodeStateConflict, "only a result can be erased")
	}
}

func TestCompare(t *testing.T) {
	s, o := operated(t, one(answers(completed("1"))))
	s.execute("k", charge)
	for body, want := range map[string]string{
		charge: `{"same":true,"same_operation":true}`,
		`{"operation":"charge","payload": { "amount" : 1250 } }`: `{"same":true,"same_operation":true}`,
		`{"operation":"charge","payload":{"amount":1251}}`:       `{"same":false,"same_operation":true,"differs":["/amount"]}`,
		`{"operation":"charge","payload":null}`:                  `{"same":false,"same_operation":true}`,
		`{"operation":"refund","payload":{"amount":1250}}`:       `{"same":false,"same_operation":false}`,
	} {
		o.checkBody(o.change(record("", "k")+"/compare", body, 200), want)
	}
	o.refuses(o.change(record("", "none")+"/compare", charge, 404), atmost.CodeKeyNotFound, "")
	for body, part := range map[string]string{
		`{"operation":"charge"}`:                         "payload",
		`{"operation":"","payload":1}`:                   "operation",
		`{"operation":"charge","payload":{"a":1,"a":2}}`: "duplicate",
	} {
		o.refuses(o.change(record("", "k")+"/compare", body, 400), atmost.CodeInvalidRequest, part)
	}
}

func TestAuditByPages(t *testing.T) {
	s, o := operated(t, one(answers(completed("1"))))
	for i := range 5 {
		s.execute(fmt.Sprint("k", i), charge)
		o.change(record("", fmt.Sprint("k", i))+"/erase", `{`+by+`}`, 200)
	}
	var seen []string
	cursor := ""
	for range 5 {
		part := read[wire.AdminAudit](o, o.get("/audit?limit=2"+following(cursor), 200))
		for _, e := range part.Entries {
			seen = append(seen, e.Key)
		}
		o.change(record("", "k0")+"/forget", `{`+by+`}`, map[bool]int{true: 409, false: 404}[cursor == ""]) // claimed this very moment
		if cursor = part.NextCursor; cursor == "" {
			break
		}
		s.clock.Advance(time.Second)
		o.send(o.request(http.MethodPost, "/admin/v1"+record("", "k0")+"/forget", "", `{`+by+`}`, nil), `{`+by+`}`, true) // new entries move no page
	}
	if want := []string{"k4", "k3", "k2", "k1", "k0"}; !slices.Equal(seen, want) {
		t.Errorf("the audit trail tells of %q", seen)
	}
	empty := read[wire.AdminAudit](o, o.get("/audit?cursor=1", 200))
	if empty.Entries == nil || len(empty.Entries) != 0 {
		t.Errorf("before the first there is %+v", empty)
	}
}

func TestOverview(t *testing.T) {
	s, o := several(t)
	got := read[wire.AdminOverview](o, o.get("/overview", 200))
	want := wire.AdminOverview{
		Version: "v1.2.3", Store: "memory", Pending: 1,
		Operations: []wire.AdminOperation{
			{Name: "charge", ExecutedBy: "service", OnUnknown: "hold", Timeout: "30s"},
			{Name: "fail", ExecutedBy: "service", OnUnknown: "hold", Timeout: "30s"},
			{Name: "refund", ExecutedBy: "service", OnUnknown: "hold", Timeout: "30s"},
			{Name: "refuse", ExecutedBy: "service", OnUnknown: "hold", Timeout: "30s"},
			{Name: "report", ExecutedBy: "client", OnUnknown: "retry"},
			{Name: "run", ExecutedBy: "service", OnUnknown: "hold", Timeout: "1h0m0s"},
		},
	}
	doubts := s.engine.Doubts()
	got.Unknown, got.OldestUnknown = got.Unknown-doubts.Count, 0 // of the last round, which the engine's tests look at
	if got.Unknown > 0 {
		t.Errorf("%d are unknown, the engine says %d", got.Unknown+doubts.Count, doubts.Count)
	}
	got.Unknown = 0
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := s.engine.SetOperations(nil); err != nil {
		t.Fatal(err)
	}
	if a := o.get("/overview", 200); !strings.Contains(a.body, `"operations":[]`) {
		t.Errorf("without operations the overview is %s", a.body)
	}
}

func TestAdmit(t *testing.T) {
	clock := storetest.NewClock()
	fs := vfs.NewMem()
	open := func() *pebblestore.Store {
		p, err := pebblestore.Open("store", pebblestore.Options{Clock: clock, FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if err := open().Close(); err != nil {
		t.Fatal(err)
	}
	if err := pebblestore.Guard("store", atmost.Actor{Name: "ada", Reason: "r"}, pebblestore.Options{Clock: clock, FS: fs}); err != nil {
		t.Fatal(err)
	}
	c := one(answers(completed("1")))
	opened := open()
	c.records = opened
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	s, o := operated(t, c)

	if !read[wire.AdminOverview](o, o.get("/overview", 200)).Guarded {
		t.Error("the overview does not tell of the guard")
	}
	o.refuses(o.get(record("", "k"), 409), atmost.CodeOutcomeUnknown, "")
	for body, part := range map[string]string{
		`{` + by + `}`:                                                  "say what to admit",
		`{"all":false,` + by + `}`:                                      "say what to admit",
		`{"scopes":[],` + by + `}`:                                      "say what to admit",
		`{"scopes":["a"],"all":true,` + by + `}`:                        "say what to admit",
		`{"scopes":"a",` + by + `}`:                                     "scopes is not an array of strings",
		`{"scopes":["a",1],` + by + `}`:                                 "scopes is not an array of strings",
		`{"scopes":["t","a b"],` + by + `}`:                             "scope",
		`{"all":1,` + by + `}`:                                          "all is not true or false",
		`{"all":true,"actor":"ada"}`:                                    "reason",
		`{"scopes":[""` + strings.Repeat(`,""`, 1000) + `],` + by + `}`: "more than 1000",
	} {
		o.refuses(o.change("/admit", body, 400), atmost.CodeInvalidRequest, part)
	}
	refused := func(scope string) bool {
		return s.execute("k", charge, "Idempotency-Scope", scope).status == 409
	}
	if !refused("t") || !refused("u") {
		t.Fatal("the store is not guarded")
	}
	o.checkBody(o.change("/admit", `{"scopes":["t",""],`+by+`}`, 200), `{"guarded":true}`)
	if refused("t") || !refused("u") {
		t.Error("not the scope was admitted")
	}
	s.check(s.execute("k", charge), isExecuted("1"))
	o.checkBody(o.change("/admit", `{"all":true,`+by+`}`, 200), `{"guarded":false}`)
	if refused("u") {
		t.Error("not all was admitted")
	}
	o.checkBody(o.change("/admit", `{"all":true,`+by+`}`, 200), `{"guarded":false}`) // which changes nothing
	var actions []string
	for _, e := range read[wire.AdminAudit](o, o.get("/audit", 200)).Entries {
		actions = append(actions, e.Action+" "+e.Scope+e.Key+e.ID+e.Before+e.After)
	}
	if want := []string{"admit_all ", "admit ", "admit t", "guard "}; !slices.Equal(actions, want) {
		t.Errorf("the audit trail is %q", actions)
	}
}

// A page of another site, in an operator's browser, changes nothing; one of this site does.
func TestOtherSitesChangeNothing(t *testing.T) {
	s, o := operated(t, one(silent))
	s.check(s.execute("k", charge), isUnknown())
	before := s.store.calls.Load()
	const body = `{"expected_attempt":1,"outcome":"completed",` + by + `}`
	path := "/admin/v1" + record("", "k") + "/resolve"
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://example.com"}, {"Origin", "null"},
	} {
		a := o.wants(o.send(o.request(http.MethodPost, path, "", body, headers), body, true), 400)
		o.refuses(a, atmost.CodeInvalidRequest, "another site")
	}
	s.untouched(before)
	o.wants(o.send(o.request(http.MethodGet, "/admin/v1/keys", "", "", []string{"Sec-Fetch-Site", "cross-site"}), "", true), 200)
	o.wants(o.send(o.request(http.MethodPost, path, "", body, []string{"Sec-Fetch-Site", "same-origin", "Origin", o.url}), body, true), 200)
}

// Nor does it see anything where its own name was made to lead to the listener: a browser takes the two for one site then.
func TestOtherNamesSeeNothing(t *testing.T) {
	_, o := operated(t, one(silent))
	port := o.url[strings.LastIndex(o.url, ":"):]
	for host, in := range map[string]bool{
		"127.0.0.1" + port: true, "localhost" + port: true, "LocalHost": true, "[::1]" + port: true, "[::1]": true, "10.0.0.1:1": true,
		"example.com" + port: false, "example.com": false, "localhost.example.com" + port: false, "127.0.0.1.example.com": false,
		"127.0.0.1" + port + ".example.com": false, "1.2.3": false, "a:b:c": false,
	} {
		r := o.request(http.MethodGet, "/admin/v1/keys", "", "", nil)
		r.Host = host
		switch a := o.send(r, "", true); {
		case in && a.status != http.StatusOK:
			t.Errorf("%s: %d %s", host, a.status, a.body)
		case !in:
			o.refuses(a, atmost.CodeInvalidRequest, "a host of some name")
		}
	}
	secure := httptest.NewTLSServer(o.adminHandler()) // which a site that has the name, but not its certificate, is not taken for
	defer secure.Close()
	for url, status := range map[string]int{o.url + "/metrics": 400, o.url + "/debug/pprof/cmdline": 400, o.url + "/livez": 400, secure.URL + "/metrics": 200} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "example.com"
		resp, err := secure.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != status {
			t.Errorf("%s: %s", url, resp.Status)
		}
	}
}

func TestAdminRoutes(t *testing.T) {
	_, o := several(t)
	o.checkBody(o.get("/openapi.yaml", 200), string(server.AdminOpenAPI))
	for _, path := range []string{"", "/", "/keys/", record("", "a") + "/", record("", "a") + "/revive", "/key", "/keys//resolve"} {
		a := o.send(o.request(http.MethodGet, "/admin/v1"+path, "", "", nil), "", false)
		o.check(a, isRefused(404, "NOT_FOUND"))
	}
	for path, allow := range map[string]string{
		"/keys": "GET, HEAD", record("", "a"): "GET, HEAD", record("", "a") + "/resolve": "POST", record("", "a") + "/erase": "POST",
		record("", "a") + "/forget": "POST", record("", "a") + "/compare": "POST", "/bulk": "POST", "/admit": "POST", "/audit": "GET, HEAD",
		"/overview": "GET, HEAD", "/openapi.yaml": "GET, HEAD",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
			if !strings.Contains(allow, method) {
				a := o.send(o.request(method, "/admin/v1"+path, "", "", nil), "", false)
				o.check(a, isRefused(405, "METHOD_NOT_ALLOWED"))
				if got := a.header.Get("Allow"); got != allow {
					t.Errorf("%s %s: Allow is %q", method, path, got)
				}
			}
		}
		if strings.Contains(allow, "HEAD") {
			a := o.wants(o.send(o.request(http.MethodHead, "/admin/v1"+path, "", "", nil), "", false), 200)
			if a.body != "" || a.header.Get("Content-Length") == "0" {
				t.Errorf("HEAD %s: %v %q", path, a.header, a.body)
			}
		}
	}
}

func TestAdminWithoutItsStore(t *testing.T) {
	s, o := operated(t, one(silent))
	s.check(s.execute("k", charge), isUnknown())
	fail := func() error { return errors.New("a secret cause") }
	s.store.fail.Store(&fail)
	const change = `{` + by + `}`
	for path, body := range map[string]string{
		"/keys": "", record("", "k"): "", "/audit": "", record("", "k") + "/erase": change, record("", "k") + "/forget": change,
		record("", "k") + "/resolve": `{"expected_attempt":1,"outcome":"completed",` + by + `}`, record("", "k") + "/compare": charge,
		"/bulk": `{"filter":{"state":"unknown"},"action":"resolve","outcome":"completed",` + by + `}`,
	} {
		var a answer
		if body == "" {
			a = o.get(path, 503)
		} else {
			a = o.change(path, body, 503)
		}
		o.refuses(a, atmost.CodeStoreUnavailable, "")
		if strings.Contains(a.body, "secret") || a.header.Get("Retry-After") != "1" {
			t.Errorf("%s: %v %s", path, a.header, a.body)
		}
	}
	none := func() error { return nil }
	s.store.fail.Store(&none)
	s.engine.Close(t.Context())
	o.refuses(o.get("/keys", 503), atmost.CodeShuttingDown, "")
	o.refuses(o.change(record("", "k")+"/erase", change, 503), atmost.CodeShuttingDown, "")
}

// A backup is made where there is a place for it. Why it is not made elsewhere is told; why it failed is only logged.
func TestBackup(t *testing.T) {
	_, o := operated(t, config{})
	const asked = `{"actor":"ada","reason":"r"}`
	if a := o.change("/backup", asked, 200); a.body != `{"directory":"/backups/ada"}` {
		t.Errorf("answered %s", a.body)
	}
	o.change("/backup", `{"actor":"ada"}`, 400)
	o.change("/backup", `{"actor":"ada\u001b[2J","reason":"r"}`, 400)
	o.change("/backup", `{"actor":"ada","reason":"r","directory":"/tmp"}`, 400)
	for want, backup := range map[string]func(context.Context, atmost.Actor) (string, error){
		"pebble.backups": nil,
		`"INTERNAL"`: func(context.Context, atmost.Actor) (string, error) {
			return "", errors.New("the disk is full of secrets")
		},
		"/backups/2": func(ctx context.Context, _ atmost.Actor) (string, error) { return "/backups/2", ctx.Err() },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // whoever asked is gone
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/admin/v1/backup", strings.NewReader(asked))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		server.Admin(nil, server.AdminOptions{Metrics: http.NotFoundHandler(), Backup: backup}).ServeHTTP(w, r)
		if body := w.Body.String(); !strings.Contains(body, want) || strings.Contains(body, "secrets") {
			t.Errorf("answered %d %s, want %s", w.Code, body, want)
		}
	}
}
