// Package systemd tells the service manager how this process is: ready,
// reloading, stopping, making progress, and one line for systemctl status.
//
// The watchdog is fed with real progress only. Each round asks every [Probe] to
// come round, and systemd hears of it when all have. A part that is stuck
// starves the watchdog, whatever else still ticks.
//
// Without a service manager all of it does nothing. Not its job: the sockets
// that systemd opened (package listen takes them over), and judging how things
// are (the probes and the status are the caller's).
//
// The protocol is that of sd_notify(3) and sd_watchdog_enabled(3).
//
// Reading order: systemd.go (what is told when), watchdog.go, status.go.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Probe is a part of the program that must make progress.
type Probe struct {
	Name string // what logs call it

	// Alive returns nil once the part has come round, and an error when ctx ends
	// first.
	Alive func(ctx context.Context) error
}

// Options configure a [Service].
type Options struct {
	// Probes must all come round before the watchdog is fed. Required: a
	// watchdog that ticks by itself proves nothing.
	Probes []Probe

	// Status returns one line on how things are, for systemctl status. It is
	// asked every few seconds, less often while it always says the same, and its
	// answer sent when it has changed. Nil or "" leaves the line alone.
	Status func(ctx context.Context) string

	Log *slog.Logger // default: discard
}

func (o Options) validate() error {
	var errs []error
	if len(o.Probes) == 0 {
		errs = append(errs, errors.New("probes are missing"))
	}
	for _, p := range o.Probes {
		if p.Name == "" || p.Alive == nil {
			errs = append(errs, fmt.Errorf("probe %q needs a name and a function", p.Name))
		}
	}
	return errors.Join(errs...)
}

// Service is this process as the service manager knows it. Its methods are safe
// for concurrent use.
type Service struct {
	opts     Options
	managed  bool                     // somebody listens
	watchdog time.Duration            // this long without a sign of life ends the process; 0: never
	notify   func(state string) error // tells the service manager

	mu     sync.Mutex
	failed bool // the last message was not delivered, and that was logged; guarded by mu
}

// New reads from the environment what the service manager wants to be told. It
// starts no goroutines.
func New(o Options) (*Service, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("systemd options: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("read what systemd wants of the watchdog: %w", err)
	}
	return &Service{
		opts: o, managed: os.Getenv("NOTIFY_SOCKET") != "", watchdog: watchdog,
		notify: func(state string) error {
			_, err := daemon.SdNotify(false, state)
			return err
		},
	}, nil
}

// Run feeds the watchdog and keeps the status line up to date until ctx ends.
func (s *Service) Run(ctx context.Context) {
	if !s.managed {
		return
	}
	var tasks sync.WaitGroup
	if s.watchdog > 0 {
		tasks.Go(func() { s.feed(ctx) })
	}
	if s.opts.Status != nil {
		tasks.Go(func() { s.report(ctx) })
	}
	tasks.Wait()
}

// Ready tells that the service is up, after a start or after Reloading.
func (s *Service) Ready() { s.tell(daemon.SdNotifyReady) }

// Reloading tells that the configuration is being read again. Ready must
// follow, whether it was taken or refused.
func (s *Service) Reloading() {
	// The time lets newer versions of systemd tell which reload this answers.
	s.tell(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", monotonic().Microseconds()))
}

// Stopping tells that the service is about to end and may take up to limit for
// it, so that a long limit in our configuration is not cut short by one in the
// unit.
func (s *Service) Stopping(limit time.Duration) {
	s.tell(daemon.SdNotifyStopping, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", limit.Microseconds()),
		"STATUS=stopping: finishing what is in flight, for at most "+limit.String())
}

// tell sends assignments in one message. Trouble with that is logged once.
func (s *Service) tell(assignments ...string) {
	if !s.managed {
		return
	}
	err := s.notify(strings.Join(assignments, "\n"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && !s.failed {
		s.opts.Log.Warn("systemd not notified", "error", err)
	}
	s.failed = err != nil
}
