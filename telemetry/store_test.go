package telemetry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/memstore"
	"github.com/atmost-dev/atmost/store/storetest"
)

// A store that is metered and traced keeps every sentence of the interface.
func TestWrappedStoresAreStores(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Harness {
		clock := storetest.NewClock()
		s := atmost.Store(memstore.New(memstore.Options{Clock: clock}))
		for _, wrap := range wrappers() {
			s = wrap(s)
		}
		return storetest.Harness{Store: s, Clock: clock}
	})
}

func wrappers() map[string]func(atmost.Store) atmost.Store {
	return map[string]func(atmost.Store) atmost.Store{
		"metered": func(s atmost.Store) atmost.Store { return MeterStore(prometheus.NewRegistry(), "memory", s) },
		"traced": func(s atmost.Store) atmost.Store {
			spans := newSpans()
			traced := spans.Store(s)
			w, _ := traced.(atmost.Watcher)
			return like(traced, inSpan{traced, spans}, w)
		},
	}
}

// inSpan is a store whose calls belong to a trace.
type inSpan struct {
	atmost.Store
	spans *spans
}

func (s inSpan) Apply(ctx context.Context, id atmost.ID, event atmost.Event) (atmost.Step, error) {
	ctx, span := s.spans.tracer.Start(ctx, "request")
	defer span.End()
	return s.Store.Apply(ctx, id, event)
}

// What a store can do beyond a Store, it can do as well when it is wrapped: no more and no less.
func TestWrappedStoresKeepWhatTheyCan(t *testing.T) {
	type (
		m = plain
		w = watches
		g = guards
		k = keeps
	)
	stores := map[string]atmost.Store{
		"none": struct{ m }{}, "watcher": struct {
			m
			w
		}{}, "guard": struct {
			m
			g
		}{}, "keyed": struct {
			m
			k
		}{}, "watcher guard": struct {
			m
			w
			g
		}{}, "watcher keyed": struct {
			m
			w
			k
		}{}, "guard keyed": struct {
			m
			g
			k
		}{}, "watcher guard keyed": struct {
			m
			w
			g
			k
		}{},
	}
	for name, wrap := range wrappers() {
		for want, s := range stores {
			var can []string
			wrapped := wrap(s)
			if w, ok := wrapped.(atmost.Watcher); ok {
				can = append(can, "watcher")
				if got, err := w.Settled(t.Context(), nil); len(got) != 1 || err != nil {
					t.Errorf("%s: settled are %v, %v", name, got, err)
				}
			}
			if g, ok := wrapped.(atmost.Guard); ok {
				can = append(can, "guard")
				if !g.Guarded() {
					t.Errorf("%s: not guarded", name)
				}
			}
			if k, ok := wrapped.(atmost.Keyed); ok {
				can = append(can, "keyed")
				if k.Secret() != [32]byte{7} {
					t.Errorf("%s: the secret is another", name)
				}
			}
			if want != strings.Join(append(can, map[bool][]string{true: {"none"}}[len(can) == 0]...), " ") {
				t.Errorf("%s %s can %v", name, want, can)
			}
		}
	}
}

// plain is a store whose calls end as a test wants.
type plain struct {
	atmost.Store
	err error
}

func (s plain) Apply(_ context.Context, id atmost.ID, _ atmost.Event) (atmost.Step, error) {
	return atmost.Step{Record: atmost.Record{ID: id}}, s.err
}

func (s plain) Lookup(context.Context, atmost.ID) (atmost.Record, error) {
	return atmost.Record{}, s.err
}

func (s plain) List(context.Context, atmost.Query) (atmost.Page, error) { return atmost.Page{}, s.err }

func (s plain) Audit(context.Context, uint64, int) ([]atmost.AuditEntry, error) { return nil, s.err }

func (s plain) Sweep(context.Context, int) (atmost.Swept, error) { return atmost.Swept{}, s.err }

type watches struct{}

func (watches) Settled(context.Context, []atmost.ID) ([]atmost.Record, error) {
	return make([]atmost.Record, 1), nil
}

type guards struct{}

func (guards) Guarded() bool { return true }
func (guards) Admit(context.Context, string, atmost.Actor) (*atmost.AuditEntry, error) {
	return nil, nil
}

func (guards) AdmitAll(context.Context, atmost.Actor) (*atmost.AuditEntry, error) { return nil, nil }

type keeps struct{}

func (keeps) Secret() [32]byte { return [32]byte{7} }

func TestMeterStore(t *testing.T) {
	id := atmost.ID{Key: "key-7"}
	for outcome, err := range map[string]error{
		"ok": nil, "refused": &atmost.Error{Code: atmost.CodeLeaseLost}, "failed": errors.New("disk on fire"),
		"ambiguous": fmt.Errorf("%w: network", atmost.ErrAmbiguous),
	} {
		reg := prometheus.NewRegistry()
		s := MeterStore(reg, "pebble", struct {
			plain
			watches
		}{plain: plain{err: err}})
		for _, event := range []atmost.Event{
			&atmost.Claim{}, &atmost.Renew{}, &atmost.Finish{}, &atmost.Resolve{}, &atmost.Probed{}, &atmost.Erase{}, &atmost.Forget{},
		} {
			if _, got := s.Apply(t.Context(), id, event); got != err {
				t.Errorf("%T: %v", event, got)
			}
		}
		_, _ = s.Lookup(t.Context(), id)
		_, _ = s.List(t.Context(), atmost.Query{})
		_, _ = s.Audit(t.Context(), 0, 1)
		_, _ = s.Sweep(t.Context(), 1)
		_, _ = s.(atmost.Watcher).Settled(t.Context(), nil)
		got := map[string]float64{}
		families, gatherErr := reg.Gather()
		if gatherErr != nil {
			t.Fatal(gatherErr)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				labels := map[string]string{}
				for _, l := range m.GetLabel() {
					labels[l.GetName()] = l.GetValue()
				}
				if labels["store"] != "pebble" {
					t.Errorf("%s of store %q", f.GetName(), labels["store"])
				}
				switch f.GetName() {
				case "atmost_store_operations_total":
					if m.GetCounter().GetValue() > 0 {
						got[labels["doing"]+" "+labels["outcome"]] += m.GetCounter().GetValue()
					}
				case "atmost_store_operation_duration_seconds":
					got[labels["doing"]] += float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
		want := map[string]float64{}
		for _, doing := range []string{"claim", "renew", "finish", "resolve", "erase", "forget", "look up", "list", "audit", "sweep", "watch"} {
			n := 1.0
			if doing == "resolve" { // and what a probe in vain leaves
				n = 2
			}
			came := outcome
			if doing == "watch" {
				came = "ok"
			}
			want[doing], want[doing+" "+came] = n, n
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", outcome, diff)
		}
	}
}

// TestMeterTakesTheTime has a store take a second.
func TestMeterTakesTheTime(t *testing.T) {
	reg := prometheus.NewRegistry()
	f := factory{reg, nil}
	m := &meter{took: f.histogram("took_seconds", "", quick()).WithLabelValues()}
	for i := range m.count {
		m.count[i] = prometheus.NewCounter(prometheus.CounterOpts{})
	}
	m.end(time.Now().Add(-time.Second), nil)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 {
		t.Fatal(families, err)
	}
	if sum := families[0].GetMetric()[0].GetHistogram().GetSampleSum(); sum < 1 || sum > 60 {
		t.Errorf("it took %v s", sum)
	}
}
