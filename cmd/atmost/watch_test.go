package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/server"
	"github.com/atmost-dev/atmost/wire"
)

// TestOutlast: a service that has answered is waited for, longer each time; what waiting does not mend ends it.
func TestOutlast(t *testing.T) {
	away := unreachableError{errors.New("gone")}
	synctest.Test(t, func(t *testing.T) {
		answers := []error{nil, away, &atmost.Error{Code: atmost.CodeShuttingDown}, away, away, away, nil, away, errUnwell}
		var asked []time.Duration
		var messages bytes.Buffer
		last := time.Now()
		err := process{stderr: &messages}.again(t.Context(), 2*time.Second, func(context.Context) error {
			asked = append(asked, time.Since(last)/time.Second)
			last = time.Now()
			return answers[len(asked)-1]
		})
		if want := []time.Duration{0, 2, 2, 4, 8, 15, 15, 2, 2}; !errors.Is(err, errUnwell) || !slices.Equal(asked, want) {
			t.Errorf("asked after %d s, %v; want %d", asked, err, want)
		}
		const want = "atmost: gone; it is asked again until it answers\natmost: the service answers again\natmost: gone; it is asked again until it answers\n"
		if messages.String() != want {
			t.Errorf("it said %s", &messages)
		}
		if err := (process{}).again(t.Context(), time.Second, func(context.Context) error { return away }); !errors.Is(err, away) {
			t.Errorf("a service that never answered: %v", err)
		}
	})
}

// TestWatchOutlasts: a change that is made while the service cannot be reached is told when it can be again.
func TestWatchOutlasts(t *testing.T) {
	d := newDesk(t)
	d.unknown("k")
	var down atomic.Bool
	admin := server.Admin(d.engine, server.AdminOptions{Metrics: http.NotFoundHandler()})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			panic(http.ErrAbortHandler)
		}
		admin.ServeHTTP(w, r)
	}))
	defer srv.Close()
	out, in := io.Pipe()
	signals := make(chan os.Signal, 1)
	var watching sync.WaitGroup
	watching.Go(func() {
		if code := run(t.Context(), []string{"keys", "watch", "--interval", "100ms", "--admin", srv.URL}, process{
			stdout: in, stderr: in, signals: signals, env: func(string) (string, bool) { return "", false },
		}); code != exitOK {
			t.Errorf("exit code %d", code)
		}
		_ = in.Close()
	})
	lines := bufio.NewScanner(out)
	wants := func(told string) {
		t.Helper()
		if !lines.Scan() || !strings.Contains(lines.Text(), told) {
			t.Errorf("%q, want %s", lines.Text(), told)
		}
	}
	wants("unknown")
	down.Store(true)
	wants("it is asked again until it answers")
	by := atmost.Actor{Name: "a", Reason: "r"}
	if _, err := d.engine.Resolve(t.Context(), atmost.ID{Key: "k"}, atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Completed}, By: &by}); err != nil {
		t.Fatal(err)
	}
	down.Store(false)
	wants("completed")
	wants("the service answers again")
	signals <- os.Interrupt
	watching.Wait()
}

// TestWatchHalfAList: what was told of a list whose rest was lost is not told again.
func TestWatchHalfAList(t *testing.T) {
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch asked++; asked {
		case 1, 3:
			_, _ = io.WriteString(w, `{"keys":[{"id":"AGs","key":"k","state":"unknown"}],"next_cursor":"AGs"}`)
		case 2:
			w.WriteHeader(http.StatusBadGateway)
		default:
			_, _ = io.WriteString(w, `{"keys":[]}`)
		}
	}))
	defer srv.Close()
	var told bytes.Buffer
	w := watcher{output: &output{process: process{stdout: &told}, format: asLines}, seen: map[string]string{}}
	a := &adminAPI{base: srv.URL, client: srv.Client()}
	for i, want := range []bool{false, true, true} {
		if err := w.look(t.Context(), a, wire.AdminFilter{}); (err == nil) != want {
			t.Errorf("look %d: %v", i, err)
		}
	}
	if got := told.String(); strings.Count(got, `"unknown"`) != 1 || strings.Count(got, `"gone"`) != 1 {
		t.Errorf("it told %s", got)
	}
}

// TestFollowOutlasts: of a trail that was empty all that is added is told, and one that was set back is told anew.
func TestFollowOutlasts(t *testing.T) {
	var told, messages bytes.Buffer
	follow := trail{output: &output{process: process{stdout: &told, stderr: &messages}, format: asLines}, most: 1}
	look := func(d *desk, reasons ...string) {
		t.Helper()
		told.Reset()
		if err := follow.look(t.Context(), &adminAPI{base: d.url, client: http.DefaultClient}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(told.String(), "\n"), "\n")
		if len(reasons) == 0 {
			reasons = []string{""}
		}
		if len(lines) != len(reasons) {
			t.Fatalf("%q, want %q", lines, reasons)
		}
		for i, line := range lines {
			if !strings.Contains(line, reasons[i]) {
				t.Errorf("%q, want %q", lines, reasons)
			}
		}
	}
	settle := func(d *desk, reasons ...string) {
		t.Helper()
		for _, reason := range reasons {
			d.unknown(reason)
			by := atmost.Actor{Name: "ada", Reason: reason}
			if _, err := d.engine.Resolve(t.Context(), atmost.ID{Key: reason}, atmost.Resolve{Attempt: 1, Outcome: atmost.Outcome{State: atmost.Completed}, By: &by}); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := newDesk(t)
	look(d)
	settle(d, "one", "two", "three")
	look(d, "one", "two", "three")
	look(d)
	again := newDesk(t) // the store kept nothing
	look(again)
	settle(again, "four", "five")
	look(again, "four", "five")
	again = newDesk(t)
	settle(again, "six")
	look(again, "six")
	if strings.Count(messages.String(), "\n") != 2 || !strings.Contains(messages.String(), "set back") {
		t.Errorf("it said %s", &messages)
	}
}
