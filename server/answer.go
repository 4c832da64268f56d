package server

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// detailsOf is the details of an error that r gave rise to: JSON, or nothing.
func detailsOf(dst []byte, r atmost.Record, e *atmost.Error) []byte {
	switch e.Code {
	case atmost.CodePayloadMismatch:
		if len(e.Differs) == 0 {
			return dst
		}
		dst = append(dst, `{"differs":[`...)
		for i, pointer := range e.Differs {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst, _ = jsontext.AppendQuote(dst, pointer) // its parts were valid strings in the request
		}
		return append(dst, `]}`...)
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
	wire.Tell(w.Header(), atmost.Record{}, err, false)
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
	writeJSON(w, wire.Status(e.Code), wire.AppendError(nil, string(e.Code), e.Message, detailsOf(nil, r, e)))
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
