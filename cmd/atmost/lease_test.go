package main

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// lease makes one of the lease calls, and returns the status and the body.
func lease(t *testing.T, client *http.Client, url, call, key, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/idempotency/"+call, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

const (
	leaseToken = "0f5bd0bd1f1c4c6f8a7d6c2b9e3f1a05"
	someClaim  = `"payload":1,"lease":"1h","lease_token":"` + leaseToken + `"}`
)

// TestUnlistedIsClaimed, with the defaults that count, also after a reload.
func TestUnlistedIsClaimed(t *testing.T) {
	r := boot(t, "allow_unlisted: true\ndefaults: {on_unknown: hold}\noperations:\n  listed: {}\n")
	url := "http://" + r.address(listenerPublic).String()
	inDoubt := func(key string) string {
		t.Helper()
		if status, body := lease(t, r.client, url, "claim", key, `{"operation":"unheard.of",`+someClaim); status != http.StatusCreated {
			t.Fatalf("%d %s", status, body)
		}
		_, body := lease(t, r.client, url, "fail", key, `{"lease_token":"`+leaseToken+`","error":{"code":"x","message":""},"executed":"unknown"}`)
		return body
	}
	if got := inDoubt("a"); got != `{"status":"unknown"}` {
		t.Error(got)
	}
	r.edit(t, "on_unknown: hold", "on_unknown: retry")
	r.signals <- syscall.SIGHUP
	r.log.wait(t, "reloaded")
	if got := inDoubt("b"); got != `{"status":"not_executed"}` {
		t.Error(got)
	}
}

func TestUnlistedIsRefused(t *testing.T) {
	r := boot(t, "operations:\n  listed: {}\n")
	url := "http://" + r.address(listenerPublic).String()
	if status, body := lease(t, r.client, url, "claim", "a", `{"operation":"unheard.of",`+someClaim); status != http.StatusUnprocessableEntity {
		t.Errorf("%d %s", status, body)
	}
	if status, body := lease(t, r.client, url, "claim", "a", `{"operation":"listed",`+someClaim); status != http.StatusCreated {
		t.Errorf("%d %s", status, body)
	}
}

// TestLeaseSurvivesAKill: the client goes on where it was, and what it then reports survives too.
func TestLeaseSurvivesAKill(t *testing.T) {
	dir, client := t.TempDir(), &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	const claim = `{"operation":"a",` + someClaim
	var claimed, done string
	for life := range 3 {
		c, _ := spawn(t, dir, "operations: {a: {}}\n")
		ask := func(call, body string, want int) string {
			t.Helper()
			status, answer := lease(t, client, c.url(), call, "k", body)
			if status != want {
				t.Errorf("life %d, %s: %d %s", life, call, status, answer)
			}
			return answer
		}
		switch life {
		case 0:
			claimed = ask("claim", claim, 201)
		case 1:
			ask("claim", strings.Replace(claim, "0f", "1f", 1), 202)
			again := ask("claim", claim, 201)
			before, _, _ := strings.Cut(claimed, "expires_in")
			if !strings.HasPrefix(again, before) {
				t.Errorf("claimed %s, and then %s", claimed, again)
			}
			ask("renew", `{"lease_token":"`+leaseToken+`","lease":"1h"}`, 200)
			done = ask("complete", `{"lease_token":"`+leaseToken+`","result":{"n": 1.10}}`, 200)
		default:
			if replay := ask("claim", claim, 200); replay != done {
				t.Errorf("completed with %s, and then %s", done, replay)
			}
		}
		c.kill()
	}
}
