package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// patience bounds each wait of a test: long enough for a busy machine, and only ever used up by a failure.
const patience = 60 * time.Second

// journal collects the lines of a JSON log, for tests to wait for.
type journal struct {
	mu      sync.Mutex
	lines   []logLine
	changed chan struct{} // closed, and made anew, with each line
}

func newJournal() *journal { return &journal{changed: make(chan struct{})} }

func (j *journal) add(l logLine) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, l)
	close(j.changed)
	j.changed = make(chan struct{})
}

// Write takes what a slog.JSONHandler writes: one line at a time.
func (j *journal) Write(p []byte) (int, error) {
	l := logLine{text: string(bytes.TrimSpace(p))}
	if err := json.Unmarshal(p, &l); err != nil {
		return 0, err
	}
	j.add(l)
	return len(p), nil
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(j, nil)) }

// wait returns the first line that says msg, when it is there.
func (j *journal) wait(t *testing.T, msg string) logLine {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for from := 0; ; {
		j.mu.Lock()
		lines, changed := j.lines[from:], j.changed
		j.mu.Unlock()
		for _, l := range lines {
			if l.Msg == msg {
				return l
			}
		}
		from += len(lines)
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("the log never said %q; it said\n%s", msg, j.text())
		}
	}
}

// clear forgets what was logged.
func (j *journal) clear() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = nil
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var b bytes.Buffer
	for _, l := range j.lines {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}
