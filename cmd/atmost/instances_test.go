package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/atmost-dev/atmost/internal/faultproxy"
	"github.com/atmost-dev/atmost/internal/pgtest"
)

// TestInstances has four times 64 clients ask four instances about the same keys.
func TestInstances(t *testing.T) {
	database := migrated(t, pgtest.Database(t))
	a := assemble(t, 4*64, "postgres: {timeout: 10s}\n", slices.Repeat([]string{database}, 4)...)
	a.tries, a.fresh = 0, 10
	a.audit.outages = true // as far as a busy machine is one
	steps := 4000
	if testing.Short() {
		steps = 2000
	}
	disperse := a.gather()
	a.after(t, steps)
	a.close(t, disperse)
	for i, m := range a.fleet.instances {
		if m.metric(t, `atmost_executions_started_total{operation="held"}`) == 0 {
			t.Errorf("instance %d executed nothing", i)
		}
	}
	a.fleet.stop(t)
	if a.audit.figures.acrossRestarts == 0 {
		t.Error("no instance replayed another's answer")
	}
}

// testInstanceKilled kills instances at random moments under load, every other time when it was cut off from the database, with
// outcomes that it cannot store. The others go on; what the dead were executing is unknown once their leases end, and then held or
// settled.
func testInstanceKilled(t *testing.T) {
	cluster := pgtest.New(t, pgtest.Config{})
	proxies, urls := proxied(t, cluster, migrated(t, cluster.Database(t)), 3)
	a := assemble(t, 32, impatient, urls...)
	a.audit.outages = true
	kills := 6
	if testing.Short() {
		kills = 2
	}
	disperse := a.gather()
	for n := range kills {
		a.after(t, 100+a.random.IntN(200))
		i := a.random.IntN(len(a.fleet.instances))
		if n%2 == 1 {
			proxies[i].Set(faultproxy.Fault{Kind: faultproxy.Reset, Direction: faultproxy.Request})
			a.after(t, 40)
		}
		a.fleet.instances[i].crash()
		proxies[i].Set(faultproxy.Fault{})
		a.fleet.instances[i].start(t)
	}
	a.close(t, disperse)
	lapsed := a.fleet.sum(t, "atmost_lapsed_total")
	t.Logf("%d kills, %.0f leases lapsed", kills, lapsed)
	a.fleet.stop(t)
	if !testing.Short() && (lapsed == 0 || a.audit.settled() == 0 || a.audit.held() == 0) {
		t.Error("the run did not come across what it is for")
	}
}

// impatient are settings for tests in which the database is away for a while.
const impatient = "claim_patience: 500ms\npostgres: {timeout: 2s}\n"

// TestDatabaseRestarted ends the database under load, in order and as a crash would. While it is away requests are refused, and
// nothing is executed; when it is back everything goes on without a restart of the service.
func TestDatabaseRestarted(t *testing.T) {
	cluster := pgtest.New(t, pgtest.Config{})
	database := migrated(t, cluster.Database(t))
	a := assemble(t, 32, impatient, slices.Repeat([]string{database}, 2)...)
	a.audit.outages = true
	disperse := a.gather()
	var refused []string
	for n, crash := range []bool{false, true, true, false} {
		a.after(t, 300+a.random.IntN(300))
		cluster.Stop(crash)
		var asking sync.WaitGroup
		begin := time.Now()
		for i := range 16 {
			key := fmt.Sprintf("h-refused-%d-%d", n, i)
			refused = append(refused, key)
			asking.Go(func() { a.refuse(t, a.fleet.instances[i%2], key) })
		}
		asking.Wait()
		refusing := time.Since(begin)
		if err := cluster.Start(); err != nil {
			t.Fatal(err)
		}
		begin = time.Now()
		for i, m := range a.fleet.instances {
			key := fmt.Sprintf("h-again-%d-%d", n, i)
			a.add(key)
			until(t, "the instance to claim again", func() bool {
				p, err := post(t.Context(), a.client, m.url(), key, bodyOf(key), "respond-async")
				return err == nil && p.status != http.StatusServiceUnavailable
			})
		}
		t.Logf("16 requests were refused within %v; they claimed again %v after the database was back", refusing, time.Since(begin))
	}
	a.after(t, 300)
	a.close(t, disperse)
	a.fleet.stop(t)
	effects := a.ledger.count(t)
	for _, key := range refused {
		if n := effects[key]; n != 0 {
			t.Errorf("key %s was refused and had %d effects", key, n)
		}
	}
	if a.audit.figures.refused == 0 {
		t.Error("the run did not come across what it is for")
	}
}

// refuse asks an instance whose database is away, and expects to be told so.
func (a *assembly) refuse(t *testing.T, m *instance, key string) {
	t.Helper()
	p, err := ask(context.WithoutCancel(t.Context()), a.client, m.url(), key, payloadOf(key))
	if err != nil {
		t.Error(err)
		return
	}
	p.want(t, 503, "STORE_UNAVAILABLE")
	if told := p.header.Get("Idempotency-Retry"); told != "same-key" {
		t.Errorf("Idempotency-Retry is %q", told)
	}
}

// TestConnectionsCut does to the connections of each instance with the database what networks do, before a commit, after it, and
// in between, under load.
func TestConnectionsCut(t *testing.T) {
	cluster := pgtest.New(t, pgtest.Config{})
	proxies, urls := proxied(t, cluster, migrated(t, cluster.Database(t)), 3)
	a := assemble(t, 32, impatient, urls...)
	a.audit.outages = true
	disperse := a.gather()
	for _, fault := range []faultproxy.Fault{
		{Kind: faultproxy.Reset, Direction: faultproxy.Request},
		{Kind: faultproxy.Reset, Direction: faultproxy.Request, After: 100},
		{Kind: faultproxy.Reset, Direction: faultproxy.Response},
		{Kind: faultproxy.Close, Direction: faultproxy.Response, After: 20},
		{Kind: faultproxy.Drop, Direction: faultproxy.Response},
		{Kind: faultproxy.Drop, Direction: faultproxy.Request},
	} {
		for range 2 {
			proxy := proxies[a.random.IntN(len(proxies))]
			a.after(t, 50+a.random.IntN(100))
			proxy.Set(fault)
			a.after(t, 20+a.random.IntN(60))
			proxy.Set(faultproxy.Fault{})
		}
	}
	a.after(t, 150)
	failures := a.fleet.sum(t, `atmost_store_failures_total{doing="claim"}`) + a.fleet.sum(t, `atmost_store_failures_total{doing="finish"}`)
	a.close(t, disperse)
	t.Logf("%.0f claims and reports failed", failures)
	a.fleet.stop(t)
	if failures == 0 {
		t.Error("the run did not come across what it is for")
	}
}
