package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/storetest"
	"github.com/atmost-dev/atmost/wire"
)

// FuzzExecute sends any headers and body: the answer must be of the API's shape, its status that of its code, and never 500.
func FuzzExecute(f *testing.F) {
	for _, seed := range [][5]string{
		{"k", "", "application/json", "", charge},
		{`"a;b"`, `"t"`, "application/json; charset=utf-8", "wait=0", ` {"payload" :[1.10, {"a":"\u0000"}] ,"operation":"charge"} `},
		{"k", "", "application/json", "respond-async", refund},
		{"k", "s", "text/plain", "wait=1, wait=2", ""},
		{"", "\x00", "application/json", `x="`, "{"},
		{"k", "", "application/json", "", `{"operation":"charge","payload":1,"payload":1}`},
		{"k", "", "application/json", "", "{\"operation\":\"charge\",\"payload\":\"\xff\"}"},
		{"k", "", "application/json", "", strings.Repeat("[", 200)},
		{"\xff", "é", "Application/JSON;", ",,;=", "[]"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4], true)
	}
	contract, err := theContract()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, key, scope, contentType, prefer, body string, knownLength bool) {
		s := assemble(t, one(answers(completed("1"))), storetest.NewClock())
		defer s.engine.Close(context.Background())
		for range 2 { // the second may be a replay
			r := httptest.NewRequest(http.MethodPost, "/v1/idempotency/execute", strings.NewReader(body))
			if !knownLength {
				r.ContentLength = -1
			}
			for name, value := range map[string]string{
				wire.HeaderKey: key, wire.HeaderScope: scope, "Content-Type": contentType, wire.HeaderPrefer: prefer,
			} {
				if value != "" {
					r.Header[name] = []string{value}
				}
			}
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, r)
			a := answer{w.Code, w.Result().Header, w.Body.String()}
			if !json.Valid(w.Body.Bytes()) || a.status == http.StatusInternalServerError {
				t.Fatalf("%d %s", a.status, a.body)
			}
			code := atmost.Code(a.facts().Code)
			if code == "" && a.status > 202 || code != "" && (!slices.Contains(atmost.Codes(), code) || wire.Status(code) != a.status) {
				t.Errorf("%d %s", a.status, a.body)
			}
			if err := contract.response(r, a); err != nil {
				t.Errorf("the answer %d breaks the contract: %v\n%s", a.status, err, a.body)
			}
			if a.status == 200 && contract.request(r, []byte(body)) != nil {
				t.Errorf("a request that breaks the contract is executed: %q %q %q %q", key, scope, contentType, body)
			}
		}
	})
}
