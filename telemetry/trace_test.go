package telemetry

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/gateway"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/storetest"
	"github.com/atmost-dev/atmost/upstream"
)

// spans is a Tracing whose spans a test can read.
type spans struct {
	*Tracing
	exporter *tracetest.InMemoryExporter
}

func newSpans(options ...sdktrace.TracerProviderOption) *spans {
	e := tracetest.NewInMemoryExporter()
	return &spans{NewTracing(sdktrace.NewTracerProvider(append(options, sdktrace.WithSyncer(e))...)), e}
}

// tree draws the spans that have ended, and forgets them: those of a trace below each other, with what was noted of each.
func (s *spans) tree() string {
	all := s.exporter.GetSpans()
	s.exporter.Reset()
	slices.SortFunc(all, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	var b strings.Builder
	var draw func(parent trace.SpanID, indent string)
	draw = func(parent trace.SpanID, indent string) {
		for _, span := range all {
			if span.Parent.SpanID() != parent {
				continue
			}
			b.WriteString(indent + describe(span) + "\n")
			draw(span.SpanContext.SpanID(), indent+"  ")
		}
	}
	draw(trace.SpanID{}, "")
	drawn := map[trace.SpanID]bool{}
	for _, span := range all {
		if span.Parent.IsRemote() && !drawn[span.Parent.SpanID()] {
			drawn[span.Parent.SpanID()] = true
			b.WriteString("remote " + span.Parent.SpanID().String() + "\n")
			draw(span.Parent.SpanID(), "  ")
		}
	}
	return b.String()
}

func describe(s tracetest.SpanStub) string {
	d := s.SpanKind.String() + " " + s.Name
	var notes []string
	for _, a := range s.Attributes {
		notes = append(notes, strings.TrimPrefix(string(a.Key), "atmost.")+"="+a.Value.String())
	}
	slices.Sort(notes)
	d += " " + strings.Join(notes, " ")
	if s.Status.Code != codes.Unset {
		d += " " + s.Status.Code.String() + " " + s.Status.Description
	}
	for _, e := range s.Events {
		d += fmt.Sprint(" ", e.Name, e.Attributes)
	}
	for _, l := range s.Links {
		d += " -> " + l.SpanContext.TraceID().String()
	}
	return d
}

// service is the API over an engine, traced.
type service struct {
	*spans
	*httptest.Server
	store  *storetest.FaultyStore
	engine *atmost.Engine
	seen   chan http.Header // by the upstream
}

// newService has the upstream answer by h.
func newService(t *testing.T, s *spans, h http.HandlerFunc) *service {
	t.Helper()
	v := &service{spans: s, store: storetest.Faulty(memstore.New(memstore.Options{})), seen: make(chan http.Header, 10)}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.seen <- r.Header
		h(w, r)
	}))
	transport := upstream.NewTransport(upstream.TransportOptions{})
	u, err := upstream.New(upstream.Config{URL: up.URL, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(gateway.Config{Upstream: up.URL, ScopeHeader: gateway.NoScope, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	operations := map[string]atmost.Operation{"pay": {Executor: u}, "work": {}, "gateway": g.Operations()["gateway"]}
	v.engine, err = atmost.New(t.Context(), s.Store(v.store), atmost.Options{Operations: s.Operations(operations)})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/", server.New(v.engine, server.Options{}))
	mux.Handle("/shop/", g.Handler(v.engine))
	v.Server = httptest.NewServer(s.Handler(mux))
	t.Cleanup(func() {
		v.Close()
		v.engine.Close(context.Background())
		g.Close()
		transport.CloseIdleConnections()
		up.Close()
	})
	return v
}

const (
	theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" // a caller's span
	unseen = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00" // that nobody records
)

// send makes a request with a key that must not be seen, and returns the status of the answer.
func (v *service) send(t *testing.T, path, body string, headers ...string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", "key-7")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	resp, err := v.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// quiesce waits until every span of what was sent has ended: the one of a request ends after its answer has left.
func (v *service) quiesce() {
	v.Server.Close() // waits for handlers
	v.engine.Close(context.Background())
}

const (
	execute = "/v1/idempotency/execute"
	pay     = `{"operation":"pay","payload":"payload-7"}`
)

func fine(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `"result-7"`)
}

// want fails the test unless tree is as wanted, but for what no two runs have in common.
func want(t *testing.T, tree, want string) {
	t.Helper()
	if strings.Contains(tree, "-7") {
		t.Errorf("a key, a payload or a result is in a span:\n%s", tree)
	}
	tree = strings.ReplaceAll(tree, atmost.ID{Key: "key-7"}.Digest(), "DIGEST")
	var lines []string
	for line := range strings.Lines(tree) {
		words := strings.Split(strings.TrimRight(line, "\n"), " ")
		for i, w := range words {
			if strings.HasPrefix(w, "request_id=") {
				words[i] = "request_id=ID"
			}
		}
		lines = append(lines, strings.Join(words, " "))
	}
	var wanted []string
	for line := range strings.Lines(strings.TrimPrefix(want, "\n")) {
		wanted = append(wanted, strings.TrimRight(strings.Replace(line, "\t", "", 1), "\n"))
	}
	wanted = wanted[:len(wanted)-1] // the indentation of the end
	if diff := cmp.Diff(wanted, lines); diff != "" {
		t.Error(diff)
	}
}

// A first request is one tree, from the caller's span to the upstream's parent.
func TestSpansOfAFirstRequest(t *testing.T) {
	v := newService(t, newSpans(), fine)
	if status := v.send(t, execute, pay, "Traceparent", theirs, "Tracestate", "a=1"); status != 200 {
		t.Errorf("answered %d", status)
	}
	v.quiesce()
	var parent string
	for _, s := range v.exporter.GetSpans() {
		if s.SpanContext.TraceID().String() != theirs[3:35] || s.SpanContext.TraceState().String() != "a=1" {
			t.Errorf("%s is in another trace: %v", s.Name, s.SpanContext)
		}
		if s.Name == "execute pay" {
			parent = "00-" + theirs[3:35] + "-" + s.SpanContext.SpanID().String() + "-01"
		}
	}
	if h := <-v.seen; h.Get("Traceparent") != parent || h.Get("Tracestate") != "a=1" {
		t.Errorf("the upstream's parent is %s %s, not %s", h.Get("Traceparent"), h.Get("Tracestate"), parent)
	}
	want(t, v.tree(), `
	remote 00f067aa0ba902b7
	  server POST /v1/idempotency/execute executed=yes http.request.method=POST http.response.status_code=200 http.route=/v1/idempotency/execute replayed=false request_id=ID
	    internal claim attempt=1 key_digest=DIGEST operation=pay state=processing
	    client execute pay attempt=1 http.response.status_code=200 key_digest=DIGEST operation=pay outcome=completed
	    internal finish attempt=1 key_digest=DIGEST operation=pay state=completed
	`)
}

// A duplicate is told that another executes, and links to its trace; so does a replay, which is a success.
func TestSpansOfADuplicateAndAReplay(t *testing.T) {
	open := make(chan struct{})
	v := newService(t, newSpans(), func(w http.ResponseWriter, r *http.Request) {
		<-open
		fine(w, r)
	})
	var first sync.WaitGroup
	first.Go(func() { v.send(t, execute, pay, "Traceparent", theirs) })
	<-v.seen
	if status := v.send(t, execute, pay); status != 202 {
		t.Errorf("the duplicate was answered %d", status)
	}
	close(open)
	first.Wait()
	if status := v.send(t, execute, pay); status != 200 {
		t.Errorf("the replay was answered %d", status)
	}
	if status := v.send(t, execute, `{"operation":"pay","payload":2}`); status != 422 {
		t.Errorf("another payload was answered %d", status)
	}
	v.quiesce()
	want(t, v.tree(), `
	server POST /v1/idempotency/execute executed=unknown http.request.method=POST http.response.status_code=202 http.route=/v1/idempotency/execute request_id=ID -> 4bf92f3577b34da6a3ce929d0e0e4736
	  internal claim attempt=1 key_digest=DIGEST operation=pay state=processing
	server POST /v1/idempotency/execute executed=yes http.request.method=POST http.response.status_code=200 http.route=/v1/idempotency/execute replayed=true request_id=ID -> 4bf92f3577b34da6a3ce929d0e0e4736
	  internal claim attempt=1 key_digest=DIGEST operation=pay state=completed
	server POST /v1/idempotency/execute executed=unknown http.request.method=POST http.response.status_code=422 http.route=/v1/idempotency/execute request_id=ID
	  internal claim attempt=1 code=PAYLOAD_MISMATCH key_digest=DIGEST operation=pay state=completed
	remote 00f067aa0ba902b7
	  server POST /v1/idempotency/execute executed=yes http.request.method=POST http.response.status_code=200 http.route=/v1/idempotency/execute replayed=false request_id=ID
	    internal claim attempt=1 key_digest=DIGEST operation=pay state=processing
	    client execute pay attempt=1 http.response.status_code=200 key_digest=DIGEST operation=pay outcome=completed
	    internal finish attempt=1 key_digest=DIGEST operation=pay state=completed
	`)
}

// What the link of a replay names is the request that had it executed.
func TestAReplayLinksToTheRequest(t *testing.T) {
	v := newService(t, newSpans(), fine)
	v.send(t, execute, pay)
	v.send(t, execute, pay)
	v.quiesce()
	var first trace.SpanContext
	links := 0
	for _, s := range v.exporter.GetSpans() {
		if s.SpanKind != trace.SpanKindServer {
			continue
		}
		if len(s.Links) == 0 {
			first = s.SpanContext
			continue
		}
		links++
		if to := s.Links[0].SpanContext; to.TraceID() != first.TraceID() || to.SpanID() != first.SpanID() || !to.IsSampled() {
			t.Errorf("it links to %v, not to %v", to, first)
		}
	}
	if links != 1 {
		t.Errorf("%d requests have links", links)
	}
}

func TestSpansOfFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		do     http.HandlerFunc
		fault  func(*storetest.FaultyStore)
		want   string
	}{
		"failed": {424, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(402) }, nil, `
	server POST /v1/idempotency/execute executed=yes http.request.method=POST http.response.status_code=424 http.route=/v1/idempotency/execute replayed=false request_id=ID
	  internal claim attempt=1 key_digest=DIGEST operation=pay state=processing
	  client execute pay attempt=1 http.response.status_code=402 key_digest=DIGEST operation=pay outcome=failed Error the upstream answered 402
	  internal finish attempt=1 key_digest=DIGEST operation=pay state=failed
	`},
		"unknown": {409, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil, `
	server POST /v1/idempotency/execute executed=unknown http.request.method=POST http.response.status_code=409 http.route=/v1/idempotency/execute request_id=ID
	  internal claim attempt=1 key_digest=DIGEST operation=pay state=processing
	  client execute pay attempt=1 key_digest=DIGEST operation=pay outcome=unknown Error the connection to the upstream broke before it answered; the request may have been processed
	  internal finish attempt=1 key_digest=DIGEST operation=pay state=unknown
	`},
		"no store": {503, fine, func(s *storetest.FaultyStore) { s.SetDown(true) }, `
	server POST /v1/idempotency/execute executed=unknown http.request.method=POST http.response.status_code=503 http.route=/v1/idempotency/execute request_id=ID Error 
	  internal claim key_digest=DIGEST state=absent Error the store failed
	`},
		"ambiguous": {200, fine, func(s *storetest.FaultyStore) { s.Next(storetest.AmbiguousDone, storetest.Of[*atmost.Claim]) }, `
	server POST /v1/idempotency/execute executed=yes http.request.method=POST http.response.status_code=200 http.route=/v1/idempotency/execute replayed=false request_id=ID
	  internal claim key_digest=DIGEST state=absent Error the store does not know whether it was written
	  internal claim attempt=1 key_digest=DIGEST operation=pay state=processing
	  client execute pay attempt=1 http.response.status_code=200 key_digest=DIGEST operation=pay outcome=completed
	  internal finish attempt=1 key_digest=DIGEST operation=pay state=completed
	`},
	} {
		t.Run(name, func(t *testing.T) {
			v := newService(t, newSpans(), tc.do)
			if tc.fault != nil {
				tc.fault(v.store)
			}
			if status := v.send(t, execute, pay); status != tc.status {
				t.Errorf("answered %d", status)
			}
			v.store.SetDown(false)
			v.quiesce()
			want(t, v.tree(), tc.want)
		})
	}
}

// A client that performs the operation has its claim and its report in a trace, and nothing is executed.
func TestSpansOfALease(t *testing.T) {
	v := newService(t, newSpans(), fine)
	token := hex.EncodeToString(make([]byte, 15)) + "01"
	v.send(t, "/v1/idempotency/claim", `{"operation":"work","payload":1,"lease":"30s","lease_token":"`+token+`"}`)
	v.send(t, "/v1/idempotency/renew", `{"lease_token":"`+token+`","lease":"40s"}`)
	v.send(t, "/v1/idempotency/complete", `{"lease_token":"`+token+`","result":2}`)
	v.quiesce()
	tree := v.tree()
	if strings.Contains(tree, token) {
		t.Error("a token is in a span")
	}
	want(t, tree, `
	server POST /v1/idempotency/claim executed=unknown http.request.method=POST http.response.status_code=201 http.route=/v1/idempotency/claim request_id=ID
	  internal claim attempt=1 key_digest=DIGEST operation=work state=processing
	server POST /v1/idempotency/renew executed=unknown http.request.method=POST http.response.status_code=200 http.route=/v1/idempotency/renew request_id=ID
	server POST /v1/idempotency/complete executed=yes http.request.method=POST http.response.status_code=200 http.route=/v1/idempotency/complete replayed=false request_id=ID
	  internal finish attempt=1 key_digest=DIGEST operation=work state=completed
	`)
}

// Through the gateway it is the same; what passes through it has the request's span as its parent.
func TestSpansOfTheGateway(t *testing.T) {
	v := newService(t, newSpans(), fine)
	v.send(t, "/shop/orders", `"payload-7"`, "Traceparent", theirs)
	executed := <-v.seen
	v.send(t, "/shop/orders", `"payload-7"`, "Traceparent", theirs)
	r, err := v.Client().Get(v.URL + "/shop/orders?secret=-7")
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	passed := <-v.seen
	v.quiesce()
	parents := map[string]string{}
	for _, s := range v.exporter.GetSpans() {
		parents[s.Name] = s.SpanContext.SpanID().String()
	}
	if got := executed.Get("Traceparent"); !strings.Contains(got, parents["execute gateway"]) {
		t.Errorf("the parent of what was executed is %s, not %s", got, parents["execute gateway"])
	}
	if got := passed.Get("Traceparent"); !strings.Contains(got, parents["GET /shop/"]) {
		t.Errorf("the parent of what passed through is %s, not %s", got, parents["GET /shop/"])
	}
	want(t, v.tree(), `
	server GET /shop/ http.request.method=GET http.response.status_code=200 http.route=/shop/
	remote 00f067aa0ba902b7
	  server POST /shop/ executed=yes http.request.method=POST http.response.status_code=200 http.route=/shop/ replayed=false request_id=ID
	    internal claim attempt=1 key_digest=DIGEST operation=gateway state=processing
	    client execute gateway attempt=1 http.response.status_code=200 key_digest=DIGEST operation=gateway outcome=completed
	    internal finish attempt=1 key_digest=DIGEST operation=gateway state=completed
	  server POST /shop/ executed=yes http.request.method=POST http.response.status_code=200 http.route=/shop/ replayed=true request_id=ID -> 4bf92f3577b34da6a3ce929d0e0e4736
	    internal claim attempt=1 key_digest=DIGEST operation=gateway state=completed
	`)
}

// Whom the caller does not want recorded is not, and no link leads there; the upstream is told so as well.
func TestTheCallersDecisionCounts(t *testing.T) {
	v := newService(t, newSpans(), fine)
	v.send(t, execute, pay, "Traceparent", unseen)
	v.send(t, execute, pay)
	v.quiesce()
	if got := (<-v.seen).Get("Traceparent"); !strings.HasPrefix(got, unseen[:35]) || !strings.HasSuffix(got, "-00") || got == unseen {
		t.Errorf("the upstream's parent is %s", got)
	}
	want(t, v.tree(), `
	server POST /v1/idempotency/execute executed=yes http.request.method=POST http.response.status_code=200 http.route=/v1/idempotency/execute replayed=true request_id=ID
	  internal claim attempt=1 key_digest=DIGEST operation=pay state=completed
	`)
}

// Two parents are none, and a method that a client made up is no name.
func TestHandlerTakesNothingForGranted(t *testing.T) {
	s := newSpans()
	h := s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header["Tracestate"] != nil {
			t.Errorf("the state of nobody's trace is passed on: %v", r.Header)
		}
		if r.Method == "PATCH" {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusEarlyHints)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		if r.Method == "GET" {
			w.WriteHeader(http.StatusTeapot)
		}
		fmt.Fprint(w, "x")
	}))
	for _, m := range []string{"INVENTED", "GET", "PATCH"} {
		r := httptest.NewRequest(m, "/path-7", nil)
		r.Header["Traceparent"], r.Header["Tracestate"] = []string{theirs, theirs}, []string{"a=1"}
		func() {
			defer func() {
				if p := recover(); p != nil && p != http.ErrAbortHandler {
					panic(p)
				}
			}()
			h.ServeHTTP(httptest.NewRecorder(), r)
		}()
		if got := r.Header["Traceparent"]; len(got) != 2 {
			t.Errorf("the caller's own headers were changed: %v", got)
		}
	}
	want(t, s.tree(), `
	server HTTP http.request.method=HTTP http.response.status_code=200
	server GET http.request.method=GET http.response.status_code=418
	server PATCH http.request.method=PATCH Error 
	`)
}

// An executor of a program of one's own has the span of the call, whichever way that is told.
func TestExecutionsWithoutAHandler(t *testing.T) {
	s := newSpans()
	var got atmost.Attempt
	x := s.Operations(map[string]atmost.Operation{"pay": {Executor: executor(func(_ context.Context, a atmost.Attempt) atmost.Outcome {
		got = a
		return atmost.Outcome{State: atmost.Completed}
	})}})["pay"].Executor
	x.Execute(t.Context(), atmost.Attempt{Operation: "pay", Number: 1, Trace: atmost.Trace{Parent: theirs, State: "a=1"}})
	if got.Trace.Parent[:36] != theirs[:36] || got.Trace.Parent == theirs || got.Trace.State != "a=1" {
		t.Errorf("passed on %+v", got.Trace)
	}
	ctx, span := s.tracer.Start(t.Context(), "own")
	x.Execute(ctx, atmost.Attempt{Operation: "pay", Number: 1, Trace: atmost.Trace{Parent: theirs, State: "a=1"}})
	if got.Trace.Parent[3:35] != span.SpanContext().TraceID().String() || got.Trace.State != "" {
		t.Errorf("passed on %+v", got.Trace)
	}
	x.Execute(t.Context(), atmost.Attempt{Operation: "pay", Number: 1, Trace: atmost.Trace{Parent: "nonsense", State: "a=1"}})
	if !got.Trace.Valid() || got.Trace.State != "" {
		t.Errorf("passed on %+v", got.Trace)
	}
}

type executor func(ctx context.Context, a atmost.Attempt) atmost.Outcome

func (f executor) Execute(ctx context.Context, a atmost.Attempt) atmost.Outcome { return f(ctx, a) }

// A panic goes on, and the span ends.
func TestAnExecutionThatPanics(t *testing.T) {
	s := newSpans()
	x := s.Operations(map[string]atmost.Operation{"pay": {Executor: executor(func(context.Context, atmost.Attempt) atmost.Outcome {
		panic(errors.New("secret-7"))
	})}})["pay"].Executor
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		x.Execute(t.Context(), atmost.Attempt{ID: atmost.ID{Key: "key-7"}, Operation: "pay", Number: 1})
	}()
	want(t, s.tree(), `
	client execute pay attempt=1 key_digest=DIGEST operation=pay Error it panicked
	`)
}

// Nor does a span tell of what a store panics.
func TestAStoreThatPanics(t *testing.T) {
	s := newSpans()
	ctx, span := s.tracer.Start(t.Context(), "request")
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		_, _ = s.Store(struct{ atmost.Store }{}).Apply(ctx, atmost.ID{Key: "key-7"}, &atmost.Claim{})
	}()
	span.End()
	want(t, s.tree(), `
	internal request 
	`)
}

// Where nothing is traced, nothing stands in between.
func TestNoTracing(t *testing.T) {
	var none *Tracing
	store := memstore.New(memstore.Options{})
	if got := none.Store(store); got != atmost.Store(store) {
		t.Errorf("the store is %T", got)
	}
	h := http.NewServeMux()
	if got := none.Handler(h); got != http.Handler(h) {
		t.Errorf("the handler is %T", got)
	}
	operations := map[string]atmost.Operation{"pay": {Executor: executor(nil), Timeout: time.Second}}
	if _, same := none.Operations(operations)["pay"].Executor.(executor); !same {
		t.Error("the executor is another")
	}
}

// Traced operations are what they were but for their executor, and those of clients stay theirs.
func TestOperations(t *testing.T) {
	before := map[string]atmost.Operation{"pay": {Executor: executor(nil), Timeout: time.Second}, "work": {Timeout: time.Minute}}
	after := newSpans().Operations(before)
	if after["pay"].Timeout != time.Second || after["pay"].Executor == nil || after["work"].Executor != nil || after["work"].Timeout != time.Minute {
		t.Errorf("got %+v", after)
	}
	if _, own := before["pay"].Executor.(executor); !own {
		t.Error("the caller's operations were changed")
	}
}
