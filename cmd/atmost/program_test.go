package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atmost-dev/atmost"
)

// running is a program under test, in this process, on ports of its own and a store in memory.
type running struct {
	*program
	log     *journal
	file    string
	signals chan os.Signal
	ended   chan error // what Run returned
	client  *http.Client
}

// withStore is the text of a configuration that says where records are kept: in memory, if it does not itself.
func withStore(text string) string {
	if strings.HasPrefix(text, "store: ") {
		return text
	}
	return "store: memory\n" + text
}

// boot runs a program with the operations of the file's text. It is drained when the test ends, and must leave nothing behind.
func boot(t *testing.T, text string) *running {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	r := &running{
		log: newJournal(), file: filepath.Join(t.TempDir(), "atmost.yaml"), signals: make(chan os.Signal, 2),
		ended: make(chan error, 1), client: &http.Client{Transport: &http.Transport{}},
	}
	r.write(t, "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nhealth: 127.0.0.1:0\n"+withStore(text))
	s := source{file: r.file, env: func(string) (string, bool) { return "", false }, read: os.ReadFile}
	c, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	r.program, err = newProgram(t.Context(), s, c, r.log.logger(), atmost.Events{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { r.ended <- r.Run(ctx, r.signals) }()
	r.log.wait(t, logReady)
	t.Cleanup(func() {
		cancel()
		select {
		case <-r.ended:
		case <-time.After(patience):
			t.Error("the program did not end")
		}
		r.Close()
		r.client.CloseIdleConnections()
		goleak.VerifyNone(t, leaks)
	})
	return r
}

func (r *running) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// edit replaces text in the file, for a reload.
func (r *running) edit(t *testing.T, pairs ...string) {
	t.Helper()
	data, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, strings.NewReplacer(pairs...).Replace(string(data)))
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r *running) execute(t *testing.T, key, body string) reply {
	t.Helper()
	p, err := post(t.Context(), r.client, "http://"+r.address(listenerPublic).String(), key, body, "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (r *running) get(t *testing.T, listener, path string) reply {
	t.Helper()
	resp, err := r.client.Get("http://" + r.address(listener).String() + path)
	return answered(t, resp, err)
}

// answered reads what a request was answered, which it has to be.
func answered(t *testing.T, resp *http.Response, err error) reply {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	p, err := read(resp)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// post sends a request to execute.
func post(ctx context.Context, client *http.Client, url, key, body, prefer string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/idempotency/execute", strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Idempotency-Key", key)
	req.Header.Set("Content-Type", "application/json")
	if prefer != "" {
		req.Header.Set("Prefer", prefer)
	}
	resp, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	return read(resp)
}

func read(resp *http.Response) (reply, error) {
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(body)}, errors.Join(err, resp.Body.Close())
}

func (p reply) want(t *testing.T, status int, contains string) {
	t.Helper()
	if p.status != status || !strings.Contains(p.body, contains) {
		t.Errorf("answer %d %s, want %d with %s", p.status, p.body, status, contains)
	}
}

// gated is an upstream whose answers wait.
type gated struct {
	*httptest.Server
	arrived chan struct{} // gets an element for each request
	open    chan struct{} // closed to let all answers go
}

func newGated(t *testing.T) *gated {
	g := &gated{arrived: make(chan struct{}, 100), open: make(chan struct{})}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		g.arrived <- struct{}{}
		select {
		case <-g.open:
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"done":true}`)
	}))
	t.Cleanup(g.Close)
	return g
}

func await[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatal("waited in vain")
	}
	return v
}

const request = `{"operation":"a","payload":1}`

func TestAnswers(t *testing.T) {
	up := newGated(t)
	close(up.open)
	r := boot(t, "max_body: 1KiB\noperations:\n  a: {url: '"+up.URL+"'}\n  report.build: {}\n")

	first := r.execute(t, "k", request)
	first.want(t, http.StatusOK, `{"status":"completed","result":{"done":true}}`)
	again := r.execute(t, "k", request)
	again.want(t, http.StatusOK, first.body)
	if again.header.Get("Idempotency-Replayed") != "true" || len(up.arrived) != 1 {
		t.Errorf("replayed %q with %d effects", again.header.Get("Idempotency-Replayed"), len(up.arrived))
	}
	r.execute(t, "k", `{"operation":"a","payload":2}`).want(t, 422, "PAYLOAD_MISMATCH")
	r.execute(t, "k", `{"operation":"report.build","payload":1}`).want(t, 422, "OPERATION_MISMATCH")
	r.execute(t, "c", `{"operation":"report.build","payload":1}`).want(t, 422, "OPERATION_NOT_CONFIGURED")
	r.execute(t, "n", `{"operation":"nothing","payload":1}`).want(t, 422, "OPERATION_NOT_CONFIGURED")
	r.execute(t, "", request).want(t, 400, "INVALID_IDEMPOTENCY_KEY")
	r.execute(t, "a,b", request).want(t, 400, "INVALID_IDEMPOTENCY_KEY")
	r.execute(t, "j", `{"operation":"a"`).want(t, 400, "INVALID_REQUEST")
	r.execute(t, "l", `{"operation":"a","payload":"`+strings.Repeat("x", 1024)+`"}`).want(t, 413, "PAYLOAD_TOO_LARGE")
	r.get(t, listenerPublic, "/v1/idempotency/execute").want(t, 405, "METHOD_NOT_ALLOWED")
	r.get(t, listenerPublic, "/metrics").want(t, 404, "NOT_FOUND")

	for _, l := range []string{listenerAdmin, listenerHealth} {
		r.get(t, l, "/livez").want(t, 200, "ok")
		r.get(t, l, "/readyz?verbose").want(t, 200, "[+] store: ok")
		for _, metric := range []string{
			`atmost_requests_total{answer="executed",operation="a"} 1`, `atmost_requests_total{answer="replayed",operation="a"} 1`,
			`atmost_requests_total{answer="OPERATION_NOT_CONFIGURED",operation="other"} 1`, "atmost_build_info{", "atmost_pending_executions 0", "go_goroutines",
		} {
			r.get(t, l, "/metrics").want(t, 200, metric)
		}
	}
	r.get(t, listenerAdmin, "/debug/pprof/cmdline").want(t, 200, "")
	r.get(t, listenerHealth, "/debug/pprof/cmdline").want(t, 404, "NOT_FOUND")
	r.get(t, listenerAdmin, "/admin/v1/overview").want(t, 200, `"store":"memory"`)
	r.get(t, listenerAdmin, "/admin/v1/overview").want(t, 200, `{"name":"a","executed_by":"service","on_unknown":"hold"`)
	r.get(t, listenerAdmin, "/admin/v1/keys?state=completed").want(t, 200, `"key":"k"`)
	for _, l := range []string{listenerPublic, listenerHealth} {
		r.get(t, l, "/admin/v1/overview").want(t, 404, "NOT_FOUND")
	}
}

func TestReload(t *testing.T) {
	up := newGated(t)
	close(up.open)
	r := boot(t, "operations:\n  a: {url: '"+up.URL+"'}\n  b: {url: '"+up.URL+"', timeout: 5s}\n  gone: {}\n")
	a, b := r.operations["a"].Executor, r.operations["b"].Executor
	const newcomer = `{"operation":"new","payload":1}`

	// One mistake, and everything stays as it is, what is right included.
	r.edit(t, "gone:", "new:", "5s", "5 s", "{}", "{url: '"+up.URL+"'}")
	r.signals <- syscall.SIGHUP
	wrong := r.log.wait(t, "nothing was reloaded: the configuration is wrong")
	if !strings.Contains(wrong.text, `atmost.yaml:7: operations.b.timeout: \"5 s\" is not a duration`) {
		t.Errorf("the log says %s", wrong.text)
	}
	r.execute(t, "1", newcomer).want(t, 422, "OPERATION_NOT_CONFIGURED")

	r.edit(t, "5 s", "6s, headers: {Authorization: secret}", "store: memory", "store: memory\nmax_body: 5")
	r.signals <- syscall.SIGHUP
	line := r.log.wait(t, "reloaded").text
	if r.operations["a"].Executor != a || r.operations["b"].Executor == b {
		t.Error("an operation lost what it knows of its upstream though it did not change, or kept it though it did")
	}
	for _, want := range []string{`"added":["new"]`, `"removed":["gone"]`, `"changed":["b (timeout, probe_settle, headers)"]`} {
		if !strings.Contains(line, want) {
			t.Errorf("the log says %s, want %s", line, want)
		}
	}
	if restart := r.log.wait(t, "some settings changed that need a restart"); !strings.Contains(restart.text, `["max_body"]`) {
		t.Errorf("the log says %s", restart.text)
	}
	r.execute(t, "1", newcomer).want(t, 200, "completed")

	r.signals <- syscall.SIGHUP
	r.log.wait(t, "reloaded: no operation changed")
	if strings.Contains(r.log.text(), "secret") {
		t.Error("a header's value was logged")
	}
}

// TestReloadLog: what there is none of is an empty list.
func TestReloadLog(t *testing.T) {
	log := newJournal()
	before, after := config{Operations: map[string]operation{"a": {Timeout: 1}}}, config{Operations: map[string]operation{"a": {Timeout: 2}}}
	logDifference(log.logger(), "f", compare(before, after))
	if want := `"added":[],"removed":[],"changed":["a (timeout)"]`; !strings.Contains(log.text(), want) {
		t.Errorf("the log says %s, want %s", log.text(), want)
	}
}

func TestDrain(t *testing.T) {
	up := newGated(t)
	r := boot(t, "operations:\n  a: {url: '"+up.URL+"'}\n")
	answer := r.executeLater(t, "k")
	await(t, up.arrived)
	r.signals <- syscall.SIGTERM
	r.log.wait(t, "shutting down")
	r.get(t, listenerHealth, "/readyz").want(t, 503, "not ready")
	r.get(t, listenerHealth, "/livez").want(t, 200, "ok")
	close(up.open)
	await(t, answer).want(t, 200, `{"done":true}`)
	if err := await(t, r.ended); err != nil {
		t.Error(err)
	}
	r.ended <- nil // for the cleanup
	if _, err := r.client.Get("http://" + r.address(listenerHealth).String() + "/livez"); err == nil {
		t.Error("a listener is still open")
	}
}

// TestDrainRefuses pins what is answered between not being ready and not listening any more.
func TestDrainRefuses(t *testing.T) {
	up := newGated(t)
	close(up.open)
	r := boot(t, "drain_delay: 1h\noperations:\n  a: {url: '"+up.URL+"'}\n")
	r.signals <- syscall.SIGTERM
	r.log.wait(t, "shutting down")
	r.execute(t, "k", request).want(t, 200, "completed") // balancers that have not noticed yet
	r.get(t, listenerAdmin, "/readyz?verbose").want(t, 503, "[-] serving")
	r.signals <- syscall.SIGHUP // no reload now, and no end
	r.signals <- os.Interrupt
	if err := await(t, r.ended); !errors.Is(err, errForced) {
		t.Errorf("a second signal: %v", err)
	}
	r.ended <- nil
}

// TestCloseWaits: nothing is released under the feet of a listener that is slow to end.
func TestCloseWaits(t *testing.T) {
	c := defaultConfig()
	c.Listen, c.Admin, c.Store = "127.0.0.1:0", "", "memory"
	p, err := newProgram(t.Context(), source{env: func(string) (string, bool) { return "", false }}, c, newJournal().logger(), atmost.Events{})
	if err != nil {
		t.Fatal(err)
	}
	closing, ended := make(chan struct{}), false
	p.serving.Go(func() {
		<-closing
		for range 1000 {
			runtime.Gosched()
		}
		ended = true // a race, too, if Close does not wait
	})
	close(closing)
	p.Close()
	if !ended {
		t.Error("Close did not wait")
	}
}

func TestDrainTimeout(t *testing.T) {
	up := newGated(t)
	r := boot(t, "drain_timeout: 0s\noperations:\n  a: {url: '"+up.URL+"'}\n")
	answer := r.executeLater(t, "k")
	await(t, up.arrived)
	r.signals <- syscall.SIGTERM
	await(t, answer).want(t, 202, `{"status":"processing"}`)
	if err := await(t, r.ended); err != nil {
		t.Error(err)
	}
	r.ended <- nil
	record, err := r.store.Lookup(t.Context(), atmost.ID{Key: "k"})
	if err != nil || record.State != atmost.Unknown {
		t.Errorf("the record is %v, %v", record.State, err)
	}
	if n := strings.Count(r.log.text(), `"key_digest"`); n != 1 {
		t.Errorf("the log tells of it %d times:\n%s", n, r.log.text())
	}
}

func (r *running) executeLater(t *testing.T, key string) <-chan reply {
	answer := make(chan reply, 1)
	go func() {
		p, err := post(context.WithoutCancel(t.Context()), r.client, "http://"+r.address(listenerPublic).String(), key, request, "")
		if err != nil {
			p.body = err.Error()
		}
		answer <- p
	}()
	return answer
}

// TestWarnings: what is dangerous, or of no use, is said aloud.
func TestWarnings(t *testing.T) {
	c := defaultConfig()
	c.Listen, c.Admin, c.Health, c.Store, c.AdminInsecure = "127.0.0.1:0", ":0", "0.0.0.0:0", "memory", true
	log := newJournal()
	p, err := newProgram(t.Context(), source{env: func(string) (string, bool) { return "", false }}, c, log.logger(), atmost.Events{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.announce()
	p.reload()
	for _, want := range []string{
		"records are kept in memory", "THE ADMIN LISTENER IS OPEN TO THE NETWORK", "the health listener is open to the network",
		"there is no configuration file, so there are no operations", "nothing was reloaded: there is no configuration file",
	} {
		if !strings.Contains(log.text(), `"level":"WARN","msg":"`+want) {
			t.Errorf("no warning %q in\n%s", want, log.text())
		}
	}
}
