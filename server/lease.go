package server

import (
	"net/http"
	"strconv"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

func (a *api) claim(w http.ResponseWriter, r *http.Request) {
	id, body, err := a.request(w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	call, err := wire.ParseClaim(body)
	if err != nil {
		writeError(w, err)
		return
	}
	call.ID, call.Trace = id, wire.Trace(r.Header)
	prefer(w, r, &call.Call)
	claimed, err := a.engine.Claim(r.Context(), call)
	if !claimed.Won {
		writeAnswer(w, claimed.Answer, err)
		return
	}
	tellHeld(w.Header(), claimed.Lease)
	writeJSON(w, http.StatusCreated, wire.AppendClaimed(nil, claimed.Lease))
}

func (a *api) renew(w http.ResponseWriter, r *http.Request) {
	id, body, err := a.request(w, r)
	if err != nil {
		writeRefusal(w, err)
		return
	}
	token, duration, err := wire.ParseRenew(body)
	if err != nil {
		writeRefusal(w, err)
		return
	}
	lease, err := a.engine.Renew(r.Context(), id, token, duration)
	if err != nil {
		writeRefusal(w, err)
		return
	}
	tellHeld(w.Header(), lease)
	writeJSON(w, http.StatusOK, wire.AppendRenewed(nil, lease))
}

func (a *api) complete(w http.ResponseWriter, r *http.Request) {
	id, body, err := a.request(w, r)
	if err != nil {
		writeRefusal(w, err)
		return
	}
	token, result, err := wire.ParseComplete(body)
	if err != nil {
		writeRefusal(w, err)
		return
	}
	answer, err := a.engine.Complete(r.Context(), id, token, result)
	if err != nil && atmost.CodeOf(err) != atmost.CodeOf(answer.Record.Err()) {
		writeRefusal(w, err)
		return
	}
	writeAnswer(w, answer, err)
}

func (a *api) fail(w http.ResponseWriter, r *http.Request) {
	id, body, err := a.request(w, r)
	if err != nil {
		writeRefusal(w, err)
		return
	}
	token, failure, err := wire.ParseFail(body)
	if err != nil {
		writeRefusal(w, err)
		return
	}
	answer, err := a.engine.Fail(r.Context(), id, token, failure)
	if err != nil {
		writeRefusal(w, err)
		return
	}
	wire.Tell(w.Header(), answer.Record, answer.Record.Err(), answer.Replayed)
	writeJSON(w, http.StatusOK, wire.AppendFailed(nil, answer.Record.State))
}

// tellHeld writes the headers of an answer to who holds a lease. Time alone changes nothing for them, so no Retry-After.
func tellHeld(h http.Header, l atmost.Lease) {
	h[wire.HeaderExecuted] = []string{string(atmost.ExecutedUnknown)}
	h[wire.HeaderRetry] = []string{string(atmost.RetryPoll)}
	h[wire.HeaderAttempt] = []string{strconv.FormatUint(uint64(l.Attempt), 10)}
}

// writeRefusal answers a renewal or a report that was not accepted. That the request is wrong says nothing about the operation,
// which its sender may have executed.
func writeRefusal(w http.ResponseWriter, err error) {
	h := w.Header()
	wire.Tell(h, atmost.Record{}, err, false)
	if code := atmost.CodeOf(err); code.Executed() == atmost.ExecutedNo {
		h[wire.HeaderExecuted] = []string{string(atmost.ExecutedUnknown)}
	}
	writeErrorOf(w, err, atmost.Record{})
}
