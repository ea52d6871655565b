package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/errgroup"

	"trackd/admin"
	"trackd/config"
	"trackd/event"
	"trackd/ingest"
	"trackd/internal/listen"
	"trackd/internal/status"
	"trackd/internal/systemd"
	"trackd/queue/boltqueue"
	"trackd/sender"
)

// trackd is the daemon, wired.
//
//	app ── unix NDJSON ─▶
//	app ── http ────────▶  ingest ──Append──▶  queue  ──Lease──▶  sender ── POST ──▶ /v1/track
//	SDK ── /v1/batch ───▶                    (boltqueue) ◀─Settle─┘
//	                                            ▲
//	operator ───────────▶  admin ──letters──────┘    admin ──helm──▶ doors, sender
type trackd struct {
	log       *slog.Logger
	listeners ingest.Listeners
	ingest    *ingest.Server
	sender    *sender.Sender
	helm      *helm
	admin     *admin.Server
	ops       admin.Listeners
	reload    *reloader
	host      *systemd.Service // what runs us, if anything does
	grace     time.Duration    // shutdown_timeout

	registry *prometheus.Registry // of every metric there is

	cleanup []cleanup // what was opened, last first
}

// cleanup undoes one step of the start.
type cleanup struct {
	name string
	stop func() error
}

// newTrackd opens everything the daemon needs: when it returns, events can be
// accepted durably. On an error everything is closed again.
//
// What a reload changes comes from src.
func newTrackd(cfg config.Config, src source, log *slog.Logger) (d *trackd, err error) {
	d = &trackd{log: log, grace: cfg.ShutdownTimeout}
	opened := d // a return of nil, err sets d
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.close())
		}
	}()
	registry := newRegistry()
	d.registry = registry
	rules, err := ingestRules(cfg)
	if err != nil {
		return nil, err
	}
	var inForce atomic.Pointer[ingest.Rules] // after a reload, others than rules
	inForce.Store(&rules)

	// The queue comes first: its lock keeps a second daemon from taking the
	// sockets of the first.
	q, err := boltqueue.Open(boltqueue.Options{
		Dir:          cfg.Queue.Dir,
		MaxBytes:     int64(cfg.Queue.MaxBytes),
		MinFreeBytes: int64(orNone(cfg.Queue.MinFreeBytes)),
		RejectBytes:  int64(orNone(cfg.Queue.DeadMaxBytes)),
		Parse:        func(raw []byte, now time.Time) (event.Event, error) { return inForce.Load().Parser.Parse(raw, now) },
		OnCommit:     commitMetrics(registry),
		Log:          log,
	})
	if err != nil {
		return nil, err
	}
	d.push("queue", q.Close)

	d.sender, err = sender.New(sender.Options{
		Settings:        senderSettings(cfg),
		URL:             cfg.BaseURL(),
		CAFile:          cfg.Upstream.CAFile,
		Timeout:         cfg.Upstream.Timeout,
		Workers:         cfg.Sender.Workers,
		Version:         version,
		RetryMin:        cfg.Sender.RetryMin,
		RetryMax:        cfg.Sender.RetryMax,
		MaxAttempts:     cfg.Sender.MaxAttempts,
		PoisonAfter:     orNone(cfg.Sender.PoisonAfter),
		MaxAge:          cfg.Queue.MaxAge,
		ShutdownTimeout: cfg.ShutdownTimeout,
		Queue:           q,
		Log:             log,
		Registerer:      registry,
	})
	if err != nil {
		return nil, err
	}

	d.ingest, err = ingest.New(ingest.Options{
		Queue:           q,
		Rules:           rules,
		Backpressure:    d.sender.Busy,
		ShutdownTimeout: cfg.ShutdownTimeout,
		Log:             log,
		Registerer:      registry,
	})
	if err != nil {
		return nil, err
	}

	d.reload = &reloader{source: src, current: cfg, rules: &inForce, ingest: d.ingest, sender: d.sender, log: log,
		requests: make(chan chan<- status.Reload)}
	if d.helm, err = newHelm(cfg.Queue.Dir, d.sender, log); err != nil {
		return nil, err
	}

	d.admin, err = admin.New(admin.Options{
		Queue:    q,
		Letters:  q,
		Control:  control{d.helm, d.reload},
		Upstream: d.helm.upstream,
		Import: func(ctx context.Context, raw []byte) error {
			if !d.helm.IntakeStopped().IsZero() {
				return errDrained
			}
			return takeIn(ctx, d.ingest.Handler(), inForce.Load().Key, raw)
		},
		Alive:    func(ctx context.Context) error { return errors.Join(q.Alive(ctx), d.sender.Alive(ctx)) },
		Version:  version,
		Registry: registry,
		Log:      log,
	})
	if err != nil {
		return nil, err
	}
	if d.host, err = d.supervise(q); err != nil {
		return nil, err
	}
	d.reload.host = d.host
	return d, d.listen(cfg)
}

// listen opens every door the configuration names, but for those that systemd
// has opened.
func (d *trackd) listen(cfg config.Config) error {
	cfg, err := d.takeOver(activated(), cfg)
	if err != nil {
		return err
	}
	mode := fs.FileMode(cfg.Ingest.SocketMode)
	return errors.Join(
		d.unix(&d.listeners.Lines, cfg.Ingest.Socket, mode, cfg.Ingest.SocketGroup),
		d.unix(&d.listeners.HTTP, cfg.Ingest.HTTPSocket, mode, cfg.Ingest.SocketGroup),
		d.tcp(&d.listeners.HTTP, cfg.Ingest.HTTP),
		d.unix(&d.ops.Actions, cfg.Admin.Socket, 0o600, ""),
		d.tcp(&d.ops.Pages, cfg.Admin.HTTP),
	)
}

func (d *trackd) unix(to *[]net.Listener, path string, mode fs.FileMode, group string) error {
	if path == "" {
		return nil
	}
	ln, err := listen.Unix(path, mode, group)
	return d.opened(to, ln, err)
}

func (d *trackd) tcp(to *[]net.Listener, address string) error {
	if address == "" {
		return nil
	}
	ln, err := listen.TCP(address)
	return d.opened(to, ln, err)
}

func (d *trackd) opened(to *[]net.Listener, ln net.Listener, err error) error {
	if err != nil {
		return err
	}
	*to = append(*to, ln)
	d.push("listener "+ln.Addr().String(), func() error {
		if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil // its server closed it
	})
	return nil
}

// Run runs the rooms until ctx ends or one of them fails, then stops them:
// the doors answer what they have read, the sender finishes what is in flight
// and settles it, and when both are done the queue is closed. The operator's
// pages stay up until then. A signal on hangup has the configuration read
// again.
func (d *trackd) Run(ctx context.Context, hangup <-chan os.Signal) error {
	stopped := make(chan struct{})
	watch := context.AfterFunc(ctx, func() {
		d.log.Info("stopping")
		d.host.Stopping(d.grace + stopMargin)
	})
	defer watch()

	pages, stopPages := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPages()
	operators, pages := errgroup.WithContext(pages)
	traffic, trafficCtx := errgroup.WithContext(ctx)
	doors, closeDoors := context.WithCancel(trafficCtx) // before everything else, when an operator drains
	defer closeDoors()
	shut := make(chan struct{})
	d.helm.closeDoors, d.helm.doorsShut = closeDoors, shut

	operators.Go(func() error { return d.admin.Run(pages, d.ops) })
	traffic.Go(func() error { defer close(shut); return d.ingest.Run(doors, d.listeners) })
	traffic.Go(func() error { return d.sender.Run(trafficCtx) })
	traffic.Go(func() error { d.reload.run(trafficCtx, hangup); return nil })
	traffic.Go(func() error { d.host.Run(trafficCtx); return nil })
	traffic.Go(func() error { // without its pages the daemon cannot be watched: stop
		select {
		case <-pages.Done():
			return operators.Wait()
		case <-stopped:
			return nil
		case <-trafficCtx.Done():
			return nil
		}
	})
	err := traffic.Wait()
	close(stopped)
	stopPages()
	err = errors.Join(err, operators.Wait(), d.close())
	d.log.Info("stopped")
	return err
}

// push notes how to undo a step.
func (d *trackd) push(name string, stop func() error) {
	d.cleanup = append(d.cleanup, cleanup{name, stop})
}

// close undoes every step, the last first.
func (d *trackd) close() error {
	var errs []error
	for i := len(d.cleanup) - 1; i >= 0; i-- {
		c := d.cleanup[i]
		if err := c.stop(); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", c.name, err))
		}
	}
	d.cleanup = nil
	return errors.Join(errs...)
}

func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// orNone turns a configured 0, which means none at all, into what the queue's
// options take for that.
func orNone[T config.ByteSize | time.Duration](bound T) T {
	if bound == 0 {
		return -1
	}
	return bound
}

// commitMetrics observes the commits of the queue.
func commitMetrics(reg prometheus.Registerer) func(boltqueue.Commit) {
	with := promauto.With(reg)
	seconds := with.NewHistogram(prometheus.HistogramOpts{Name: "trackd_commit_duration_seconds",
		Help: "Time of one commit to disk.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)})
	events := with.NewHistogram(prometheus.HistogramOpts{Name: "trackd_commit_events",
		Help: "Events made durable by one commit; 0 for a commit of outcomes alone.", Buckets: prometheus.ExponentialBuckets(1, 4, 9)})
	return func(c boltqueue.Commit) {
		seconds.Observe(c.Duration.Seconds())
		events.Observe(float64(c.Events))
	}
}
