package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

func (a *api) status(w http.ResponseWriter, r *http.Request) {
	id, err := wire.ID(r.Header)
	if err != nil {
		writeError(w, err)
		return
	}
	wait, _, applied := wire.Prefer(r.Header)
	if applied != "" {
		w.Header().Set(wire.HeaderPreferenceApplied, applied)
	}
	record, err := a.engine.Status(r.Context(), id, wait)
	if err != nil {
		writeError(w, err)
		return
	}
	wire.Tell(w.Header(), record, record.Err(), record.State.Final())
	writeJSON(w, http.StatusOK, appendStatus(nil, record))
}

// appendStatus appends what a record tells of its key.
func appendStatus(dst []byte, r atmost.Record) []byte {
	dst = append(dst, `{"status":"`...)
	dst = append(dst, r.State.String()...)
	dst = append(dst, `","operation":`...)
	dst, _ = jsontext.AppendQuote(dst, r.Operation) // the name was a valid string when it was claimed
	dst = append(dst, `,"attempt":`...)
	dst = strconv.AppendUint(dst, uint64(r.Attempt), 10)
	dst = appendTime(dst, "created_at", r.CreatedAt)
	dst = appendTime(dst, "updated_at", r.UpdatedAt)
	if r.State.Final() {
		dst = appendTime(dst, "expires_at", r.ResultExpires)
	}
	if r.State == atmost.Completed && r.NotKept == atmost.Kept {
		dst = append(dst, `,"result":`...)
		dst = append(dst, r.Result...)
	}
	if err := r.Err(); err != nil {
		e := err.(*atmost.Error)
		body := wire.AppendError(nil, string(e.Code), e.Message, detailsOf(nil, r, e))
		dst = append(dst, ',')
		dst = append(dst, body[1:len(body)-1]...) // "error":{…}
	}
	return append(dst, '}')
}

func appendTime(dst []byte, name string, t atmost.Time) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":"`...)
	dst = t.Std().AppendFormat(dst, time.RFC3339Nano)
	return append(dst, '"')
}
