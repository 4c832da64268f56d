package server_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atmost-dev/atmost"
)

const readTime = 100 * time.Millisecond

// dribble sends a request whose body never arrives whole, and returns when the service has lost its patience.
func (s *service) dribble(framing string) {
	s.Helper()
	s.unanswered(s.dial(), "POST /v1/idempotency/execute HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nIdempotency-Key: slow\r\n"+framing+`{"oper`,
		func() error { return nil })
}

// unanswered sends something, does what follows, and expects the connection to be closed without a word.
func (s *service) unanswered(c net.Conn, sent string, then func() error) {
	s.Helper()
	if _, err := io.WriteString(c, sent); err != nil {
		s.Fatal(err)
	}
	if err := then(); err != nil {
		s.Fatal(err)
	}
	got, err := io.ReadAll(c)
	var late net.Error
	if len(got) > 0 || errors.As(err, &late) && late.Timeout() {
		s.Errorf("the service answers %q, %v", got, err)
	}
}

const withLength, chunked = "Content-Length: 48\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n30\r\n"

func TestSlowBody(t *testing.T) {
	c := one(answers(completed("1")))
	c.readTime = readTime
	s := start(t, c)
	before := s.store.calls.Load()
	s.dribble(withLength)
	s.dribble(chunked)
	s.untouched(before)
}

// never begins a request and returns when the service has lost its patience.
func (s *service) never() {
	s.Helper()
	c := s.dial()
	if _, err := io.WriteString(c, "POST /v1/idempotency/execute HTTP/1.1\r\nHost: h\r\nIdempo"); err != nil {
		s.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || strings.HasPrefix(string(got), "HTTP/1.1 2") {
		s.Errorf("the service answers %q, %v", got, err)
	}
}

func TestSlowHeader(t *testing.T) {
	c := one(answers(completed("1")))
	c.readTime = readTime
	start(t, c).never()
}

// A body that ends early gets no answer, which tells the client to ask again. Any refusal would be final, and untrue: the same
// request may have been executed before.
func TestTruncatedBody(t *testing.T) {
	s := start(t, one(answers(completed("1"))))
	s.check(s.execute("k", charge), isExecuted("1"))
	before := s.store.calls.Load()
	const head = "POST /v1/idempotency/execute HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\n"
	for _, sent := range []string{
		head + withLength + charge[:40],
		head + chunked + charge[:40],
		head + "Transfer-Encoding: chunked\r\n\r\nno number\r\n" + charge,
	} {
		c := s.dial()
		s.unanswered(c, sent, c.(*net.TCPConn).CloseWrite)
	}
	s.untouched(before)
	if s.log.String() != "" {
		t.Errorf("the log says %s", s.log.String())
	}
	s.check(s.execute("k", charge), isReplayed("1"))
}

// The time in which a request has to arrive says nothing about how long it may take: whoever waits longer still gets the result.
func TestWaitOutlastsReadTimeout(t *testing.T) {
	g := newGate()
	c := one(g)
	c.readTime, c.looked = readTime, make(chan struct{})
	s := start(t, c)
	first := later(func() answer { return s.execute("k", charge) })
	<-g.started
	duplicate := later(func() answer { return s.execute("k", charge, "Prefer", "wait=60") })
	<-c.looked
	status := later(func() answer { return s.status("k", "Prefer", "wait=60") })
	<-c.looked
	<-c.looked
	for range 2 { // each lasts as long as the read time-out
		s.dribble(withLength)
	}
	g.outcome <- completed("1")
	s.check(<-first, isExecuted("1"))
	want := isReplayed("1")
	want.Applied = "wait=60"
	s.check(<-duplicate, want)
	s.check(<-status, want)
}

// A client that does not read its answer holds a connection for so long and no longer, and loses nothing but the answer.
func TestSlowReader(t *testing.T) {
	big := `"` + strings.Repeat("x", 1<<20) + `"`
	inBubble(t, one(answers(completed(big))), func(s *service, p *pipes, closed <-chan struct{}) {
		conn, err := p.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := io.WriteString(conn, "POST /v1/idempotency/execute HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: "+
			strconv.Itoa(len(charge))+"\r\n\r\n"+charge); err != nil {
			t.Fatal(err)
		}
		<-closed
		if took := time.Since(begin); took != 30*time.Second {
			t.Errorf("the connection was closed after %v", took)
		}
		a := s.execute("k", charge)
		s.check(a, isReplayed("1"))
		s.checkBody(a, `{"status":"completed","result":`+big+`}`)
	})
}

// The bound of an answer's time begins with the answer, not with the request, and ends with it: a connection is good for many.
func TestAnswersOnOneConnection(t *testing.T) {
	o := atmost.Operation{Timeout: time.Minute, Executor: does(func(ctx context.Context, _ atmost.Attempt) atmost.Outcome {
		<-time.After(45 * time.Second)
		return completed("1")
	})}
	inBubble(t, oneOf(o), func(s *service, p *pipes, _ <-chan struct{}) {
		conn, err := p.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		answers := bufio.NewReader(conn)
		for _, key := range []string{"a", "b"} {
			r := s.request(http.MethodPost, "/v1/idempotency/execute", key, charge, nil)
			if err := r.Write(conn); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(answers, r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || string(body) != `{"status":"completed","result":1}` {
				t.Errorf("the answer is %q, %v", body, err)
			}
		}
	})
}
