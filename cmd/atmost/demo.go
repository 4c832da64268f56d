package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"text/tabwriter"
	"time"
)

// demo plays scenes against the service, which runs as a process of its own so that it can be killed; the sample upstream stays
// here, where its effects can be counted.
type demo struct {
	*dev
	config string
	child  *child
	client *http.Client
}

// scene is one thing that is promised.
type scene struct {
	title, promise string
	key            string // whose effects are counted
	play           func(context.Context, *demo, string) (happened string, err error)
}

// demoPatience bounds the whole play.
const demoPatience = 2 * time.Minute

var errDemo = errors.New("not everything went as promised")

// demo plays every scene and returns an error unless all of them went as promised.
func (d *dev) demo(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	var watching sync.WaitGroup
	watching.Go(func() { d.interrupted(ctx, cancel) })
	defer func() {
		cancel()
		watching.Wait()
	}()
	listen, err := d.address("127.0.0.1:0")
	if err != nil {
		return err
	}
	file, err := d.configure(listen, "127.0.0.1:0")
	if err != nil {
		return err
	}
	play := &demo{dev: d, config: file, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}}
	defer play.client.CloseIdleConnections()
	if err := play.start(ctx); err != nil {
		return err
	}
	defer func() { play.child.kill() }()
	d.say("The service runs as process %d at %s, the sample upstream at %s.", play.child.cmd.Process.Pid, play.child.url(), d.target)
	return play.all(ctx)
}

// interrupted ends the play when the process is told to end.
func (d *dev) interrupted(ctx context.Context, cancel context.CancelFunc) {
	select {
	case <-d.signals:
		cancel()
	case <-ctx.Done():
	}
}

func (d *demo) start(ctx context.Context) (err error) {
	var last string
	d.child, err = startChild(ctx, []string{"serve", "--config", d.config}, []string{"ATMOST_LOG_LEVEL=info", "ATMOST_LOG_FORMAT=json"},
		func(l logLine) { last = l.text })
	if err != nil && last != "" {
		return fmt.Errorf("%w: %s", err, last)
	}
	return err
}

// all plays every scene, and sums up.
func (d *demo) all(ctx context.Context) error {
	var table bytes.Buffer
	rows := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(rows, "scene\tpromise\teffects\tverdict")
	failed := false
	for i, s := range scenes() {
		d.say("\n%d. %s", i+1, s.title)
		happened, err := s.play(ctx, d, s.key)
		effects, verdict := d.sample.effects(s.key), "kept"
		if err == nil && effects != 1 {
			err = fmt.Errorf("there were %d effects", effects)
		}
		if err != nil {
			failed, verdict = true, "BROKEN: "+err.Error()
			happened = "This was not as promised: " + err.Error() + "."
		}
		d.say("   %s\n   Effects so far for this key: %d.", happened, effects)
		_, _ = fmt.Fprintf(rows, "%s\t%s\t%d\t%s\n", s.title, s.promise, effects, verdict)
	}
	_ = rows.Flush() // into memory
	d.say("\n%s", table.String())
	if failed {
		return errDemo
	}
	d.say("Everything went as promised.")
	return nil
}

// answer is what the service said.
type answer struct {
	status   int
	replayed string
	body     string
}

// execute sends one request, that may wait up to ten seconds for another's execution.
func (d *demo) execute(ctx context.Context, key, operation, payload string) (answer, error) {
	body := `{"operation":"` + operation + `","payload":` + payload + `}`
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.child.url()+"/v1/idempotency/execute", bytes.NewReader([]byte(body)))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Idempotency-Key", key)
	r.Header.Set("Content-Type", "application/json")
	resp, err := d.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("Idempotency-Replayed"), string(text)}, err
}

// until repeats a request until it is answered with status, as a client would.
func (d *demo) until(ctx context.Context, status int, key, operation, payload string) (answer, error) {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		a, err := d.execute(ctx, key, operation, payload)
		if err != nil || a.status == status {
			return a, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return a, fmt.Errorf("the last answer was %d: %w", a.status, ctx.Err())
		}
	}
}

// expect is an error unless a request is answered with status.
func (d *demo) expect(ctx context.Context, status int, key, operation, payload string) (answer, error) {
	a, err := d.execute(ctx, key, operation, payload)
	if err == nil && a.status != status {
		err = fmt.Errorf("the answer was %d, not %d: %s", a.status, status, a.body)
	}
	return a, err
}
