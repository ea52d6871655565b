package admin_test

import (
	"context"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"trackd/admin"
	"trackd/internal/status"
	"trackd/queue"
)

// endless is a body that never ends and counts what was read of it.
type endless struct {
	begin string
	read  int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.begin)
	e.begin = e.begin[n:]
	for i := n; i < len(p); i++ {
		p[i] = 'A'
	}
	e.read += len(p)
	return len(p), nil
}

func TestAnImportIsBounded(t *testing.T) {
	r := newRig(t, 0)
	body := &endless{begin: `{"events":["`}
	got := record(r.server.Actions(), httptest.NewRequest("POST", "/import", body))
	if got.Code != http.StatusBadRequest || body.read > 65<<20 {
		t.Errorf("an endless body: got %d after reading %d MiB", got.Code, body.read>>20)
	}
	many := `{"events":["e30="` + strings.Repeat(`,"e30="`, admin.MaxImport) + `]}`
	got = record(r.server.Actions(), httptest.NewRequest("POST", "/import", strings.NewReader(many)))
	if got.Code != http.StatusBadRequest {
		t.Errorf("one event too many: got %d", got.Code)
	}
	mentions(t, got.Body.String(), "501 events in one call, allowed 500")
}

// hangsUp is a dead letter store whose caller goes away as soon as it is asked.
type hangsUp struct {
	admin.Letters
	leave context.CancelFunc
}

func (h hangsUp) DeadLetters(ctx context.Context, f queue.Filter) iter.Seq2[queue.DeadLetter, error] {
	h.leave()
	return h.Letters.DeadLetters(ctx, f)
}

func (h hangsUp) Replay(ctx context.Context, f queue.Filter) (int, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return h.Letters.Replay(ctx, f)
}

func (h hangsUp) Discard(ctx context.Context, f queue.Filter) (int, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return h.Letters.Discard(ctx, f)
}

// Half of what was ordered is harder to understand than all of it.
func TestAnEditIsFinishedThoughItsClientHangsUp(t *testing.T) {
	for _, verb := range []string{"replay", "discard"} {
		r := newRig(t, 0)
		r.bury("a", 7, queue.Poison, 500)
		ctx, leave := context.WithCancel(t.Context())
		server, err := admin.New(admin.Options{Queue: r.queue, Letters: hangsUp{r.queue, leave}, Control: r.control, Take: r.take,
			Upstream: func() status.Upstream { return r.upstream }})
		check(t, err)
		req := httptest.NewRequestWithContext(ctx, "POST", "/dead/"+verb, strings.NewReader(""))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		record(server.Actions(), req)
		if left := r.account().Dead; left > 0 {
			t.Errorf("%s: %d dead letters are left", verb, left)
		}
	}
}

// pipes is a listener in memory, so that its time is virtual.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

// Whoever reaches the pages may be slow on purpose; nobody keeps a connection by
// it.
func TestPagesWaitForNobodyForLong(t *testing.T) {
	for _, test := range []struct {
		name string
		sent string
		read bool // what comes
		most time.Duration
	}{
		{"says nothing", "", true, 10 * time.Second},
		{"never ends its header", "GET /status HTTP/1.1\r\nHost: localhost\r\n", true, 10 * time.Second},
		{"never ends its body", "GET /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n", true, 71 * time.Second},
		{"reads nothing", "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", false, time.Minute},
		{"asks nothing more", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", true, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, ln := newRig(t, 0), newPipes()
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- r.server.Run(ctx, admin.Listeners{Pages: []net.Listener{ln}}) }()
				conn, begin := ln.dial(), time.Now()
				if _, err := io.WriteString(conn, test.sent); err != nil {
					t.Fatal(err)
				}
				if !test.read {
					time.Sleep(test.most + time.Second)
				}
				_ = conn.SetReadDeadline(time.Now().Add(time.Hour))
				_, err := io.Copy(io.Discard, conn)
				if waited := time.Since(begin); waited > test.most+time.Second {
					t.Errorf("the connection ended after %v (%v), want at most %v", waited, err, test.most)
				}
				stop()
				check(t, <-ended)
			})
		})
	}
}
