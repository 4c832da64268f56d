package atmosthttp

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// reportPatience is how long a report is repeated while the claimer cannot take it.
const reportPatience = 15 * time.Second

// report tells the claimer how an attempt ended, whoever is gone meanwhile.
type report struct {
	*middleware
	request *http.Request
	held    *atmost.Holder
	attempt uint32
}

// ended reports what the handler answered, and returns how the record stands then, and whether the answer may be given: not if it is not
// known to be durable, which is an error, nor if the record tells another story.
//
// Where the outcome is not known, or nothing happened, there is nothing to be durable: the answer may be given also when the
// report was not taken. Without one the lease ends, and the outcome is unknown. Nor is it known if the answer is broken: what is left of it is
// not to be replayed as if it were whole.
func (p report) ended(rec *recorder) (r atmost.Record, own bool, err error) {
	kept := rec.end()
	status := strconv.Itoa(kept.Status)
	state := p.statuses.State(kept.Status, rec.sent)
	switch {
	case state == atmost.NotExecuted:
		r, _ = p.failed(atmost.Failure{
			Code: "HTTP_" + status, Message: "the handler answered " + status + ", by which it says that nothing happened", Executed: atmost.ExecutedNo,
		})
	case state == atmost.Unknown:
		r, _ = p.failed(atmost.Failure{
			Code: "HTTP_" + status, Message: "the handler answered " + status + "; the request may have been processed", Executed: atmost.ExecutedUnknown,
		})
	case rec.broken():
		state = atmost.Unknown
		r, _ = p.failed(atmost.Failure{
			Code: "HTTP_" + status, Message: "the handler answered " + status + ", and not with as many bytes as it announced; the request may have been processed",
			Executed: atmost.ExecutedUnknown,
		})
	default:
		return p.completed(kept)
	}
	return r, r.State == atmost.Absent || Tells(r, p.attempt, atmost.Outcome{State: state}), nil
}

// completed is ended for an answer that is kept.
func (p report) completed(kept Response) (r atmost.Record, own bool, err error) {
	result := kept.Append(nil)
	r, err = p.complete(result)
	if atmost.CodeOf(err) == atmost.CodePayloadTooLarge { // a service elsewhere takes less than is kept here
		kept.Body, kept.TooLarge = nil, true
		result = kept.Append(nil)
		r, err = p.complete(result)
	}
	if err != nil && atmost.CodeOf(err).Retry() == atmost.RetrySameKey {
		err = &atmost.Error{
			Code: atmost.CodeOutcomeUnknown, Message: "the outcome is unknown: the request was processed, and what came of it could not be stored", Err: err,
		}
	}
	p.log(p.request, err)
	return r, err == nil && Tells(r, p.attempt, atmost.Outcome{State: atmost.Completed, Result: result}), err
}

// How an attempt ends that no answer tells of.
var (
	tooLate  = atmost.Failure{Code: "TOO_LATE", Message: "there was no time left to begin", Executed: atmost.ExecutedNo}
	panicked = atmost.Failure{Code: "PANIC", Message: "its handler panicked; it may have been executed", Executed: atmost.ExecutedUnknown}
)

func (p report) complete(result []byte) (atmost.Record, error) {
	ctx, cancel := p.patience()
	defer cancel()
	a, err := p.held.Complete(ctx, result)
	return a.Record, err
}

func (p report) failed(f atmost.Failure) (atmost.Record, error) {
	ctx, cancel := p.patience()
	defer cancel()
	a, err := p.held.Fail(ctx, f)
	p.log(p.request, err)
	return a.Record, err
}

func (p report) patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(p.request.Context()), reportPatience)
}

// Own adds what the record says to the answer that the first caller gets: the handler's own, or the upstream's. What that says of
// asking again stays.
func Own(h http.Header, r atmost.Record) {
	if r.State != atmost.Absent {
		wire.TellFacts(h, r, r.Err(), false)
	}
	h.Set(wire.HeaderReplayed, "false")
}
