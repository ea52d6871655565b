package sender_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// hit is one request that reached the site.
type hit struct {
	at     time.Time
	id     string
	key    string
	status int
}

// reply answers the request for one event. Returning 0 means it has written
// nothing and hangs up.
type reply func(w http.ResponseWriter, r *http.Request, id string) int

// site is a destination behind an in-memory network.
type site struct {
	mu      sync.Mutex
	reply   reply
	refused bool
	hits    []hit
	dials   int
	open    []*farEnd

	conns  chan net.Conn
	gone   chan struct{}
	server *http.Server
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{reply: passes, conns: make(chan net.Conn), gone: make(chan struct{})}
	s.server = &http.Server{Handler: s, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go s.server.Serve(s)
	t.Cleanup(func() { s.server.Close() })
	return s
}

func (s *site) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.gone:
		return nil, net.ErrClosed
	}
}

func (s *site) Close() error   { close(s.gone); return nil }
func (s *site) Addr() net.Addr { return &net.TCPAddr{} }

func (s *site) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	s.mu.Lock()
	s.dials++
	refused := s.refused
	if refused {
		s.hits = append(s.hits, hit{at: time.Now()})
	}
	s.mu.Unlock()
	if refused {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	pipe, near := net.Pipe()
	far := &farEnd{Conn: pipe}
	select {
	case s.conns <- far:
		s.mu.Lock()
		s.open = append(s.open, far)
		s.mu.Unlock()
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *site) dialled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}

func (s *site) transport() *http.Transport {
	return &http.Transport{DialContext: s.dial, MaxIdleConnsPerHost: 100}
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct{ MessageID string }
	raw, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(raw, &body); err != nil {
		panic(err)
	}
	key, _, _ := r.BasicAuth()
	s.mu.Lock()
	reply := s.reply
	i := len(s.hits)
	s.hits = append(s.hits, hit{at: time.Now(), id: body.MessageID, key: key})
	s.mu.Unlock()
	status := reply(w, r, body.MessageID)
	s.mu.Lock()
	s.hits[i].status = status
	s.mu.Unlock()
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
}

// set changes how the site answers from now on; nil refuses connections.
func (s *site) set(r reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = r == nil
	if r == nil {
		s.reply = resets // of connections that are still there
		return
	}
	s.reply = r
}

// forget makes every connection there is end when the next request comes on
// it, as a middlebox does that has forgotten it.
func (s *site) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.open {
		c.forgotten.Store(true)
	}
	s.open = nil
}

// farEnd is the site's end of a connection.
type farEnd struct {
	net.Conn
	forgotten atomic.Bool
}

func (c *farEnd) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.forgotten.Load() {
		c.Close()
		return 0, io.EOF
	}
	return n, err
}

func (s *site) seen() []hit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.hits)
}

// within counts requests in [from, to).
func (s *site) within(from, to time.Time) (n int) {
	for _, h := range s.seen() {
		if !h.at.Before(from) && h.at.Before(to) {
			n++
		}
	}
	return n
}

// firstPass returns when the first event passed at or after from.
func (s *site) firstPass(t testing.TB, from time.Time) time.Time {
	t.Helper()
	for _, h := range s.seen() {
		if !h.at.Before(from) && h.status == 200 {
			return h.at
		}
	}
	t.Fatal("nothing passed")
	return time.Time{}
}

func passes(w http.ResponseWriter, r *http.Request, id string) int { return says(200, `{}`)(w, r, id) }
func resets(http.ResponseWriter, *http.Request, string) int        { return 0 }

func says(status int, body string) reply {
	return func(w http.ResponseWriter, _ *http.Request, _ string) int {
		w.WriteHeader(status)
		io.WriteString(w, body)
		return status
	}
}

// hangs answers nothing until the client goes away.
func hangs(_ http.ResponseWriter, r *http.Request, _ string) int {
	<-r.Context().Done()
	return 0
}

// late answers like then, after d.
func late(d time.Duration, then reply) reply {
	return func(w http.ResponseWriter, r *http.Request, id string) int {
		select {
		case <-time.After(d):
			return then(w, r, id)
		case <-r.Context().Done():
			return 0
		}
	}
}

// except answers like odd for the ids that match, else like rest.
func except(match func(id string) bool, odd, rest reply) reply {
	return func(w http.ResponseWriter, r *http.Request, id string) int {
		if match(id) {
			return odd(w, r, id)
		}
		return rest(w, r, id)
	}
}

func is(ids ...string) func(string) bool {
	return func(id string) bool { return slices.Contains(ids, id) }
}
