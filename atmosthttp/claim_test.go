package atmosthttp_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/atmostclient"
	"github.com/atmost-dev/atmost/atmosthttp"
)

// claiming is a claimer whose claims a test has a hand in.
type claiming struct {
	atmost.Claimer
	claim func(ctx context.Context, call atmost.ClaimCall) (atmost.Claimed, error)
}

func (c *claiming) Claim(ctx context.Context, call atmost.ClaimCall) (atmost.Claimed, error) {
	return c.claim(ctx, call)
}

// inEachWay runs a test over an engine and over a service elsewhere.
func inEachWay(t *testing.T, o atmost.Operation, test func(*testing.T, atmost.Claimer)) {
	engine := newEngine(t, o)
	t.Run("engine", func(t *testing.T) { test(t, engine) })
	t.Run("service", func(t *testing.T) { test(t, remote(t, newEngine(t, o))) })
}

// A client that hangs up while its key is claimed leaves no lease behind: the handler runs.
func TestHangUpDuringTheClaim(t *testing.T) {
	inEachWay(t, atmost.Operation{}, func(t *testing.T, claimer atmost.Claimer) {
		ctx, hangUp := context.WithCancel(t.Context())
		c := counting()
		h := wrap(t, &claiming{claimer, func(ctx context.Context, call atmost.ClaimCall) (atmost.Claimed, error) {
			claimed, err := claimer.Claim(context.WithoutCancel(ctx), call)
			hangUp()
			if ctx.Err() != nil {
				return atmost.Claimed{}, ctx.Err()
			}
			return claimed, err
		}}, atmosthttp.NoScope, atmosthttp.Options{}, c)
		serve(h, post("k", "{}").WithContext(ctx))
		if w := serve(h, post("k", "{}")); w.Code != http.StatusCreated || w.Header().Get("Idempotency-Replayed") != "true" || c.ran.Load() != 1 {
			t.Errorf("then %d %s after %d runs", w.Code, w.Body, c.ran.Load())
		}
	})
}

// A claim without an answer runs nothing, also when it was made: so the next request can run it.
func TestAClaimThatIsNotAnswered(t *testing.T) {
	inEachWay(t, atmost.Operation{}, func(t *testing.T, claimer atmost.Claimer) {
		for key, tc := range map[string]struct {
			made   bool
			err    error
			status int
			code   string
		}{
			"made":                   {true, errors.New("no answer"), 503, "EXECUTION_NOT_STARTED"},
			"made, in doubt":         {true, &atmost.Error{Code: atmost.CodeOutcomeUnknown}, 503, "EXECUTION_NOT_STARTED"},
			"not made":               {false, errors.New("no answer"), 503, "STORE_UNAVAILABLE"},
			"not made, overloaded":   {false, &atmost.Error{Code: atmost.CodeOverloaded, Message: "too much"}, 429, "OVERLOADED"},
			"refused for what it is": {false, &atmost.Error{Code: atmost.CodePayloadMismatch, Message: "another"}, 422, "PAYLOAD_MISMATCH"},
		} {
			key = strings.NewReplacer(" ", "-", ",", "").Replace(key)
			c := counting()
			var told error
			cl := &claiming{claimer, func(ctx context.Context, call atmost.ClaimCall) (atmost.Claimed, error) {
				if tc.made {
					if claimed, err := claimer.Claim(ctx, call); !claimed.Won {
						t.Error(err)
					}
				}
				return atmost.Claimed{}, tc.err
			}}
			h := wrap(t, cl, atmosthttp.NoScope, atmosthttp.Options{OnError: func(_ *http.Request, err error) { told = err }}, c)
			w := serve(h, post(key, "{}"))
			detail := isProblem(t, w, tc.status, tc.code)
			if executed := w.Header().Get("Idempotency-Executed"); (executed == "no") != tc.made || strings.Contains(detail, "executed nothing") {
				t.Errorf("%s: got %s, and executed: %s", key, detail, executed)
			}
			if tc.code == "STORE_UNAVAILABLE" && !errors.Is(told, tc.err) {
				t.Errorf("%s: told was %v", key, told)
			}
			cl.claim = claimer.Claim
			if w := serve(h, post(key, "{}")); w.Code != http.StatusCreated || c.ran.Load() != 1 {
				t.Errorf("%s: then %d %s after %d runs", key, w.Code, w.Body, c.ran.Load())
			}
		}
	})
}

// unreachable is a network without the service.
type unreachable struct{}

func (unreachable) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("unreachable")
}

// A service that is away costs a caller seconds, whatever the patience of its client.
func TestAServiceThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, err := atmostclient.New("http://atmost.internal", atmostclient.WithHTTPClient(&http.Client{Transport: unreachable{}}))
		if err != nil {
			t.Fatal(err)
		}
		c := counting()
		h := wrap(t, client, atmosthttp.NoScope, atmosthttp.Options{}, c)
		begin := time.Now()
		w := serve(h, post("k", "{}"))
		isProblem(t, w, http.StatusServiceUnavailable, "STORE_UNAVAILABLE")
		if took := time.Since(begin); took > 10*time.Second || w.Header().Get("Retry-After") == "" || c.ran.Load() != 0 {
			t.Errorf("after %v: %v, and %d runs", took, w.Header(), c.ran.Load())
		}
	})
}

// A duplicate waits for as long as the operation says, and its own client is there.
func TestADuplicateWaits(t *testing.T) {
	const wait = 30 * time.Second
	synctest.Test(t, func(t *testing.T) {
		c := &counted{do: func(http.ResponseWriter, *http.Request) { time.Sleep(wait / 2) }}
		h := wrap(t, engineWith(t, atmost.Operation{DuplicateWait: wait}, newBubble()), atmosthttp.NoScope, atmosthttp.Options{}, c)
		go serve(h, post("k", "{}"))
		synctest.Wait()
		begin := time.Now()
		ctx, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		isProblem(t, serve(h, post("k", "{}").WithContext(ctx)), http.StatusConflict, atmosthttp.Processing)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("its client was gone for %v", took-time.Second)
		}
		if w := serve(h, post("k", "{}")); w.Code != http.StatusOK || time.Since(begin) != wait/2 {
			t.Errorf("got %d after %v", w.Code, time.Since(begin))
		}
	})
}
