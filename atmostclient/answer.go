package atmostclient

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// maxAnswer bounds the bytes that are read of an answer.
const maxAnswer = 64 << 20

// answer is what the service said. The zero value is none.
type answer struct {
	sent     time.Time // before the request that it answers
	status   int
	executed atmost.Executed
	retry    atmost.Retry
	after    time.Duration // to wait before the next try, -1 if it does not say
	attempt  uint32
	replayed bool
	expires  time.Time
	body     body
}

// body is the JSON of every answer.
type body struct {
	Status    string
	Result    json.RawMessage
	ExpiresIn float64 `json:"expires_in"`
	Lease     *struct {
		Attempt   uint32
		Fence     int64
		ExpiresIn float64 `json:"expires_in"`
	}
	Error *struct {
		Code    atmost.Code
		Message string
		Details struct {
			UpstreamStatus  int `json:"upstream_status"`
			Result          json.RawMessage
			Reason, Outcome string
			Differs         []string
		}
	}
	Operation string
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// read reads an answer. An error says that it is not one of the service's, or not whole.
func read(resp *http.Response) (answer, error) {
	h := resp.Header
	a := answer{
		status: resp.StatusCode, after: -1, replayed: h.Get(wire.HeaderReplayed) == "true",
		executed: atmost.Executed(h.Get(wire.HeaderExecuted)), retry: atmost.Retry(h.Get(wire.HeaderRetry)),
	}
	if after, ok := wire.RetryAfter(h); ok {
		a.after = after
	}
	if a.retry == "" {
		return a, foreign(a.status)
	}
	if n, err := strconv.ParseUint(h.Get(wire.HeaderAttempt), 10, 32); err == nil {
		a.attempt = uint32(n)
	}
	if t, err := http.ParseTime(h.Get(wire.HeaderExpires)); err == nil {
		a.expires = t
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return a, fmt.Errorf("the answer broke off: %w", err)
	case len(text) > maxAnswer:
		return a, &uselessError{status: a.status, text: fmt.Sprintf("the answer is longer than %d bytes", maxAnswer)}
	}
	if err := json.Unmarshal(text, &a.body); err != nil {
		return a, fmt.Errorf("the answer is not JSON: %w", err)
	}
	if a.body.Error == nil && (a.body.Status == "" || resp.StatusCode >= http.StatusMultipleChoices) {
		return a, foreign(a.status)
	}
	return a, nil
}

// uselessError tells of an answer that is not one of the service's, or of no use.
type uselessError struct {
	status int
	text   string
	passes bool // another try may get another answer
}

func (e *uselessError) Error() string { return e.text }

// foreign tells of an answer that is not the service's: a proxy's, say.
func foreign(status int) error {
	return &uselessError{
		status: status,
		text:   fmt.Sprintf("something else than the service answered, with status %d %s", status, http.StatusText(status)),
		passes: status < 300 || status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests,
	}
}

// err is the error that the answer is, nil for none.
func (a answer) err() *atmost.Error {
	if a.body.Error == nil || a.status < http.StatusMultipleChoices {
		return nil
	}
	e := a.body.Error
	return &atmost.Error{Code: e.Code, Message: e.Message, Known: a.executed, Differs: e.Details.Differs}
}

func (a answer) result() Result {
	r := Result{State: a.state(), JSON: a.body.Result, Attempt: a.attempt, Replayed: a.replayed, Expires: a.expires}
	if e := a.body.Error; e != nil {
		r.JSON, r.UpstreamStatus = e.Details.Result, e.Details.UpstreamStatus
	}
	return r
}

func (a answer) answer(id atmost.ID) atmost.Answer {
	return atmost.Answer{Record: a.record(id), Replayed: a.replayed}
}

// unknownWords is how the service begins to say that an outcome is unknown. A record says it again.
const unknownWords = "the outcome is unknown: "

// record is what the answer says of the record, if it speaks of one.
func (a answer) record(id atmost.ID) atmost.Record {
	r := atmost.Record{ID: id, Operation: a.body.Operation, Attempt: a.attempt}
	r.Result = a.body.Result
	r.State = a.state()
	if e := a.body.Error; e != nil {
		r.Result, r.UpstreamStatus, r.NotKept = e.Details.Result, e.Details.UpstreamStatus, notKept(e.Details.Reason)
		r.Message = strings.TrimPrefix(e.Message, unknownWords)
	}
	if r.State == atmost.NotExecuted && a.executed != atmost.ExecutedNo || r.State == atmost.Unknown {
		r.SettledBy = atmost.ByNobody
	}
	for _, t := range []struct {
		from time.Time
		to   *atmost.Time
	}{{a.body.CreatedAt, &r.CreatedAt}, {a.body.UpdatedAt, &r.UpdatedAt}, {a.expires, &r.ResultExpires}} {
		if !t.from.IsZero() {
			*t.to = atmost.TimeOf(t.from)
		}
	}
	return r
}

func (a answer) state() atmost.State {
	if a.attempt == 0 {
		return atmost.Absent // the answer does not speak of a record
	}
	name := a.body.Status
	if e := a.body.Error; name == "" && e != nil {
		switch e.Code {
		case atmost.CodeExecutionFailed:
			return atmost.Failed
		case atmost.CodeExecutionNotStarted:
			return atmost.NotExecuted
		case atmost.CodeOutcomeUnknown:
			return atmost.Unknown
		}
		name = e.Details.Outcome
	}
	for s := atmost.Processing; s <= atmost.Unknown; s++ {
		if s.String() == name || s == atmost.Processing && name == "claimed" {
			return s
		}
	}
	return atmost.Absent
}

func notKept(reason string) atmost.NotKept {
	for n := atmost.Expired; n <= atmost.TooLarge; n++ {
		if n.String() == reason {
			return n
		}
	}
	return atmost.Kept
}

// lasts is how long a lease of seconds lasts, counted from begin, which was before the first try.
func (a answer) lasts(begin time.Time, seconds float64) time.Duration {
	return a.sent.Sub(begin) + time.Duration(seconds*1e3)*time.Millisecond
}
