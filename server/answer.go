package server

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// The seconds that Retry-After advises.
const (
	retrySoon  = "1"
	retryProbe = "5" // an unknown outcome that is being probed
)

// tell writes the headers that hold on every answer: what the record says, if one was read, and what the error says.
func tell(h http.Header, r atmost.Record, err error, replayed bool) {
	code := atmost.CodeOf(err)
	executed, retry := factsOf(r, err)
	h[wire.HeaderExecuted] = []string{string(executed)}
	h[wire.HeaderRetry] = []string{string(retry)}
	if after := retryAfter(r, code, retry); after != "" {
		h[wire.HeaderRetryAfter] = []string{after}
	}
	if r.State == atmost.Absent || code != "" && code != atmost.CodeOf(r.Err()) {
		return // the answer does not speak of the record
	}
	h[wire.HeaderAttempt] = []string{strconv.FormatUint(uint64(r.Attempt), 10)}
	if r.State.Final() {
		h[wire.HeaderReplayed] = []string{strconv.FormatBool(replayed)}
		h[wire.HeaderExpires] = []string{r.ResultExpires.Std().Format(http.TimeFormat)}
	}
}

// factsOf tells whether the operation may have had its effect, and whether asking again makes sense.
func factsOf(r atmost.Record, err error) (atmost.Executed, atmost.Retry) {
	switch {
	case err != nil:
		return atmost.ExecutedOf(err), atmost.CodeOf(err).Retry()
	case r.State == atmost.Processing:
		return atmost.ExecutedUnknown, atmost.RetryPoll
	}
	return atmost.ExecutedYes, atmost.RetryNo
}

func retryAfter(r atmost.Record, code atmost.Code, retry atmost.Retry) string {
	switch {
	case retry == atmost.RetryNo, code == atmost.CodeKeyNotFound:
		return ""
	case code == atmost.CodeOutcomeUnknown && r.Policy.OnUnknown == atmost.ProbeUnknown:
		return retryProbe
	case code == atmost.CodeOutcomeUnknown, code == atmost.CodeLeaseLost, code == atmost.CodeAlreadyFinished:
		return "" // time alone changes nothing
	}
	return retrySoon
}

// detailsOf is the details of an error that r gave rise to: JSON, or nothing.
func detailsOf(dst []byte, r atmost.Record, code atmost.Code) []byte {
	switch code {
	case atmost.CodeResultNotKept:
		dst = append(dst, `{"reason":"`...)
		dst = append(dst, r.NotKept.String()...)
		dst = append(dst, `","outcome":"`...)
		dst = append(dst, r.State.String()...)
		return append(dst, `"}`...)
	case atmost.CodeOutcomeUnknown, atmost.CodeExecutionFailed:
		if r.UpstreamStatus == 0 && len(r.Result) == 0 {
			return dst
		}
		dst = append(dst, '{')
		if r.UpstreamStatus != 0 {
			dst = append(dst, `"upstream_status":`...)
			dst = strconv.AppendInt(dst, int64(r.UpstreamStatus), 10)
		}
		if len(r.Result) > 0 {
			if r.UpstreamStatus != 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `"result":`...)
			dst = append(dst, r.Result...)
		}
		return append(dst, '}')
	}
	return dst
}

// writeError answers with an error that no record gave rise to.
func writeError(w http.ResponseWriter, err error) {
	tell(w.Header(), atmost.Record{}, err, false)
	writeErrorOf(w, err, atmost.Record{})
}

// writeErrorOf answers with an error; the headers have been told. The cause of one that is not the client's goes to the log.
func writeErrorOf(w http.ResponseWriter, err error, r atmost.Record) {
	var e *atmost.Error
	if !errors.As(err, &e) {
		e = &atmost.Error{Code: atmost.CodeInternal, Message: internal, Err: err}
	}
	if l, ok := w.(*logged); ok && e.Err != nil && wire.Status(e.Code) >= http.StatusInternalServerError {
		l.log.Error("a request could not be answered", "request_id", l.id, "pattern", l.request.Pattern, "code", e.Code, "error", e.Err)
	}
	writeJSON(w, wire.Status(e.Code), wire.AppendError(nil, string(e.Code), e.Message, detailsOf(nil, r, e.Code)))
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = jsonType
	write(w, status, body)
}

// write sends an answer whole. A client that is gone, or does not read, gets none: the record has it.
func write(w http.ResponseWriter, status int, body []byte) {
	// A writer that knows no deadlines is a test's.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
