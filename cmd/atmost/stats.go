package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"

	"github.com/atmost-dev/atmost/wire"
)

// stats are what stats prints: figures of one instance, since it was started.
type stats struct {
	wire.AdminOverview
	Uptime     string           `json:"uptime"`
	Operations []operationStats `json:"operations"`
}

// operationStats are those of one operation.
type operationStats struct {
	Operation string            `json:"operation"`
	PerSecond float64           `json:"requests_per_second"`
	Answers   map[string]uint64 `json:"answers"`
	// P50 and P99 are how long requests took, in seconds, estimated from a histogram; 0 if there were none.
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

func statsCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use: "stats", Short: "Show what an instance did since it was started", Args: noArguments,
		Long: "Shows, of one running instance, what it answered since it was started, how long that took, and what is in doubt. All of it is in its metrics, too.",
	}
	api := addAdminFlags(c.Flags(), p)
	o := addOutputFlag(c.Flags(), p)
	completeOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		a, err := api.api()
		if err = errors.Join(err, o.check()); err != nil {
			return err
		}
		var s stats
		if err := a.get(c.Context(), "/admin/v1/overview", nil, &s.AdminOverview); err != nil {
			return err
		}
		text, err := a.ask(c.Context(), http.MethodGet, "/metrics", nil)
		if err != nil {
			return err
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
		if err != nil {
			return unreachableError{fmt.Errorf("%s/metrics: %w", a.shown, err)}
		}
		s.fill(families, time.Now())
		return o.value(s, func(w io.Writer) { s.table(w, o) })
	}
	return c
}

// fill takes from the metrics what there is of each operation.
func (s *stats) fill(families map[string]*dto.MetricFamily, now time.Time) {
	uptime := 0.0
	if started := families["process_start_time_seconds"].GetMetric(); len(started) == 1 {
		uptime = max(0, float64(now.UnixMilli())/1000-started[0].GetGauge().GetValue())
	}
	s.Uptime = time.Duration(uptime * float64(time.Second)).Round(time.Second).String()
	of := map[string]*operationStats{}
	get := func(name string) *operationStats {
		if of[name] == nil {
			of[name] = &operationStats{Operation: name, Answers: map[string]uint64{}}
		}
		return of[name]
	}
	for _, m := range families["atmost_requests_total"].GetMetric() {
		op, n := get(labelOf(m, "operation")), m.GetCounter().GetValue()
		op.Answers[labelOf(m, "answer")] += uint64(n)
		if uptime > 0 {
			op.PerSecond += n / uptime
		}
	}
	for _, m := range families["atmost_request_duration_seconds"].GetMetric() {
		op := get(labelOf(m, "operation"))
		op.P50, op.P99 = quantile(m.GetHistogram(), .5), quantile(m.GetHistogram(), .99)
	}
	for _, op := range of {
		s.Operations = append(s.Operations, *op)
	}
	slices.SortFunc(s.Operations, func(a, b operationStats) int { return strings.Compare(a.Operation, b.Operation) })
}

func labelOf(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// quantile estimates one, by taking what is in a bucket as spread evenly in it.
func quantile(h *dto.Histogram, q float64) float64 {
	rank := q * float64(h.GetSampleCount())
	lower, below := 0.0, 0.0
	for _, b := range h.GetBucket() {
		count, upper := float64(b.GetCumulativeCount()), b.GetUpperBound()
		if count >= rank && count > below {
			if math.IsInf(upper, 1) {
				return lower
			}
			return lower + (upper-lower)*(rank-below)/(count-below)
		}
		lower, below = upper, count
	}
	return lower * min(1, float64(h.GetSampleCount()))
}

func (s *stats) table(w io.Writer, o *output) {
	doubt := "none"
	if s.Unknown > 0 {
		doubt = fmt.Sprintf("%d, the oldest for %s: atmost keys list --state unknown", s.Unknown, time.Duration(s.OldestUnknown*float64(time.Second)).Round(time.Second))
	}
	guarded := "no"
	if s.Guarded {
		guarded = "YES: it may have forgotten keys, and refuses new ones; see atmost admit --help"
	}
	columns(w, [][]string{
		{"version", s.Version},
		{"up for", s.Uptime},
		{"store", s.Store},
		{"guarded", guarded},
		{"unknown", doubt},
		{"executing", strconv.Itoa(s.Pending)},
		{"not stored yet", strconv.Itoa(s.Unstored)},
	})
	if len(s.Operations) == 0 {
		return
	}
	_, _ = fmt.Fprintln(w)
	rows := [][]string{{"OPERATION", "PER SECOND", "P50", "P99", "EXECUTED", "REPLAYED", "PROCESSING", "OTHER"}}
	for _, op := range s.Operations {
		other := uint64(0)
		for answer, n := range op.Answers {
			if answer != "executed" && answer != "replayed" && answer != "processing" {
				other += n
			}
		}
		rows = append(rows, []string{
			op.Operation, strconv.FormatFloat(op.PerSecond, 'f', 2, 64), seconds(op.P50), seconds(op.P99),
			count(op.Answers["executed"]), count(op.Answers["replayed"]), count(op.Answers["processing"]), count(other),
		})
	}
	columns(w, rows)
	for _, op := range s.Operations {
		for _, answer := range slices.Sorted(maps.Keys(op.Answers)) {
			if answer != "executed" && answer != "replayed" && answer != "processing" {
				_, _ = fmt.Fprintf(w, "  %s: %d × %s\n", op.Operation, op.Answers[answer], answer)
			}
		}
	}
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }

func seconds(s float64) string {
	if s == 0 {
		return "-"
	}
	return time.Duration(s * float64(time.Second)).Round(10 * time.Microsecond).String()
}
