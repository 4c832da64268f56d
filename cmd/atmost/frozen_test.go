package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atmost-dev/atmost/internal/faultproxy"
	"github.com/atmost-dev/atmost/internal/pgtest"
)

// TestLapse has instances killed and stopped until their leases lapse. It mostly waits, so all of it goes on at a time.
func TestLapse(t *testing.T) {
	var all sync.WaitGroup
	for name, test := range map[string]func(*testing.T){
		"killed": testInstanceKilled, "frozen before the call": testFrozenBeforeCall, "frozen in the call": testFrozenInCall,
	} {
		all.Go(func() { t.Run(name, test) })
	}
	all.Wait()
}

// frozenUpstream performs its operation for every call, and answers when it is let. Its probe says that nothing happened,
// whatever did.
type frozenUpstream struct {
	*httptest.Server
	mu    sync.Mutex
	calls map[string]int           // by key
	open  map[string]chan struct{} // closed to let the answers for a key go
}

func newFrozenUpstream(t *testing.T) *frozenUpstream {
	u := &frozenUpstream{calls: map[string]int{}, open: map[string]chan struct{}{}}
	u.Server = httptest.NewServer(u)
	t.Cleanup(u.Close)
	return u
}

func (u *frozenUpstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		w.Header().Set("Idempotency-Outcome", "not_executed")
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	key := r.Header.Get("Idempotency-Key")
	u.mu.Lock()
	u.calls[key]++
	open := u.open[key]
	u.mu.Unlock()
	if open != nil {
		select {
		case <-open:
		case <-r.Context().Done():
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"done":true}`)
}

// hold keeps back the answers for key, until the function is called that it returns.
func (u *frozenUpstream) hold(key string) (let func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	open := make(chan struct{})
	u.open[key] = open
	return sync.OnceFunc(func() { close(open) })
}

func (u *frozenUpstream) called(key string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.calls[key]
}

// later asks an instance about key, and gives the answer when it is there.
func (m *instance) later(t *testing.T, operation, key, prefer string) <-chan reply {
	answer := make(chan reply, 1)
	go func() {
		p, err := post(context.WithoutCancel(t.Context()), http.DefaultClient, m.url(), key, `{"operation":"`+operation+`","payload":1}`, prefer)
		if err != nil {
			p.body = err.Error()
		}
		answer <- p
	}()
	return answer
}

// withhold has proxy keep back what the database says, until the function is called that it returns.
func withhold(proxy *faultproxy.Proxy, d faultproxy.Direction) (let func()) {
	step := make(chan struct{})
	proxy.Set(faultproxy.Fault{Kind: faultproxy.Step, Direction: d, Step: step})
	return sync.OnceFunc(func() {
		proxy.Set(faultproxy.Fault{})
		close(step)
	})
}

// left is how much is left of the lease of key, by the database's clock.
func left(t *testing.T, database, key string) time.Duration {
	t.Helper()
	return time.Duration(pgtest.Query[int64](t, database,
		`SELECT deadline - (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM atmost_records WHERE key = $1`, key)) * time.Microsecond
}

// stalled is an instance that has claimed a key, and that is stopped before it learns of it.
type stalled struct {
	*instance
	key    string
	let    func() // has it learn of it, when it wakes
	answer <-chan reply
}

// stall stops an instance between its claim and the check that comes before the upstream's call.
func stall(t *testing.T, m *instance, watcher *instance, proxy *faultproxy.Proxy, name string) stalled {
	t.Helper()
	for n := 0; ; n++ {
		s := stalled{instance: m, key: fmt.Sprint(name, n)}
		for i := range 4 { // so that on the connection that comes next nothing is to be said before the claim
			await(t, m.later(t, "quick", fmt.Sprint(s.key, "-before-", i), ""))
		}
		s.let = withhold(proxy, faultproxy.Response)
		s.answer = m.later(t, "quick", s.key, "")
		claimed, answered := false, false
		until(t, "the claim to be made, or given up", func() bool {
			claimed, answered = watcher.status(t, s.key) == "processing", len(s.answer) > 0
			return claimed || answered
		})
		if claimed {
			m.freeze(t)
			t.Logf("%s: stopped at try %d", name, n+1)
			return s
		}
		s.let() // it came on another connection
	}
}

// testFrozenBeforeCall stops instances between the claim and the upstream's call. The one that wakes when its lease still lasts, but
// not long enough, does not start the call, and neither does the one whose lease has lapsed.
func testFrozenBeforeCall(t *testing.T) {
	cluster := pgtest.New(t, pgtest.Config{})
	database := migrated(t, cluster.Database(t))
	u := newFrozenUpstream(t)
	early, earlyURL := throughProxy(t, database, cluster.Addr())
	late, lateURL := throughProxy(t, database, cluster.Addr())
	f := newFleet(t, "operations: {quick: {url: '"+u.URL+"', timeout: 1s}}\n", earlyURL, lateURL, database)
	watcher := f.instances[2]
	soon, past := stall(t, f.instances[0], watcher, early, "soon"), stall(t, f.instances[1], watcher, late, "past")

	until(t, "the lease to be nearly over", func() bool { return left(t, database, soon.key) < 4*time.Second })
	soon.let()
	soon.thaw(t)
	await(t, soon.answer).want(t, http.StatusServiceUnavailable, "")
	until(t, "the lease to lapse", func() bool { return watcher.status(t, past.key) == "unknown" })
	past.let()
	past.thaw(t)
	await(t, past.answer)
	for _, s := range []stalled{soon, past} {
		until(t, "the attempt to be given back", func() bool { return watcher.status(t, s.key) == "not_executed" })
		if n := u.called(s.key); n != 0 {
			t.Errorf("%s: the upstream was called %d times, on the strength of a lease that had ended", s.key, n)
		}
		p := await(t, watcher.later(t, "quick", s.key, ""))
		p.want(t, http.StatusOK, `{"done":true}`)
		if attempt := p.header.Get("Idempotency-Attempt"); attempt != "2" || u.called(s.key) != 1 {
			t.Errorf("%s: attempt %s, the upstream was called %d times", s.key, attempt, u.called(s.key))
		}
	}
	f.stop(t)
}

// testFrozenInCall stops an instance while the upstream works for it. Another finds that the leases lapsed; what the first says when
// it wakes counts, and where it contradicts what was held to be true, that is counted and logged.
func testFrozenInCall(t *testing.T) {
	cluster := pgtest.New(t, pgtest.Config{})
	database := migrated(t, cluster.Database(t))
	u := newFrozenUpstream(t)
	proxy, url := throughProxy(t, database, cluster.Addr())
	f := newFleet(t, strings.ReplaceAll(`defaults: {timeout: 8s}
operations:
  held: {url: 'TARGET/', concurrency: 8}
  reported: {url: 'TARGET/'}
  denied: {url: 'TARGET/', on_unknown: probe, probe_url: 'TARGET/{key}', probe_settle: 1ms}
`, "TARGET", u.URL), url, database)
	frozen, watcher := f.instances[0], f.instances[1]

	// Of two the instance knows the outcome and cannot report it, of one it does not know it yet.
	lets := map[string]func(){}
	for _, key := range []string{"held", "reported", "denied"} {
		lets[key] = u.hold(key)
		frozen.later(t, key, key, "")
		until(t, "the upstream to be called", func() bool { return u.called(key) == 1 })
	}
	connected := withhold(proxy, faultproxy.Request)
	lets["reported"]()
	lets["denied"]()
	for _, key := range []string{"reported", "denied"} {
		until(t, "the upstream's answer", func() bool {
			return frozen.metric(t, `atmost_executions_ended_total{operation="`+key+`",outcome="completed"}`) == 1
		})
	}
	frozen.freeze(t)
	lets["held"]()
	for key, becomes := range map[string]string{"held": "unknown", "reported": "unknown", "denied": "not_executed"} {
		until(t, key+" to be "+becomes, func() bool { return watcher.status(t, key) == becomes })
	}
	await(t, watcher.later(t, "reported", "reported", "")).want(t, http.StatusConflict, "OUTCOME_UNKNOWN")

	connected()
	frozen.thaw(t)
	for _, key := range []string{"reported", "denied"} {
		until(t, key+" to be completed", func() bool { return watcher.status(t, key) == "completed" })
		await(t, watcher.later(t, key, key, "")).want(t, http.StatusOK, `{"done":true}`)
	}
	frozen.log.wait(t, "two accounts of one attempt differ: the operation may have run twice")
	for figure, want := range map[string]float64{
		`atmost_late_reports_total{operation="reported"}`:     1,
		`atmost_late_reports_total{operation="denied"}`:       1,
		`atmost_contradictions_total{operation="reported"}`:   0,
		`atmost_contradictions_total{operation="denied"}`:     1,
		`atmost_executions_started_total{operation="held"}`:   1,
		`atmost_executions_started_total{operation="denied"}`: 1,
	} {
		if got := f.sum(t, figure); got != want {
			t.Errorf("%s is %v, want %v", figure, got, want)
		}
	}
	until(t, "the instance to be done", func() bool { return frozen.metric(t, "atmost_pending_executions") == 0 })
	p := await(t, watcher.later(t, "held", "held", ""))
	if p.status != http.StatusOK && p.status != http.StatusConflict { // whether its answer was read before its time was over
		t.Errorf("held was answered %d %s", p.status, p.body)
	}
	for key := range lets {
		if n := u.called(key); n != 1 {
			t.Errorf("%s: the upstream was called %d times", key, n)
		}
	}
	f.stop(t)
}
