package atmostclient_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmostclient"
	"github.com/atmost-dev/atmost/internal/memnet"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/memstore"
)

// does is an executor.
type does func(context.Context, atmost.Attempt) atmost.Outcome

func (f does) Execute(ctx context.Context, a atmost.Attempt) atmost.Outcome { return f(ctx, a) }

func completed(result string) atmost.Outcome {
	return atmost.Outcome{State: atmost.Completed, Result: []byte(result), UpstreamStatus: 200}
}

// service is a real one, with something in front of it that does to each request what the script says, and nothing to those that
// follow.
type service struct {
	*testing.T
	client  *atmostclient.Client
	handler http.Handler
	script  []step
	times   []time.Duration // of the requests, since the first
	begin   time.Time
	effects atomic.Int64
	last    *http.Request
	body    string
}

// step handles a request; next is the service.
type step func(w http.ResponseWriter, r *http.Request, next http.Handler)

// inService runs test, in virtual time, with a service of three operations: "charge", which op executes, "work", which clients
// perform, and "ask", which is executed and answered after a minute and a half.
func inService(t *testing.T, op atmost.Operation, script []step, test func(s *service)) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{T: t, script: script, begin: time.Now()}
		if inner := op.Executor; inner != nil {
			op.Executor = does(func(ctx context.Context, a atmost.Attempt) atmost.Outcome {
				s.effects.Add(1)
				return inner.Execute(ctx, a)
			})
		}
		slow := does(func(context.Context, atmost.Attempt) atmost.Outcome {
			s.effects.Add(1)
			<-time.After(90 * time.Second)
			return completed(`"slow"`)
		})
		clock := bubbleClock{time.Now()}
		e, err := atmost.New(t.Context(), memstore.New(memstore.Options{Clock: clock}), atmost.Options{Clock: clock, Operations: map[string]atmost.Operation{
			"charge": op, "work": {}, "ask": {Executor: slow, Timeout: time.Hour},
		}})
		if err != nil {
			t.Fatal(err)
		}
		s.handler = server.New(e, server.Options{})
		s.client = s.newClient()
		t.Cleanup(func() { e.Close(context.Background()) })
		test(s)
	})
}

type bubbleClock struct{ start time.Time }

func (c bubbleClock) Now() time.Time         { return time.Now() }
func (c bubbleClock) Elapsed() time.Duration { return time.Since(c.start) }

func (s *service) newClient(options ...atmostclient.Option) *atmostclient.Client {
	s.Helper()
	c, err := atmostclient.New("http://atmost.test/", append(options, atmostclient.WithHTTPClient(memnet.Serve(s, s)))...)
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := len(s.times)
	s.times = append(s.times, time.Since(s.begin))
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if n > 0 && strings.HasSuffix(r.URL.Path, "/execute") && s.last.URL.Path == r.URL.Path && (string(body) != s.body || r.Header.Get("Idempotency-Key") != s.last.Header.Get("Idempotency-Key")) {
		s.Errorf("request %d is another: %v\n%s", n+1, r.Header, body)
	}
	s.last, s.body = r, string(body)
	r.Body = io.NopCloser(strings.NewReader(s.body))
	if n < len(s.script) {
		s.script[n](w, r, s.handler)
		return
	}
	s.handler.ServeHTTP(w, r)
}

func charge(key string) atmost.Call {
	return atmost.Call{ID: atmost.ID{Key: key}, Operation: "charge", Payload: []byte(`{"amount": 1.10, "to": "<A&B>"}`)}
}

func (s *service) asked(n int) {
	s.Helper()
	if len(s.times) != n {
		s.Errorf("it asked %d times, at %v, not %d", len(s.times), s.times, n)
	}
}

// lost is a step: the service does it, and the answer is lost.
func lost(_ http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(discard{}, r)
	panic(http.ErrAbortHandler)
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// early is a step: the request is lost.
func early(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// silent is a step: there is no answer.
func silent(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }

// foreign is a step: something else answers.
func foreign(status int, headers ...string) step {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<h1>It works!</h1>")
	}
}

// says is a step: the service refuses with code, and the advice given.
func says(code atmost.Code, retryAfter string) step {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		h := w.Header()
		h.Set("Idempotency-Executed", string(code.Executed()))
		h.Set("Idempotency-Retry", string(code.Retry()))
		if retryAfter != "" {
			h.Set("Retry-After", retryAfter)
		}
		w.WriteHeader(503)
		_, _ = io.WriteString(w, `{"error":{"code":"`+string(code)+`","message":"no"}}`)
	}
}

// cut is a step: the connection ends in the middle of the answer.
func cut(w http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(&cutWriter{w}, r)
	panic(http.ErrAbortHandler)
}

type cutWriter struct{ http.ResponseWriter }

func (w *cutWriter) Write(b []byte) (int, error) {
	n, _ := w.ResponseWriter.Write(b[:len(b)/2])
	return n, http.NewResponseController(w.ResponseWriter).Flush()
}

func TestExecute(t *testing.T) {
	const result = `{"n": 9007199254740993, "p": 1.10, "s": "<A&B>"}`
	var seen atmost.Attempt
	op := atmost.Operation{Executor: does(func(_ context.Context, a atmost.Attempt) atmost.Outcome {
		seen = a
		return completed(result)
	})}
	inService(t, op, nil, func(s *service) {
		c := charge(`odd "key", \`[:3] + `;"`)
		c.ID.Scope = "tenant"
		c.Trace = atmost.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "a=1"}
		for i := range 2 {
			r, err := s.client.Execute(s.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			want := atmostclient.Result{State: atmost.Completed, JSON: []byte(result), Attempt: 1, Replayed: i == 1, Expires: r.Expires}
			if diff := cmp.Diff(want, r); diff != "" || time.Until(r.Expires).Round(time.Hour) != 24*time.Hour {
				t.Errorf("%s%v", diff, r.Expires)
			}
		}
		want := atmost.Attempt{ID: c.ID, Operation: c.Operation, Payload: c.Payload, Number: 1, Fence: seen.Fence, Trace: c.Trace}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Error(diff)
		}
		s.asked(2)
	})
}

// TestWhatComesBetween: one effect, and its result, whatever happens to the first tries.
func TestWhatComesBetween(t *testing.T) {
	for name, script := range map[string][]step{
		"nothing":                {},
		"lost requests":          {early, early},
		"lost answers":           {lost, lost},
		"answers cut short":      {cut, cut},
		"a proxy's word":         {foreign(502), foreign(429), foreign(200), foreign(408)},
		"no answer":              {silent},
		"refusals that will end": {says(atmost.CodeOverloaded, "1"), says(atmost.CodeStoreUnavailable, ""), says(atmost.CodeShuttingDown, "2"), says(atmost.CodeInternal, "1")},
		"no effect so far":       {says(atmost.CodeExecutionNotStarted, "1")},
		"unknown, being probed":  {says(atmost.CodeOutcomeUnknown, "5")},
	} {
		t.Run(name, func(t *testing.T) {
			op := atmost.Operation{Executor: does(func(context.Context, atmost.Attempt) atmost.Outcome { return completed(`"paid"`) })}
			inService(t, op, script, func(s *service) {
				r, err := s.client.Execute(s.Context(), charge("k"))
				if err != nil || string(r.JSON) != `"paid"` || s.effects.Load() != 1 {
					t.Errorf("%s, %v, %d effects", r.JSON, err, s.effects.Load())
				}
				if script != nil && len(s.times) != len(script)+1 {
					s.asked(len(script) + 1)
				}
			})
		})
	}
}

// TestItWaitsInsteadOfPolling.
func TestItWaitsInsteadOfPolling(t *testing.T) {
	inService(t, atmost.Operation{}, nil, func(s *service) {
		c := charge("k")
		c.Operation = "ask"
		r, err := s.client.Execute(s.Context(), c)
		if err != nil || string(r.JSON) != `"slow"` || s.effects.Load() != 1 {
			t.Errorf("%s, %v, %d effects", r.JSON, err, s.effects.Load())
		}
		s.asked(2) // a minute each at most
	})
}

// TestAnExecutionOutlastsThePatience that there is with silence.
func TestAnExecutionOutlastsThePatience(t *testing.T) {
	inService(t, atmost.Operation{}, nil, func(s *service) {
		c := charge("k")
		c.Operation = "ask"
		r, err := s.newClient(atmostclient.WithPatience(10*time.Second)).Execute(s.Context(), c)
		if err != nil || string(r.JSON) != `"slow"` {
			t.Errorf("%s, %v", r.JSON, err)
		}
	})
}

// TestAdvice is heeded: never earlier, and not much later.
func TestAdviceIsHeeded(t *testing.T) {
	op := atmost.Operation{Executor: does(func(context.Context, atmost.Attempt) atmost.Outcome { return completed(`1`) })}
	inService(t, op, []step{says(atmost.CodeOverloaded, "7"), foreign(503, "Retry-After", "20"), says(atmost.CodeOverloaded, "0")}, func(s *service) {
		if _, err := s.client.Execute(s.Context(), charge("k")); err != nil {
			t.Fatal(err)
		}
		s.asked(4)
		for i, want := range []time.Duration{7 * time.Second, 20 * time.Second, 0} {
			if pause := s.times[i+1] - s.times[i]; pause < want || pause > want+time.Second {
				t.Errorf("pause %d is %v, advised were %v", i+1, pause, want)
			}
		}
	})
}

// TestPausesGrow, and are not the same for all clients.
func TestPausesGrow(t *testing.T) {
	var firsts []time.Duration
	for range 10 {
		inService(t, atmost.Operation{Executor: does(nil)}, []step{early, early, early, early, early, early, early, early, early, foreign(404)}, func(s *service) {
			if _, err := s.client.Execute(s.Context(), charge("k")); err == nil {
				t.Error("no error")
			}
			s.asked(10)
			for i := range 9 {
				pause, most := s.times[i+1]-s.times[i], min(100*time.Millisecond<<i, 10*time.Second)
				if pause < most/2 || pause > most {
					t.Errorf("pause %d is %v", i+1, pause)
				}
			}
			firsts = append(firsts, s.times[1])
		})
	}
	for _, d := range firsts {
		if d != firsts[0] {
			return
		}
	}
	t.Errorf("the first pauses are all %v", firsts[0])
}

func TestErrorsSayWhatWasExecuted(t *testing.T) {
	for _, tc := range []struct {
		name     string
		outcome  atmost.Outcome
		script   []step
		code     atmost.Code
		executed atmost.Executed
		requests int
	}{
		{"failed", atmost.Outcome{State: atmost.Failed, Message: "declined", UpstreamStatus: 402, Result: []byte(`{"a": 1}`)}, nil, atmost.CodeExecutionFailed, atmost.ExecutedYes, 1},
		{"failed, after a lost try", atmost.Outcome{State: atmost.Failed}, []step{lost}, atmost.CodeExecutionFailed, atmost.ExecutedYes, 2},
		{"unknown", atmost.Outcome{State: atmost.Unknown, Message: "no answer", UpstreamStatus: 504}, nil, atmost.CodeOutcomeUnknown, atmost.ExecutedUnknown, 1},
		{"result not kept", atmost.Outcome{State: atmost.Completed, NotKept: atmost.TooLarge}, nil, atmost.CodeResultNotKept, atmost.ExecutedYes, 1},
		{"refused", atmost.Outcome{}, []step{says(atmost.CodeInvalidRequest, "")}, atmost.CodeInvalidRequest, atmost.ExecutedNo, 1},
		{"refused, after a lost try", atmost.Outcome{}, []step{early, says(atmost.CodeInvalidRequest, "")}, atmost.CodeInvalidRequest, atmost.ExecutedUnknown, 2},
		{"not executed", atmost.Outcome{State: atmost.NotExecuted, Message: "refused"}, nil, atmost.CodeExecutionNotStarted, atmost.ExecutedNo, 0},
		{"not executed, after a lost try", atmost.Outcome{State: atmost.NotExecuted, Message: "refused"}, []step{lost}, atmost.CodeExecutionNotStarted, atmost.ExecutedUnknown, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inService(t, atmost.Operation{Executor: does(func(context.Context, atmost.Attempt) atmost.Outcome { return tc.outcome })}, tc.script, func(s *service) {
				r, err := s.client.Execute(s.Context(), charge("k"))
				var e *atmost.Error
				if !errors.As(err, &e) || e.Code != tc.code || e.Executed() != tc.executed || atmost.ExecutedOf(err) != tc.executed {
					t.Errorf("%v, executed: %v", err, atmost.ExecutedOf(err))
				}
				if r.State != tc.outcome.State || string(r.JSON) != string(tc.outcome.Result) || tc.requests == 1 && r.UpstreamStatus != tc.outcome.UpstreamStatus {
					t.Errorf("%+v", r)
				}
				if tc.requests > 0 {
					s.asked(tc.requests)
				} else if took := s.times[len(s.times)-1]; took < time.Minute {
					t.Errorf("it gave up after %v", took)
				}
			})
		})
	}
}

// TestAMismatchTellsWhere the payload is another.
func TestAMismatchTellsWhere(t *testing.T) {
	inService(t, atmost.Operation{}, nil, func(s *service) {
		call := charge("k")
		call.Operation = "work"
		if _, err := s.client.Claim(s.Context(), atmost.ClaimCall{Call: call, Lease: time.Minute}); err != nil {
			s.Fatal(err)
		}
		other := call
		other.Payload = []byte(`{"amount": 1.1, "to": "<A&B>", "<~>": null}`)
		_, err := s.client.Claim(s.Context(), atmost.ClaimCall{Call: other, Lease: time.Minute})
		var e *atmost.Error
		if !errors.As(err, &e) || e.Code != atmost.CodePayloadMismatch || !slices.Equal(e.Differs, []string{"/<~0>", "/amount"}) {
			s.Errorf("%+v", err)
		}
	})
}

// TestAnAttemptThatIsPresumedToHaveFailed: the code says that it was not executed, the answer does not.
func TestAnAttemptThatIsPresumedToHaveFailed(t *testing.T) {
	op := atmost.Operation{OnUnknown: atmost.RetryUnknown, Executor: does(func(context.Context, atmost.Attempt) atmost.Outcome {
		return atmost.Outcome{State: atmost.Unknown}
	})}
	inService(t, op, nil, func(s *service) {
		_, err := s.client.Execute(s.Context(), charge("k"))
		if atmost.CodeOf(err) != atmost.CodeExecutionNotStarted || atmost.ExecutedOf(err) != atmost.ExecutedUnknown {
			t.Errorf("%v, executed: %v", err, atmost.ExecutedOf(err))
		}
	})
}

func TestNoAnswer(t *testing.T) {
	for _, tc := range []struct {
		name   string
		step   step
		status int
		once   bool // there is no other try
	}{
		{"none at all", early, 0, false},
		{"a proxy's error", foreign(502), 502, false},
		{"a proxy that wants a password", foreign(401), 401, true},
		{"a redirect", foreign(307, "Location", "/elsewhere"), 307, true},
		{"a page that claims to be an answer", foreign(500, "Idempotency-Retry", "no"), 0, false},
		{"an error without a code", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Idempotency-Retry", "no")
			w.WriteHeader(404)
			_, _ = io.WriteString(w, "{}")
		}, 404, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			script := make([]step, 100)
			for i := range script {
				script[i] = tc.step
			}
			inService(t, atmost.Operation{Executor: does(nil)}, script, func(s *service) {
				for name, c := range map[string]struct {
					patience, deadline, most time.Duration
				}{
					"patience": {time.Minute, time.Hour, time.Minute},
					"context":  {time.Hour, 30 * time.Second, 30 * time.Second},
				} {
					s.times, s.begin = nil, time.Now()
					ctx, cancel := context.WithTimeout(s.Context(), c.deadline)
					_, err := s.newClient(atmostclient.WithPatience(c.patience)).Execute(ctx, charge("k"))
					cancel()
					var none *atmostclient.NoAnswerError
					if !errors.As(err, &none) || none.Status != tc.status || none.Tries != len(s.times) || atmost.ExecutedOf(err) != atmost.ExecutedUnknown {
						t.Fatalf("%s: %v, after %d requests", name, err, len(s.times))
					}
					took := time.Since(s.begin)
					switch {
					case tc.once:
						s.asked(1)
					case took > c.most || took < c.most/2:
						t.Errorf("%s: it took %v", name, took)
					case errors.Is(err, context.DeadlineExceeded) != (name == "context"):
						t.Errorf("%s: %v", name, err)
					}
				}
			})
		})
	}
}

func TestAnAnswerThatIsTooLongIsNotReadAgain(t *testing.T) {
	inService(t, atmost.Operation{Executor: does(nil)}, []step{func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Idempotency-Retry", "no")
		blank := make([]byte, 1<<20)
		for i := range blank {
			blank[i] = ' '
		}
		for range 65 {
			_, _ = w.Write(blank)
		}
	}}, func(s *service) {
		_, err := s.client.Execute(s.Context(), charge("k"))
		if atmost.ExecutedOf(err) != atmost.ExecutedUnknown {
			t.Error(err)
		}
		s.asked(1)
	})
}

// TestTheContextEndsACall at once, whatever it waits for, and the error says what was heard last.
func TestTheContextEndsACall(t *testing.T) {
	for name, tc := range map[string]struct {
		script   []step
		deadline time.Duration
		code     atmost.Code
	}{
		"an execution":                   {nil, 10500 * time.Millisecond, atmost.CodeInternal},
		"an execution that was heard of": {nil, 60500 * time.Millisecond, atmost.CodeOutcomeUnknown},
		"an answer":                      {[]step{silent, silent}, 10500 * time.Millisecond, atmost.CodeInternal},
		"a pause":                        {[]step{says(atmost.CodeOverloaded, "60")}, 10500 * time.Millisecond, atmost.CodeOverloaded},
	} {
		t.Run(name, func(t *testing.T) {
			inService(t, atmost.Operation{}, tc.script, func(s *service) {
				ctx, cancel := context.WithTimeout(s.Context(), tc.deadline)
				defer cancel()
				c := charge("k")
				c.Operation = "ask"
				_, err := s.client.Execute(ctx, c)
				if took := time.Since(s.begin); took != tc.deadline || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v, after %v", err, took)
				}
				if atmost.CodeOf(err) != tc.code || atmost.ExecutedOf(err) != atmost.ExecutedUnknown {
					t.Errorf("%v, executed: %v", err, atmost.ExecutedOf(err))
				}
			})
		})
	}
}

func TestWhatCannotBeAsked(t *testing.T) {
	inService(t, atmost.Operation{}, nil, func(s *service) {
		c := charge("")
		_, err := s.client.Execute(s.Context(), c)
		if atmost.CodeOf(err) != atmost.CodeInvalidKey || atmost.ExecutedOf(err) != atmost.ExecutedNo {
			t.Error(err)
		}
		for _, payload := range []string{"", "{", `1,"operation":"other"`, `1} {`} {
			c := charge("k")
			c.Payload = []byte(payload)
			_, executed := s.client.Execute(s.Context(), c)
			_, claimed := s.client.Claim(s.Context(), atmost.ClaimCall{Call: c, Lease: time.Minute})
			_, reported := s.client.Complete(s.Context(), c.ID, atmost.NewToken(), []byte(payload))
			for _, err := range []error{executed, claimed, reported} {
				if atmost.CodeOf(err) != atmost.CodeInvalidRequest {
					t.Errorf("%q: %v", payload, err)
				}
			}
		}
		s.asked(0)
	})
}

func TestNew(t *testing.T) {
	for url, ok := range map[string]bool{
		"http://localhost:8080": true, "https://host/prefix/": true,
		"": false, "localhost:8080": false, "ftp://host": false, "http://": false, "http://host?x=1": false, "http://host/#x": false, "http://us er:secret@host": false,
	} {
		_, err := atmostclient.New(url)
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := atmostclient.New("http://host", atmostclient.WithPatience(-1)); err == nil {
		t.Error("a negative patience is accepted")
	}
}

func TestTheCallersClientIsNotChanged(t *testing.T) {
	own := &http.Client{}
	if _, err := atmostclient.New("http://host", atmostclient.WithHTTPClient(own)); err != nil || own.CheckRedirect != nil {
		t.Errorf("%v; it follows redirects no more: %v", err, own.CheckRedirect != nil)
	}
}

// TestALostTryIsKnownOf on a connection that was in use, where net/http would send a request with a key again by itself: what a second copy
// is answered must not be taken for the last word, as the first may arrive yet.
func TestALostTryIsKnownOf(t *testing.T) {
	op := atmost.Operation{Executor: does(func(context.Context, atmost.Attempt) atmost.Outcome { return completed(`"paid"`) })}
	served := func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }
	inService(t, op, []step{served, early, says(atmost.CodeInvalidRequest, "")}, func(s *service) {
		if _, err := s.client.Status(s.Context(), atmost.ID{Key: "other"}, 0); atmost.CodeOf(err) != atmost.CodeKeyNotFound {
			t.Fatal(err)
		}
		_, err := s.client.Execute(s.Context(), charge("k"))
		if atmost.CodeOf(err) != atmost.CodeInvalidRequest || atmost.ExecutedOf(err) != atmost.ExecutedUnknown {
			t.Errorf("%v, executed: %v", err, atmost.ExecutedOf(err))
		}
		s.asked(3)
	})
}

// TestAnAnswerWithoutAWord is none, whatever its headers say.
func TestAnAnswerWithoutAWord(t *testing.T) {
	empty := func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Idempotency-Retry", "no")
		_, _ = io.WriteString(w, "{}")
	}
	op := atmost.Operation{Executor: does(func(context.Context, atmost.Attempt) atmost.Outcome { return completed(`"paid"`) })}
	inService(t, op, []step{empty}, func(s *service) {
		r, err := s.client.Execute(s.Context(), charge("k"))
		if err != nil || string(r.JSON) != `"paid"` {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
