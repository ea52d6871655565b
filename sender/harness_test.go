package sender_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"trackd/event"
	"trackd/queue"
	"trackd/sender"
)

// memQueue is the smallest queue that keeps the contract of Lease and Settle.
type memQueue struct {
	mu     sync.Mutex
	ready  []queue.Delivery
	parked []parked
	leased map[queue.Address]queue.Delivery
	seq    uint64
	closed bool
	change chan struct{} // closed and replaced whenever something came

	delivered map[string]int
	dead      map[string]queue.Outcome
	returned  int
	batches   []int
}

type parked struct {
	queue.Delivery
	due time.Time
}

func newMemQueue() *memQueue {
	return &memQueue{
		leased: map[queue.Address]queue.Delivery{}, change: make(chan struct{}),
		delivered: map[string]int{}, dead: map[string]queue.Outcome{},
	}
}

// add queues one event per id.
func (q *memQueue) add(ids ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		q.seq++
		q.ready = append(q.ready, queue.Delivery{
			Address: queue.Address{Lo: q.seq},
			Event:   event.Event{ID: id, Name: "Application Opened", Body: fmt.Appendf(nil, `{"messageId":%q}`, id)},
			Taken:   time.Now(),
		})
	}
	q.stir()
}

func (q *memQueue) stir() {
	close(q.change)
	q.change = make(chan struct{})
}

func (q *memQueue) Lease(ctx context.Context, max int) ([]queue.Delivery, error) {
	for {
		ds, wait, change, err := q.due(max)
		if err != nil || len(ds) > 0 {
			return ds, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-change:
		case <-time.After(wait):
		}
	}
}

// due interleaves one due retry with each fresh event.
func (q *memQueue) due(max int) (ds []queue.Delivery, wait time.Duration, change chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, 0, nil, queue.ErrClosed
	}
	now := time.Now()
	for len(ds) < max {
		before := len(ds)
		if len(q.parked) > 0 && !q.parked[0].due.After(now) {
			ds, q.parked = append(ds, q.parked[0].Delivery), q.parked[1:]
		}
		if len(q.ready) > 0 && len(ds) < max {
			ds, q.ready = append(ds, q.ready[0]), q.ready[1:]
		}
		if len(ds) == before {
			break
		}
	}
	for _, d := range ds {
		q.leased[d.Address] = d
	}
	wait = time.Hour
	if len(q.parked) > 0 {
		wait = q.parked[0].due.Sub(now)
	}
	return ds, wait, q.change, nil
}

func (q *memQueue) Settle(_ context.Context, outcomes ...queue.Outcome) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return queue.ErrClosed
	}
	q.batches = append(q.batches, len(outcomes))
	var back []queue.Delivery
	for _, o := range outcomes {
		d, ok := q.leased[o.Address]
		if !ok {
			continue
		}
		delete(q.leased, o.Address)
		switch o.Verb {
		case queue.Delivered:
			q.delivered[d.Event.ID]++
		case queue.Return:
			q.returned++
			back = append(back, d)
		case queue.Retry:
			d.Attempts, d.Strikes, d.Passes = o.Attempts, o.Strikes, o.Passes
			q.park(d, time.Now().Add(o.Delay))
		case queue.Bury:
			q.dead[d.Event.ID] = o
		}
	}
	if len(back) > 0 {
		q.ready = append(back, q.ready...)
	}
	q.stir()
	return nil
}

// park keeps q.parked in the order of due times.
func (q *memQueue) park(d queue.Delivery, due time.Time) {
	i, _ := slices.BinarySearchFunc(q.parked, due, func(p parked, due time.Time) int { return p.due.Compare(due) })
	q.parked = slices.Insert(q.parked, i, parked{d, due})
}

func (q *memQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.stir()
}

// account returns how many events are where.
func (q *memQueue) account() (delivered, queued, leased, dead int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.delivered), len(q.ready) + len(q.parked), len(q.leased), len(q.dead)
}

func (q *memQueue) letter(id string) (queue.Outcome, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	o, ok := q.dead[id]
	return o, ok
}

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
	open    []net.Conn

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
	far, near := net.Pipe()
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

// cutIdle closes the far end of every connection the moment something is
// written to it, as a middlebox does that has forgotten it.
func (s *site) cutIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.open {
		c.Close()
	}
	s.open = nil
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

// running is a sender at work.
type running struct {
	*sender.Sender
	stop context.CancelFunc
	done chan error
}

// start runs a sender from q to s; stop and wait for it with end.
func start(t testing.TB, q sender.Queue, s *site, change func(*sender.Options)) *running {
	t.Helper()
	o := sender.Options{
		Settings: sender.Settings{Key: "key"}, URL: "http://site.test/v1", Queue: q, Transport: s.transport(),
	}
	if change != nil {
		change(&o)
	}
	snd, err := sender.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &running{Sender: snd, stop: stop, done: make(chan error, 1)}
	go func() { r.done <- snd.Run(ctx) }()
	t.Cleanup(stop)
	return r
}

// end stops the sender and returns how long that took.
func (r *running) end(t testing.TB) time.Duration {
	t.Helper()
	from := time.Now()
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatalf("run: %v", err)
	}
	return time.Since(from)
}

func ids(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = prefix + strconv.Itoa(i)
	}
	return out
}

// wantAccount fails unless all events are delivered or dead, and none twice.
func wantAccount(t testing.TB, q *memQueue, delivered, dead int) {
	t.Helper()
	gotDelivered, queued, leased, gotDead := q.account()
	if gotDelivered != delivered || queued != 0 || leased != 0 || gotDead != dead {
		t.Errorf("delivered %d, queued %d, leased %d, dead %d; want %d, 0, 0, %d",
			gotDelivered, queued, leased, gotDead, delivered, dead)
	}
}

// logbook keeps the messages logged.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, nil))
}

func (l *logbook) count(match string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		var rec struct{ Msg string }
		if errors.Join(json.Unmarshal([]byte(line), &rec)) == nil && rec.Msg == match {
			n++
		}
	}
	return n
}
