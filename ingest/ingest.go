// Package ingest takes events over a stream socket, one
// JSON object a line, and over HTTP, and answers when they are durable.
//
//	conn ──lines──▶ reader ──batch──▶ committer ──Append──▶ queue
//	     ◀─replies── writer ◀─counts──────┘
//
//	POST /v1/track, /v1/batch ──body──▶ handler ──Append──▶ queue
//	                          ◀─answer─────┘
//
// Guarantees: nothing is reported as accepted or rejected before Append said
// that it is kept. Invalid input (a line, a request, an item of a batch) is kept
// as a dead letter, since many clients never read their replies.
// No client can stall another or make memory grow without bound: lines,
// bodies, waiting times, connections and replies all have limits, and a limit
// answers instead of hanging.
//
// Not its job: judging an event (package event), keeping it (package queue),
// encryption and user accounts.
//
// Reading order: ingest.go (Server and its options), run.go (start and stop),
// commit.go (what an Append means), then the socket: conn.go, reader.go,
// lines.go, replies.go; then HTTP: http.go, take.go, body.go, answer.go,
// httpconn.go; operator.go (what operators bring); bounced.go, alarm.go and
// metrics.go (what is told to operators).
package ingest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"

	"trackd/event"
	"trackd/internal/listen"
	"trackd/queue"
)

// Appender is the slice of [queue.Queue] that ingest uses.
type Appender interface {
	Append(ctx context.Context, batch queue.Batch) error
	Reserve(ctx context.Context, bytes int64) (*queue.Reservation, error)
}

// Rules are the settings that may change while the server runs.
type Rules struct {
	// Parser judges what comes in. The zero Parser is the default.
	Parser event.Parser

	// Key, when set, must be the Basic auth user name of every HTTP request.
	// Empty, the default, lets everybody in. The socket is guarded by its file
	// mode instead.
	Key string
}

// Options configure a [Server].
type Options struct {
	// Queue keeps what is taken. Required.
	Queue Appender

	// Rules hold until SetRules replaces them.
	Rules Rules

	// SocketConns bounds the open connections of the socket listeners together;
	// nil means 1,024. One costs about 20 KiB; what
	// it sends beyond that is charged to budgets that all share.
	SocketConns *listen.Limiter

	// HTTPConns bounds the open connections of the HTTP listeners together; nil
	// means 1,024.
	HTTPConns *listen.Limiter

	// Hosts decides which host names requests over TCP may name.
	Hosts listen.Hosts

	// TLS, if set, is spoken by the HTTP listeners on TCP.
	TLS *listen.TLS

	// Backpressure reports whether delivery is short of CPU time; nil means never. While it
	// is, lines are parsed on half of the CPUs only, so that clients that never
	// pause cannot stop what leaves. It must be quick.
	Backpressure func() bool

	// LineTimeout bounds how long the socket waits for the rest of a line that
	// was begun; 0 means 30 s. An idle connection may stay for ever.
	LineTimeout time.Duration

	// RequestTimeout bounds how long HTTP waits for a whole request, from its
	// first byte; 0 means 30 s.
	RequestTimeout time.Duration

	// IdleTimeout bounds how long HTTP keeps a connection between requests; 0
	// means 2 min.
	IdleTimeout time.Duration

	// ReplyTimeout bounds how long the last reply may take to leave, once a
	// socket connection has ended; 0 means 10 s.
	ReplyTimeout time.Duration

	// ShutdownTimeout bounds how long Run may take to return once its context
	// has ended; 0 means 20 s. What is unanswered by then stays unanswered.
	ShutdownTimeout time.Duration

	Log        *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nowhere
}

// withDefaults returns o with every zero value replaced by what it means.
func (o Options) withDefaults() Options {
	o.LineTimeout = cmp.Or(o.LineTimeout, 30*time.Second)
	o.RequestTimeout = cmp.Or(o.RequestTimeout, 30*time.Second)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 2*time.Minute)
	o.ReplyTimeout = cmp.Or(o.ReplyTimeout, 10*time.Second)
	o.ShutdownTimeout = cmp.Or(o.ShutdownTimeout, 20*time.Second)
	if o.Backpressure == nil {
		o.Backpressure = func() bool { return false }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.SocketConns == nil {
		o.SocketConns = listen.NewLimiter(string(sourceSocket), 0, o.Log)
	}
	if o.HTTPConns == nil {
		o.HTTPConns = listen.NewLimiter(string(sourceHTTP), 0, o.Log)
	}
	return o
}

// validate joins every problem of o.
func (o Options) validate() error {
	var errs []error
	if o.Queue == nil {
		errs = append(errs, errors.New("queue is missing"))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"line timeout", o.LineTimeout},
		{"request timeout", o.RequestTimeout},
		{"idle timeout", o.IdleTimeout},
		{"reply timeout", o.ReplyTimeout},
		{"shutdown timeout", o.ShutdownTimeout},
	} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("%s %v is negative", d.name, d.value))
		}
	}
	return errors.Join(errs...)
}

// Server takes events. Its methods are safe for concurrent use.
type Server struct {
	opts    Options // complete, never changes
	rules   atomic.Pointer[ruleset]
	metrics *metrics
	handler http.Handler

	budgets budgets
	parsing chan struct{} // one token per client that parses lines while delivery is busy

	full        alarm // Append answers ErrFull
	rejectsFull alarm // Append answers ErrRejectsFull
	unavailable alarm // Append answers anything else
	excluded    exclusions
	bounced     bounced

	buffers      sync.Pool // of *[]byte, largeRead long
	batches      sync.Pool // of *batch, with arenas of at most smallArena
	largeBatches sync.Pool // of *batch, with larger ones
	posts        sync.Pool // of *post
	inflaters    sync.Pool // of *gzip.Reader

	// cut ends when Run gives up waiting, and with it every Append in progress.
	// A request's own context would not do: a client that posts and hangs up
	// still wants its event kept.
	cut  context.Context
	kill context.CancelFunc
}

// ruleset is Rules made ready for use.
type ruleset struct {
	Rules
	keyed  bool
	keySum [sha256.Size]byte // compared instead of the key, which hides its length
}

// New returns a server for o. It starts no goroutines: see Run and Handler.
func New(o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("ingest options: %w", err)
	}
	o = o.withDefaults()
	s := &Server{
		opts:     o,
		metrics:  newMetrics(o.Registerer),
		budgets:  newBudgets(),
		parsing:  make(chan struct{}, parseLimit(runtime.GOMAXPROCS(0))),
		excluded: exclusions{log: o.Log},
	}
	s.full = alarm{log: o.Log, begun: "queue is full, events are refused", over: "queue has room again, events are taken"}
	s.rejectsFull = alarm{log: o.Log, begun: "room for rejects is full, bad events are not kept", over: "rejects have room again, bad events are kept"}
	s.unavailable = alarm{log: o.Log, begun: "queue does not answer as it should, events are refused", over: "queue works again, events are taken"}
	s.buffers.New = func() any { return new(make([]byte, largeRead)) }
	s.batches.New = func() any { return new(batch) }
	s.largeBatches.New = s.batches.New
	s.posts.New = func() any { return s.newPost() }
	s.inflaters.New = func() any { return new(gzip.Reader) }
	s.cut, s.kill = context.WithCancel(context.Background())
	s.bounced = bounced{log: o.Log, counter: s.metrics.bounced, kinds: map[string]*bounces{}}
	s.handler = s.newHandler()
	s.SetRules(o.Rules)
	return s, nil
}

// parseLimit is how many clients may parse lines at a time while delivery is busy,
// of so many threads that may run at all.
func parseLimit(threads int) int { return max(1, (threads-1)/2) }

// SetRules replaces the rules for what comes from now on; nothing open is
// closed.
func (s *Server) SetRules(r Rules) {
	if before := s.rules.Load(); before != nil && before.Parser != r.Parser {
		s.excluded.forget()
	}
	s.rules.Store(&ruleset{Rules: r, keyed: r.Key != "", keySum: sha256.Sum256([]byte(r.Key))})
}

// Handler returns the HTTP handler, to be tested or embedded. It works until Run,
// if that is called, has returned.
func (s *Server) Handler() http.Handler { return s.handler }
