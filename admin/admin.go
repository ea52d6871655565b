// Package admin is what an operator sees of a running trackd and does to it,
// and the client that the command line uses for both.
//
//	/healthz   the process makes progress
//	/readyz    it can durably accept
//	/deliverz  it is delivering
//	/status    the account, the queue and its outlook, the upstream, as JSON
//	/metrics   for Prometheus
//
// These pages act on nothing and show no event, so they are served to whoever
// reaches the listeners for pages. The three health answers are 200 or 503 with one
// JSON object that says why.
//
// Listeners for actions, which must be guarded by the mode of their socket,
// serve the pages as well as:
//
//	GET  /dead, /queue                 dead letters or waiting events, as NDJSON
//	GET  /dead/count                   how many letters match, by reason
//	POST /dead/replay, /dead/discard   a bounded number of letters a call
//	POST /import                       events from outside, parsed as at ingest
//	POST /pause, /resume, /drain, /reload
//
// Not its job: judging events, pacing, keeping anything over a restart.
//
// Reading order: admin.go (the server), status.go (how the document of
// internal/status is filled) with outlook.go (what will become of the queue),
// health.go, metrics.go; then exported.go (dead letters and events as JSON),
// encode.go (how JSON is written), wire.go (filters and results), letters.go and
// control.go (what acts), client.go and listing.go (the other end).
package admin

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"trackd/internal/listen"
	"trackd/internal/status"
	"trackd/queue"
)

// statsTimeout bounds how long the queue may take to say how it is. One that
// takes longer makes no progress.
const statsTimeout = 2 * time.Second

// Queue is the slice of [queue.Queue] that is only looked at.
type Queue interface {
	Stats(ctx context.Context) (queue.Stats, error)
	Queued(ctx context.Context, filter queue.Filter) iter.Seq2[queue.Delivery, error]
}

// Letters is the slice of [queue.Queue] that holds the dead letters.
type Letters interface {
	DeadLetters(ctx context.Context, filter queue.Filter) iter.Seq2[queue.DeadLetter, error]
	Replace(ctx context.Context, filter queue.Filter, put func(context.Context, []queue.DeadLetter) ([]queue.Address, error)) (int, error)
	Replay(ctx context.Context, filter queue.Filter) (int, error)
	Discard(ctx context.Context, filter queue.Filter) (int, error)
}

// Options configure a [Server].
type Options struct {
	Queue    Queue                  // required
	Letters  Letters                // required
	Control  Control                // required
	Upstream func() status.Upstream // required: how the destination is

	// Take takes one event as ingest would, and is called by several goroutines at
	// once. An [*event.Error] speaks of that event alone; any other error means
	// that nothing can be taken now. Required.
	Take func(raw []byte) error

	// Backup copies the queue at work into a directory of this host that does not
	// exist or is empty. Default: an error that says there is none.
	Backup func(ctx context.Context, dir string) (BackedUp, error)

	// Alive returns nil once everything that every event passes has come round,
	// and an error when ctx ends first. Default: that the queue answers is enough.
	Alive func(ctx context.Context) error

	Clients func() status.Clients // how clients get in; default: nothing is said of them

	// SocketConns and HTTPConns bound the connections of the listeners for
	// actions and for pages; nil means 1,024 each.
	SocketConns, HTTPConns *listen.Limiter

	// Hosts decides which host names requests over TCP may name.
	Hosts listen.Hosts

	Version  string               // of trackd; default "dev"
	Registry *prometheus.Registry // default: a new one; metrics of the queue are added
	Log      *slog.Logger         // default: discard
}

func (o Options) withDefaults() Options {
	if o.Alive == nil {
		o.Alive = func(context.Context) error { return nil }
	}
	if o.Backup == nil {
		o.Backup = func(context.Context, string) (BackedUp, error) {
			return BackedUp{}, errors.New("this queue cannot be backed up")
		}
	}
	if o.Clients == nil {
		o.Clients = func() status.Clients { return status.Clients{} }
	}
	if o.SocketConns == nil {
		o.SocketConns = listen.NewLimiter("admin_socket", 0, o.Log)
	}
	if o.HTTPConns == nil {
		o.HTTPConns = listen.NewLimiter("admin_http", 0, o.Log)
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() error {
	var errs []error
	for _, need := range []struct {
		name    string
		missing bool
	}{
		{"queue", o.Queue == nil}, {"letters", o.Letters == nil}, {"control", o.Control == nil},
		{"upstream", o.Upstream == nil}, {"take", o.Take == nil},
	} {
		if need.missing {
			errs = append(errs, errors.New(need.name+" is missing"))
		}
	}
	return errors.Join(errs...)
}

// Server answers operators. Its methods are safe for concurrent use.
type Server struct {
	opts    Options
	started time.Time
	trend   trend
	metrics *metrics
	pages   *http.ServeMux
	actions *http.ServeMux
}

// Listeners are what to serve. Run closes them.
type Listeners struct {
	Actions []net.Listener // pages and actions
	Pages   []net.Listener // pages alone
}

// New returns a server for o. It starts no goroutines.
func New(o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("admin options: %w", err)
	}
	s := &Server{opts: o.withDefaults(), started: time.Now()}
	s.metrics = newMetrics(s)
	s.pages = http.NewServeMux()
	s.pages.HandleFunc("GET /healthz", s.answer(s.healthy))
	s.pages.HandleFunc("GET /readyz", s.answer(ready))
	s.pages.HandleFunc("GET /deliverz", s.answer(delivering))
	s.pages.HandleFunc("GET /status", s.serveStatus)
	s.pages.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Registry, promhttp.HandlerOpts{}))

	s.actions = http.NewServeMux()
	s.actions.Handle("/", s.pages)
	s.actions.HandleFunc("GET /dead", s.listLetters)
	s.actions.HandleFunc("GET /dead/count", s.countLetters)
	s.actions.HandleFunc("POST /dead/replay", s.amend(s.replay))
	s.actions.HandleFunc("POST /dead/discard", s.amend(s.discard))
	s.actions.HandleFunc("GET /queue", s.listQueued)
	s.actions.HandleFunc("POST /import", s.takeImport)
	s.actions.HandleFunc("POST /pause", s.pause)
	s.actions.HandleFunc("POST /resume", s.resume)
	s.actions.HandleFunc("POST /drain", s.drain)
	s.actions.HandleFunc("POST /reload", s.reload)
	s.actions.HandleFunc("POST /backup", s.backup)
	return s, nil
}

// Pages returns what the listeners for pages serve, to be tested or embedded.
func (s *Server) Pages() http.Handler { return s.pages }

// Actions returns what the listeners for actions serve.
func (s *Server) Actions() http.Handler { return s.actions }

// Run serves listeners until ctx ends and closes them.
func (s *Server) Run(ctx context.Context, listeners Listeners) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { s.sample(ctx); return nil })
	for _, ln := range listeners.Pages {
		// Whoever can reach these may be slow on purpose.
		srv := &http.Server{Handler: s.knownHosts(ln, s.pages), ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
		s.serve(ctx, group, srv, s.opts.HTTPConns.Listener(ln))
	}
	for _, ln := range listeners.Actions {
		// A listing takes as long as its reader, who is trusted.
		s.serve(ctx, group, &http.Server{Handler: s.actions, ReadHeaderTimeout: 10 * time.Second}, s.opts.SocketConns.Listener(ln))
	}
	return group.Wait()
}

// knownHosts lets requests pass to next that came over a Unix socket, or name a
// host that this server has.
func (s *Server) knownHosts(ln net.Listener, next http.Handler) http.Handler {
	if ln.Addr().Network() != "tcp" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.opts.Hosts.Allow(r.Host) {
			next.ServeHTTP(w, r)
			return
		}
		writeJSON(w, http.StatusForbidden, health{Reason: fmt.Sprintf(
			"the request names the host %.80q: allowed are loopback names, literal addresses and the names in ingest.hosts", r.Host)})
	})
}

func (s *Server) serve(ctx context.Context, group *errgroup.Group, srv *http.Server, ln net.Listener) {
	srv.IdleTimeout = time.Minute
	srv.ConnState = func(nc net.Conn, state http.ConnState) {
		listen.NoteState(nc, state)
		if c := nc.(*listen.Conn); c.TurnedAway() {
			c.Close()
		}
	}
	srv.ErrorLog = slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug)
	group.Go(func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve operators on %s: %w", ln.Addr(), err)
		}
		return nil
	})
	group.Go(func() error { <-ctx.Done(); return srv.Close() })
}
