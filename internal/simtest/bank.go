package simtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// bank is the upstream: the worst there is, as it knows nothing of idempotency and has its effect each time that it is asked. Its
// ledger tells what really happened.
type bank struct {
	w     *world
	calls sync.WaitGroup // being served

	mu     sync.Mutex
	ledger []effect
	asked  map[string]bool // attempts that a request was read of, by attemptName
}

// effect is one that cannot be undone.
type effect struct {
	key     string
	attempt uint32
	fence   int64
	result  string
}

func attemptName(key string, fence int64) string { return key + "/" + strconv.FormatInt(fence, 10) }

// fate is what becomes of one request.
type fate int

const (
	answers      fate = iota
	refusesConn       // nothing arrives
	losesRequest      // it arrives, the connection breaks, and nothing happens
	losesReply        // it happens, and the connection breaks
	stalls            // it happens, long after the caller gave up
	declines          // a final error, without an effect
	refuses           // a status by which it says that nothing happened
	breaksAfter       // it happens, and the answer is that something went wrong
	breaksBefore      // the same answer, and nothing happened
	fates
)

// fateOf decides by what the request is about, not by when it came.
func (b *bank) fateOf(key string, attempt string) fate {
	if b.w.calm.Load() {
		return answers
	}
	switch n := draw(b.w.seed, "fate "+key+"/"+attempt, b.w.now()); {
	case n%100 < 55:
		return answers
	default:
		return fate(1 + n/100%uint64(fates-1))
	}
}

// dial connects a process with the bank.
func (b *bank) dial(p *process) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		if p.isDead() || b.fateOf("connection", "") == refusesConn {
			return nil, syscall.ECONNREFUSED
		}
		here, there := net.Pipe()
		b.calls.Go(func() { b.serve(there) })
		return here, nil
	}
}

// serve answers one request.
func (b *bank) serve(c net.Conn) {
	defer c.Close() //nolint:errcheck // a pipe
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.Method == http.MethodGet {
		b.tell(c, strings.TrimPrefix(r.URL.Path, "/effects/"))
		return
	}
	key, attempt := r.Header.Get("Idempotency-Key"), r.Header.Get("Idempotency-Attempt")
	number, err := strconv.ParseUint(attempt, 10, 32)
	fence, err2 := strconv.ParseInt(r.Header.Get("Idempotency-Fence"), 10, 64)
	if err := errors.Join(err, err2); err != nil {
		b.w.judge.complain(key, "the bank was asked without an attempt or a fence: %v", err)
		return
	}
	if b.again(key, fence) {
		b.w.judge.complain(key, "attempt %d was made twice", number)
	}
	fate := b.fateOf(key, attempt)
	b.w.log("bank", key, "asked for attempt %d, fate %d", number, fate)
	b.pause(key, attempt, 300*time.Millisecond)
	switch fate {
	case losesRequest:
		return
	case declines:
		reply(c, http.StatusPaymentRequired, `{"declined":`+strconv.Quote(key)+`}`)
		return
	case refuses:
		reply(c, http.StatusTooManyRequests, "{}")
		return
	case breaksBefore:
		reply(c, http.StatusInternalServerError, "{}")
		return
	case stalls:
		b.pause(key, attempt+" late", maxStall)
	}
	result := b.do(key, uint32(number), fence, string(body))
	b.pause(key, attempt+" reply", 300*time.Millisecond)
	switch fate {
	case losesReply:
	case breaksAfter:
		reply(c, http.StatusInternalServerError, "{}")
	default:
		reply(c, http.StatusOK, result)
	}
}

// maxStall bounds how late an effect comes. Whoever settles by asking the bank waits for longer (settle).
const maxStall = 8 * time.Second

func (b *bank) pause(key, attempt string, most time.Duration) {
	time.Sleep(time.Duration(draw(b.w.seed, "pause "+key+"/"+attempt, b.w.now()) % uint64(most)))
}

// again notes that an attempt has reached the bank, and reports whether it had before.
func (b *bank) again(key string, fence int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := attemptName(key, fence)
	before := b.asked[name]
	b.asked[name] = true
	return before
}

// do has the effect of an attempt, and returns what it came to.
func (b *bank) do(key string, attempt uint32, fence int64, payload string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	result := fmt.Sprintf(`{"effect":%d,"of":%q,"attempt":%d,"payload":%d}`, len(b.ledger), key, attempt, len(payload))
	b.ledger = append(b.ledger, effect{key, attempt, fence, result})
	b.w.log("bank", key, "effect %d, attempt %d", len(b.ledger)-1, attempt)
	return result
}

// tell answers a probe by what is in the ledger: named by key and attempt.
func (b *bank) tell(c net.Conn, name string) {
	if draw(b.w.seed, "probe "+name, b.w.now())%4 == 0 && !b.w.calm.Load() {
		reply(c, http.StatusServiceUnavailable, "")
		return
	}
	b.pause(name, "probe", 300*time.Millisecond)
	key, attempt, _ := strings.Cut(name, "/")
	for _, e := range b.effects(key) {
		if strconv.FormatUint(uint64(e.attempt), 10) == attempt {
			reply(c, http.StatusOK, e.result, "Idempotency-Outcome: completed")
			return
		}
	}
	reply(c, http.StatusOK, "{}", "Idempotency-Outcome: not_executed")
}

// effects returns those of a key, in their order.
func (b *bank) effects(key string) (of []effect) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.ledger {
		if e.key == key {
			of = append(of, e)
		}
	}
	return of
}

func reply(c net.Conn, status int, body string, headers ...string) {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n", status, http.StatusText(status), len(body))
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	b.WriteString("\r\n" + body)
	_, _ = io.WriteString(c, b.String()) // whoever asked may be gone
}
