package admin_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trackd/admin"
	"trackd/event"
	"trackd/internal/status"
	"trackd/queue"
	"trackd/queue/queuetest"
)

// rig is a server on an in-memory queue, and a client that reaches it through
// a socket.
type rig struct {
	testing.TB
	queue    *queuetest.Memory
	control  *control
	upstream status.Upstream
	registry *prometheus.Registry
	server   *admin.Server
	client   *admin.Client
	socket   string
	sick     error // what Alive answers
}

// control notes what it was asked.
type control struct {
	mu     sync.Mutex
	orders []string
	closed time.Time
	reload status.Reload
	err    error // to answer
}

func (s *control) note(order string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orders = append(s.orders, order)
	return s.err
}

func (s *control) Pause(reason string) error        { return s.note("pause " + reason) }
func (s *control) Resume() error                    { return s.note("resume") }
func (s *control) StopIntake(context.Context) error { return s.note("close") }
func (s *control) IntakeStopped() time.Time         { return s.closed }
func (s *control) LastReload() status.Reload        { return s.reload }

func (s *control) Reload(context.Context) (status.Reload, error) { return s.reload, s.note("reload") }

// take takes an event as a door would: it parses, and says which error is the
// event's own.
func (r *rig) take(raw []byte) error {
	ev, err := event.Parser{}.Parse(raw, time.Now())
	if err != nil {
		return err
	}
	return r.queue.Append(r.Context(), queue.Batch{Events: []event.Event{ev}})
}

// newRig returns a rig whose line is open. With a bound, the queue takes so
// many events and no more.
func newRig(tb testing.TB, bound int) *rig {
	tb.Helper()
	r := &rig{TB: tb, queue: queuetest.NewMemory(queuetest.Options{MaxEvents: bound}), control: &control{},
		upstream: status.Upstream{State: "open", Rate: 250}, registry: prometheus.NewRegistry()}
	var err error
	r.server, err = admin.New(admin.Options{Queue: r.queue, Letters: r.queue, Control: r.control, Take: r.take,
		Upstream: func() status.Upstream { return r.upstream }, Alive: func(context.Context) error { return r.sick },
		Version: "1.2.3", Registry: r.registry})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// serve lets the rig's client reach it.
func (r *rig) serve() *rig {
	r.Helper()
	r.socket = filepath.Join(r.TempDir(), "admin.sock")
	ln, err := net.Listen("unix", r.socket)
	if err != nil {
		r.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := r.server.Run(ctx, admin.Listeners{Actions: []net.Listener{ln}}); err != nil {
			r.Errorf("run: %v", err)
		}
	})
	r.client = admin.NewClient(r.socket)
	r.Cleanup(func() { r.client.Close(); stop(); run.Wait() })
	return r
}

// events makes n of them, going through the lifecycle names.
func events(prefix string, n int) []event.Event {
	names := event.Names()
	all := make([]event.Event, n)
	for i := range all {
		id, name := fmt.Sprintf("%s-%d", prefix, i), names[i%len(names)]
		all[i] = event.Event{ID: id, Name: name,
			Body: fmt.Appendf(nil, `{"type":"track","event":%q,"messageId":%q,"userId":"user-%d"}`, name, id, i%3)}
	}
	return all
}

// append takes events and rejects.
func (r *rig) append(evs []event.Event, rejects ...queue.Reject) {
	r.Helper()
	if err := r.queue.Append(r.Context(), queue.Batch{Events: evs, Rejects: rejects}); err != nil {
		r.Fatal(err)
	}
}

// bury takes n events and buries them for reason.
func (r *rig) bury(prefix string, n int, reason queue.Reason, status int) {
	r.Helper()
	r.append(events(prefix, n))
	for left := n; left > 0; {
		deliveries, err := r.queue.Lease(r.Context(), left)
		if err != nil {
			r.Fatal(err)
		}
		left -= len(deliveries)
		for _, d := range deliveries {
			o := queue.Outcome{Address: d.Address, Verb: queue.Bury, Reason: reason, Status: status, Attempts: 2,
				Detail: `{"meta":{"errors":["<no> & never"]}}`}
			if err := r.queue.Settle(r.Context(), o); err != nil {
				r.Fatal(err)
			}
		}
	}
}

// account is what the queue says of itself.
func (r *rig) account() queue.Account {
	r.Helper()
	s, err := r.queue.Stats(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return s.Account
}

// badLine is a reject: a line that no door takes.
func badLine(body string) queue.Reject {
	return queue.Reject{Body: []byte(body), Reason: queue.Malformed, Detail: "malformed: " + body}
}

// check fails the test on an error.
func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// mentions fails the test unless text holds each part.
func mentions(tb testing.TB, text string, parts ...string) {
	tb.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			tb.Errorf("got %q, want it to mention %q", text, part)
		}
	}
}
