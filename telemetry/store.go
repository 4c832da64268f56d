package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atmost-dev/atmost"
)

// MeterStore returns s with its calls counted, and their time taken, in metrics that it registers with reg; kind is what
// they call it. It is what s is: a Watcher, a Guard and Keyed where s is.
func MeterStore(reg prometheus.Registerer, kind string, s atmost.Store) atmost.Store {
	f := factory{reg, prometheus.Labels{"store": kind}}
	count := f.counter("store_operations_total", "Calls of the store, by what came of them.", "doing", "outcome")
	took := f.histogram("store_operation_duration_seconds", "Time that the store took.", quick(), "doing")
	of := func(doing string) *meter {
		m := &meter{took: took.WithLabelValues(doing)}
		for i, outcome := range storeOutcomes {
			m.count[i] = count.WithLabelValues(doing, outcome)
		}
		return m
	}
	m := &meteredStore{
		Store: s, claim: of("claim"), renew: of("renew"), finish: of("finish"), resolve: of("resolve"), erase: of("erase"), forget: of("forget"),
		lookup: of("look up"), list: of("list"), audit: of("audit"), sweep: of("sweep"),
	}
	watcher, shared := s.(atmost.Watcher)
	if shared {
		watcher = meteredWatcher{watcher, of("watch")}
	}
	return like(s, m, watcher)
}

// storeOutcomes are what can come of a call: the rules refused it; nothing was done; nobody knows whether it was.
var storeOutcomes = [...]string{"ok", "refused", "failed", "ambiguous"}

func storeOutcome(err error) int {
	var refusal *atmost.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &refusal):
		return 1
	case !errors.Is(err, atmost.ErrAmbiguous):
		return 2
	}
	return 3
}

// meter counts one kind of call.
type meter struct {
	count [len(storeOutcomes)]prometheus.Counter
	took  prometheus.Observer
}

func (m *meter) end(begin time.Time, err error) {
	m.took.Observe(time.Since(begin).Seconds())
	m.count[storeOutcome(err)].Inc()
}

type meteredStore struct {
	atmost.Store
	claim, renew, finish, resolve, erase, forget, lookup, list, audit, sweep *meter
}

func (s *meteredStore) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	begin := time.Now()
	step, err := s.Store.Apply(ctx, id, event)
	s.meter(event).end(begin, err)
	return step, err
}

func (s *meteredStore) meter(event atmost.Event) *meter {
	switch event.(type) {
	case *atmost.Claim:
		return s.claim
	case *atmost.Finish:
		return s.finish
	case *atmost.Renew:
		return s.renew
	case *atmost.Erase:
		return s.erase
	case *atmost.Forget:
		return s.forget
	}
	return s.resolve // and what a probe in vain leaves behind
}

func (s *meteredStore) Lookup(ctx context.Context, id atmost.ID) (atmost.Record, error) {
	begin := time.Now()
	r, err := s.Store.Lookup(ctx, id)
	s.lookup.end(begin, err)
	return r, err
}

func (s *meteredStore) List(ctx context.Context, q atmost.Query) (atmost.Page, error) {
	begin := time.Now()
	page, err := s.Store.List(ctx, q)
	s.list.end(begin, err)
	return page, err
}

func (s *meteredStore) Audit(ctx context.Context, before uint64, limit int) ([]atmost.AuditEntry, error) {
	begin := time.Now()
	entries, err := s.Store.Audit(ctx, before, limit)
	s.audit.end(begin, err)
	return entries, err
}

func (s *meteredStore) Sweep(ctx context.Context, limit int) (atmost.Swept, error) {
	begin := time.Now()
	swept, err := s.Store.Sweep(ctx, limit)
	s.sweep.end(begin, err)
	return swept, err
}

type meteredWatcher struct {
	atmost.Watcher
	watch *meter
}

func (w meteredWatcher) Settled(ctx context.Context, ids []atmost.ID) ([]atmost.Record, error) {
	begin := time.Now()
	records, err := w.Watcher.Settled(ctx, ids)
	w.watch.end(begin, err)
	return records, err
}

// like returns outer, which stands before inner, with what inner has beyond a Store; w is inner's Watcher, if it is one.
func like(inner, outer atmost.Store, w atmost.Watcher) atmost.Store {
	type (
		store   = atmost.Store
		watcher = atmost.Watcher
		guard   = atmost.Guard
		keyed   = atmost.Keyed
	)
	g, guarded := inner.(guard)
	k, hasSecret := inner.(keyed)
	switch shared := w != nil; {
	case shared && guarded && hasSecret:
		return struct {
			store
			watcher
			guard
			keyed
		}{outer, w, g, k}
	case shared && guarded:
		return struct {
			store
			watcher
			guard
		}{outer, w, g}
	case shared && hasSecret:
		return struct {
			store
			watcher
			keyed
		}{outer, w, k}
	case guarded && hasSecret:
		return struct {
			store
			guard
			keyed
		}{outer, g, k}
	case shared:
		return struct {
			store
			watcher
		}{outer, w}
	case guarded:
		return struct {
			store
			guard
		}{outer, g}
	case hasSecret:
		return struct {
			store
			keyed
		}{outer, k}
	}
	return outer
}
