package atmost

import (
	"fmt"
	"net/http"
)

// Statuses says what the head of an HTTP response means for the operation that was answered with it. The zero Statuses knows
// nothing but the rules.
type Statuses struct {
	listed map[int]State
}

// NewStatuses makes exceptions from the rules: notExecuted lists statuses that say that nothing happened, final such as are final
// errors and would otherwise leave the outcome unknown. Its errors begin with the list's name in configurations,
// not_executed_status or final_status.
func NewStatuses(notExecuted, final []int) (Statuses, error) {
	m := map[int]State{}
	for _, s := range notExecuted {
		switch {
		case s < 400 || s > 599:
			return Statuses{}, fmt.Errorf("not_executed_status: %d is not an error, list statuses from 400 to 599", s)
		case s == http.StatusInternalServerError || s == http.StatusBadGateway || s == http.StatusGatewayTimeout:
			return Statuses{}, fmt.Errorf("not_executed_status: %d never proves that nothing happened, it may hide a success; have the upstream answer 503 instead", s)
		}
		m[s] = NotExecuted
	}
	for _, s := range final {
		switch {
		case s < 400 || s > 599:
			return Statuses{}, fmt.Errorf("final_status: %d is not an error, list statuses from 400 to 599", s)
		case m[s] == NotExecuted:
			return Statuses{}, fmt.Errorf("final_status: %d is in not_executed_status too; it can only mean one of them", s)
		}
		m[s] = Failed
	}
	return Statuses{listed: m}, nil
}

// State is Completed for 2xx, Failed for 3xx, and 4xx but 408 and 499, and Unknown for all else, unless the status is listed; h is the
// response's header. A response that says itself that it is not the last word is Unknown too: by an Idempotency-Retry that advises to ask
// again, or, with 409, by Retry-After. So does an API that holds to keys answer while it processes the very request.
func (l Statuses) State(status int, h http.Header) State {
	if s, ok := l.listed[status]; ok {
		return s
	}
	switch advice := Retry(h.Get("Idempotency-Retry")); {
	case advice == RetrySameKey || advice == RetryPoll || status == http.StatusConflict && h.Get("Retry-After") != "":
		return Unknown
	case status == http.StatusRequestTimeout || status == 499: // 499: nginx, when its own client went away
		return Unknown
	case status >= 200 && status <= 299:
		return Completed
	case status >= 300 && status <= 499:
		return Failed
	}
	return Unknown // 5xx, as a proxy's 504 may hide a success, and what HTTP does not define
}
