// Package admin is what an operator sees of a running trackd: health, status
// and metrics over HTTP.
//
//	/healthz   the process makes progress
//	/readyz    it can durably accept
//	/deliverz  it is delivering
//	/status    the account, the queue, the line, as JSON
//	/metrics   for Prometheus
//
// The three health answers are 200 or 503 with one JSON object that says why.
// Nothing here acts on the queue.
//
// Reading order: admin.go (the server), status.go (what /status says),
// health.go (the three answers), metrics.go (what the queue's state is as
// metrics).
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"trackd/queue"
)

// patience bounds how long the queue may take to say how it is. One that
// takes longer makes no progress.
const patience = 2 * time.Second

// Queue is the slice of [queue.Queue] that admin looks at.
type Queue interface {
	Stats(ctx context.Context) (queue.Stats, error)
}

// Options configure a [Server].
type Options struct {
	Queue    Queue                // required
	Line     func() Line          // required: the state of the line to the destination
	Version  string               // of trackd; default "dev"
	Registry *prometheus.Registry // default: a new one; metrics of the queue are added
	Log      *slog.Logger         // default: discard
}

func (o Options) withDefaults() Options {
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
	if o.Queue == nil {
		errs = append(errs, errors.New("queue is missing"))
	}
	if o.Line == nil {
		errs = append(errs, errors.New("line is missing"))
	}
	return errors.Join(errs...)
}

// Server answers operators.
type Server struct {
	opts    Options
	started time.Time
	handler http.Handler
}

// New returns a server for o. It starts no goroutines.
func New(o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("admin options: %w", err)
	}
	s := &Server{opts: o.withDefaults(), started: time.Now()}
	registerMetrics(s)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.answer(healthy))
	mux.HandleFunc("GET /readyz", s.answer(ready))
	mux.HandleFunc("GET /deliverz", s.answer(delivering))
	mux.HandleFunc("GET /status", s.serveStatus)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Registry, promhttp.HandlerOpts{}))
	s.handler = mux
	return s, nil
}

// Handler returns the pages, to be tested or embedded.
func (s *Server) Handler() http.Handler { return s.handler }

// Run serves listeners until ctx ends and closes them.
func (s *Server) Run(ctx context.Context, listeners ...net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, ln := range listeners {
		srv := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
			ErrorLog: slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug)}
		group.Go(func() error {
			if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve operators on %s: %w", ln.Addr(), err)
			}
			return nil
		})
		group.Go(func() error { <-ctx.Done(); return srv.Close() })
	}
	return group.Wait()
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // a client that is gone needs no answer
}
