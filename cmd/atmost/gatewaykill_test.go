package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmosthttp"
)

// TestGatewayUnderLoad has many callers, and kills the gateway or its upstream at random moments.
func TestGatewayUnderLoad(t *testing.T) {
	t.Run("the gateway is killed", testGatewayKilled)
	t.Run("its upstream is killed", testUpstreamKilled)
}

// testGatewayKilled audits what callers were answered before and after, by the gateway and by the upstream through it.
func testGatewayKilled(t *testing.T) {
	t.Parallel() // with the other: both mostly wait
	seed, kills := seedOf(t), 8
	if testing.Short() {
		kills = 3
	}
	k := newKilling(t, seed, "gateway", 16)
	k.send = throughGateway
	l := newLedger(t, seed, k.step)
	upstream := httptest.NewServer(l)
	defer upstream.Close()
	address := freeAddress(t)
	k.configure(t, address, gatewayOf(address, upstream.URL))

	last := k.survive(t, kills, l.becalm)
	k.audit.close(t, k.keys, last, asSent(k.keys, l.effects(t)))
	k.history.linearizable(t)
	k.report(t, kills)
}

// testUpstreamKilled has an upstream that does nothing wrong but to be killed. What it was at is unknown then, and what it could not be
// sent was not executed.
func testUpstreamKilled(t *testing.T) {
	t.Parallel()
	seed, kills := seedOf(t), 4
	if testing.Short() {
		kills = 2
	}
	k := newKilling(t, seed, "gateway", 16)
	k.send = throughGateway
	up := &upstreamProcess{address: freeAddress(t), file: filepath.Join(t.TempDir(), "ledger"), moments: newMoments()}
	address := freeAddress(t)
	k.configure(t, address, gatewayOf(address, "http://"+up.address))
	up.start(t)
	gateway := k.start(t)
	disperse := k.gather()
	random := rand.New(rand.NewPCG(seed, 1000))
	for range kills {
		up.after(t, 20+random.IntN(100))
		up.kill()
		k.after(t, 1+random.IntN(100))
		up.start(t)
	}
	up.after(t, 20)
	disperse()
	last := k.settle(t)
	if err := gateway.stop(); err != nil {
		t.Errorf("the gateway ended with %v", err)
	}
	effects, err := readLedger(up.file)
	if err != nil {
		t.Fatal(err)
	}
	k.audit.close(t, k.keys, last, asSent(k.keys, effects))
	k.history.linearizable(t)
	t.Logf("%d kills, %s", kills, k.figures())
	f := k.audit.figures
	if !testing.Short() && (f.replays == 0 || f.notExecuted == 0 || f.mismatches == 0 || k.audit.settled() == 0 || k.audit.held() == 0) {
		t.Error("the run did not come across what it is for")
	}
}

// gatewayOf is the configuration of a gateway to a ledger.
func gatewayOf(address, upstream string) string {
	return fmt.Sprintf(`admin: ''
gateway:
  listen: %s
  upstream: %s
  scope_header: X-Tenant
  timeout: 1s
  routes:
    - {path: /probed, on_unknown: probe, probe_url: '%s/probe/{key}?attempt={attempt}&scope={scope}', probe_settle: 100ms}
`, address, upstream, upstream)
}

// idOf is how a gateway knows key: two tenants have the same keys.
func idOf(key string) atmost.ID {
	n, err := strconv.Atoi(key[1:])
	if err != nil {
		panic(err)
	}
	return atmost.ID{Scope: fmt.Sprintf("tenant-%d", n%2), Key: fmt.Sprint("key-", n/2)}
}

// asSent is effects by the clients' keys. The upstream knows them by what it was sent.
func asSent(keys []string, effects map[string][]string) map[string][]string {
	for _, key := range keys {
		sent := idOf(key).ForwardedKey()
		if results, had := effects[sent]; had {
			delete(effects, sent)
			effects[key] = results
		}
	}
	return effects
}

// throughGateway has a gateway asked about key, and gives its answer in the words of the API, by which answers are judged.
func throughGateway(ctx context.Context, client *http.Client, url, key, payload string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/"+operationOf(key), strings.NewReader(payload))
	if err != nil {
		return reply{}, err
	}
	id := idOf(key)
	req.Header.Set("Idempotency-Key", id.Key)
	req.Header.Set("X-Tenant", id.Scope)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	p, err := read(resp)
	if err != nil {
		return reply{}, err
	}
	if p.header.Get("Content-Type") == "application/problem+json" {
		return ofProblem(p), nil
	}
	return ofUpstream(p), nil
}

// ofProblem is what the gateway itself said. What is not said as it should be has the status 0.
func ofProblem(p reply) reply {
	var said struct {
		Type, Code string
		Status     int
	}
	_, again := p.header["Retry-After"]
	wrong := json.Unmarshal([]byte(p.body), &said) != nil || said.Type != atmosthttp.ProblemType(said.Code) || said.Status != p.status
	switch {
	case wrong:
		p.status = 0
	case said.Code == atmosthttp.Processing && p.status == http.StatusConflict && again:
		return reply{http.StatusAccepted, p.header, `{"status":"processing"}`}
	case said.Code == atmosthttp.Processing, said.Code == string(atmost.CodeOutcomeUnknown) && again: // clients tell them apart by that
		p.status = 0
	}
	return p
}

// ofUpstream is what the upstream said, now or before: what is final with all that is replayed of it.
func ofUpstream(p reply) reply {
	said := reply{header: p.header, body: fmt.Sprintf("%d %q %q %s", p.status, p.header["Content-Type"], p.header["Etag"], p.body)}
	executed, replayed := p.header.Get("Idempotency-Executed"), p.header.Get("Idempotency-Replayed")
	switch {
	case p.status/100 == 2 && executed == "yes":
		said.status = http.StatusOK
	case p.status == http.StatusPaymentRequired && executed == "yes":
		said.status = http.StatusFailedDependency
	case p.status == http.StatusTooManyRequests && executed == "no" && replayed == "false":
		said.status, said.body = http.StatusServiceUnavailable, string(atmost.CodeExecutionNotStarted)
	case p.status == http.StatusInternalServerError && executed == "unknown" && replayed == "false":
		said.status, said.body = http.StatusConflict, string(atmost.CodeOutcomeUnknown)
	}
	return said
}

// upstreamProcess is a ledger's process, which is at the same address in each of its lives, and goes on with the ledger in file.
type upstreamProcess struct {
	address, file string
	moments       // the steps of its requests
	*child
}

// logStep is what the process says at each step of a request.
const logStep = "step"

func (u *upstreamProcess) start(t *testing.T) {
	t.Helper()
	log := newJournal()
	c, err := startChild(context.WithoutCancel(t.Context()), []string{u.address}, []string{envAsUpstream + "=" + u.file}, func(l logLine) {
		if l.Msg == logStep {
			u.step()
			return
		}
		log.add(l)
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, log.text())
	}
	t.Cleanup(c.kill)
	u.child = c
}

// serveLedger is that process. It ends when it is killed.
func serveLedger(address, file string) {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	l, err := openLedger(file, uint64(time.Now().UnixNano()), func() { log.Info(logStep) })
	if err != nil {
		panic(err)
	}
	l.calm = true
	listener, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	log.Info(logReady)
	panic(http.Serve(listener, l))
}
