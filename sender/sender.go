// Package sender is the way out of trackd: it leases events from the queue,
// limits their rate, POSTs one per request to the endpoint of its type, judges
// each answer and settles it.
//
//	         Lease               jobs              POST
//	queue ─────────▶ leaser ─▶ scheduler ─▶ workers ─────▶ destination
//	  ▲                         │  ▲    reports  │
//	  └──Settle── settler ◀─────┘  └─────────────┘
//	                    outcomes
//
// One goroutine, the scheduler, decides everything: what goes out and when, what
// an answer means for its event and what it means for the upstream, which is the
// destination and the way to it. Its decisions are pure and live apart from the
// goroutines.
//
// Guarantees: every event leased is settled or returned. Only an answer about
// the event itself, or long evidence against it, buries an event; never an
// outage, a wrong key or a wrong address. Trouble of the upstream slows or stops
// everything, trouble of one event only that event, also where a thousand bad
// events stand before the good ones. Nothing is given up for lack of time, unless
// MaxAge says so.
//
// An event is not sent before an earlier one of the same person, but for counted
// exceptions, unless Order says otherwise.
//
// Not its job: deduplication, keeping anything over a restart but the evidence
// that the queue keeps for it.
//
// Reading order: sender.go (the verbs), judge.go and trouble.go (what an answer
// means), health.go (what follows from it) with evidence.go, breaker.go,
// limiter.go and delays.go, upstream.go (what an operator is told), then
// scheduler.go with leasing.go, window.go, lanes.go, parked.go, expiry.go and
// jobs.go (what it works on), workers.go (the other goroutines), attempt.go and
// transport.go (one request).
package sender

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"trackd/queue"
)

// Queue is the part of queue.Queue that delivery needs.
type Queue interface {
	Lease(ctx context.Context, max int) ([]queue.Delivery, error)
	Settle(ctx context.Context, outcomes ...queue.Outcome) error
}

// Sender delivers what a queue holds. All methods are safe for concurrent use.
type Sender struct {
	queue     Queue
	clear     func() bool // whether requests may be made now
	client    *client
	workers   int
	maxAge    time.Duration
	ordered   bool // by person
	orderHold time.Duration
	grace     time.Duration // ShutdownTimeout
	log       *slog.Logger
	metrics   *metrics

	busy  atomic.Bool   // every worker has something to send
	wake  chan struct{} // capacity 1: something changed under mu
	pulse chan struct{} // taken by the scheduler each time it comes round

	mu     sync.Mutex // guards health; held by the scheduler, and by Pause, Resume, ProbeNow and Reload
	health *health
}

// New makes a Sender from o without starting anything. The error names every
// problem with o.
func New(o Options) (*Sender, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("sender options: %w", err)
	}
	client, err := newClient(o)
	if err != nil {
		return nil, err
	}
	s := &Sender{
		queue:     o.Queue,
		clear:     o.Clear,
		client:    client,
		workers:   o.Workers,
		maxAge:    o.MaxAge,
		ordered:   o.Order == OrderPerson,
		orderHold: o.OrderHold,
		grace:     o.ShutdownTimeout,
		log:       o.Log,
		wake:      make(chan struct{}, 1),
		pulse:     make(chan struct{}),
		health:    newHealth(o, time.Now()),
	}
	s.metrics = newMetrics(o.Registerer, func() float64 { return s.Upstream().Rate })
	s.health.onState = s.metrics.state
	s.metrics.state(Open)
	return s, nil
}

// Run delivers until ctx ends or the queue closes, and returns when all its
// goroutines are gone. It may be called once.
//
// When ctx ends it leases nothing more and returns to the queue what it has not
// tried. Requests in flight get three quarters of ShutdownTimeout to end by
// themselves and are then cut off and returned too; the rest of the time is for
// settling. The error is nil after that. It wraps queue.ErrClosed if the queue
// closed first, and else says why leasing failed.
func (s *Sender) Run(ctx context.Context) error {
	return newScheduler(s).run(ctx)
}

// Pause stops sending until Resume. Requests in flight end by themselves. Since
// when and why, which may be empty, are told to whoever looks.
func (s *Sender) Pause(since time.Time, reason string) {
	s.change(func(now time.Time) { s.health.pause(now, since, reason) })
}

// Resume undoes Pause, and sends a probe at once if the upstream is in trouble.
func (s *Sender) Resume() {
	s.change(func(now time.Time) {
		s.health.resume(now)
		s.health.breaker.probeNow(now)
	})
}

// ProbeNow sends a probe at once if the upstream is in trouble: something outside may
// have been mended. It does not shorten a wait that the destination asked for
// with Retry-After, nor undo Pause.
func (s *Sender) ProbeNow() {
	s.change(func(now time.Time) { s.health.breaker.probeNow(now) })
}

// Reload takes new settings over without losing anything in flight. A changed
// key is tried at once. The error names every problem with set; then nothing
// has changed.
func (s *Sender) Reload(set Settings) error {
	set = set.withDefaults()
	if err := set.validate(); err != nil {
		return fmt.Errorf("reload sender settings: %w", err)
	}
	s.change(func(now time.Time) {
		s.health.limiter.reset(now, set.Rate, set.Burst)
		s.health.newKey = set.NewKey
		if s.client.useKey(set.Key) {
			s.health.breaker.renew(now)
		}
	})
	return nil
}

// Busy reports whether every worker has something to send: there is a backlog,
// and it is the sender that sets the rate.
func (s *Sender) Busy() bool { return s.busy.Load() }

// Upstream reports on the destination and the way to it.
func (s *Sender) Upstream() Upstream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health.report(time.Now())
}

// Alive reports whether the scheduler still turns: it returns nil once the
// scheduler has come round, and an error when ctx ends first, as it must while
// nobody is in Run.
func (s *Sender) Alive(ctx context.Context) error {
	select {
	case s.pulse <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the sender's scheduler does not turn: %w", ctx.Err())
	}
}

// change applies f under the lock and has the scheduler look again.
func (s *Sender) change(f func(now time.Time)) {
	s.mu.Lock()
	f(time.Now())
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default: // it is about to look anyway
	}
}
