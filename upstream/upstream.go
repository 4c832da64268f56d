// Package upstream performs operations by calling an HTTP upstream: once per attempt, and then says honestly what
// happened, "it may have happened" included.
package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/atmost-dev/atmost"
)

// Upstream is the target of one operation. It is safe for concurrent use.
type Upstream struct {
	cfg       Config
	url       *url.URL
	statuses  atmost.Statuses
	probe     *probeURL // nil without one
	transport *Transport
	breaker   breaker
}

var (
	_ atmost.Executor = (*Upstream)(nil)
	_ atmost.Prober   = (*Upstream)(nil)
)

// Execute calls the upstream, on as many kept connections as turn out dead before anything is sent but at most once with
// even a byte of the request, and tells how that ended:
//   - not executed, when not one byte of the request left, or the answer's status is in NotExecutedStatus;
//   - completed on 2xx, failed on 3xx, 4xx but 408 and 499, and what FinalStatus lists, once the whole answer was read,
//     or as much of it as shows that it is over MaxResult, unless it says that it is not final (atmost.Statuses);
//   - unknown otherwise.
func (u *Upstream) Execute(ctx context.Context, a atmost.Attempt) atmost.Outcome {
	began := time.Now()
	resp, o := u.call(ctx, began, u.request(ctx, a), a.Payload)
	if resp == nil {
		return o
	}
	defer resp.Body.Close() //nolint:errcheck // what was read, was read
	return u.answer(ctx, began, resp)
}

// call makes one attempt, unless the upstream is known not to be reached. Without a response the outcome says what is known.
func (u *Upstream) call(ctx context.Context, began time.Time, r *http.Request, body []byte) (*http.Response, atmost.Outcome) {
	done, err := u.breaker.allow()
	if err != nil {
		return nil, atmost.Outcome{State: atmost.NotExecuted, Message: "the upstream could not be reached several times in a row and was not tried again yet"}
	}
	defer done(nil) // a panic must not leave it waiting for a word
	resp, err := u.transport.sendAnew(r, body, func() { done(nil) })
	if err != nil {
		return nil, u.failure(ctx, began, err, done)
	}
	return resp, atmost.Outcome{}
}

// failure tells what a round trip without an answer means.
func (u *Upstream) failure(ctx context.Context, began time.Time, err error, done func(error)) atmost.Outcome {
	u.log(err)
	var unsent *NotSentError
	if !errors.As(err, &unsent) {
		return atmost.Outcome{State: atmost.Unknown, Message: noAnswer(ctx, began, err) + maybe}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		err = context.Canceled // err would be the cause of the cancellation, whatever that is
	}
	done(err)
	return atmost.Outcome{State: atmost.NotExecuted, Message: notReached(ctx, began, err)}
}

// answer tells what a response means. Of a status that leaves the outcome unknown, or says that nothing happened, the
// header is the whole message: however the body ends, it would change nothing. A final answer is stored with its body
// and replayed for good, so it counts only when that has come to its end; cut short it may be what a dying proxy made of
// a success, whatever the status.
func (u *Upstream) answer(ctx context.Context, began time.Time, resp *http.Response) atmost.Outcome {
	o := u.outcome(resp)
	if !o.State.Final() {
		drain(resp)
		return o
	}
	if err := u.result(&o, resp); err != nil {
		return u.broken(ctx, began, resp, err)
	}
	return o
}

// outcome is what a response's status says.
func (u *Upstream) outcome(resp *http.Response) atmost.Outcome {
	state := u.statuses.State(resp.StatusCode, resp.Header)
	return atmost.Outcome{State: state, UpstreamStatus: resp.StatusCode, Message: answered(state, resp.StatusCode)}
}

// broken tells what a final answer means whose body broke off.
func (u *Upstream) broken(ctx context.Context, began time.Time, resp *http.Response, err error) atmost.Outcome {
	u.log(err)
	return atmost.Outcome{State: atmost.Unknown, UpstreamStatus: resp.StatusCode, Message: brokeOff(ctx, began, resp.StatusCode) + maybe}
}

func (u *Upstream) log(err error) {
	if u.cfg.OnError != nil {
		u.cfg.OnError(err)
	}
}
