package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/atmost-dev/atmost"
)

// Config describes an Upstream. Zero values mean the defaults named.
type Config struct {
	// URL is called, with Method. Default POST.
	URL, Method string
	// Headers are sent along, with probes too.
	Headers http.Header
	// Transport sends the requests. Default: one of this Upstream's own.
	Transport *Transport
	// NotExecutedStatus lists statuses by which the upstream says that nothing happened.
	NotExecutedStatus []int
	// FinalStatus lists statuses that are final errors and would otherwise leave the outcome unknown.
	FinalStatus []int
	// MaxResult bounds the response body, in bytes as it comes. Default 1 MiB.
	MaxResult int64
	// ForwardKey says which key the upstream sees: ForwardDigest, the default, or ForwardOriginal.
	ForwardKey string
	// ProbeURL is asked how an attempt ended. {key}, {scope} and {attempt} are replaced by the key that the upstream was
	// given, the scope and the attempt's number, percent-encoded.
	ProbeURL string
	// ProbeNotFound takes the probe's 404 for "not executed".
	ProbeNotFound bool
	// ProbeTimeout bounds one probe. Default 10 s.
	ProbeTimeout time.Duration
	// OnError, if not nil, is told why there is no answer, for logs: the text may name hosts.
	OnError func(error)
}

// What the upstream sees as the Idempotency-Key.
const (
	// ForwardDigest: the key itself when the scope is empty, else a digest of both.
	ForwardDigest = "digest"
	// ForwardOriginal: the key itself, and the scope in a header of its own.
	ForwardOriginal = "original"
)

// DefaultMaxResult is the default of Config.MaxResult, in bytes.
const DefaultMaxResult = 1 << 20

const (
	maxMaxResult        = 1 << 30
	defaultProbeTimeout = 10 * time.Second
)

// New makes an Upstream. An error says what is wrong with c and what would be right.
func New(c Config) (*Upstream, error) {
	orDefault(&c.Method, http.MethodPost)
	orDefault(&c.MaxResult, DefaultMaxResult)
	orDefault(&c.ForwardKey, ForwardDigest)
	orDefault(&c.ProbeTimeout, defaultProbeTimeout)
	if c.Transport == nil {
		c.Transport = NewTransport(TransportOptions{})
	}
	c.Headers = c.Headers.Clone()
	u := &Upstream{cfg: c, transport: c.Transport, breaker: newBreaker()}
	var err error
	if u.url, err = parseURL(c.URL); err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	if u.statuses, err = atmost.NewStatuses(c.NotExecutedStatus, c.FinalStatus); err != nil {
		return nil, err
	}
	if c.ProbeURL != "" {
		if u.probe, err = parseProbeURL(c.ProbeURL); err != nil {
			return nil, fmt.Errorf("probe_url: %w", err)
		}
	}
	if err := errors.Join(checkMethod(c.Method), checkHeaders(c.Headers), checkRest(c)); err != nil {
		return nil, err
	}
	return u, nil
}

func checkRest(c Config) error {
	switch {
	case c.MaxResult < 1 || c.MaxResult > maxMaxResult:
		return fmt.Errorf("max_result: %d is not between 1 and %d bytes", c.MaxResult, int64(maxMaxResult))
	case c.ForwardKey != ForwardDigest && c.ForwardKey != ForwardOriginal:
		return fmt.Errorf("forward_key: %q is neither %q nor %q", c.ForwardKey, ForwardDigest, ForwardOriginal)
	case c.ProbeTimeout < 0:
		return fmt.Errorf("probe_timeout: %v is negative", c.ProbeTimeout)
	case c.ProbeNotFound && c.ProbeURL == "":
		return errors.New("probe_not_found: there is no probe_url to ask")
	}
	return nil
}

// parseURL checks everything about a URL that could only fail later. Its errors do not repeat the URL, which may hold
// secrets.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	var wrong *url.Error
	switch {
	case errors.As(err, &wrong):
		return nil, fmt.Errorf("it is not a URL: %w", wrong.Err)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("its scheme is %q, it must begin with http:// or https://", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("it names no host")
	case u.User != nil:
		return nil, errors.New("it holds a user name; send credentials in the Authorization header instead")
	case u.Fragment != "":
		return nil, errors.New("it has a fragment, which is never sent; write # as %23")
	}
	return u, nil
}

func checkMethod(m string) error {
	switch {
	case !isToken(m):
		return fmt.Errorf("method: %q is not an HTTP method", m)
	case m != strings.ToUpper(m):
		return fmt.Errorf("method: methods are case-sensitive, write %q", strings.ToUpper(m))
	case m == http.MethodConnect || m == http.MethodTrace || m == http.MethodHead:
		return fmt.Errorf("method: %s performs no operation, use POST, PUT, PATCH, DELETE or GET", m)
	}
	return nil
}

// Header names that may not be configured, in canonical form.
var (
	hopByHop = []string{
		"Connection", "Expect", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade",
	}
	ours = []string{
		"Accept-Encoding", "Content-Encoding", "Content-Length", "Content-Type", "Host", "Idempotency-Attempt",
		"Idempotency-Fence", "Idempotency-Key", "Idempotency-Operation", "Idempotency-Scope", "Traceparent", "Tracestate",
		"User-Agent",
	}
)

func checkHeaders(h http.Header) error {
	seen := map[string]string{}
	for name, values := range h {
		canonical := http.CanonicalHeaderKey(name)
		switch other, twice := seen[canonical]; {
		case !isToken(name):
			return fmt.Errorf("headers: %q is not a header's name", name)
		case slices.Contains(hopByHop, canonical):
			return fmt.Errorf("headers: %s is about the connection, which is not configured here; remove it", name)
		case slices.Contains(ours, canonical):
			return fmt.Errorf("headers: %s is set by atmost itself; remove it", name)
		case twice:
			return fmt.Errorf("headers: %s and %s are the same header; write one", min(name, other), max(name, other))
		case !slices.ContainsFunc(values, func(v string) bool { return !isFieldValue(v) }):
			seen[canonical] = name
		default:
			// Not the value: it may be a secret.
			return fmt.Errorf("headers: the value of %s has control characters, perhaps a line's end; remove them", name)
		}
	}
	return nil
}

// isToken reports whether s is a token of RFC 9110, as methods and header names are.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		alphanumeric := r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		return !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// isFieldValue reports whether a header can carry s.
func isFieldValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
