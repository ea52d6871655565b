package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"trackd/config"
	"trackd/internal/daemon"
	"trackd/queue/boltqueue"
)

type serveCmd struct{}

// Run runs the daemon until the context ends.
func (serveCmd) Run(w *world) error {
	cfg, err := w.config(false)
	if err != nil {
		return err
	}
	level := &slog.LevelVar{} // a reload may change it
	level.Set(cfg.Log.Level)
	log := newLoggerAt(w.stderr, cfg.Log.Format, level)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	d, err := daemon.New(daemon.Options{
		Config: cfg,
		Source: daemon.Source{
			Load:  func() (config.Config, error) { return w.config(false) },
			Keys:  func(c config.Config) (config.Config, error) { return c.RereadKeys(w.loadOptions(false)) },
			Level: level,
		},
		Version: version,
		Log:     log,
		Sockets: daemon.Activated(),
	})
	if err != nil {
		return startFault(err)
	}
	log.Info("trackd is ready", "version", version, "queue", cfg.Queue.Dir, "upstream", cfg.BaseURL(),
		"socket", cfg.Ingest.Socket, "http", cfg.Ingest.HTTP, "admin", cfg.Admin.HTTP)
	d.Ready()
	return d.Run(w.ctx, hangup)
}

// startFault gives the errors of a start their hints.
func startFault(err error) error {
	f := &fault{code: exitFailure, err: fmt.Errorf("start: %w", err)}
	switch {
	case errors.Is(err, boltqueue.ErrLocked):
		f.hint = "one daemon per queue: set queue.dir (TRACKD_QUEUE_DIR) to give this one its own"
	case errors.Is(err, boltqueue.ErrNewer), errors.Is(err, boltqueue.ErrOlder):
		f.code = exitUsage
	case errors.Is(err, os.ErrPermission):
		f.hint = "run as the user the directories belong to, or set queue.dir, ingest.socket and admin.socket elsewhere"
	}
	return f
}

// newLogger writes text to a terminal and JSON elsewhere, unless told.
func newLogger(out io.Writer, c config.Log) *slog.Logger { return newLoggerAt(out, c.Format, c.Level) }

// newLoggerAt is newLogger with a level that may change.
func newLoggerAt(out io.Writer, format string, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: readable}
	if format == "text" || format == "auto" && isTerminal(out) {
		return slog.New(slog.NewTextHandler(out, opts))
	}
	return slog.New(slog.NewJSONHandler(out, opts))
}

// readable writes durations as people do: slog's JSON would count nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().Round(time.Millisecond).String())
	}
	return a
}

// isTerminal reports whether somebody watches w.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
