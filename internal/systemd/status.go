package systemd

import (
	"context"
	"strings"
	"time"
)

// Pauses between two looks at the status: the first after a change, then longer
// and longer while there is none.
const (
	busy = 2 * time.Second
	idle = 16 * time.Second
)

// report sends the status line whenever it has changed.
func (s *Service) report(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	sent, pause := "", busy
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		line := strings.ReplaceAll(s.opts.Status(ctx), "\n", " ")
		if ctx.Err() != nil {
			return // what it says may be for want of time
		}
		if line == sent || line == "" {
			pause = min(2*pause, idle)
		} else {
			s.tell("STATUS=" + line)
			sent, pause = line, busy
		}
		timer.Reset(pause)
	}
}
