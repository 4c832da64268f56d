package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// loaded is what a load came to.
type loaded struct {
	done    int
	took    time.Duration
	latency *hdrhistogram.Histogram
}

// newHistogram counts nanoseconds up to a minute, with three digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(time.Minute), 3)
}

// load has clients ask for new keys, each the next as soon as it has its answer, for d. Each has a connection of its own. They
// speak no more of HTTP than they need, so that the CPU goes to those who are measured.
func load(ctx context.Context, address string, clients int, d time.Duration) (loaded, error) {
	var (
		all     = loaded{latency: newHistogram()}
		errs    = make([]error, clients)
		mu      sync.Mutex
		running sync.WaitGroup
	)
	conns := make([]*client, clients)
	for i := range conns {
		c, err := dial(ctx, address)
		if err != nil {
			return all, err
		}
		defer c.conn.Close()
		conns[i] = c
	}
	begin := time.Now()
	for i, c := range conns {
		running.Go(func() {
			own := newHistogram()
			n := 0
			for time.Since(begin) < d && ctx.Err() == nil && errs[i] == nil {
				asked := time.Now()
				if errs[i] = c.execute(); errs[i] == nil {
					_ = own.RecordValue(int64(time.Since(asked)))
					n++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.latency.Merge(own)
			all.done += n
		})
	}
	running.Wait()
	all.took = time.Since(begin)
	return all, errors.Join(append(errs, ctx.Err())...)
}

// client is one connection to a contender.
type client struct {
	conn    net.Conn
	answers *bufio.Reader
	request bytes.Buffer
}

func dial(ctx context.Context, address string) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, answers: bufio.NewReader(conn)}, nil
}

var (
	// lastKey counts the keys of this run, which begin with its time.
	lastKey atomic.Int64
	run0    = time.Now().UnixNano()
	payload = `{"amount":4200,"currency":"EUR","description":"` + strings.Repeat("x", 120) + `"}`
	body    = `{"operation":"charge","payload":` + payload + `}`
)

// execute asks for one execution, and accepts nothing but that it completed.
func (c *client) execute() error {
	c.request.Reset()
	fmt.Fprintf(&c.request, "POST /v1/idempotency/execute HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nIdempotency-Key: %x-%08x-4000-8000\r\nContent-Length: %d\r\n\r\n%s",
		run0, lastKey.Add(1), len(body), body)
	if _, err := c.conn.Write(c.request.Bytes()); err != nil {
		return err
	}
	status, answer, err := c.read()
	if err == nil && (status != "200" || !bytes.HasPrefix(answer, []byte(`{"status":"completed"`))) {
		err = fmt.Errorf("answered %s %s", status, answer)
	}
	return err
}

// read reads one answer that has a length.
func (c *client) read() (status string, answer []byte, err error) {
	length := -1
	for first := true; ; first = false {
		line, err := c.answers.ReadSlice('\n')
		if err != nil {
			return "", nil, err
		}
		name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(" "))
		switch {
		case first:
			s, _, _ := bytes.Cut(value, []byte(" "))
			status = string(s)
		case bytes.EqualFold(name, []byte("Content-Length:")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return "", nil, err
			}
		case len(name) == 0 && length < 0:
			return "", nil, errors.New("an answer without a length")
		case len(name) == 0:
			answer = make([]byte, length)
			_, err = io.ReadFull(c.answers, answer)
			return status, answer, err
		}
	}
}
