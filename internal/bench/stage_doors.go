package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"trackd/ingest"
)

// benchSocketDoor has one client play lines from memory.
func benchSocketDoor(b *testing.B, _ stageSite) error {
	q := &drop{}
	server, err := ingest.New(ingest.Options{Queue: q})
	if err != nil {
		return err
	}
	ln := newPlayer(lineTape(1, 0, typical), uint64(b.N))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	stop := timing(b)
	go func() { ended <- server.Run(ctx, ingest.Listeners{Lines: []net.Listener{ln}}) }()
	<-ln.conn.closed
	err = stop()
	cancel()
	if got := q.events.Load(); got != int64(b.N) {
		err = errors.Join(err, fmt.Errorf("%d events taken, want %d", got, b.N))
	}
	return errors.Join(err, <-ended)
}

// player is a listener with one client.
type player struct {
	net.Listener
	conn   *playedConn
	once   atomic.Bool
	closed chan struct{}
	close  func()
}

func newPlayer(t tape, events uint64) *player {
	closed, hungUp := make(chan struct{}), make(chan struct{})
	conn := &playedConn{tape: t, left: events, closed: hungUp, close: sync.OnceFunc(func() { close(hungUp) })}
	return &player{conn: conn, closed: closed, close: sync.OnceFunc(func() { close(closed) })}
}

func (p *player) Accept() (net.Conn, error) {
	if p.once.CompareAndSwap(false, true) {
		return p.conn, nil
	}
	<-p.closed
	return nil, net.ErrClosed
}

func (p *player) Close() error   { p.close(); return nil }
func (p *player) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// playedConn is a client that sends its events, does not listen and leaves.
type playedConn struct {
	net.Conn
	tape      tape
	text      []byte // not read of what was taken from the tape
	out, left uint64 // events
	closed    chan struct{}
	close     func()
}

func (c *playedConn) Read(p []byte) (int, error) {
	if len(c.text) == 0 {
		if c.left == 0 {
			return 0, io.EOF
		}
		text, n := c.tape.pieces(c.out, c.left)
		c.text, c.out, c.left = text, c.out+n, c.left-n
	}
	n := copy(p, c.text)
	c.text = c.text[n:]
	return n, nil
}

func (c *playedConn) Write(p []byte) (int, error)        { return len(p), nil }
func (c *playedConn) Close() error                       { c.close(); return nil }
func (c *playedConn) SetReadDeadline(t time.Time) error  { return nil }
func (c *playedConn) SetWriteDeadline(t time.Time) error { return nil }

// benchHandler calls the handler without net/http's server.
func benchHandler(b *testing.B, _ stageSite) error {
	server, err := ingest.New(ingest.Options{Queue: &drop{}})
	if err != nil {
		return err
	}
	handler, bodies := server.Handler(), bodyTape()
	req, err := http.NewRequest(http.MethodPost, "/v1/track", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	sent := new(sentBody)
	req.Body = sent
	w := &lastAnswer{header: http.Header{}}
	stop := timing(b)
	for n := range uint64(b.N) {
		body, _ := bodies.pieces(n, 1)
		sent.Reset(body)
		req.ContentLength = int64(len(body))
		clear(w.header)
		if handler.ServeHTTP(w, req); w.status != http.StatusOK {
			return fmt.Errorf("answered %d", w.status)
		}
	}
	return stop()
}

// sentBody is the body of one request after another.
type sentBody struct{ bytes.Reader }

func (*sentBody) Close() error { return nil }

// lastAnswer keeps the status of the last answer written to it.
type lastAnswer struct {
	header http.Header
	status int
}

func (w *lastAnswer) Header() http.Header         { return w.header }
func (w *lastAnswer) WriteHeader(status int)      { w.status = status }
func (w *lastAnswer) Write(p []byte) (int, error) { return len(p), nil }

// benchHTTPDoor has 64 clients in this process, which allocate nothing.
func benchHTTPDoor(b *testing.B, _ stageSite) error {
	const clients = 64
	server, err := ingest.New(ingest.Options{Queue: &drop{}})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, ingest.Listeners{HTTP: []net.Listener{ln}}) }()
	posters := make([]*poster, clients)
	for i := range posters {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return err
		}
		defer conn.Close()
		posters[i] = newPoster(conn, requestTape(clients, i))
		if err := posters[i].post(0); err != nil { // the connection is open and served
			return err
		}
	}
	var next atomic.Int64
	var group errgroup.Group
	stop := timing(b)
	for _, p := range posters {
		group.Go(func() error {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				if err := p.post(uint64(n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = errors.Join(group.Wait(), stop())
	cancel()
	return errors.Join(err, <-ended)
}
