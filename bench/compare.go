package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// side is what one contender did with one number of clients.
type side struct {
	PerSecond float64
	P50, P99  time.Duration
	// OwnMicros is the CPU time of the contender's process for each execution, DatabaseMicros that of the database's.
	OwnMicros, DatabaseMicros float64

	done          int
	took          time.Duration
	own, database time.Duration
	rates         []float64
	latency       *hdrhistogram.Histogram
}

// comparison is both contenders with one number of clients.
type comparison struct {
	Clients       int
	Plain, Atmost side
	Ratio         float64
	// Lowest and Highest are the ratios of single rounds.
	Lowest, Highest float64
}

// turn has clients ask one contender for a while. What does not count warms it up.
func (s *setting) turn(ctx context.Context, x *side, atmost bool, clients int, d time.Duration, counts bool) error {
	c := s.plain
	if atmost {
		c = s.atmost
	}
	before, err := s.used(c)
	if err != nil {
		return err
	}
	l, err := load(ctx, c.address, clients, d)
	if err != nil {
		return err
	}
	after, err := s.used(c)
	if err != nil || !counts {
		return err
	}
	if x.latency == nil {
		x.latency = newHistogram()
	}
	x.latency.Merge(l.latency)
	x.done += l.done
	x.took += l.took
	x.own += after.own - before.own
	x.database += after.database - before.database
	x.rates = append(x.rates, float64(l.done)/l.took.Seconds())
	return nil
}

func (x *side) conclude() {
	x.PerSecond = float64(x.done) / x.took.Seconds()
	x.P50 = time.Duration(x.latency.ValueAtQuantile(50))
	x.P99 = time.Duration(x.latency.ValueAtQuantile(99))
	x.OwnMicros = float64(x.own.Microseconds()) / float64(x.done)
	x.DatabaseMicros = float64(x.database.Microseconds()) / float64(x.done)
}

func (c *comparison) conclude() {
	c.Plain.conclude()
	c.Atmost.conclude()
	c.Ratio = c.Atmost.PerSecond / c.Plain.PerSecond
	ratios := make([]float64, len(c.Plain.rates))
	for i, rate := range c.Plain.rates {
		ratios[i] = c.Atmost.rates[i] / rate
	}
	c.Lowest, c.Highest = slices.Min(ratios), slices.Max(ratios)
}

func (c *comparison) row() string {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return fmt.Sprintf("%d\t%.0f\t%.0f\t%.2f\t%.2f to %.2f\t%.1f / %.1f\t%.1f / %.1f\t%.0f + %.0f\t%.0f + %.0f\t",
		c.Clients, c.Plain.PerSecond, c.Atmost.PerSecond, c.Ratio, c.Lowest, c.Highest,
		ms(c.Plain.P50), ms(c.Plain.P99), ms(c.Atmost.P50), ms(c.Atmost.P99),
		c.Plain.OwnMicros, c.Plain.DatabaseMicros, c.Atmost.OwnMicros, c.Atmost.DatabaseMicros)
}
