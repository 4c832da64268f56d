package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/atmost-dev/atmost"
)

// result reads the body of a final answer into o. After an error o means nothing.
func (u *Upstream) result(o *atmost.Outcome, resp *http.Response) error {
	if resp.ContentLength > u.cfg.MaxResult {
		o.NotKept = atmost.TooLarge
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, u.cfg.MaxResult+1))
	switch {
	case int64(len(body)) > u.cfg.MaxResult:
		o.NotKept = atmost.TooLarge
		return nil
	case err != nil:
		return err
	}
	o.Result = convert(resp.Header.Get("Content-Type"), body)
	return nil
}

// drainWithin is ample for a body that came with its header. One that takes longer costs more than a new connection.
const drainWithin = 50 * time.Millisecond

// drain reads a small body of known length that nobody wants, so that the connection can be used again.
func drain(resp *http.Response) {
	if resp.ContentLength <= 0 || resp.ContentLength > 64<<10 {
		return
	}
	defer time.AfterFunc(drainWithin, func() { _ = resp.Body.Close() }).Stop()
	_, _ = io.CopyN(io.Discard, resp.Body, resp.ContentLength)
}

// The messages below are stored and shown to callers of the API, so they hold no URL, host, key or payload, and never
// the text of an error.

const maybe = "; the request may have been processed"

// answered words a response's status.
func answered(s atmost.State, status int) string {
	text := "the upstream answered " + strconv.Itoa(status)
	switch s {
	case atmost.Completed:
		return ""
	case atmost.NotExecuted:
		return text + ", by which it says that nothing happened"
	case atmost.Unknown:
		return text + maybe
	}
	return text
}

// noAnswer words a round trip that ended without a response after a byte may have left.
func noAnswer(ctx context.Context, began time.Time, err error) string {
	var bad *badAnswerError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "the upstream did not answer within " + timeout(ctx, began)
	case ctx.Err() != nil:
		return "the execution was stopped before the upstream answered"
	case errors.As(err, &bad) && bad.tooLarge:
		return "the header of the upstream's answer is over " + strconv.Itoa(maxHeaderBytes>>10) + " KiB"
	case errors.As(err, &bad):
		return "the upstream's answer is not valid HTTP"
	}
	return "the connection to the upstream broke before it answered"
}

// brokeOff words a final answer of which not everything came.
func brokeOff(ctx context.Context, began time.Time, status int) string {
	text := "the upstream answered " + strconv.Itoa(status)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return text + ", but not to the end within " + timeout(ctx, began)
	case ctx.Err() != nil:
		return text + ", but the execution was stopped before the answer's end"
	}
	return text + ", but its answer broke off"
}

// notReached words a request of which nothing left.
func notReached(ctx context.Context, began time.Time, err error) string {
	var (
		dns   *net.DNSError
		timed net.Error
	)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the upstream refused the connection"
	case errors.As(err, &dns):
		return "the upstream's name could not be resolved"
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "there was no connection to the upstream within " + timeout(ctx, began)
	case ctx.Err() != nil:
		return "the execution was stopped before it reached the upstream"
	case errors.As(err, &timed) && timed.Timeout():
		return "connecting to the upstream took too long"
	}
	if text := badTLS(err); text != "" {
		return text
	}
	return "no connection to the upstream could be made"
}

// badTLS words a TLS handshake that failed for a reason that is known, "" if it is not.
func badTLS(err error) string {
	var (
		unknown x509.UnknownAuthorityError
		roots   x509.SystemRootsError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		other   *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   *net.OpError
	)
	switch {
	case errors.As(err, &unknown):
		return "the upstream's certificate is signed by an authority that is not trusted"
	case errors.As(err, &roots):
		return "the upstream's certificate could not be checked: the system has no trusted authorities"
	case errors.As(err, &host):
		return "the upstream's certificate is for another host name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the upstream's certificate has expired or is not valid yet"
	case errors.As(err, &invalid) || errors.As(err, &other):
		return "the upstream's certificate is not valid"
	case errors.As(err, &record):
		return "the upstream does not speak TLS on this port"
	case errors.As(err, &alert) && alert.Op == "remote error": // as crypto/tls names an alert that was received
		return "the upstream refused the TLS handshake"
	}
	return ""
}

// timeout is how long ctx gave, as people write it: what was lost on the way here is rounded away.
func timeout(ctx context.Context, began time.Time) string {
	deadline, _ := ctx.Deadline()
	d := deadline.Sub(began)
	unit := time.Millisecond
	if d > time.Second {
		unit = 100 * time.Millisecond
	}
	return d.Round(unit).String()
}
