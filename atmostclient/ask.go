package atmostclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// NoAnswerError tells that the service did not answer in time, so nothing is known: the operation may have been executed. Ask again
// with the same key.
type NoAnswerError struct {
	// Tries is how often it was asked.
	Tries int
	// Status is that of an answer which was not the service's, 0 if the last try had none.
	Status int
	// Err is why the last try failed, and, if that ended the call, the context's error.
	Err error
}

func (e *NoAnswerError) Error() string {
	return fmt.Sprintf("atmostclient: no answer after %d tries, it may have been executed: %v", e.Tries, e.Err)
}

func (e *NoAnswerError) Unwrap() error { return e.Err }

// exchange is a request to the service, and how long it is worth repeating.
type exchange struct {
	method  string // POST if ""
	path    string
	id      atmost.ID
	body    []byte
	trace   atmost.Trace
	wait    time.Duration // for an execution that is under way
	waits   bool          // wait counts, not the service's configuration
	insists bool          // only an outcome will do
}

const (
	// answerGrace is how much longer than the service waits an answer may take.
	answerGrace = 10 * time.Second
	// Without advice from the service, the pause before the next try is minPause at first and doubled each time.
	minPause = 100 * time.Millisecond
	maxPause = 10 * time.Second
	// advisedJitter is how much later than advised the next try may come.
	advisedJitter = 500 * time.Millisecond
)

// ask asks until there is an answer that counts. Every try is the same request.
func (c *Client) ask(ctx context.Context, x exchange) (answer, error) {
	if err := x.id.Validate(); err != nil {
		return answer{}, err
	}
	backoff, lost := minPause, false // a try was
	patience := time.Now().Add(c.patience)
	for tries := 1; ; tries++ {
		a, err := c.try(ctx, x)
		lost = lost || err != nil
		if err == nil && !x.again(a) {
			return a, outcome(a, lost, nil)
		}
		if err == nil && a.status == http.StatusAccepted {
			patience = time.Now().Add(c.patience)
		}
		pause := a.after + rand.N(advisedJitter)
		if a.after < 0 {
			pause = backoff/2 + rand.N(backoff/2)
			backoff = min(2*backoff, maxPause)
		}
		var useless *uselessError
		switch {
		case errors.As(err, &useless) && !useless.passes:
		case time.Now().Add(pause).After(patience):
		case sleep(ctx, pause):
			continue
		}
		if err == nil {
			return a, outcome(a, lost, ctx.Err())
		}
		none := &NoAnswerError{Tries: tries, Err: errors.Join(err, ctx.Err())}
		if useless != nil {
			none.Status = useless.status
		}
		return answer{}, none
	}
}

// again reports whether another try may get a better answer.
func (x exchange) again(a answer) bool {
	e := a.err()
	switch {
	case a.status == http.StatusAccepted:
		return x.insists
	case e == nil || e.Code == atmost.CodeKeyNotFound:
		return false
	case e.Code == atmost.CodeExecutionNotStarted:
		return x.insists
	case a.retry == atmost.RetryPoll:
		return x.insists && a.after >= 0
	}
	return a.retry == atmost.RetrySameKey
}

// outcome is the error that the last answer is. An earlier try that was lost may still be on its way, and execute what had not been
// executed when this answer was given. ended is why there is no better answer.
func outcome(a answer, lost bool, ended error) error {
	e := a.err()
	switch {
	case e == nil && ended == nil:
		return nil
	case e == nil:
		return &atmost.Error{Code: atmost.CodeOutcomeUnknown, Message: "the operation is under way; ask again with the same key", Err: ended}
	case lost && e.Executed() == atmost.ExecutedNo:
		e.Known = atmost.ExecutedUnknown
	}
	e.Err = ended
	return e
}

// try asks once. The error says why there is no answer; the answer's after is valid beside it.
//
// net/http may send a request with an Idempotency-Key again by itself, but for a body that it cannot read again. This one is such:
// the service would execute it once all the same, but a first copy that is still on its way must be known of, or what a second
// is answered would be taken for the last word.
func (c *Client) try(ctx context.Context, x exchange) (answer, error) {
	none := answer{after: -1}
	wait := x.wait
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end))
	}
	seconds := (max(min(wait, atmost.MaxWait), 0) + time.Second - 1) / time.Second
	ctx, cancel := context.WithTimeout(ctx, seconds*time.Second+answerGrace)
	defer cancel()
	method := http.MethodPost
	if x.method != "" {
		method = x.method
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+x.path, bytes.NewReader(x.body))
	if err != nil {
		return none, err
	}
	r.GetBody = nil
	r.Header = x.header(int(seconds))
	sent := time.Now()
	resp, err := c.http.Do(r)
	if err != nil {
		return none, err
	}
	defer resp.Body.Close() //nolint:errcheck // what was read, was read
	a, err := read(resp)
	a.sent = sent
	return a, err
}

func (x exchange) header(wait int) http.Header {
	h := http.Header{wire.HeaderKey: {atmost.HeaderValue(x.id.Key)}}
	if x.id.Scope != "" {
		h[wire.HeaderScope] = []string{atmost.HeaderValue(x.id.Scope)}
	}
	if x.body != nil {
		h["Content-Type"] = []string{"application/json"}
	}
	if x.waits {
		h[wire.HeaderPrefer] = []string{"wait=" + strconv.Itoa(wait)}
	}
	if x.trace.Parent != "" {
		h[wire.HeaderTraceParent] = []string{x.trace.Parent}
		if x.trace.State != "" {
			h[wire.HeaderTraceState] = []string{x.trace.State}
		}
	}
	return h
}

// sleep waits, and reports false when ctx ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
