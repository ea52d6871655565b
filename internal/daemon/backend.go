package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"trackd/admin"
	"trackd/config"
	"trackd/internal/status"
	"trackd/queue"
	"trackd/queue/boltqueue"
	"trackd/queue/pgqueue"
)

// backend is the queue and what only some kinds of it can do.
type backend struct {
	queue.Queue
	clear  func() bool                                           // whether this daemon may deliver now
	alive  func(context.Context) error                           // whether its goroutines turn
	backup func(context.Context, string) (admin.BackedUp, error) // into a directory
}

// openBackend opens the queue where the configuration says it is.
func openBackend(cfg config.Config, registry prometheus.Registerer, log *slog.Logger) (backend, error) {
	observe := commitMetrics(registry)
	if cfg.Queue.Backend == "postgres" {
		return openPostgres(cfg, registry, observe, log)
	}
	q, err := boltqueue.Open(boltqueue.Options{
		Dir:          cfg.Queue.Dir,
		MaxBytes:     int64(cfg.Queue.MaxBytes),
		MinFreeBytes: int64(orNone(cfg.Queue.MinFreeBytes)),
		RejectBytes:  int64(orNone(cfg.Queue.DeadMaxBytes)),
		OnCommit:     func(c boltqueue.Commit) { observe(c.Duration, c.Events) },
		Log:          log,
	})
	if err != nil {
		return backend{}, err
	}
	backup := func(ctx context.Context, dir string) (admin.BackedUp, error) {
		made, err := q.Backup(ctx, dir)
		return admin.BackedUp{Dir: dir, Files: made.Files, Bytes: made.Bytes, Account: status.Account(made.Account)}, err
	}
	return backend{Queue: q, clear: func() bool { return true }, alive: q.Alive, backup: backup}, nil
}

// openPostgres opens the queue that several daemons share. The directory holds
// what else is this daemon's own, as the mark of a pause.
func openPostgres(cfg config.Config, registry prometheus.Registerer, observe func(time.Duration, int), log *slog.Logger) (backend, error) {
	if err := os.MkdirAll(cfg.Queue.Dir, 0o700); err != nil {
		return backend{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		return backend{}, fmt.Errorf("name this daemon: %w", err)
	}
	q, err := pgqueue.Open(context.Background(), pgqueue.Options{
		URL:         string(cfg.Queue.PostgresURL.Reveal()),
		Name:        host,
		MaxBytes:    int64(cfg.Queue.MaxBytes),
		RejectBytes: int64(orNone(cfg.Queue.DeadMaxBytes)),
		Lease:       cfg.Queue.Lease,
		OnCommit:    func(c pgqueue.Commit) { observe(c.Duration, c.Events) },
		Log:         log,
	})
	if err != nil {
		return backend{}, err
	}
	if cfg.Ingest.Accept != "all" {
		log.Warn("this daemon shares a queue, but does not take every call that others may hand over", "setting", "ingest.accept", "want", "all")
	}
	promauto.With(registry).NewGaugeFunc(prometheus.GaugeOpts{Name: "trackd_drainer",
		Help: "1 while this daemon is the one that delivers what is in a shared queue."}, func() float64 {
		if q.Clear() {
			return 1
		}
		return 0
	})
	backup := func(context.Context, string) (admin.BackedUp, error) {
		return admin.BackedUp{}, errors.New("the queue is in PostgreSQL: back the database up with its own tools, pg_basebackup or the service's snapshots")
	}
	// Its goroutines wait for the database at most for a time-out, which a
	// restart of this daemon would not mend.
	return backend{Queue: q, clear: q.Clear, alive: func(context.Context) error { return nil }, backup: backup}, nil
}

// commitMetrics observes the commits of the queue.
func commitMetrics(reg prometheus.Registerer) func(time.Duration, int) {
	with := promauto.With(reg)
	seconds := with.NewHistogram(prometheus.HistogramOpts{Name: "trackd_commit_duration_seconds",
		Help: "Time of one commit to disk.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)})
	events := with.NewHistogram(prometheus.HistogramOpts{Name: "trackd_commit_events",
		Help: "Events made durable by one commit; 0 for a commit of outcomes alone.", Buckets: prometheus.ExponentialBuckets(1, 4, 9)})
	return func(took time.Duration, n int) {
		seconds.Observe(took.Seconds())
		events.Observe(float64(n))
	}
}
