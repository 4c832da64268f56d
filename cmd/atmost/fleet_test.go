package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/atmost-dev/atmost/internal/faultproxy"
	"github.com/atmost-dev/atmost/internal/pgtest"
)

// fleet is several processes of the real program on one database, behind a balancer that knows which of them are there.
type fleet struct {
	instances []*instance

	mu    sync.Mutex
	lives int
}

// instance is one of a fleet: a process, and the one that replaces it when it is killed.
type instance struct {
	fleet *fleet
	file  string
	*child
	log  *journal
	life int // 0 while it is not there
}

// newFleet starts an instance for each of the databases' URLs, which may all lead to the same, with the settings of text.
func newFleet(t *testing.T, text string, databases ...string) *fleet {
	t.Helper()
	f := &fleet{}
	for _, database := range databases {
		m := &instance{fleet: f, file: filepath.Join(t.TempDir(), "atmost.yaml")}
		text := "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nstore: '" + database + "'\n" + text
		if err := os.WriteFile(m.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f.instances = append(f.instances, m)
	}
	var starting sync.WaitGroup
	for _, m := range f.instances {
		starting.Go(func() { m.start(t) })
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return f
}

// start starts the instance's process, which is ended with the test.
func (m *instance) start(t *testing.T) {
	t.Helper()
	log := newJournal()
	c, err := startChild(context.WithoutCancel(t.Context()), []string{"serve", "--config", m.file}, nil, log.add)
	if err != nil {
		t.Errorf("%v\n%s", err, log.text())
		return
	}
	t.Cleanup(c.kill)
	m.fleet.mu.Lock()
	defer m.fleet.mu.Unlock()
	m.fleet.lives++
	m.child, m.log, m.life = c, log, m.fleet.lives
}

// crash kills the instance, as the balancer knows at once.
func (m *instance) crash() {
	m.leave()
	m.kill()
}

// leave tells the balancer that the instance is not there any more.
func (m *instance) leave() {
	m.fleet.mu.Lock()
	defer m.fleet.mu.Unlock()
	m.life = 0
}

// freeze stops the instance's process as it stands; thaw lets it go on.
func (m *instance) freeze(t *testing.T) { m.signal(t, syscall.SIGSTOP) }
func (m *instance) thaw(t *testing.T)   { m.signal(t, syscall.SIGCONT) }

func (m *instance) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := m.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// reach is one of the instances.
func (f *fleet) reach(ctx context.Context, random *rand.Rand) (place, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var there []place
	for _, m := range f.instances {
		if m.life > 0 {
			there = append(there, place{m.url(), m.life})
		}
	}
	return there[random.IntN(len(there))], ctx.Err() == nil
}

// stop ends all instances in order. After a failure it tells what they logged.
func (f *fleet) stop(t *testing.T) {
	t.Helper()
	http.DefaultClient.CloseIdleConnections() // instances would wait for them
	var ending sync.WaitGroup
	for _, m := range f.instances {
		ending.Go(func() {
			if err := m.child.stop(); err != nil {
				t.Errorf("an instance ended with %v", err)
			}
			if t.Failed() {
				t.Logf("it said\n%s", m.log.text())
			}
		})
	}
	ending.Wait()
}

// metric reads one figure of an instance, 0 if it is not there.
func (m *instance) metric(t *testing.T, name string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + m.addresses[listenerAdmin] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	p, err := read(resp)
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(strings.NewReader(p.body)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// sum is a figure over all instances.
func (f *fleet) sum(t *testing.T, name string) (total float64) {
	t.Helper()
	for _, m := range f.instances {
		total += m.metric(t, name)
	}
	return total
}

// status is what an instance knows of key.
func (m *instance) status(t *testing.T, key string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.url()+"/v1/idempotency/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	p, err := read(resp)
	if err != nil {
		t.Fatal(err)
	}
	_, status, _ := strings.Cut(p.body, `"status":"`)
	status, _, _ = strings.Cut(status, `"`)
	return status
}

// throughProxy puts a proxy between an instance and the database at url. It ends with the test.
func throughProxy(t *testing.T, url, addr string) (*faultproxy.Proxy, string) {
	t.Helper()
	proxy, err := faultproxy.New(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	return proxy, strings.Replace(url, addr, proxy.Addr(), 1)
}

// proxied is n proxies to a cluster, and the URL of its database by way of each.
func proxied(t *testing.T, cluster *pgtest.Cluster, database string, n int) (proxies []*faultproxy.Proxy, urls []string) {
	t.Helper()
	for range n {
		proxy, url := throughProxy(t, database, cluster.Addr())
		proxies, urls = append(proxies, proxy), append(urls, url)
	}
	return proxies, urls
}

// assembly is clients that ask a fleet, whose upstream keeps a ledger.
type assembly struct {
	*clientele
	fleet  *fleet
	ledger *ledger
	random *rand.Rand
}

// assemble starts everything but the clients.
func assemble(t *testing.T, clients int, settings string, databases ...string) *assembly {
	t.Helper()
	seed := seedOf(t)
	a := &assembly{clientele: newClientele(seed, clients), random: rand.New(rand.NewPCG(seed, 1000))}
	a.tries = 3
	t.Cleanup(a.client.CloseIdleConnections)
	a.ledger = newLedger(t, seed, a.step)
	a.ledger.quick = true
	upstream := httptest.NewServer(a.ledger)
	t.Cleanup(upstream.Close)
	a.fleet = newFleet(t, settings+operationsAt(upstream.URL), databases...)
	a.reach = a.fleet.reach
	return a
}

// operationsAt are the operations of a ledger at url.
func operationsAt(url string) string {
	return fmt.Sprintf(`
defaults: {timeout: 2s, not_executed_status: [429]}
operations:
  held: {url: '%s/held'}
  probed: {url: '%s/probed', on_unknown: probe, probe_url: '%s/probe/{key}?attempt={attempt}', probe_settle: 100ms}
`, url, url, url)
}

// close ends the load, asks for each key until it is settled, and audits everything.
func (a *assembly) close(t *testing.T, disperse func()) {
	t.Helper()
	a.ledger.becalm()
	disperse()
	last := a.settle(t)
	a.audit.close(t, a.keys, last, a.ledger.effects(t))
	a.history.linearizable(t)
	t.Log(a.figures())
	a.client.CloseIdleConnections()
}

// until waits for something that can only be asked for.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	again, end := time.NewTicker(20*time.Millisecond), time.NewTimer(patience)
	defer again.Stop()
	defer end.Stop()
	for !holds() {
		select {
		case <-again.C:
		case <-end.C:
			t.Fatal("waited in vain for " + what)
		}
	}
}
