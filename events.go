package atmost

import "time"

// Events tells an observer what an Engine does. Each callback may be nil, is called synchronously from any number of
// goroutines, and must return at once. Operation names are those of the configuration, "" stands for all others; so
// whoever makes labels of them is safe from names that clients invent.
type Events struct {
	// Answered: a request to execute got its answer.
	Answered func(Answered)
	// Claimed: the store answered a claim, after took.
	Claimed func(operation string, took time.Duration)
	// Started: an attempt begins.
	Started func(operation string)
	// Ended: an attempt ended, as far as its executor knows, after took.
	Ended func(a Attempt, outcome Outcome, took time.Duration)
	// Finished: an outcome is durable. took counts from the executor's end.
	Finished func(operation string, took time.Duration)
	// Late: an attempt that had been given up for unknown reported after all.
	Late func(operation string)
	// Contradicted: an attempt's report differs from what was held to be true. The operation may have run twice.
	Contradicted func(id ID, operation string)
	// Lapsed: a lease ended without a report.
	Lapsed func(r Record)
	// Settled: a probe found out what an unknown attempt did.
	Settled func(r Record)
	// Swept: retention ended for so many results and keys.
	Swept func(dropped, forgotten int)
	// StoreFailed: the store did not do what doing says.
	StoreFailed func(doing string, err error)
	// Abandoned: the engine closed while the attempt ran, so its outcome is unknown; stored tells whether that could
	// be written.
	Abandoned func(id ID, operation string, stored bool)
}

// Answered describes the answer to one request.
type Answered struct {
	Operation string
	// Answer is "executed", "replayed", "processing" or an error's code.
	Answer string
	Took   time.Duration
}

// fill returns the events with every nil callback replaced by one that does nothing.
func (e *Events) fill() Events {
	var f Events
	if e != nil {
		f = *e
	}
	if f.Answered == nil {
		f.Answered = func(Answered) {}
	}
	if f.Claimed == nil {
		f.Claimed = func(string, time.Duration) {}
	}
	if f.Started == nil {
		f.Started = func(string) {}
	}
	if f.Ended == nil {
		f.Ended = func(Attempt, Outcome, time.Duration) {}
	}
	if f.Finished == nil {
		f.Finished = func(string, time.Duration) {}
	}
	if f.Late == nil {
		f.Late = func(string) {}
	}
	if f.Contradicted == nil {
		f.Contradicted = func(ID, string) {}
	}
	if f.Lapsed == nil {
		f.Lapsed = func(Record) {}
	}
	if f.Settled == nil {
		f.Settled = func(Record) {}
	}
	if f.Swept == nil {
		f.Swept = func(int, int) {}
	}
	if f.StoreFailed == nil {
		f.StoreFailed = func(string, error) {}
	}
	if f.Abandoned == nil {
		f.Abandoned = func(ID, string, bool) {}
	}
	return f
}
