// Package faultproxy is a TCP proxy that does to connections what networks do, exactly when a test says so.
package faultproxy

import (
	"net"
	"sync"
)

// Kind is what happens to the bytes of one direction.
type Kind int

// The kinds of faults.
const (
	// Forward: nothing happens to them.
	Forward Kind = iota
	// Reset: after Fault.After bytes both connections are closed, the client's with a RST.
	Reset
	// Close: after Fault.After bytes both connections are closed, in order.
	Close
	// Drop: after Fault.After bytes the rest vanishes, and the connections stay.
	Drop
	// Step: a byte passes for each receive from Fault.Step; when that is closed, all do.
	Step
)

// Direction is whose bytes are meant.
type Direction int

// The two directions.
const (
	Request  Direction = iota // from the client
	Response                  // to the client
)

// Fault is what a Proxy does. Its zero value forwards.
type Fault struct {
	Kind      Kind
	Direction Direction
	// After is how many bytes of that direction still pass, counted on each connection from when the fault was set.
	// With 0 the fault happens when the first byte would pass, so that a reset response means: the target has answered.
	After int
	Step  <-chan struct{}
}

// Proxy forwards connections to a target. It is safe for concurrent use.
type Proxy struct {
	target, addr string

	mu       sync.Mutex
	listener net.Listener // nil while refusing
	fault    *Fault
	conns    map[net.Conn]struct{}
	accepted int
	closed   chan struct{}
	running  sync.WaitGroup
}

// New starts a Proxy to target on a port of its own on 127.0.0.1.
func New(target string) (*Proxy, error) {
	p := &Proxy{target: target, addr: "127.0.0.1:0", fault: &Fault{}, conns: map[net.Conn]struct{}{}, closed: make(chan struct{})}
	if err := p.Accept(); err != nil {
		return nil, err
	}
	p.addr = p.listener.Addr().String()
	return p, nil
}

// Addr is host and port to connect to.
func (p *Proxy) Addr() string { return p.addr }

// Accepted is how many connections have been accepted.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Set replaces the fault, for existing connections too.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = &f
}

// Refuse makes the system refuse new connections, until Accept. Existing ones stay.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
}

// Accept ends Refuse, on the same port.
func (p *Proxy) Accept() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return err
	}
	p.listener = l
	p.running.Go(func() { p.serve(l) })
	return nil
}

// Close closes everything and waits until it has ended. It may be called again.
func (p *Proxy) Close() {
	p.Refuse()
	p.mu.Lock()
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) serve(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.connect(client) })
	}
}

func (p *Proxy) connect(client net.Conn) {
	target, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	if !p.keep(client, target) {
		return
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { p.pump(Request, client, target, client) })
	pumps.Go(func() { p.pump(Response, target, client, client) })
	pumps.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, target)
}

// keep registers a pair of connections, unless the proxy is closed.
func (p *Proxy) keep(client, target net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.closed:
		_, _ = client.Close(), target.Close()
		return false
	default:
	}
	p.accepted++
	p.conns[client], p.conns[target] = struct{}{}, struct{}{}
	return true
}

// pump moves the bytes of one direction until either side or a fault ends the pair.
func (p *Proxy) pump(d Direction, from, to, client net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	var (
		buf    = make([]byte, 32<<10)
		fault  *Fault
		passed int // since fault was set
	)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if f := p.current(); f != fault {
				fault, passed = f, 0
			}
			if !p.pass(d, fault, passed, buf[:n], to, client) {
				return
			}
			passed += n
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) current() *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault
}

// pass writes what the fault lets through of b and reports whether the connection goes on.
func (p *Proxy) pass(d Direction, f *Fault, passed int, b []byte, to, client net.Conn) bool {
	if f.Kind == Forward || f.Direction != d {
		_, err := to.Write(b)
		return err == nil
	}
	if f.Kind == Step {
		return p.step(f, b, to)
	}
	left := f.After - passed
	if left >= len(b) && left > 0 {
		_, err := to.Write(b)
		return err == nil && (left > len(b) || f.Kind == Drop || p.end(f, client))
	}
	if left > 0 {
		_, _ = to.Write(b[:left])
	}
	return f.Kind == Drop || p.end(f, client)
}

func (p *Proxy) step(f *Fault, b []byte, to net.Conn) bool {
	for i := range b {
		select {
		case <-f.Step:
		case <-p.closed:
			return false
		}
		if _, err := to.Write(b[i : i+1]); err != nil {
			return false
		}
	}
	return true
}

// end prepares the close that the fault asks for, and reports that the connection does not go on.
func (p *Proxy) end(f *Fault, client net.Conn) bool {
	if f.Kind == Reset {
		_ = client.(*net.TCPConn).SetLinger(0)
	}
	return false
}
