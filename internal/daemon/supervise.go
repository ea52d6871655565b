package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"trackd/internal/status"
)

// stopMargin is what ending takes on top of shutdown_timeout: settling, and the
// last commit on a slow disk.
const stopMargin = 10 * time.Second

// statusLine is what systemctl status shows.
func (d *Daemon) statusLine(ctx context.Context) string {
	s, err := d.admin.Status(ctx)
	if err != nil {
		return "queue statistics are unavailable: " + err.Error()
	}
	return inOneLine(s)
}

// inOneLine says what keeps events from coming in or going out, how many wait,
// and whether an operator should look closer. It
// is coarse, so that it does not change all the time.
func inOneLine(s status.Report) string {
	parts := []string{upstreamInWords(s.Upstream), backlogInWords(s)}
	if s.Queue.Full != "" {
		parts = append([]string{"events are refused: " + s.Queue.Full}, parts...)
	}
	if !s.Closed.IsZero() {
		parts = append([]string{"intake stopped by an operator"}, parts...)
	}
	if s.Account.Dead > 0 {
		parts = append(parts, fmt.Sprintf("%d dead letters (trackd dead list)", s.Account.Dead))
	}
	if len(s.AllAlarms()) > 0 || len(s.Disk.Damaged) > 0 {
		parts = append(parts, "alarms (trackd status)")
	}
	return strings.Join(parts, "; ")
}

func upstreamInWords(l status.Upstream) string {
	switch {
	case l.Why == "":
		return "upstream " + string(l.State)
	case l.State == status.Open: // after trouble, and nobody has to do anything
		return "upstream open, not yet at its full rate"
	}
	return fmt.Sprintf("upstream %s since %s: %s", l.State, l.Since.Format(time.DateTime), l.Why)
}

func backlogInWords(s status.Report) string {
	if s.Account.Queued == 0 {
		return "nothing queued"
	}
	text := fmt.Sprintf("%d queued", s.Account.Queued)
	if age := s.Queue.OldestAge(); age >= time.Minute {
		text += ", the oldest for " + strings.TrimSuffix(age.Truncate(time.Minute).String(), "0s")
	}
	return text
}
