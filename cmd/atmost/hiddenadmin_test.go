package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// instruct posts a body to a path of the admin listener.
func (r *running) instruct(t *testing.T, path, body string) reply {
	t.Helper()
	resp, err := r.client.Post("http://"+r.address(listenerAdmin).String()+path, "application/json", strings.NewReader(body))
	return answered(t, resp, err)
}

// listed are the keys that the admin API lists for a query.
func (r *running) listed(t *testing.T, query url.Values) []wire.AdminKey {
	t.Helper()
	p := r.get(t, listenerAdmin, "/admin/v1/keys?"+query.Encode())
	p.want(t, http.StatusOK, `"keys":`)
	var page wire.AdminKeys
	if err := json.Unmarshal([]byte(p.body), &page); err != nil {
		t.Fatal(err)
	}
	return page.Keys
}

// TestOperatorsOfAHiddenStore: they can do all that they can elsewhere, by key or by digest, and are shown no key.
func TestOperatorsOfAHiddenStore(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "keys")
	keyFile(t, file, "a "+secret(1))
	r := boot(t, "store: pebble:"+dir+"\nencryption_key_file: '"+file+"'\nstore_keys: digest\nstore_keys_file: '"+file+"'\noperations: {a: {}}\n")
	public := "http://" + r.address(listenerPublic).String()
	const key, other, told = "order-4711-of-ada", "order-4712-of-bob", `{"charge":"ch-4711"}`
	inDoubt := func(key string) {
		t.Helper()
		if status, body := lease(t, r.client, public, "claim", key, `{"operation":"a","payload":{"amount":1},"lease":"1h","lease_token":"`+leaseToken+`"}`); status != http.StatusCreated {
			t.Fatalf("%d %s", status, body)
		}
		failure := `{"lease_token":"` + leaseToken + `","error":{"code":"x","message":"no answer"},"executed":"unknown"}`
		if _, body := lease(t, r.client, public, "fail", key, failure); body != `{"status":"unknown"}` {
			t.Fatal(body)
		}
	}
	status := func(key string) reply {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, public+"/v1/idempotency/status", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Idempotency-Key", key)
		resp, err := r.client.Do(req)
		return answered(t, resp, err)
	}
	const by = `"actor":"ada","reason":"ticket 7"`

	inDoubt(key)
	all := r.listed(t, nil)
	if len(all) != 1 || !strings.HasPrefix(all[0].Key, "keyed-") || all[0].Message != "x: no answer" && all[0].Message != "no answer" {
		t.Fatalf("listed %+v", all)
	}
	digest, path := all[0].Key, "/admin/v1/keys/"+all[0].ID
	r.get(t, listenerAdmin, "/admin/v1/keys?key="+key).want(t, http.StatusBadRequest, "only found together with its scope")
	for _, query := range []url.Values{{"scope": {""}, "key": {key}}, {"key": {digest}}, {"state": {"unknown"}}} {
		if found := r.listed(t, query); len(found) != 1 || found[0].ID != all[0].ID {
			t.Errorf("%v lists %+v", query, found)
		}
	}
	if found := r.listed(t, url.Values{"scope": {"s"}, "key": {key}}); len(found) > 0 {
		t.Errorf("in another scope there is %+v", found)
	}
	byKey := "/admin/v1/keys/" + wire.AdminID(atmost.ID{Key: key})
	r.get(t, listenerAdmin, path).want(t, http.StatusOK, `"key":"`+digest+`"`)
	r.get(t, listenerAdmin, byKey).want(t, http.StatusOK, `"key":"`+key+`"`)
	r.instruct(t, path+"/compare", `{"operation":"a","payload":{"amount":1}}`).want(t, http.StatusOK, `{"same":true,"same_operation":true}`)
	r.instruct(t, path+"/compare", `{"operation":"a","payload":{"amount":2}}`).want(t, http.StatusOK, `{"same":false,"same_operation":true}`)
	r.instruct(t, byKey+"/compare", `{"operation":"a","payload":{"amount":2}}`).want(t, http.StatusOK, `"differs":["/amount"]`)

	r.instruct(t, path+"/resolve", `{"expected_attempt":1,"outcome":"completed","result":`+told+`,`+by+`}`).want(t, http.StatusOK, `"state":"completed"`)
	status(key).want(t, http.StatusOK, told)
	status(digest).want(t, http.StatusNotFound, "KEY_NOT_FOUND") // what is in the store is no client's key
	if code, body := lease(t, r.client, public, "claim", digest, `{"operation":"a",`+someClaim); code != http.StatusBadRequest {
		t.Errorf("claimed by a digest: %d %s", code, body)
	}
	for _, at := range []string{path, byKey} {
		r.get(t, listenerAdmin, at+"?result=true").want(t, http.StatusOK, `"result":`+told)
	}
	r.instruct(t, path+"/erase", `{"expected_attempt":1,`+by+`}`).want(t, http.StatusOK, `"not_kept":"erased"`)
	status(key).want(t, http.StatusOK, `"RESULT_NOT_KEPT"`)
	r.instruct(t, byKey+"/forget", `{`+by+`}`).want(t, http.StatusOK, `{"state":"absent"}`)
	status(key).want(t, http.StatusNotFound, "KEY_NOT_FOUND")

	inDoubt(key)
	inDoubt(other)
	r.instruct(t, "/admin/v1/bulk", `{"filter":{"state":"unknown","scope":""},"action":"resolve","outcome":"completed","result":`+told+`,"rate":1000,`+by+`}`).
		want(t, http.StatusOK, `{"matched":2,"changed":2,"refused":0}`)
	for _, key := range []string{key, other} {
		status(key).want(t, http.StatusOK, told)
	}
	trail := r.get(t, listenerAdmin, "/admin/v1/audit")
	if n := strings.Count(trail.body, `"key":"keyed-`); n != 5 || strings.Count(trail.body, `"key":"`+digest+`"`) != 4 {
		t.Errorf("the audit trail is %s", trail.body)
	}
	for _, text := range []string{trail.body, r.log.text()} {
		if strings.Contains(text, key) || strings.Contains(text, other) {
			t.Errorf("a key is shown: %s", text)
		}
	}
	r.end(t)
	for _, text := range []string{key, other, "ch-4711"} {
		if holds(t, dir, text) {
			t.Errorf("%s is in the store", text)
		}
	}
}
