package doctest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/internal/skip"
	"github.com/atmost-dev/atmost/wire"
)

// leaseExample is an example that performs an operation itself: it runs a command.
type leaseExample struct {
	example
	lease, short string // the length of its lease as it stands there, and a shorter one
	renews       bool
}

var leaseExamples = []leaseExample{
	{example{file: "lease/lease.py", needs: map[string]string{"python3": "apt-get install python3"}, run: []string{"python3"}}, "LEASE = 30", "LEASE = 15", true},
	{
		example{file: "lease/lease.sh", needs: map[string]string{
			"bash": "apt-get install bash", "curl": "apt-get install curl", "awk": "apt-get install mawk", "timeout": "apt-get install coreutils",
		}, run: []string{"bash"}}, "lease=300", "lease=25", false,
	},
}

// leaseScene is what such an example is run in, with the same key each time, and what must come of it.
type leaseScene struct {
	name    string
	command string // for a shell, in a directory of its own, where a line in the file effects is an effect
	script  []step
	runs    []leaseRun
	short   bool // its lease is
	hasty   bool // its deadline is near
	renewed bool // its lease has to be renewed

	effects int
	state   atmost.State
}

type leaseRun struct {
	fails   bool
	says    string
	command string // "" for the scene's
}

const isDone = "echo x >>effects; printf 'printed \"this\"'"

var leaseScenes = []leaseScene{
	{
		name: "all that can be overcome", command: isDone,
		script:  []step{soon(outage), soon(underway), foreign, givenBack, soon(spent), cut, pass, outage, unheard},
		runs:    []leaseRun{{says: `printed "this"`}, {says: `printed "this"`}, {fails: true, says: "PAYLOAD_MISMATCH", command: "true"}},
		effects: 1, state: atmost.Completed,
	},
	{
		name: "failed", command: "echo x >>effects; exit 65",
		runs:    []leaseRun{{fails: true, says: "failed for good"}, {fails: true, says: "EXECUTION_FAILED"}},
		effects: 1, state: atmost.Failed,
	},
	{
		name: "nothing happened, at first", command: "[ -e tried ] || { touch tried; exit 75; }; " + isDone,
		runs:    []leaseRun{{fails: true, says: "with the same key"}, {says: "printed"}},
		effects: 1, state: atmost.Completed,
	},
	{
		name: "unknown", command: "echo x >>effects; exit 1",
		runs:    []leaseRun{{fails: true, says: "A person has to find out"}, {fails: true, says: "OUTCOME_UNKNOWN"}},
		effects: 1, state: atmost.Unknown,
	},
	{
		name: "it takes longer than its lease", command: "echo x >>effects; sleep 600", short: true,
		script:  []step{pass, overtaken},
		runs:    []leaseRun{{fails: true, says: "A person has to find out"}},
		effects: 1, state: atmost.Unknown,
	},
	{
		name: "the lease is renewed", command: "while [ ! -e renewed ]; do sleep 0.1; done; " + isDone, renewed: true,
		script:  []step{pass, renewed},
		runs:    []leaseRun{{says: "printed"}},
		effects: 1, state: atmost.Completed,
	},
	{
		name: "no claim is answered", command: isDone, hasty: true,
		script: slices.Repeat([]step{unheardClaim}, 10),
		runs:   []leaseRun{{fails: true, says: "with the same key"}},
		state:  atmost.NotExecuted,
	},
}

// hastyLease is how many seconds a scene's claim is tried for.
const hastyLease = "3"

// TestLeaseExamples runs each example in each scene, all at once, as they mostly wait.
func TestLeaseExamples(t *testing.T) {
	type played struct {
		leaseScene
		service *service
		dir     string
		runs    []run
	}
	plays := map[string][]*played{}
	var playing sync.WaitGroup
	for _, e := range leaseExamples {
		if e.missing() != "" {
			continue
		}
		for _, sc := range leaseScenes {
			if sc.renewed && !e.renews {
				continue
			}
			var constants []string
			if sc.short {
				constants = append(constants, e.lease, e.short)
			}
			if sc.hasty {
				constants = append(constants, patience, hastyLease)
			}
			args, err := e.command(t, constants...)
			if err != nil {
				t.Fatal(err)
			}
			p := &played{leaseScene: sc, dir: t.TempDir()}
			p.service = startForLeases(t, p.dir, sc.script)
			plays[e.file] = append(plays[e.file], p)
			playing.Go(func() {
				for _, want := range sc.runs {
					p.service.forget()
					command := "cd " + p.dir + "; " + sc.command
					if want.command != "" {
						command = want.command
					}
					p.runs = append(p.runs, execute(t.Context(), append(args[:len(args):len(args)], p.service.server.URL, leaseID.Key, "sh", "-c", command)))
				}
			})
		}
	}
	playing.Wait()
	for _, e := range leaseExamples {
		t.Run(e.file, func(t *testing.T) {
			if missing := e.missing(); missing != "" {
				skip.Test(t, fmt.Sprintf("examples/%s WAS NOT RUN: %s", e.file, missing))
			}
			for _, p := range plays[e.file] {
				t.Run(p.name, func(t *testing.T) {
					for i, want := range p.leaseScene.runs {
						p.runs[i].check(t, scene{fails: want.fails, says: []string{want.says}})
					}
					effects, _ := os.ReadFile(filepath.Join(p.dir, "effects")) // there may have been none
					p.service.effects.Store(int64(bytes.Count(effects, []byte("\n"))))
					p.service.check(t, 0, p.effects)
					if r, err := p.service.engine.Status(t.Context(), leaseID, 0); err != nil || r.State != p.state {
						t.Errorf("the key is %v, %v, want %v", r.State, err, p.state)
					}
				})
			}
		})
	}
}

// leaseID is what all are about, and rival the token of somebody else's lease.
var (
	leaseID = atmost.ID{Key: "report-2026-11"}
	rival   = atmost.Token{1}
)

// startForLeases starts a service with an operation that clients perform. They work in dir.
func startForLeases(t *testing.T, dir string, script []step) *service {
	t.Helper()
	s := &service{dir: dir, script: script}
	s.judge = s.judgeLeaseCall
	s.serve(t, map[string]atmost.Operation{"command.run": {}})
	return s
}

// forget has what comes next be of another process: it has another token, and knows of no Retry-After.
func (s *service) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.report, s.notYet = "", "", time.Time{}
}

var leaseToken = regexp.MustCompile(`"lease_token": ?"([0-9a-f]{32})"`)

// judgeLeaseCall looks at a request of an example that performs an operation itself.
func (s *service) judgeLeaseCall(r *http.Request, body string, wrong func(format string, args ...any)) {
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Idempotency-Key") != leaseID.Key {
		wrong("is %s %s with %v", r.Method, r.URL, r.Header)
	}
	m := leaseToken.FindStringSubmatch(body)
	if m == nil {
		wrong("has no token: %s", body)
		return
	}
	switch name, token := path.Base(r.URL.Path), m[1]; name {
	case "claim":
		s.isEarly(wrong)
		rest := strings.Replace(body, token, "", 1)
		if s.token != "" && (rest != s.body || (token == s.token) == s.spent) {
			wrong("claims with %s, and the one before did with %s; nothing executed: %t", body, s.token, s.spent)
		}
		s.body, s.token = rest, token
	case "renew", "complete", "fail":
		if token != s.token {
			wrong("has not the token of the last claim")
		}
		if name != "renew" && s.report != "" && body != s.report {
			wrong("reports %s, after %s", body, s.report)
		}
		if name != "renew" {
			s.report = body
		}
	default:
		wrong("is for %s", r.URL)
	}
}

// sent is what a request has for its body.
func sent(r *http.Request) []byte {
	body, _ := io.ReadAll(r.Body) // of bytes, which cannot fail
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body
}

func (s *service) must(err error) {
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.problems = append(s.problems, err.Error())
	}
}

// ended reports how the attempt ended that has a token, before its holder does.
func (s *service) ended(ctx context.Context, token atmost.Token, executed atmost.Executed) {
	_, err := s.engine.Fail(ctx, leaseID, token, atmost.Failure{Code: "x", Executed: executed})
	s.must(err)
}

// underway is a step: somebody else claims first.
func underway(s *service, r *http.Request) *httptest.ResponseRecorder {
	call, err := wire.ParseClaim(sent(r))
	s.must(err)
	call.ID, call.Token = leaseID, rival
	_, err = s.engine.Claim(r.Context(), call)
	s.must(err)
	return impatient(s, r)
}

// givenBack is a step: nothing came of what that one did, and the next lease is granted in an answer that nobody hears.
func givenBack(s *service, r *http.Request) *httptest.ResponseRecorder {
	s.ended(r.Context(), rival, atmost.ExecutedNo)
	return unheard(s, r)
}

// spent is a step: the attempt that this claim's token is for has ended, and nothing happened.
func spent(s *service, r *http.Request) *httptest.ResponseRecorder {
	call, err := wire.ParseClaim(sent(r))
	s.must(err)
	s.ended(r.Context(), call.Token, atmost.ExecutedNo)
	return pass(s, r)
}

// overtaken is a step: the lease that this call is about has ended.
func overtaken(s *service, r *http.Request) *httptest.ResponseRecorder {
	token, _, err := wire.ParseRenew(sent(r))
	if err != nil { // a report, and it is right
		return pass(s, r)
	}
	s.ended(r.Context(), token, atmost.ExecutedUnknown)
	return pass(s, r)
}

// renewed is a step: from now on the work may end.
func renewed(s *service, r *http.Request) *httptest.ResponseRecorder {
	defer func() { s.must(os.WriteFile(filepath.Join(s.dir, "renewed"), nil, 0o600)) }()
	if _, _, err := wire.ParseRenew(sent(r)); err != nil {
		s.must(err)
	}
	return pass(s, r)
}

// unheard is a step: the answer is lost.
func unheard(s *service, r *http.Request) *httptest.ResponseRecorder {
	pass(s, r)
	return nil
}

// unheardClaim is a step: it is, if it is one to a claim.
func unheardClaim(s *service, r *http.Request) *httptest.ResponseRecorder {
	if path.Base(r.URL.Path) == "claim" {
		return unheard(s, r)
	}
	return pass(s, r)
}
