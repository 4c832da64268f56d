package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/atmost-dev/atmost"
)

// probeOutcome is the header by which a probe's answer settles an outcome. A plain 200 does not: it may be anybody's.
const probeOutcome = "Idempotency-Outcome"

// Probe asks ProbeURL once how the attempt ended. It tells more than Unknown only on 200 with the header
// Idempotency-Outcome: completed, failed or not_executed, of which the first two have the body as result; and with
// ProbeNotFound on 404 without that header. Without a ProbeURL it knows nothing.
func (u *Upstream) Probe(ctx context.Context, id atmost.ID, attempt uint32) atmost.Outcome {
	if u.probe == nil {
		return stillUnknown("there is no probe to ask")
	}
	if id.Scope != "" && !u.probe.scoped {
		return stillUnknown("the probe url has no {scope}, so it cannot ask about a key that has one")
	}
	target, err := u.probe.expand(u.forwardedKey(id), id.Scope, attempt)
	if err != nil {
		u.log(err)
		return stillUnknown("the probe url cannot carry this key")
	}
	ctx, cancel := context.WithTimeout(ctx, u.cfg.ProbeTimeout)
	defer cancel()
	r := &http.Request{Method: http.MethodGet, URL: target, Header: u.headers()}
	r.Header.Set("Cache-Control", "no-cache") // yesterday's 404 proves nothing
	resp, err := send(u.transport.base, r.WithContext(ctx), nil, nil)
	if err != nil {
		u.log(err)
		return stillUnknown("the probe was not answered")
	}
	defer resp.Body.Close() //nolint:errcheck // what was read, was read
	return u.probed(resp)
}

func stillUnknown(message string) atmost.Outcome {
	return atmost.Outcome{State: atmost.Unknown, Message: message}
}

// probed tells what the answer to a probe means. Its status is not the operation's, so UpstreamStatus stays 0.
func (u *Upstream) probed(resp *http.Response) atmost.Outcome {
	said := resp.Header.Values(probeOutcome)
	switch {
	case resp.StatusCode == http.StatusNotFound && len(said) == 0 && u.cfg.ProbeNotFound:
		drain(resp)
		return atmost.Outcome{State: atmost.NotExecuted, Message: "the probe found no such request at the upstream"}
	case resp.StatusCode != http.StatusOK:
		drain(resp)
		return stillUnknown(fmt.Sprintf("the probe was answered %d", resp.StatusCode))
	case len(said) != 1:
		drain(resp)
		return stillUnknown("the probe's answer has no single " + probeOutcome + " header")
	}
	return u.settled(resp, said[0])
}

// settled reads the answer of a probe that knows.
func (u *Upstream) settled(resp *http.Response, said string) atmost.Outcome {
	var o atmost.Outcome
	switch said {
	case "completed":
		o.State = atmost.Completed
	case "failed":
		o = atmost.Outcome{State: atmost.Failed, Message: "the probe was told that the request failed"}
	case "not_executed":
		drain(resp)
		return atmost.Outcome{State: atmost.NotExecuted, Message: "the probe was told that nothing happened"}
	default:
		drain(resp)
		return stillUnknown("the probe's answer has an " + probeOutcome + " header that is none of completed, failed, not_executed")
	}
	if err := u.result(&o, resp); err != nil {
		u.log(err)
		return stillUnknown("the probe's answer broke off")
	}
	return o
}

// probeURL is a template that was checked.
type probeURL struct {
	template string
	scoped   bool
}

var placeholder = regexp.MustCompile(`\{[^{}]*\}|[{}]`)

// parseProbeURL checks everything that does not depend on the values.
func parseProbeURL(template string) (*probeURL, error) {
	for _, p := range placeholder.FindAllString(template, -1) {
		switch p {
		case "{key}", "{scope}", "{attempt}":
		default:
			return nil, fmt.Errorf("it has %s; the placeholders are {key}, {scope} and {attempt}, any other brace is written %%7B or %%7D", p)
		}
	}
	if !strings.Contains(template, "{key}") {
		return nil, errors.New("it has no {key}, so it asks about no request in particular")
	}
	p := &probeURL{template: template, scoped: strings.Contains(template, "{scope}")}
	u, err := p.expand("0", "0", 0)
	if err != nil {
		return nil, err
	}
	if before := strings.Index(template, "{"); before < len(u.Scheme)+len("://")+len(u.Host) {
		return nil, errors.New("it has a placeholder before its path; placeholders go into the path or the query")
	}
	return p, nil
}

// expand is the URL for these values.
func (p *probeURL) expand(key, scope string, attempt uint32) (*url.URL, error) {
	u, err := parseURL(p.fill(encode(key), encode(scope), strconv.FormatUint(uint64(attempt), 10)))
	if err != nil {
		return nil, err
	}
	if hasDotSegment(u) {
		return nil, errDotSegment
	}
	return u, nil
}

func (p *probeURL) fill(key, scope, attempt string) string {
	return strings.NewReplacer("{key}", key, "{scope}", scope, "{attempt}", attempt).Replace(p.template)
}

// encode percent-encodes all but letters, digits and -_.~, so that s means nothing but itself in a path and in a query.
func encode(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

var errDotSegment = errors.New("its path has a segment . or .., which servers and proxies resolve to another path")

// hasDotSegment reports what no encoding can express: a path segment that is . or .. and means that.
func hasDotSegment(u *url.URL) bool {
	for segment := range strings.SplitSeq(u.EscapedPath(), "/") {
		if decoded, err := url.PathUnescape(segment); err != nil || decoded == "." || decoded == ".." {
			return true
		}
	}
	return false
}
