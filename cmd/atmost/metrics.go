package main

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/atmost-dev/atmost/store/pebblestore"
	"github.com/atmost-dev/atmost/store/pgstore"
	"github.com/atmost-dev/atmost/telemetry"
)

// observe registers what is read when metrics are scraped.
func (p *program) observe(registry *prometheus.Registry) {
	v := buildVersion()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	telemetry.RegisterEngine(registry, p.engine)
	telemetry.RegisterBuildInfo(registry, v.Version, v.Revision, v.Go)
	switch s := p.store.(type) {
	case *pebblestore.Store:
		observePebble(registry, s.Stats)
		registry.MustRegister(&syncs{s.Syncs})
	case *pgstore.Store:
		observePostgres(registry, s.Stats)
	}
}

// batches counts how many requests share a statement, where the store does that; else it is nil.
func batches(registry *prometheus.Registry, c config) func(requests int) {
	if kind, _ := storeKind(c.Store); kind != postgresStore {
		return nil
	}
	sizes := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "atmost", Subsystem: "store", Name: "batch_requests", Help: "How many requests a statement that can be shared is for.",
		Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024},
	})
	registry.MustRegister(sizes)
	return func(requests int) { sizes.Observe(float64(requests)) }
}

// syncs is a histogram that Pebble keeps.
type syncs struct{ read func() pebblestore.Syncs }

func (s *syncs) desc() *prometheus.Desc {
	return prometheus.NewDesc("atmost_store_sync_duration_seconds", "Time that the disk took to make the log durable.", nil, nil)
}

func (s *syncs) Describe(to chan<- *prometheus.Desc) { to <- s.desc() }

func (s *syncs) Collect(to chan<- prometheus.Metric) {
	all := s.read()
	within := make(map[float64]uint64, len(all.Within))
	for d, n := range all.Within {
		within[d.Seconds()] = n
	}
	to <- prometheus.MustNewConstHistogram(s.desc(), all.Count, all.Sum.Seconds(), within)
}

const guardedHelp = "1 while new keys are refused, as the store may have forgotten some."

func observePostgres(registry *prometheus.Registry, stats func() pgstore.Stats) {
	gauge := storeGauges(registry, stats)
	gauge("up", "1 while the database can be used.", func(s pgstore.Stats) float64 { return truth(s.Down == "") })
	gauge("guarded", guardedHelp, func(s pgstore.Stats) float64 { return truth(s.Guarded) })
	gauge("connections", "Connections to the database in use.", func(s pgstore.Stats) float64 { return float64(s.Connections) })
	gauge("connections_max", "How many connections to the database there may be.", func(s pgstore.Stats) float64 { return float64(s.MaxConnections) })
}

// storeGauges returns a function that registers one gauge of a store.
func storeGauges[S any](registry *prometheus.Registry, stats func() S) func(name, help string, value func(S) float64) {
	return func(name, help string, value func(S) float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "atmost", Subsystem: "store", Name: name, Help: help},
			func() float64 { return value(stats()) }))
	}
}

func observePebble(registry *prometheus.Registry, stats func() pebblestore.Stats) {
	gauge := storeGauges(registry, stats)
	gauge("disk_bytes", "What the store's directory takes.", func(s pebblestore.Stats) float64 { return float64(s.DiskBytes) })
	gauge("processing_records", "Records whose attempt is running, or lapsed and not swept yet.", func(s pebblestore.Stats) float64 { return float64(s.Processing) })
	gauge("guarded", guardedHelp, func(s pebblestore.Stats) float64 { return truth(s.Guarded) })
	gauge("disk_low", "1 while new claims are refused for lack of disk space.", func(s pebblestore.Stats) float64 { return truth(s.DiskLow) })
	gauge("clock_suspended", "1 while nothing expires because the wall clock is too far off.", func(s pebblestore.Stats) float64 { return truth(s.ClockSuspended) })
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func metricsHandler(registry *prometheus.Registry, log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling: promhttp.ContinueOnError,
		// For scrapers that ask for it, as only that has exemplars.
		EnableOpenMetrics: true,
	})
}
