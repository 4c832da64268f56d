package wire

import (
	"net/http"
	"strconv"

	"github.com/atmost-dev/atmost"
)

// The seconds that Retry-After advises.
const (
	retrySoon  = "1"
	retryProbe = "5" // an unknown outcome that is being probed
)

// Tell writes the headers that hold on every answer of the service: what the record says, if one was read, and what the error
// says.
func Tell(h http.Header, r atmost.Record, err error, replayed bool) {
	TellFacts(h, r, err, replayed)
	code := atmost.CodeOf(err)
	if after := retryAfter(r, code, atmost.Retry(h[HeaderRetry][0])); after != "" {
		h[HeaderRetryAfter] = []string{after}
	}
}

// TellFacts is Tell without Retry-After: for an answer that is somebody else's, and may advise that itself.
func TellFacts(h http.Header, r atmost.Record, err error, replayed bool) {
	code := atmost.CodeOf(err)
	executed, retry := factsOf(r, err)
	h[HeaderExecuted] = []string{string(executed)}
	h[HeaderRetry] = []string{string(retry)}
	if r.State == atmost.Absent || code != "" && code != atmost.CodeOf(r.Err()) {
		return // the answer does not speak of the record
	}
	h[HeaderAttempt] = []string{strconv.FormatUint(uint64(r.Attempt), 10)}
	if r.State.Final() {
		h[HeaderReplayed] = []string{strconv.FormatBool(replayed)}
		if r.ResultExpires != 0 { // else whoever read the record was not told
			h[HeaderExpires] = []string{r.ResultExpires.Std().Format(http.TimeFormat)}
		}
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
