// Package atmostclient is the Go SDK for a remote service. It asks until it has an answer that counts, always with the same key,
// and says of every error whether the operation was executed.
package atmostclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/atmost-dev/atmost"
)

// DefaultPatience is how long a call goes on without an answer that counts.
const DefaultPatience = 2 * time.Minute

// Client asks one service. It may be used by any number of goroutines.
//
// Every error of its calls is an *atmost.Error, which is the service's, or about the call itself, or a *NoAnswerError.
// atmost.ExecutedOf tells of either what is known of the operation's effect. Once a try of the same call was lost, "not executed" is
// not believed any more: that try may still be on its way.
type Client struct {
	base     string
	http     http.Client
	patience time.Duration
}

var _ atmost.Claimer = (*Client)(nil)

// Option changes how a Client works.
type Option func(*Client)

// WithHTTPClient has requests sent by h, which is copied: with its transport, for TLS or authentication. Redirects are not followed.
// Its Timeout, if any, is to be longer than atmost.MaxWait, or answers that are waited for are lost.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = *h } }

// WithPatience bounds how long a call goes on without an answer that counts, when its context does not end before. That an
// execution is under way does count. Default DefaultPatience.
func WithPatience(d time.Duration) Option { return func(c *Client) { c.patience = d } }

// New makes a Client of the service at baseURL, https://atmost.internal for example.
func New(baseURL string, options ...Option) (*Client, error) {
	u, err := url.Parse(baseURL)
	switch {
	case err != nil:
		return nil, errors.New("atmostclient: the base URL is not a URL") // err quotes it, and it may hold a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("atmostclient: the base URL is not http:// or https://, a host and maybe a path")
	}
	c := &Client{base: strings.TrimRight(baseURL, "/") + "/v1/idempotency/", patience: DefaultPatience}
	for _, o := range options {
		o(c)
	}
	if c.patience <= 0 {
		return nil, fmt.Errorf("atmostclient: a patience of %v is none", c.patience)
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// Result is what an operation answered.
type Result struct {
	// State is atmost.Completed, or beside an error how the operation ended, if that is known.
	State atmost.State
	// JSON is its result, byte for byte. After atmost.CodeExecutionFailed it is what it failed with, if that is kept.
	JSON []byte
	// UpstreamStatus is the status that an upstream's failure came with, 0 if there was none.
	UpstreamStatus int
	// Attempt counts the attempts for the key, from 1.
	Attempt uint32
	// Replayed tells that it was there before the request, or is another request's.
	Replayed bool
	// Expires is when the result is no longer kept.
	Expires time.Time
}

// Execute has the service execute call's operation, at most once for its ID, and returns the result once it is there: it waits
// for an execution that is under way, and asks again after an answer that was lost or says so, until ctx or the client's patience
// ends. Call's Wait is not used. The Result is valid beside an error.
func (c *Client) Execute(ctx context.Context, call atmost.Call) (Result, error) {
	body, err := executeBody(call)
	if err != nil {
		return Result{}, err
	}
	a, err := c.ask(ctx, exchange{path: "execute", id: call.ID, body: body, trace: call.Trace, wait: atmost.MaxWait, waits: true, insists: true})
	return a.result(), err
}

// Status returns what is known of id, waiting up to wait, at most atmost.MaxWait, while that is not settled. It executes nothing. Of
// the record, what the service does not show is zero. An absent key is an *atmost.Error with CodeKeyNotFound.
func (c *Client) Status(ctx context.Context, id atmost.ID, wait time.Duration) (atmost.Record, error) {
	a, err := c.ask(ctx, exchange{method: http.MethodGet, path: "status", id: id, wait: wait, waits: true})
	return a.record(id), err
}
