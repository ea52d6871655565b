package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"trackd/config"
	"trackd/internal/listen"
	"trackd/internal/sandbox"
)

type sandboxCmd struct {
	Listen string `default:"127.0.0.1:8500" placeholder:"ADDRESS" help:"TCP address to listen on. Default: ${default}."`
	Key    string `placeholder:"KEY" help:"The only API key that is right. Default: any."`
	Script string `type:"existingfile" placeholder:"FILE" help:"Troubles to play, each at its time: [{\"at\":\"10s\",\"trouble\":{\"preset\":\"down\"}}]."`
}

// Help describes what the sandbox offers beyond its flags.
func (sandboxCmd) Help() string {
	text := "Point trackd at it with TRACKD_UPSTREAM_URL=http://127.0.0.1:8500/v1 and any API key.\n\n" +
		"curl -X PUT 127.0.0.1:8500/sandbox/trouble -d '{\"preset\":\"down\",\"for\":\"30s\"}' makes trouble,\n" +
		"curl 127.0.0.1:8500/sandbox/received shows what arrived, and so does http://127.0.0.1:8500 in a browser;\n" +
		"curl '127.0.0.1:8500/sandbox/expect?count=3&timeout=10s' waits for three events. Presets:\n\n"
	for _, p := range sandbox.Presets() {
		text += fmt.Sprintf("  %-14s %s\n", p.Name, p.Says)
	}
	return text
}

// Run serves the sandbox until the context ends, then says what arrived.
func (c sandboxCmd) Run(w *world) error {
	log := newLogger(w.stderr, config.Log{Format: "auto"})
	script, err := c.script()
	if err != nil {
		return &fault{code: exitUsage, err: err}
	}
	box, err := sandbox.New(sandbox.Options{Key: c.Key, Print: w.stdout, Log: log})
	if err != nil {
		return err
	}
	ln, err := listen.TCP(c.Listen)
	if err != nil {
		return &fault{code: exitFailure, err: err}
	}
	stop := serveSandbox(w.ctx, box, ln, log)
	fmt.Fprintf(w.stdout, "sandbox: listening, point trackd at TRACKD_UPSTREAM_URL=http://%s/v1\n", ln.Addr())
	if err := box.Play(w.ctx, script); err != nil && !errors.Is(err, context.Canceled) {
		return errors.Join(err, stop())
	}
	<-w.ctx.Done()
	got := box.Received()
	fmt.Fprintf(w.stdout, "sandbox: %d calls, %d events accepted, %d different, %d more than once\n",
		got.Calls, got.Accepted, got.Unique, got.Duplicates)
	return stop()
}

func (c sandboxCmd) script() (sandbox.Script, error) {
	if c.Script == "" {
		return nil, nil
	}
	data, err := os.ReadFile(c.Script)
	if err != nil {
		return nil, err
	}
	script, err := sandbox.ParseScript(data)
	if err != nil {
		return nil, fmt.Errorf("script %s: %w", c.Script, err)
	}
	return script, nil
}

// serveSandbox serves box on ln until stop is called.
func serveSandbox(ctx context.Context, box *sandbox.Server, ln net.Listener, log *slog.Logger) (stop func() error) {
	srv := &http.Server{Handler: box, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	group, _ := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the sandbox: %w", err)
		}
		return nil
	})
	return func() error { return errors.Join(srv.Close(), group.Wait()) }
}
