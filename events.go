package atmost

import "time"

// Events tells an observer what an Engine does. Each callback may be nil, is called synchronously from any number of
// goroutines, and must return at once. Operation names are those of the configuration, "" stands for all others; so
// whoever makes labels of them is safe from names that clients invent.
type Events struct {
	// Answered: a request to execute, or one about a lease, got its answer.
	Answered func(Answered)
	// Duplicate: a request found a record that another had begun, by the store's clock age before.
	Duplicate func(operation string, age time.Duration)
	// Claimed: the store answered a claim, after took. trace is that of the request.
	Claimed func(operation string, trace SpanID, took time.Duration)
	// Started: an attempt begins.
	Started func(operation string)
	// Ended: an attempt ended, as far as its executor knows, after took.
	Ended func(attempt Attempt, outcome Outcome, took time.Duration)
	// Finished: an outcome is durable. took counts from the executor's end, or from when a client's report came. trace is the record's.
	Finished func(operation string, trace SpanID, took time.Duration)
	// Dropped: the outcome of an attempt could not be stored, as the store does not know the attempt any more: its record was deleted,
	// or lost by a fail-over. Nothing else will tell of it, and the next request with the key may run the operation again.
	Dropped func(attempt Attempt, outcome State)
	// Late: an attempt that had been given up for unknown reported after all.
	Late func(operation string)
	// Contradicted: an attempt's report differs from what was held to be true. The operation may have run twice.
	Contradicted func(id ID, operation string)
	// Lapsed: a lease ended without a report.
	Lapsed func(r Record)
	// Probed: a probe of an unknown attempt was answered. Outcome Unknown says that it still is not known, and why.
	Probed func(id ID, operation string, outcome Outcome)
	// Settled: a probe found out what an unknown attempt did, or by said so, and that is durable.
	Settled func(r Record, by *Actor)
	// Changed: a person changed something, and that entry about it is in the audit trail. Settled is told beside it.
	Changed func(entry AuditEntry)
	// Panicked: an executor or a prober did.
	Panicked func(operation string, value any, stack []byte)
	// Swept: retention ended for so many results and keys.
	Swept func(dropped, forgotten int)
	// StoreFailed: the store did not do what doing says.
	StoreFailed func(doing string, err error)
	// Abandoned: the engine closed before the attempt had ended, so it is Unknown, or, if it had not begun, NotExecuted;
	// stored tells whether that could be written.
	Abandoned func(id ID, operation string, outcome State, stored bool)
}

// Answered describes the answer to one request.
type Answered struct {
	Operation string
	// Answer is "executed", "claimed", "renewed", "reported", "replayed", "processing" or an error's code.
	Answer string
	Took   time.Duration
	// Trace is the span that made the request, if that is recorded.
	Trace SpanID
}

// Tee returns events that call both a's callbacks and b's.
func Tee(a, b Events) Events {
	a, b = a.fill(), b.fill()
	return Events{
		Answered:  func(v Answered) { a.Answered(v); b.Answered(v) },
		Duplicate: func(operation string, age time.Duration) { a.Duplicate(operation, age); b.Duplicate(operation, age) },
		Claimed: func(operation string, trace SpanID, took time.Duration) {
			a.Claimed(operation, trace, took)
			b.Claimed(operation, trace, took)
		},
		Started: func(operation string) { a.Started(operation); b.Started(operation) },
		Ended: func(attempt Attempt, outcome Outcome, took time.Duration) {
			a.Ended(attempt, outcome, took)
			b.Ended(attempt, outcome, took)
		},
		Finished: func(operation string, trace SpanID, took time.Duration) {
			a.Finished(operation, trace, took)
			b.Finished(operation, trace, took)
		},
		Dropped:      func(attempt Attempt, outcome State) { a.Dropped(attempt, outcome); b.Dropped(attempt, outcome) },
		Late:         func(operation string) { a.Late(operation); b.Late(operation) },
		Contradicted: func(id ID, operation string) { a.Contradicted(id, operation); b.Contradicted(id, operation) },
		Lapsed:       func(r Record) { a.Lapsed(r); b.Lapsed(r) },
		Probed: func(id ID, operation string, outcome Outcome) {
			a.Probed(id, operation, outcome)
			b.Probed(id, operation, outcome)
		},
		Panicked: func(operation string, value any, stack []byte) {
			a.Panicked(operation, value, stack)
			b.Panicked(operation, value, stack)
		},
		Settled:     func(r Record, by *Actor) { a.Settled(r, by); b.Settled(r, by) },
		Changed:     func(entry AuditEntry) { a.Changed(entry); b.Changed(entry) },
		Swept:       func(dropped int, forgotten int) { a.Swept(dropped, forgotten); b.Swept(dropped, forgotten) },
		StoreFailed: func(doing string, err error) { a.StoreFailed(doing, err); b.StoreFailed(doing, err) },
		Abandoned: func(id ID, operation string, outcome State, stored bool) {
			a.Abandoned(id, operation, outcome, stored)
			b.Abandoned(id, operation, outcome, stored)
		},
	}
}

// fill returns the events with every nil callback replaced by one that does nothing.
func (e Events) fill() Events {
	if e.Answered == nil {
		e.Answered = func(Answered) {}
	}
	if e.Duplicate == nil {
		e.Duplicate = func(string, time.Duration) {}
	}
	if e.Claimed == nil {
		e.Claimed = func(string, SpanID, time.Duration) {}
	}
	if e.Started == nil {
		e.Started = func(string) {}
	}
	if e.Ended == nil {
		e.Ended = func(Attempt, Outcome, time.Duration) {}
	}
	if e.Finished == nil {
		e.Finished = func(string, SpanID, time.Duration) {}
	}
	if e.Dropped == nil {
		e.Dropped = func(Attempt, State) {}
	}
	if e.Late == nil {
		e.Late = func(string) {}
	}
	if e.Contradicted == nil {
		e.Contradicted = func(ID, string) {}
	}
	if e.Lapsed == nil {
		e.Lapsed = func(Record) {}
	}
	if e.Probed == nil {
		e.Probed = func(ID, string, Outcome) {}
	}
	if e.Panicked == nil {
		e.Panicked = func(string, any, []byte) {}
	}
	if e.Settled == nil {
		e.Settled = func(Record, *Actor) {}
	}
	if e.Changed == nil {
		e.Changed = func(AuditEntry) {}
	}
	if e.Swept == nil {
		e.Swept = func(int, int) {}
	}
	if e.StoreFailed == nil {
		e.StoreFailed = func(string, error) {}
	}
	if e.Abandoned == nil {
		e.Abandoned = func(ID, string, State, bool) {}
	}
	return e
}
