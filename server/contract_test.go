package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/atmost-dev/atmost/server"
)

// contract checks traffic against the OpenAPI document. As that is one of version 3.1, kin-openapi hands its schemas to a
// validator of JSON Schema 2020-12 – unless a schema has references, but no keyword that is new there: then its older validator
// takes over, to which a value without a type is never null.
type contract struct {
	doc *openapi3.T
	mu  sync.Mutex // kin-openapi does not say what may be done concurrently
}

var (
	theContract      = sync.OnceValues(func() (*contract, error) { return loadContract(server.OpenAPI) })
	theAdminContract = sync.OnceValues(func() (*contract, error) { return loadContract(server.AdminOpenAPI) })
)

func loadContract(data []byte) (*contract, error) {
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return nil, err
	}
	return &contract{doc: doc}, doc.Validate(context.Background(), openapi3.EnableExamplesValidation())
}

// recordPath is the path of a record in the admin API, which a document has as a template.
var recordPath = regexp.MustCompile(`^/admin/v1/keys/([^/]+)(/[^/]+)?$`)

// route finds what the document says about a request. What it has no operation for is answered as the components NoSuchPath
// and MethodNotAllowed say.
func (c *contract) route(r *http.Request) *routers.Route {
	route := &routers.Route{Spec: c.doc, Path: r.URL.EscapedPath(), Method: r.Method}
	status, component := http.StatusNotFound, "NoSuchPath"
	if route.PathItem = c.doc.Paths.Value(recordPath.ReplaceAllString(route.Path, "/admin/v1/keys/{id}$2")); route.PathItem != nil {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if route.Operation = route.PathItem.GetOperation(method); route.Operation != nil {
			return route
		}
		status, component = http.StatusMethodNotAllowed, "MethodNotAllowed"
	}
	route.Operation = &openapi3.Operation{Responses: openapi3.NewResponses(openapi3.WithStatus(status, c.doc.Components.Responses[component]))}
	return route
}

// request checks a request, whose body is given beside it.
func (c *contract) request(r *http.Request, body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r = r.Clone(context.Background())
	r.Body = io.NopCloser(bytes.NewReader(body))
	input := &openapi3filter.RequestValidationInput{Request: r, Route: c.route(r)}
	if m := recordPath.FindStringSubmatch(input.Route.Path); m != nil {
		input.PathParams = map[string]string{"id": m[1]}
	}
	return openapi3filter.ValidateRequest(r.Context(), input)
}

// response checks an answer: its status must be one that is documented, its body and headers must be as documented, and it
// must not have a header that is not.
func (c *contract) response(r *http.Request, a answer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	route := c.route(r)
	err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: route},
		Status:                 a.status,
		Header:                 a.header,
		Body:                   io.NopCloser(strings.NewReader(a.body)),
		Options:                &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil || r.Method == http.MethodHead {
		return err
	}
	documented := route.Operation.Responses.Status(a.status).Value.Headers
	for name, values := range a.header {
		if documented[name] == nil && !slices.Contains([]string{"Connection", "Content-Length", "Content-Type", "Date"}, name) {
			err = errors.Join(err, fmt.Errorf("the header %s is not documented", name))
		}
		if len(values) != 1 {
			err = errors.Join(err, fmt.Errorf("the header %s was sent %d times", name, len(values)))
		}
	}
	return err
}

func TestDocument(t *testing.T) {
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	if !c.doc.IsOpenAPI31OrLater() {
		t.Errorf("the document is of version %s", c.doc.OpenAPI)
	}
	want := []string{
		"/openapi.yaml", "/v1/idempotency/claim", "/v1/idempotency/complete", "/v1/idempotency/execute", "/v1/idempotency/fail",
		"/v1/idempotency/renew", "/v1/idempotency/status",
	}
	if got := slices.Sorted(maps.Keys(c.doc.Paths.Map())); !slices.Equal(got, want) {
		t.Errorf("the document has the paths %q", got)
	}
}

func TestAdminDocument(t *testing.T) {
	c, err := theAdminContract()
	if err != nil {
		t.Fatal(err)
	}
	if !c.doc.IsOpenAPI31OrLater() {
		t.Errorf("the document is of version %s", c.doc.OpenAPI)
	}
	const keys = "/admin/v1/keys"
	want := []string{
		"/admin/v1/admit", "/admin/v1/audit", "/admin/v1/backup", "/admin/v1/bulk", keys, keys + "/{id}", keys + "/{id}/compare", keys + "/{id}/erase",
		keys + "/{id}/forget", keys + "/{id}/resolve", "/admin/v1/openapi.yaml", "/admin/v1/overview",
	}
	if got := slices.Sorted(maps.Keys(c.doc.Paths.Map())); !slices.Equal(got, want) {
		t.Errorf("the document has the paths %q", got)
	}
}

// The other tests rely on it that the contract can be broken.
func TestContractCanFail(t *testing.T) {
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	const path = "/v1/idempotency/execute"
	request := func(header, value, body string) error {
		r, _ := http.NewRequest(http.MethodPost, path, nil)
		r.Header = http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {"k"}}
		r.Header[header] = []string{value}
		return c.request(r, []byte(body))
	}
	response := func(status int, header, value, body string) error {
		h := http.Header{
			"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "Request-Id": {"3w5e11264sgsf"},
			"Idempotency-Executed": {"yes"}, "Idempotency-Retry": {"no"}, "Idempotency-Replayed": {"false"},
			"Idempotency-Attempt": {"1"}, "Idempotency-Expires": {"Tue, 24 Nov 2026 12:00:01 GMT"},
		}
		if h[header] = []string{value}; value == "" {
			delete(h, header)
		}
		r, _ := http.NewRequest(http.MethodPost, path, nil)
		return c.response(r, answer{status: status, header: h, body: body})
	}
	const asked, ok = `{"operation":"o","payload":1}`, `{"status":"completed","result":1}`
	if err := errors.Join(request("X", "", asked), request("X", "", `{"operation":"o","payload":null}`), response(200, "Date", "x", ok)); err != nil {
		t.Fatalf("the contract refuses what is right: %v", err)
	}
	for name, err := range map[string]error{
		"request: no payload":        request("X", "", `{"operation":"o"}`),
		"request: unknown member":    request("X", "", `{"operation":"o","payload":1,"x":1}`),
		"request: operation":         request("X", "", `{"operation":"","payload":1}`),
		"request: key":               request("Idempotency-Key", "a b", asked),
		"request: scope":             request("Idempotency-Scope", `"a`, asked),
		"request: content type":      request("Content-Type", "text/plain", asked),
		"response: status":           response(418, "X", "", ok),
		"response: status's body":    response(202, "X", "", ok),
		"response: unknown member":   response(200, "X", "", `{"status":"completed","result":1,"x":1}`),
		"response: no result":        response(200, "X", "", `{"status":"completed"}`),
		"response: const":            response(200, "X", "", `{"status":"complete","result":1}`),
		"response: not JSON":         response(200, "X", "", `{"status":"completed","result":1`),
		"response: content type":     response(200, "Content-Type", "text/plain", ok),
		"response: Executed":         response(200, "Idempotency-Executed", "no", ok),
		"response: Attempt":          response(200, "Idempotency-Attempt", "0", ok),
		"response: Replayed":         response(200, "Idempotency-Replayed", "maybe", ok),
		"response: Expires":          response(200, "Idempotency-Expires", "tomorrow", ok),
		"response: no Expires":       response(200, "Idempotency-Expires", "", ok),
		"response: no Request-Id":    response(200, "Request-Id", "", ok),
		"response: undocumented":     response(200, "Retry-After", "1", ok),
		"response: details":          response(424, "X", "", `{"error":{"code":"EXECUTION_FAILED","message":"m","details":{"x":1}}}`),
		"response: code of another":  response(424, "X", "", `{"error":{"code":"RESULT_NOT_KEPT","message":"m","details":{"reason":"expired"}}}`),
		"response: unknown reason":   response(410, "X", "", `{"error":{"code":"RESULT_NOT_KEPT","message":"m","details":{"reason":"lost"}}}`),
		"response: error and status": response(424, "X", "", `{"status":"failed","error":{"code":"EXECUTION_FAILED","message":"m"}}`),
	} {
		if err == nil {
			t.Errorf("%s: the contract holds", name)
		}
	}
}

// What a mismatch tells is bounded, and is about the payload only.
func TestContractOfMismatch(t *testing.T) {
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"execute", "claim"} {
		response := func(code, details string) error {
			r, _ := http.NewRequest(http.MethodPost, "/v1/idempotency/"+path, nil)
			return c.response(r, answer{422, http.Header{
				"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "Request-Id": {"3w5e11264sgsf"},
				"Idempotency-Executed": {"unknown"}, "Idempotency-Retry": {"no"},
			}, `{"error":{"code":"` + code + `","message":"m"` + details + `}}`})
		}
		paths := func(p ...string) string {
			return `,"details":{"differs":["` + strings.Join(p, `","`) + `"]}`
		}
		many := strings.Split("/0 /1 /2 /3 /4 /5 /6 /7 /8 /9 /10 /11 /12 /13 /14 /15 /16", " ")
		for _, right := range []string{"", paths(""), paths("/a~1~0/0", "/"), paths(many[:16]...), paths("/" + strings.Repeat("n", 255))} {
			if err := response("PAYLOAD_MISMATCH", right); err != nil {
				t.Errorf("%s: the contract refuses %s: %v", path, right, err)
			}
		}
		for _, wrong := range []string{
			paths("a"), paths("/a~"), paths("/a", "/a"), paths(many...), paths("/" + strings.Repeat("n", 256)),
			`,"details":{"differs":[]}`, `,"details":{"differs":[1]}`, `,"details":{}`, `,"details":{"differs":["/a"],"was":1}`,
		} {
			if response("PAYLOAD_MISMATCH", wrong) == nil {
				t.Errorf("%s: the contract holds for %s", path, wrong)
			}
		}
		if response("OPERATION_MISMATCH", "") != nil || response("OPERATION_MISMATCH", paths("/a")) == nil {
			t.Errorf("%s: another operation tells of the payload", path)
		}
	}
}
