package atmosthttp

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/wire"
)

// TransportOptions configures a Transport. Zero values mean the defaults named.
type TransportOptions struct {
	// Origins are the servers that hold to the key, as https://api.example.com:8443, without a path. Only to them anything is sent again:
	// a server that ignores the key would run twice.
	Origins []string
	// Base sends each try. Default http.DefaultTransport.
	Base http.RoundTripper
	// MaxTries bounds how often one request is sent. Default DefaultMaxTries.
	MaxTries int
}

// DefaultMaxTries is the default of TransportOptions.MaxTries.
const DefaultMaxTries = 8

// The pauses between tries, where the server does not tell how long to wait: at most these, the latter after some tries.
const (
	leastPause = 200 * time.Millisecond
	mostPause  = 10 * time.Second
)

// advisedJitter is how much later than advised the next try may come.
const advisedJitter = 500 * time.Millisecond

// Transport is an http.RoundTripper that sends requests that change something (all but GET, HEAD, OPTIONS and TRACE) to the listed
// origins with a key, and again, with the same key, until there is an answer that will not change:
//
//   - A request that has no Idempotency-Key gets one. It lives as long as the call: to retry after a crash, too, set the key yourself and
//     store it.
//   - It is sent again after an error of the connection, and when the answer says that to ask again is of use: by Idempotency-Retry
//     where there is one, else by 429, 502, 503 or 504, or 409 with Retry-After.
//   - It waits as long as Retry-After says, and up to half a second more, or else for longer and longer, by chance. When the
//     request's context would end before that, the last answer is returned at once; so it is after MaxTries. Without an end of the
//     context there is no bound to what Retry-After may say.
//   - A request whose body cannot be read again, as it has no GetBody, is sent once.
//
// All others are sent as they are. It is safe for concurrent use.
type Transport struct {
	base    http.RoundTripper
	origins map[string]bool
	tries   int
}

// NewTransport makes a Transport. An error says what is wrong with o.
func NewTransport(o TransportOptions) (*Transport, error) {
	t := &Transport{base: o.Base, origins: map[string]bool{}, tries: cmp.Or(o.MaxTries, DefaultMaxTries)}
	if t.base == nil {
		t.base = http.DefaultTransport
	}
	if t.tries < 1 {
		return nil, errors.New("atmosthttp: MaxTries is negative")
	}
	for _, s := range o.Origins {
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("atmosthttp: %q is not an origin; write scheme and host, https://api.example.com for example", s)
		}
		t.origins[origin(u)] = true
	}
	return t, nil
}

// origin names the server of a URL, with its port.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// RoundTrip sends r, as described at Transport. It does not modify r.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return t.base.RoundTrip(r)
	}
	if !t.origins[origin(r.URL)] {
		return t.base.RoundTrip(r)
	}
	r = withKey(r)
	again := r.Body == nil || r.Body == http.NoBody || r.GetBody != nil
	for try := 1; ; try++ {
		resp, err := t.base.RoundTrip(r)
		pause, useful := advice(resp, err, try)
		if !useful || !again || try == t.tries || !fits(r, pause) {
			return resp, err
		}
		next, failed := anew(r)
		if failed != nil {
			return resp, err
		}
		if resp != nil {
			_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
			_ = resp.Body.Close()
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-r.Context().Done():
			timer.Stop()
			if next.Body != nil {
				_ = next.Body.Close()
			}
			return nil, r.Context().Err()
		}
		r = next
	}
}

// withKey is r with a key.
func withKey(r *http.Request) *http.Request {
	if len(r.Header[wire.HeaderKey]) > 0 {
		return r
	}
	r = r.Clone(r.Context())
	if r.Header == nil {
		r.Header = http.Header{}
	}
	token := atmost.NewToken()
	r.Header[wire.HeaderKey] = []string{hex.EncodeToString(token[:])}
	return r
}

// anew is r with its body from the beginning.
func anew(r *http.Request) (*http.Request, error) {
	next := r.Clone(r.Context())
	if r.GetBody == nil {
		return next, nil
	}
	var err error
	next.Body, err = r.GetBody()
	return next, err
}

// fits reports whether r's context lasts longer than a pause.
func fits(r *http.Request, pause time.Duration) bool {
	end, ends := r.Context().Deadline()
	return r.Context().Err() == nil && (!ends || time.Until(end) > pause)
}

// advice tells whether to ask again after an answer, or an error, and when.
func advice(resp *http.Response, err error, try int) (pause time.Duration, useful bool) {
	most := min(leastPause<<min(try, 10), mostPause)
	pause = most/2 + rand.N(most/2)
	if err != nil {
		return pause, true
	}
	after, told := wire.RetryAfter(resp.Header)
	if told {
		pause = after + rand.N(advisedJitter) // those who were refused together shall not come back together
	}
	switch atmost.Retry(resp.Header.Get(wire.HeaderRetry)) {
	case atmost.RetryNo:
		return 0, false
	case atmost.RetrySameKey:
		return pause, true
	case atmost.RetryPoll:
		return pause, told // without that time alone changes nothing
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return pause, true
	}
	return pause, resp.StatusCode == http.StatusConflict && told
}
