package server_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-cmp/cmp"
)

// answer is what a client sees.
type answer struct {
	status int
	header http.Header
	body   string
}

// facts is what an answer tells beside its body: the error's code, and headers, "" for one that is not there.
type facts struct {
	Status                                                            int
	Code, Executed, Retry, After, Attempt, Replayed, Expires, Applied string
}

func (a answer) facts() facts {
	var body struct {
		Error struct{ Code string }
	}
	_ = json.Unmarshal([]byte(a.body), &body)
	h := a.header
	return facts{
		a.status, body.Error.Code, h.Get("Idempotency-Executed"), h.Get("Idempotency-Retry"), h.Get("Retry-After"),
		h.Get("Idempotency-Attempt"), h.Get("Idempotency-Replayed"), h.Get("Idempotency-Expires"), h.Get("Preference-Applied"),
	}
}

func (s *service) check(got answer, want facts) {
	s.Helper()
	if diff := cmp.Diff(want, got.facts()); diff != "" {
		s.Errorf("the answer (-want +got):\n%s%s", diff, got.body)
	}
}

func (s *service) checkBody(got answer, want string) {
	s.Helper()
	if got.body != want {
		s.Errorf("the body is %s\nwant %s", got.body, want)
	}
}

const charge = `{"operation":"charge","payload":{"amount":1250}}`

// execute asks for an execution; headers are names and values by turns.
func (s *service) execute(key, body string, headers ...string) answer {
	s.Helper()
	return s.send(s.request(http.MethodPost, "/v1/idempotency/execute", key, body, headers), body, true)
}

// refused asks for an execution in a way that the contract does not allow.
func (s *service) refused(key, body string, headers ...string) answer {
	s.Helper()
	return s.send(s.request(http.MethodPost, "/v1/idempotency/execute", key, body, headers), body, false)
}

func (s *service) status(key string, headers ...string) answer {
	s.Helper()
	return s.send(s.request(http.MethodGet, "/v1/idempotency/status", key, "", headers), "", true)
}

func (s *service) request(method, path, key, body string, headers []string) *http.Request {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header["Idempotency-Key"] = []string{key}
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	return r
}

// send sends a request. It is checked against the contract unless it is meant not to be valid, its answer always is.
func (s *service) send(r *http.Request, body string, valid bool) answer {
	s.Helper()
	if valid {
		if err := s.contract.request(r, []byte(body)); err != nil {
			s.Errorf("the request breaks the contract: %v", err)
		}
	}
	a, err := s.exchange(r)
	if err != nil {
		s.Errorf("no answer: %v", err)
		return answer{}
	}
	if err := s.contract.response(r, a); err != nil {
		s.Errorf("the answer %d breaks the contract: %v\n%s", a.status, err, a.body)
	}
	return a
}

func (s *service) exchange(r *http.Request) (answer, error) {
	resp, err := s.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body)}, errors.Join(err, resp.Body.Close())
}

// Facts that many answers share.
const (
	expires = "Tue, 24 Nov 2026 12:00:00 GMT" // of a result of the epoch, by default
)

func isExecuted(attempt string) facts {
	return facts{Status: 200, Executed: "yes", Retry: "no", Attempt: attempt, Replayed: "false", Expires: expires}
}

func isReplayed(attempt string) facts {
	f := isExecuted(attempt)
	f.Replayed = "true"
	return f
}

func isProcessing(attempt string) facts {
	return facts{Status: 202, Executed: "unknown", Retry: "poll", After: "1", Attempt: attempt}
}

func isRefused(status int, code string) facts {
	return facts{Status: status, Code: code, Executed: "no", Retry: "no"}
}

func isMismatch(code string) facts {
	return facts{Status: 422, Code: code, Executed: "unknown", Retry: "no"}
}
