// Package daemon wires the parts of trackd into the program that runs: it opens
// the queue and the listeners, starts what takes events and what delivers them,
// stops both in order, and carries out what operators and the service manager
// ask for. It is the only package besides cmd/trackd that knows all the others.
//
// It decides nothing about events: what is accepted is ingest's, what is tried
// again the sender's.
//
//	app ── unix NDJSON ─▶ ┐
//	app ── http ────────▶ │ ingest ──Append──▶ queue ──Lease──▶ sender ── POST ──▶ /v1/{track,…}
//	SDK ── /v1/batch ───▶ ┘    ▲            (boltqueue) ◀─Settle──┘ │
//	                           │                 ▲                  ▼
//	                           │            dead letters,        upstream
//	                           │               stats             report
//	                           │                 │                  │
//	operator ── socket, http ──┼───────────────▶ admin ◀────────────┘
//	                           │                 │
//	SIGHUP, key files ─────▶ reload ◀─────── control ─────▶ pause, resume, stop the intake
//	                           │
//	systemd ◀── supervise      └──▶ rules of ingest, settings of the sender
//
// Reading order: daemon.go (start, run, stop), listeners.go with activation.go
// (what is listened on) and
// connections.go (how many may come), control.go (what operators order), reload.go (what a
// changed configuration does), supervise.go (what systemd is told), import.go.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"trackd/admin"
	"trackd/config"
	"trackd/ingest"
	"trackd/internal/listen"
	"trackd/internal/status"
	"trackd/internal/systemd"
	"trackd/internal/tuning"
	"trackd/sender"
)

// Options say what a daemon is made of.
type Options struct {
	Config  config.Config
	Source  Source // of a changed configuration
	Version string
	Log     *slog.Logger

	// Sockets are listeners that somebody else opened for this process and keeps
	// open over its restarts: those of [Activated].
	Sockets []*os.File
}

// Daemon is trackd, wired. Its fields do not change once New has returned.
type Daemon struct {
	log     *slog.Logger
	grace   time.Duration // shutdown_timeout
	ingest  *ingest.Server
	sender  *sender.Sender
	admin   *admin.Server
	control control
	host    *systemd.Service // what runs us, if anything does
	listeners
	intake   *intake
	registry *prometheus.Registry // of every metric there is
	cleanup  []cleanup            // what was opened, last first
}

// cleanup undoes one step of the start.
type cleanup struct {
	name string
	stop func() error
}

// New opens everything the daemon needs: when it returns, events can be
// accepted durably. On an error everything is closed again.
func New(o Options) (d *Daemon, err error) {
	cfg := o.Config
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	d = &Daemon{log: o.Log, grace: cfg.ShutdownTimeout, registry: registry, intake: newIntake(o.Log)}
	opened := d // a return of nil, err sets d
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close())
		}
	}()
	rules, err := ingestRules(cfg)
	if err != nil {
		return nil, err
	}
	var inForce atomic.Pointer[ingest.Rules] // after a reload, others than rules
	inForce.Store(&rules)

	// The queue comes first: its lock keeps a second daemon from taking the
	// sockets of the first.
	q, err := openBackend(cfg, registry, o.Log)
	if err != nil {
		return nil, err
	}
	d.push("queue", q.Close)

	files, err := tuning.OpenFiles()
	if err != nil {
		return nil, err
	}
	conns, err := newConnections(files, cfg.Sender.Workers, o.Log)
	if err != nil {
		return nil, err
	}
	conns.register(registry)

	// Nobody is served on the listeners before Run; clients that connect wait.
	if err := d.listen(cfg, o.Sockets); err != nil {
		return nil, err
	}

	sending := senderOptions(cfg, o.Version)
	sending.Queue, sending.Log, sending.Registerer = q, o.Log, registry
	sending.Clear = q.clear
	d.sender, err = sender.New(sending)
	if err != nil {
		return nil, err
	}

	var secured *listen.TLS
	if cfg.Ingest.TLSCertFile != "" {
		secured, err = listen.LoadTLS(listen.TLSFiles{Cert: cfg.Ingest.TLSCertFile, Key: cfg.Ingest.TLSKeyFile, ClientCA: cfg.Ingest.ClientCA}, o.Log)
		if err != nil {
			return nil, err
		}
	}
	hosts := listen.NewHosts(cfg.Ingest.Hosts.List(), secured)
	d.ingest, err = ingest.New(ingest.Options{
		Queue:           q,
		Rules:           rules,
		SocketConns:     conns.socket,
		HTTPConns:       conns.http,
		Hosts:           hosts,
		TLS:             secured,
		Backpressure:    d.sender.Busy,
		ShutdownTimeout: cfg.ShutdownTimeout,
		Log:             o.Log,
		Registerer:      registry,
	})
	if err != nil {
		return nil, err
	}

	// The two goroutines that every event passes must turn, or systemd ends us.
	d.host, err = systemd.New(systemd.Options{
		Probes: []systemd.Probe{{Name: "queue", Alive: q.alive}, {Name: "sender", Alive: d.sender.Alive}},
		Status: d.statusLine,
		Log:    o.Log,
	})
	if err != nil {
		return nil, err
	}

	pause, err := newPauser(cfg.Queue.Dir, d.sender)
	if err != nil {
		return nil, err
	}
	d.control = control{pauser: pause, intake: d.intake, reloader: &reloader{
		Source: o.Source, current: cfg, rules: &inForce, ingest: d.ingest, tls: secured, sender: d.sender, host: d.host,
		exposed: d.exposed, log: o.Log, requests: newRequests(),
	}}

	d.admin, err = admin.New(admin.Options{
		Queue:    q,
		Letters:  q,
		Control:  d.control,
		Upstream: d.sender.Upstream,
		Take: func(raw []byte) error {
			if !d.intake.IntakeStopped().IsZero() {
				return errDrained
			}
			return d.ingest.Take(raw)
		},
		Backup: q.backup,
		Alive:  func(ctx context.Context) error { return errors.Join(q.alive(ctx), d.sender.Alive(ctx)) },
		Clients: func() status.Clients {
			return status.Clients{Connections: conns.status(), Bounced: d.ingest.Bounced(), Excluded: d.ingest.Excluded()}
		},
		SocketConns: conns.adminSocket,
		HTTPConns:   conns.adminHTTP,
		Hosts:       hosts,
		Version:     o.Version,
		Registry:    registry,
		Log:         o.Log,
	})
	return d, err
}

var errDrained = errors.New("no events are taken since an operator began to drain; restart trackd to take them again")

// Ready tells the service manager that events can be kept.
func (d *Daemon) Ready() { d.host.Ready() }

// Metrics gathers every metric there is.
func (d *Daemon) Metrics() prometheus.Gatherer { return d.registry }

// Run serves until ctx ends or a part fails, then stops in order: ingest answers
// what it has read, the sender finishes what is in flight and settles it, and
// when both are done the queue is closed. The operator's pages stay up until
// then. A signal on hangup has the configuration read again.
func (d *Daemon) Run(ctx context.Context, hangup <-chan os.Signal) error {
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
	taking, stopTaking := context.WithCancel(trafficCtx) // ends before everything else when an operator drains
	defer stopTaking()
	defer context.AfterFunc(d.intake.ordered, stopTaking)()

	operators.Go(func() error { return d.admin.Run(pages, d.listeners.operators) })
	traffic.Go(func() error { defer close(d.intake.ended); return d.ingest.Run(taking, d.listeners.clients) })
	traffic.Go(func() error { return d.sender.Run(trafficCtx) })
	traffic.Go(func() error { d.control.reloader.run(trafficCtx, hangup); return nil })
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
	err = errors.Join(err, operators.Wait(), d.Close())
	d.log.Info("stopped")
	return err
}

// push notes how to undo a step.
func (d *Daemon) push(name string, stop func() error) {
	d.cleanup = append(d.cleanup, cleanup{name, stop})
}

// Close undoes what New has opened, the last first. After Run it is not needed.
func (d *Daemon) Close() error {
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

// orNone turns a configured 0, which means none at all, into what the queue's
// options take for that.
func orNone[T config.ByteSize | time.Duration](bound T) T {
	if bound == 0 {
		return -1
	}
	return bound
}

// senderOptions are what the configuration says of the destination and the way
// to it.
func senderOptions(c config.Config, version string) sender.Options {
	return sender.Options{
		Settings:        senderSettings(c),
		URL:             c.BaseURL(),
		CAFile:          c.Upstream.CAFile,
		CertFile:        c.Upstream.CertFile,
		KeyFile:         c.Upstream.KeyFile,
		Timeout:         c.Upstream.Timeout,
		Workers:         c.Sender.Workers,
		Version:         version,
		RetryMin:        c.Sender.RetryMin,
		RetryMax:        c.Sender.RetryMax,
		MaxAttempts:     c.Sender.MaxAttempts,
		PoisonAfter:     orNone(c.Sender.PoisonAfter),
		Order:           sender.Order(c.Sender.Order),
		OrderHold:       c.Sender.OrderHold,
		MaxAge:          c.Queue.MaxAge,
		ShutdownTimeout: c.ShutdownTimeout,
	}
}

// CheckUpstream asks the destination, exactly as a daemon of this configuration
// would, whether it accepts the key.
func CheckUpstream(ctx context.Context, c config.Config, version string) (sender.Checked, error) {
	return sender.Check(ctx, senderOptions(c, version))
}
