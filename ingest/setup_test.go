package ingest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"trackd/event"
	"trackd/internal/listen"
	"trackd/queue"
)

// opened is a good event, and what the destination would get of it is longer.
const opened = `{"event":"Application Opened","userId":"u1"}`

// shelf is a queue that keeps what it is given, and fails as told: before it
// has kept anything, or after.
type shelf struct {
	hold   chan struct{}           // if set, every Append takes one token from it first
	before func(queue.Batch) error // its error: nothing was kept
	after  error                   // it was kept all the same

	mu      sync.Mutex
	events  []event.Event
	rejects []queue.Reject
	sizes   []int // of the batches

	room     int64   // for reservations; 0: without bound
	asked    []int64 // of Reserve, in order; guarded by mu
	reserved int64   // and not released; guarded by mu
}

// Append implements Appender. It copies, as the contract says it must.
func (q *shelf) Append(ctx context.Context, b queue.Batch) error {
	if q.hold != nil {
		select {
		case <-q.hold:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for _, ev := range b.Events {
		if used, ok := b.Room.Draw(queue.Cost(ev)); ok {
			defer used()
		} else if b.Room != nil {
			return queue.ErrFull
		}
	}
	if q.before != nil {
		if err := q.before(b); err != nil {
			return err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(q.events, b.Events...)
	for _, r := range b.Rejects {
		r.Body = bytes.Clone(r.Body)
		q.rejects = append(q.rejects, r)
	}
	q.sizes = append(q.sizes, len(b.Events)+len(b.Rejects))
	return q.after
}

// Reserve implements Appender: there is room for q.room bytes.
func (q *shelf) Reserve(_ context.Context, bytes int64) (*queue.Reservation, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asked = append(q.asked, bytes)
	if q.room > 0 && bytes > q.room {
		return nil, queue.ErrFull
	}
	q.reserved += bytes
	return queue.NewReservation(bytes, func(n int64) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.reserved -= n
	}), nil
}

// kept returns what q holds.
func (q *shelf) kept() ([]event.Event, []queue.Reject) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.events), slices.Clone(q.rejects)
}

// checkKept fails the test unless q holds so many.
func (q *shelf) checkKept(t testing.TB, events, rejects int) {
	t.Helper()
	gotEvents, gotRejects := q.kept()
	if len(gotEvents) != events || len(gotRejects) != rejects {
		t.Errorf("queue holds %d events and %d rejects, want %d and %d", len(gotEvents), len(gotRejects), events, rejects)
	}
}

// open returns a server over q; tune may change its options.
func open(t testing.TB, q Appender, tune ...func(*Options)) *Server {
	t.Helper()
	o := Options{Queue: q}
	for _, f := range tune {
		f(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve runs s on listeners until the test ends or stop is called, which returns
// once Run has.
func serve(t testing.TB, s *Server, listeners Listeners) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, listeners) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// unixListener returns a listener on a fresh Unix socket and its path, which is
// kept short: a socket's name may not be long.
func unixListener(t testing.TB) (net.Listener, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ingest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return ln, path
}

// pipes is a listener in memory, whose connections know virtual time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newPipes() *pipes {
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.close(); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// placed returns nc with a place among the socket's connections.
func placed(t testing.TB, s *Server, nc net.Conn) *listen.Conn {
	t.Helper()
	ln := newPipes()
	ln.conns = make(chan net.Conn, 1)
	ln.conns <- nc
	c, err := s.opts.SocketConns.Listener(ln).Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*listen.Conn)
}

// dial connects a client.
func (p *pipes) dial(t testing.TB) *client {
	t.Helper()
	theirs, ours := newDuplex()
	p.conns <- theirs
	return newClient(t, ours)
}

// duplex is one end of a stream in memory. Its halves can be closed apart,
// which those of a net.Pipe cannot.
type duplex struct {
	net.Conn // to read
	w        net.Conn
}

func newDuplex() (a, b duplex) {
	ar, bw := net.Pipe()
	br, aw := net.Pipe()
	return duplex{ar, aw}, duplex{br, bw}
}

func (d duplex) Write(p []byte) (int, error) { return d.w.Write(p) }
func (d duplex) CloseWrite() error           { return d.w.Close() }

func (d duplex) SetWriteDeadline(at time.Time) error { return d.w.SetWriteDeadline(at) }

func (d duplex) Close() error {
	d.w.Close()
	return d.Conn.Close()
}

// client is a client of the socket.
type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func newClient(t testing.TB, nc net.Conn) *client {
	t.Cleanup(func() { nc.Close() })
	return &client{Conn: nc, t: t, r: bufio.NewReader(nc)}
}

func dialUnix(t testing.TB, path string) *client {
	t.Helper()
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, nc)
}

// send writes text as it is.
func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Errorf("send: %v", err)
	}
}

// hangUp closes the writing half.
func (c *client) hangUp() {
	c.t.Helper()
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.t.Errorf("close the writing half: %v", err)
	}
}

// reply is any line that the server writes.
type reply struct {
	Accepted, Rejected, Refused *uint64
	Line                        uint64
	Code, Message               string
	Meta                        struct{ Errors []string }
}

// String renders the part of a reply that tests compare.
func (r reply) String() string {
	if r.Accepted != nil {
		return fmt.Sprintf("%d/%d/%d", *r.Accepted, *r.Rejected, *r.Refused)
	}
	if r.Line > 0 {
		return fmt.Sprintf("%s@%d", r.Code, r.Line)
	}
	return r.Code
}

// next reads one reply; ok is false at the end.
func (c *client) next() (r reply, ok bool) {
	c.t.Helper()
	text, err := c.r.ReadBytes('\n')
	if err != nil {
		return reply{}, false
	}
	if err := json.Unmarshal(text, &r, json.MatchCaseInsensitiveNames(true)); err != nil {
		c.t.Errorf("reply %q: %v", text, err)
	}
	return r, true
}

// rest reads all replies until the end.
func (c *client) rest() (all []reply) {
	c.t.Helper()
	for {
		r, ok := c.next()
		if !ok {
			return all
		}
		all = append(all, r)
	}
}

// await reads replies until one renders as want, which must come.
func (c *client) await(want string) {
	c.t.Helper()
	var got []string
	for {
		r, ok := c.next()
		if !ok {
			c.t.Fatalf("replies %v and the end, want %s among them", got, want)
		}
		if got = append(got, r.String()); r.String() == want {
			return
		}
	}
}

// render renders replies, leaving out counts that others follow: how often the
// server reports progress is its own affair.
func render(all []reply) string {
	var out []string
	for i, r := range all {
		if r.Accepted == nil || i == len(all)-1 {
			out = append(out, r.String())
		}
	}
	return strings.Join(out, " ")
}

// journal returns a logger and what it has logged, one message a line with its
// attributes.
func journal(level slog.Level) (*slog.Logger, func() string) {
	var mu sync.Mutex
	var buf bytes.Buffer
	h := slog.NewTextHandler(lockedWriter{&mu, &buf}, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	return slog.New(h), func() string {
		mu.Lock()
		defer mu.Unlock()
		return buf.String()
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
