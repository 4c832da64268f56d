package atmosthttp

import (
	"bytes"
	"maps"
	"net/http"
	"strconv"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// Tells reports whether a record says of an attempt what its maker does: how it ended, and, if that is final, with what. Only then the
// first caller may have the maker's own answer. Else that is not durable, or somebody settled the attempt otherwise, or another was made
// since: then all callers are answered from the record. Not to know how it ended may be stored as if it had not happened.
func Tells(r atmost.Record, attempt uint32, o atmost.Outcome) bool {
	switch {
	case r.Attempt != attempt:
		return false
	case o.State.Final():
		return r.State == o.State && bytes.Equal(r.Result, o.Result)
	}
	return r.State == o.State || o.State == atmost.Unknown && r.State == atmost.NotExecuted
}

// Answer answers a request that ran nothing, from what there is for its key: with the response that is kept, or with a problem.
func Answer(w http.ResponseWriter, a atmost.Answer, err error) {
	r := a.Record
	switch {
	case atmost.CodeOf(err) != atmost.CodeOf(r.Err()) || r.State == atmost.Absent:
		refuse(w, r, err) // it does not come of what is stored
	case r.State == atmost.Processing:
		wire.Tell(w.Header(), r, nil, false)
		WriteProblem(w, http.StatusConflict, Processing, "a request with this key is being processed; ask again with the same key")
	case r.State.Final() && r.NotKept == atmost.Kept:
		replay(w, r, err)
	default:
		refuse(w, r, err)
	}
}

// replay answers from a record that has a result. One that is no response was settled by a probe or a person: it is all that there is.
func replay(w http.ResponseWriter, r atmost.Record, err error) {
	response, ok, unreadable := ParseResponse(r.Result)
	switch {
	case unreadable != nil:
		Refuse(w, unreadable)
	case ok && response.TooLarge:
		r.Outcome = atmost.Outcome{
			State: atmost.Completed, NotKept: atmost.TooLarge,
			Message: "the request was executed and answered with status " + strconv.Itoa(response.Status) + "; the answer's body was too large to keep",
		}
		refuse(w, r, r.Err())
	case ok:
		wire.Tell(w.Header(), r, err, true)
		response.write(w)
	case r.State == atmost.Failed:
		refuse(w, r, err)
	default:
		wire.Tell(w.Header(), r, nil, true)
		w.Header()["Content-Type"] = []string{"application/json"}
		write(w, http.StatusOK, r.Result)
	}
}

func (r Response) write(w http.ResponseWriter) {
	h := w.Header()
	maps.Copy(h, r.Header)
	if _, has := h["Content-Type"]; !has {
		h["Content-Type"] = nil // net/http is not to guess: the first answer had none
	}
	if bodyAllowed(r.Status) {
		h["Content-Length"] = []string{strconv.Itoa(len(r.Body))}
	}
	w.WriteHeader(r.Status)
	if len(r.Body) > 0 {
		_, _ = w.Write(r.Body) // whoever is gone can ask again
	}
}

// bodyAllowed reports whether a response of that status can have a body.
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}
