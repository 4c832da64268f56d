package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// spawn runs the real program as a process of its own, with the operations of text and a store in dir. It is ended with the test.
func spawn(t *testing.T, dir, text string) (*child, *journal) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "atmost.yaml")
	text = "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nstore: pebble:" + dir + "\n" + text
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log := newJournal()
	c, err := startChild(context.WithoutCancel(t.Context()), []string{"serve", "--config", file}, nil, log.add)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.text())
	}
	t.Cleanup(c.kill)
	return c, log
}

// TestDuplicates has 150 clients send the same at once to the real program.
func TestDuplicates(t *testing.T) {
	const clients = 150
	var effects atomic.Int32
	open := make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		effects.Add(1)
		<-open
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"amount": 1.10, "id": 9007199254740993}`)
	}))
	defer up.Close()
	c, _ := spawn(t, t.TempDir(), "operations: {a: {url: '"+up.URL+"'}}\n")
	wantMetrics(t, c, "atmost_store_disk_bytes", "atmost_store_processing_records 0", "atmost_store_disk_low", "atmost_store_clock_suspended 0")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()

	var all sync.WaitGroup
	replies := make(chan reply, clients)
	for range clients {
		all.Go(func() {
			p, err := post(t.Context(), client, c.url(), "same", request, "")
			if err != nil {
				t.Error(err)
			}
			replies <- p
		})
	}
	// All but the one that executes are answered while it does.
	for range clients - 1 {
		await(t, replies).want(t, http.StatusAccepted, `{"status":"processing"}`)
	}
	close(open)
	all.Wait()
	const body = `{"status":"completed","result":{"amount": 1.10, "id": 9007199254740993}}`
	if p := await(t, replies); p.status != http.StatusOK || p.body != body {
		t.Errorf("the first was answered %d %s", p.status, p.body)
	}
	p, err := post(t.Context(), client, c.url(), "same", request, "")
	if err != nil || p.status != http.StatusOK || p.body != body {
		t.Errorf("a replay was answered %d %s, %v", p.status, p.body, err)
	}
	if n := effects.Load(); n != 1 {
		t.Errorf("there were %d effects", n)
	}
}

func wantMetrics(t *testing.T, c *child, metrics ...string) {
	t.Helper()
	resp, err := http.Get("http://" + c.addresses[listenerAdmin] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	p, err := read(resp)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range metrics {
		p.want(t, http.StatusOK, m)
	}
}

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	spawn(t, dir, "")
	var said []string
	c, err := startChild(t.Context(), []string{"serve", "--store", "pebble:" + dir, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, nil,
		func(l logLine) { said = append(said, l.text) })
	if err == nil {
		c.kill()
		t.Fatal("two processes share a directory")
	}
	if code := c.cmd.ProcessState.ExitCode(); code != exitFailure {
		t.Errorf("exit code %d", code)
	}
	if all := strings.Join(said, "\n"); !strings.Contains(all, dir+" is in use by another process") {
		t.Errorf("it said %s", all)
	}
}

func TestAddressTaken(t *testing.T) {
	first, _ := spawn(t, t.TempDir(), "")
	var said []string
	c, err := startChild(t.Context(), []string{"serve", "--store", "memory:", "--listen", first.addresses[listenerPublic], "--admin", ""}, nil,
		func(l logLine) { said = append(said, l.text) })
	if err == nil {
		c.kill()
		t.Fatal("two processes share an address")
	}
	if all := strings.Join(said, "\n"); c.cmd.ProcessState.ExitCode() != exitFailure ||
		!strings.Contains(all, "the public listener cannot use "+first.addresses[listenerPublic]+": address already in use") {
		t.Errorf("exit code %d, it said %s", c.cmd.ProcessState.ExitCode(), all)
	}
}

func TestSignals(t *testing.T) {
	up := newGated(t)
	c, log := spawn(t, t.TempDir(), "drain_timeout: 1h\noperations: {a: {url: '"+up.URL+"', timeout: 1h}}\n")
	if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "reloaded: no operation changed")

	go func() { _, _ = post(context.WithoutCancel(t.Context()), http.DefaultClient, c.url(), "k", request, "") }()
	await(t, up.arrived)
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "shutting down")
	_ = c.stop() // a second signal
	if code := c.cmd.ProcessState.ExitCode(); code != exitFailure {
		t.Errorf("exit code %d after a second signal", code)
	}

	idle, _ := spawn(t, t.TempDir(), "")
	if err := idle.stop(); err != nil {
		t.Errorf("after SIGTERM it ended with %v", err)
	}
}

// TestStrayResponse: net/http logs, by the standard log, what an upstream sends unasked. None of it gets into the service's.
func TestStrayResponse(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n"
	stray := make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = buffered.WriteString(answer + "\"first!\"")
		_ = buffered.Flush()
		<-stray // the connection is idle then
		_, _ = buffered.WriteString("secret " + answer)
		_ = buffered.Flush()
		_, _ = io.Copy(io.Discard, conn)
	}))
	defer up.Close()
	c, log := spawn(t, t.TempDir(), "operations: {a: {url: '"+up.URL+"'}}\n")
	p, err := post(t.Context(), http.DefaultClient, c.url(), "k", request, "")
	if err != nil {
		t.Fatal(err)
	}
	p.want(t, http.StatusOK, "first!")
	close(stray)
	log.wait(t, "a library logged something: it is left out here, as it may quote what an upstream sent")
	if strings.Contains(log.text(), "secret") {
		t.Errorf("the log has what the upstream sent:\n%s", log.text())
	}
}
