package faultproxy

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo starts a Proxy to a server that sends back what it gets, and a client of it.
func echo(t *testing.T) (*Proxy, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, c)
	}()
	p, err := New(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		p.Close()
		_ = l.Close()
		<-served
	})
	return p, c
}

func TestFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		fault Fault
		want  string
		reset bool
	}{
		"reset at once":            {Fault{Kind: Reset}, "", true},
		"reset of a request":       {Fault{Kind: Reset, After: 5}, "", true},
		"reset before the answer":  {Fault{Kind: Reset, Direction: Response}, "", true},
		"closed before the answer": {Fault{Kind: Close, Direction: Response}, "", false},
		"closed within the answer": {Fault{Kind: Close, Direction: Response, After: 2}, "by", false},
		"closed after the answer":  {Fault{Kind: Close, Direction: Response, After: 5}, "bytes", false},
	} {
		t.Run(name, func(t *testing.T) {
			p, c := echo(t)
			exchange(t, c) // what passed before the fault was set does not count
			p.Set(tc.fault)
			_, _ = io.WriteString(c, "bytes")
			got, err := io.ReadAll(c)
			if reset := errors.Is(err, syscall.ECONNRESET); reset != tc.reset {
				t.Errorf("reset %t, want %t: %v", reset, tc.reset, err)
			}
			// A reset may overtake what was sent before it.
			if string(got) != tc.want && !tc.reset {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// exchange checks that bytes go to the target and back.
func exchange(t *testing.T, c net.Conn) {
	t.Helper()
	b := make([]byte, 4)
	if _, err := io.WriteString(c, "ping"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "ping" {
		t.Fatalf("got %q, %v", b, err)
	}
}

func TestStep(t *testing.T) {
	p, c := echo(t)
	step := make(chan struct{})
	p.Set(Fault{Kind: Step, Direction: Response, Step: step})
	_, _ = io.WriteString(c, "ab")
	b := make([]byte, 2)
	step <- struct{}{}
	if n, err := c.Read(b); n != 1 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	close(step)
	if n, err := c.Read(b); n != 1 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
}

func TestDropKeepsTheConnection(t *testing.T) {
	p, c := echo(t)
	p.Set(Fault{Kind: Drop, After: 2})
	_, _ = io.WriteString(c, "ab")
	b := make([]byte, 2)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "ab" {
		t.Fatalf("got %q, %v", b, err)
	}
	_, _ = io.WriteString(c, "lost")
	gone := make(chan error)
	go func() {
		_, err := c.Read(b)
		gone <- err
	}()
	p.Close() // until then nothing came
	if err := <-gone; err == nil {
		t.Errorf("got %q", b)
	}
}

func TestRefuse(t *testing.T) {
	p, c := echo(t)
	p.Refuse()
	exchange(t, c) // existing connections stay
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want refused", err)
	}
	if err := p.Accept(); err != nil {
		t.Fatal(err)
	}
	again, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

func TestATargetThatIsGone(t *testing.T) {
	p, err := New("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection stayed")
	}
}
