package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

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

// FuzzAdmin sends any query and body to any path of the admin API, about records in every state: the answer must be as the document
// says, its status that of its code, and never 500.
func FuzzAdmin(f *testing.F) {
	k, t := wire.AdminID(atmost.ID{Key: "unknown"}), wire.AdminID(atmost.ID{Scope: "t", Key: "done"})
	for _, seed := range [][3]string{
		{"GET overview", "", ""},
		{"GET keys", "state=unknown&operation=refund&scope=&key=unknown&older_than=0s&limit=1&cursor=" + k, ""},
		{"GET keys", "scope=t&limit=1000", ""},
		{"GET keys", "cursor=%00&limit=9999999999999999999", ""},
		{"GET keys/" + k, "result=true", ""},
		{"GET keys/" + t, "result=maybe", ""},
		{"GET keys/a%2Fb%00", "", ""},
		{"GET audit", "limit=1&cursor=18446744073709551615", ""},
		{"POST keys/" + k + "/resolve", "", `{"expected_attempt":1,"outcome":"completed","result": [1.10, null],` + by + `}`},
		{"POST keys/" + k + "/resolve", "", `{"expected_attempt":1,"outcome":"failed","error":{"code":"c\u0000","message":"\ud800"},` + by + `}`},
		{"POST keys/" + k + "/resolve", "", `{"expected_attempt":1,"outcome":"not_executed","actor":"\u202e","reason":"é"}`},
		{"POST keys/" + t + "/erase", "", `{"expected_attempt":1,` + by + `}`},
		{"POST keys/" + t + "/forget", "", `{` + by + `}`},
		{"POST keys/" + t + "/compare", "", charge},
		{"POST bulk", "", `{"filter":{"state":"unknown"},"action":"resolve","outcome":"completed","rate":1000,` + by + `}`},
		{"POST bulk", "", `{"filter":{"scope":"","older_than":"0s"},"action":"erase","cursor":"` + k + `","dry_run":true,` + by + `}`},
		{"POST admit", "", `{"scopes":["","t"],` + by + `}`},
		{"POST admit", "x", `{"all":true,` + by + `}`},
		{"POST bulk", "", strings.Repeat("[", 200)},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	contract, err := theAdminContract()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, target, query, body string) {
		method, path, _ := strings.Cut(target, " ")
		if method != http.MethodPost {
			method = http.MethodGet
		}
		u, err := url.Parse("http://h/admin/v1/" + path)
		if err != nil || u.Path == "" {
			t.Skip()
		}
		u.RawQuery = query
		s := assemble(t, config{operations: map[string]atmost.Operation{
			"charge": {Executor: answers(completed(`{"id":"ch_1"}`))}, "refund": {Executor: silent},
		}}, storetest.NewClock())
		defer s.engine.Close(context.Background())
		for id, operation := range map[atmost.ID]string{{Key: "unknown"}: "refund", {Scope: "t", Key: "done"}: "charge"} {
			_, _ = s.engine.Execute(t.Context(), atmost.Call{ID: id, Operation: operation, Payload: []byte("1")})
		}
		s.clock.Advance(time.Second)
		r := httptest.NewRequest(method, "/", strings.NewReader(body))
		r.URL, r.RequestURI = u, u.RequestURI()
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.adminHandler().ServeHTTP(w, r)
		a := answer{w.Code, w.Result().Header, w.Body.String()}
		if a.header.Get("Content-Type") == "application/yaml" {
			return
		}
		code := atmost.Code(a.facts().Code)
		if !json.Valid(w.Body.Bytes()) || code == "" && a.status != 200 || code != "" && wire.Status(code) != a.status || a.status >= 500 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if err := contract.response(r, a); err != nil {
			t.Errorf("the answer %d breaks the contract: %v\n%s", a.status, err, a.body)
		}
		if a.status == 200 && method == http.MethodPost && contract.request(r, []byte(body)) != nil {
			t.Errorf("a request that breaks the contract is heeded: %s %s: %v", target, body, contract.request(r, []byte(body)))
		}
	})
}
