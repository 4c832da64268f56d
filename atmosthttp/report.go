package atmosthttp

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// Reports are repeated for as long as this while the claimer cannot take them, with pauses between these.
const (
	reportPatience = 15 * time.Second
	minPause       = 50 * time.Millisecond
	maxPause       = time.Second
)

// report tells the claimer how an attempt ended, whoever is gone meanwhile.
type report struct {
	*middleware
	request *http.Request
	id      atmost.ID
	token   atmost.Token
}

// ended reports what the handler answered, and returns how the record stands then. After an error the answer must not be given: it is
// not known to be durable, or the record tells another story.
//
// Where the outcome is not known, or nothing happened, there is nothing to be durable: the answer can be given whether or not the
// report was taken. Without one the lease ends, and the outcome is unknown.
func (p report) ended(kept Response) (atmost.Record, error) {
	status := strconv.Itoa(kept.Status)
	switch p.statuses.State(kept.Status) {
	case atmost.NotExecuted:
		return p.failed(atmost.Failure{
			Code: "HTTP_" + status, Message: "the handler answered " + status + ", by which it says that nothing happened", Executed: atmost.ExecutedNo,
		}), nil
	case atmost.Unknown:
		return p.failed(atmost.Failure{
			Code: "HTTP_" + status, Message: "the handler answered " + status + "; the request may have been processed", Executed: atmost.ExecutedUnknown,
		}), nil
	}
	record, err := p.complete(kept)
	if atmost.CodeOf(err) == atmost.CodePayloadTooLarge { // a service elsewhere takes less than is kept here
		kept.Body, kept.TooLarge = nil, true
		record, err = p.complete(kept)
	}
	if err != nil && atmost.CodeOf(err).Retry() == atmost.RetrySameKey {
		err = &atmost.Error{
			Code: atmost.CodeOutcomeUnknown, Message: "the outcome is unknown: the request was processed, and what came of it could not be stored", Err: err,
		}
	}
	p.log(p.request, err)
	return record, err
}

func (p report) panicked() {
	p.failed(atmost.Failure{Code: "PANIC", Message: "its handler panicked; it may have been executed", Executed: atmost.ExecutedUnknown})
}

func (p report) complete(kept Response) (atmost.Record, error) {
	result := kept.Append(nil)
	return p.insist(func(ctx context.Context) (atmost.Answer, error) {
		return p.claimer.Complete(ctx, p.id, p.token, result)
	})
}

func (p report) failed(f atmost.Failure) atmost.Record {
	record, err := p.insist(func(ctx context.Context) (atmost.Answer, error) { return p.claimer.Fail(ctx, p.id, p.token, f) })
	p.log(p.request, err)
	return record
}

// insist reports until the report was judged, or patience ends.
func (p report) insist(send func(context.Context) (atmost.Answer, error)) (atmost.Record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.request.Context()), reportPatience)
	defer cancel()
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		a, err := send(ctx)
		if err == nil || atmost.CodeOf(err).Retry() != atmost.RetrySameKey {
			return a.Record, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return a.Record, err
		}
	}
}

// Own adds what the record says to the answer that the first caller gets: the handler's own, or the upstream's. What that says of
// asking again stays.
func Own(h http.Header, r atmost.Record) {
	if r.State != atmost.Absent {
		wire.TellFacts(h, r, r.Err(), false)
	}
	h.Set(wire.HeaderReplayed, "false")
}
