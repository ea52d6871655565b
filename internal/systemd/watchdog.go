package systemd

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// feed gives a sign of life whenever every probe has come round, four times in
// the time that systemd allows. A round may take half of it, so that one slow
// round is survived and reported before systemd acts.
func (s *Service) feed(ctx context.Context) {
	tick := time.NewTicker(s.watchdog / 4)
	defer tick.Stop()
	var told []string // the parts last reported stuck
	for {
		stuck := s.round(ctx)
		if ctx.Err() != nil {
			return
		}
		if len(stuck) == 0 {
			s.tell(daemon.SdNotifyWatchdog)
		}
		s.tellStuck(told, stuck)
		told = stuck
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// round asks all probes at once and names those that did not come round.
func (s *Service) round(ctx context.Context) (stuck []string) {
	ctx, cancel := context.WithTimeout(ctx, s.watchdog/2)
	defer cancel()
	errs := make([]error, len(s.opts.Probes))
	var probes sync.WaitGroup
	for i, p := range s.opts.Probes {
		probes.Go(func() { errs[i] = p.Alive(ctx) })
	}
	probes.Wait()
	for i, err := range errs {
		if err != nil {
			stuck = append(stuck, s.opts.Probes[i].Name)
		}
	}
	return stuck
}

// tellStuck logs a change.
func (s *Service) tellStuck(before, now []string) {
	switch {
	case slices.Equal(before, now):
	case len(now) == 0:
		s.opts.Log.Info("progress again", "was_stuck", before)
	default:
		s.opts.Log.Error("no progress: systemd will end this process unless that changes",
			"stuck", now, "watchdog", s.watchdog)
	}
}
