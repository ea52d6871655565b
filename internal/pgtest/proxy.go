package pgtest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy passes connections on to a server until it is cut: then nothing gets
// through in either direction, and nobody is told, as in a network that drops
// packets.
type Proxy struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	cut   chan struct{} // closed while traffic passes; replaced by an open one on Cut
	conns []net.Conn    // closed when the test ends
}

// NewProxy starts a proxy to addr.
func NewProxy(tb testing.TB, addr string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{listener: l, to: addr, cut: make(chan struct{})}
	close(p.cut)
	go p.serve()
	tb.Cleanup(func() {
		l.Close()
		p.Heal()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.conns {
			c.Close()
		}
	})
	return p
}

// Addr returns where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut holds back every byte from now on.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = make(chan struct{})
}

// Heal lets what was held back, and all that follows, pass.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.cut:
	default:
		close(p.cut)
	}
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		go p.copy(client, server)
		go p.copy(server, client)
	}
}

func (p *Proxy) copy(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		passes := p.cut
		p.mu.Unlock()
		<-passes
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			if errors.Is(err, io.EOF) {
				return
			}
			from.Close()
			return
		}
	}
}
