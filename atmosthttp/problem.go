package atmosthttp

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// problemBase is where each type of problem is documented.
const problemBase = "https://github.com/atmost-dev/atmost/blob/main/docs/problems.md#"

// Processing stands where a code does, in the problem that says that another request with the key is under way. That is no error of the
// service's own API, which answers it with 202; the draft demands 409 here.
const Processing = "PROCESSING"

// NoAnswer stands where a code does, in the problem that says that a request without a key was passed on, and not answered.
const NoAnswer = "NO_ANSWER"

// ProblemType is the URL by which a problem with that code, or Processing, is known. It never changes.
func ProblemType[C ~string](code C) string {
	return problemBase + strings.ToLower(strings.ReplaceAll(string(code), "_", "-"))
}

// problem is application/problem+json, with the code as an extension, and where the body is another one.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	// Differs are JSON Pointers (RFC 6901) into the request's body.
	Differs []string `json:"differs,omitempty"`
}

// WriteProblem answers with a problem that has that code. Differs are JSON Pointers into the body of the request.
func WriteProblem(w http.ResponseWriter, status int, code, detail string, differs ...string) {
	words := strings.ToLower(strings.ReplaceAll(code, "_", " "))
	body, err := json.Marshal(problem{
		Type: ProblemType(code), Title: strings.ToUpper(words[:1]) + words[1:], Status: status, Detail: detail, Code: code,
		Differs: differs,
	})
	if err != nil {
		panic(err) // strings always can be encoded
	}
	w.Header()["Content-Type"] = []string{"application/problem+json"}
	write(w, status, body)
}

// write writes an answer that is of this package's making.
func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["Cache-Control"] = []string{"no-store"}
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever is gone can ask again
}

// Refuse answers with an error that no record gave rise to.
func Refuse(w http.ResponseWriter, err error) { refuse(w, atmost.Record{}, err) }

// refuse answers with the error that came of a record.
func refuse(w http.ResponseWriter, r atmost.Record, err error) {
	var e *atmost.Error
	if !errors.As(err, &e) {
		e = &atmost.Error{Code: atmost.CodeInternal, Message: "an unexpected error", Err: err}
	}
	wire.Tell(w.Header(), r, e, true)
	if e.Code == atmost.CodeOutcomeUnknown {
		w.Header().Del(wire.HeaderRetryAfter) // by it clients would take this for a request that is under way
	}
	WriteProblem(w, wire.Status(e.Code), string(e.Code), e.Message, e.Differs...)
}
