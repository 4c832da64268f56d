package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/telemetry"
)

func TestWantsTraces(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://h:4318"
	for environment, want := range map[string]struct {
		wanted  bool
		problem string
	}{
		"": {},
		"OTEL_SERVICE_NAME=a OTEL_TRACES_SAMPLER=always_on": {},
		endpoint:                                                                 {wanted: true},
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=h":                                   {wanted: true},
		"OTEL_EXPORTER_OTLP_ENDPOINT=":                                           {},
		"OTEL_TRACES_EXPORTER=otlp":                                              {wanted: true},
		endpoint + " OTEL_TRACES_EXPORTER=otlp":                                  {wanted: true},
		endpoint + " OTEL_TRACES_EXPORTER=none":                                  {},
		endpoint + " OTEL_TRACES_EXPORTER=zipkin":                                {problem: `OTEL_TRACES_EXPORTER is "zipkin"`},
		endpoint + " OTEL_SDK_DISABLED=true":                                     {},
		endpoint + " OTEL_SDK_DISABLED=TRUE":                                     {},
		endpoint + " OTEL_SDK_DISABLED=false":                                    {wanted: true},
		endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf":                  {wanted: true},
		endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=grpc":                           {problem: `the protocol is "grpc"`},
		endpoint + " OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json":               {problem: `the protocol is "http/json"`},
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc":                                       {},
		endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_TRACES_EXPORTER=none": {},
		endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_SDK_DISABLED=true":    {},
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf OTEL_TRACES_EXPORTER=otlp": {wanted: true},
	} {
		set := map[string]string{}
		for _, v := range strings.Fields(environment) {
			name, value, _ := strings.Cut(v, "=")
			set[name] = value
		}
		wanted, problem := wantsTraces(func(name string) (string, bool) { v, ok := set[name]; return v, ok })
		if wanted != want.wanted || (problem == "") != (want.problem == "") || !strings.HasPrefix(problem, want.problem) {
			t.Errorf("%s: %v, %q", environment, wanted, problem)
		}
	}
}

// Where the environment does not ask for traces, there is nothing that could make any; where it asks in vain, the log says so.
func TestNoTracesAreStarted(t *testing.T) {
	log := newJournal()
	for environment, lines := range map[string]int{"": 0, "zipkin": 1} {
		env := func(name string) (string, bool) { return environment, name == "OTEL_TRACES_EXPORTER" }
		traces, err := startTracing(t.Context(), env, log.logger())
		if traces != nil || traces.maker() != nil || err != nil {
			t.Errorf("%q: started %v, %v", environment, traces, err)
		}
		traces.close(log.logger())
		if got := strings.Count(log.text(), "no traces are exported"); got != lines {
			t.Errorf("%q: %s", environment, log.text())
		}
		log.lines = nil
	}
}

// collector takes traces by OTLP over HTTP.
type collector struct {
	*httptest.Server
	mu  sync.Mutex
	got bytes.Buffer
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("exported to %s as %s, %v", r.URL.Path, r.Header.Get("Content-Type"), err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.got.Write(body)
	}))
	t.Cleanup(c.Close)
	return c
}

// has reports whether something was exported: protocol buffers hold text, and ids, as they are.
func (c *collector) has(what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Contains(c.got.Bytes(), []byte(what))
}

// TestTracesAreExported has the real program export what it does, to its last span.
func TestTracesAreExported(t *testing.T) {
	collector := newCollector(t)
	parents := make(chan string, 1)
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { parents <- r.Header.Get("Traceparent") }))
	defer up.Close()
	file := filepath.Join(t.TempDir(), "atmost.yaml")
	text := "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nstore: memory\ndrain_delay: 0s\noperations: {charge: {url: '" + up.URL + "'}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log := newJournal()
	c, err := startChild(context.WithoutCancel(t.Context()), []string{"serve", "--config", file}, []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL, "OTEL_SERVICE_NAME=my-shop",
		"OTEL_BSP_SCHEDULE_DELAY=3600000", // so that what comes, came at the end
	}, log.add)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.text())
	}
	t.Cleanup(c.kill)
	const body = `{"operation":"charge","payload":"secret payload"}`
	for range 2 {
		p, err := post(t.Context(), http.DefaultClient, c.url(), "secret-key", body, "")
		if err != nil {
			t.Fatal(err)
		}
		p.want(t, http.StatusOK, "completed")
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, c.ended)
	if c.err != nil {
		t.Errorf("it ended with %v\n%s", c.err, log.text())
	}
	digest := atmost.ID{Key: "secret-key"}.Digest()
	for _, name := range []string{"my-shop", "POST /v1/idempotency/execute", "claim", "execute charge", "finish", digest, "atmost.replayed"} {
		if !collector.has(name) {
			t.Errorf("nothing of %q was exported", name)
		}
	}
	for _, secret := range []string{"secret-key", "secret payload"} {
		if collector.has(secret) {
			t.Errorf("%q was exported", secret)
		}
	}
	parent := strings.Split(<-parents, "-")
	if len(parent) != 4 {
		t.Fatalf("the upstream's parent is %q", parent)
	}
	for _, id := range parent[1:3] {
		if raw, err := hex.DecodeString(id); err != nil || !collector.has(string(raw)) {
			t.Errorf("the upstream's parent is %q, and that was not exported: %v", parent, err)
		}
	}
}

// hanging is an exporter whose collector does not answer before it is closed.
type hanging chan struct{}

func (h hanging) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	<-h
	return nil
}

func (hanging) Shutdown(ctx context.Context) error { return ctx.Err() }

// A collector that does not answer keeps nobody from ending, and that spans are lost is logged.
func TestTheEndDoesNotWaitForACollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector := make(hanging)
		defer close(collector)
		p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(collector))
		_, span := p.Tracer("").Start(t.Context(), "span")
		span.End()
		log, begin := newJournal(), time.Now()
		(&tracing{p, telemetry.NewTracing(p)}).close(log.logger())
		if took := time.Since(begin); took != flushTime {
			t.Errorf("it took %v", took)
		}
		if !strings.Contains(log.text(), "the last spans are lost") || !strings.Contains(log.text(), context.DeadlineExceeded.Error()) {
			t.Errorf("it logged %s", log.text())
		}
	})
}
