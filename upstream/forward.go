package upstream

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/atmost-dev/atmost"
)

// Answer is what an upstream answered.
type Answer struct {
	Status int
	Header http.Header
	// Trailer has the names that were announced, and once everything was read, Rest too, what came.
	Trailer http.Header
	// Body is all of it, or, if Rest is not nil, its beginning: a little more than Config.MaxResult.
	Body []byte
	// Rest is what follows on Body. Whoever has the answer closes it; until then it holds a connection.
	Rest io.ReadCloser
}

// Forward makes the attempt a with a request of somebody else's: r but for its body, which is body, and has r's trailers after it. It
// calls the upstream as Execute does, and judges what happened in the same way, but of the request it sets only the headers that say
// which attempt it is, and of the answer it makes no result. That is returned, whatever its status, if it came to its end or is too large to be kept: else it is nil.
func (u *Upstream) Forward(ctx context.Context, a atmost.Attempt, r *http.Request, body []byte) (*Answer, atmost.Outcome) {
	began := time.Now()
	// What is too large to keep may be read after the attempt has ended, and with it ctx.
	reading, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
	r = r.WithContext(reading)
	r.Header, r.ContentLength = r.Header.Clone(), int64(len(body))
	if len(r.Trailer) > 0 { // which HTTP/1.1 knows only after a body whose length was not told
		r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
	}
	u.identify(r.Header, a)
	resp, o := u.call(ctx, began, r, body)
	if resp == nil {
		cancel(nil)
		return nil, o
	}
	o = u.outcome(resp)
	if resp.StatusCode < http.StatusOK {
		_ = resp.Body.Close() // a switch of protocols that nobody asked for: no answer follows
		cancel(nil)
		return nil, o
	}
	answer, err := u.read(resp)
	switch {
	case err == nil && answer.Rest != nil:
		answer.Rest = &rest{answer.Rest, resp, answer, cancel}
		return answer, o
	case err != nil && o.State.Final():
		o = u.broken(ctx, began, resp, err)
	}
	_ = resp.Body.Close() // what was read, was read
	cancel(nil)
	if err != nil {
		return nil, o
	}
	return answer, o
}

// read reads an answer to its end, or until it is too large.
func (u *Upstream) read(resp *http.Response) (*Answer, error) {
	var body bytes.Buffer
	_, err := body.ReadFrom(io.LimitReader(resp.Body, u.cfg.MaxResult+1))
	if err != nil {
		return nil, err
	}
	a := &Answer{Status: resp.StatusCode, Header: resp.Header, Trailer: resp.Trailer, Body: body.Bytes()}
	if int64(body.Len()) > u.cfg.MaxResult {
		a.Rest = resp.Body
	}
	return a, nil
}

// rest is the rest of a body. Its end completes the answer, and closing it ends what the attempt has left.
type rest struct {
	io.ReadCloser
	resp   *http.Response
	answer *Answer
	cancel context.CancelCauseFunc
}

func (b *rest) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.answer.Trailer = b.resp.Trailer
	}
	return n, err
}

func (b *rest) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}
