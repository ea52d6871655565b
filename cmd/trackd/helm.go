package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"trackd/admin"
	"trackd/internal/status"
	"trackd/sender"
)

// helm steers the daemon as operators ask, and remembers over restarts that
// they paused it.
type helm struct {
	sender *sender.Sender
	marker string // path of the file that says sending is paused
	log    *slog.Logger

	closeDoors func()          // ends the front door; set by Run
	doorsShut  <-chan struct{} // closed when it has ended

	mu          sync.Mutex
	pause       *pauseMark // nil: not paused; guarded by mu
	closedSince time.Time  // guarded by mu
}

// control is everything an operator can order.
type control struct {
	*helm
	*reloader
}

var _ admin.Control = control{}

// pauseMark is what the marker file holds.
type pauseMark struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
}

// newHelm takes up the pause that an operator asked for before the restart, if
// there is one. A marker that cannot be read still means a pause: somebody
// wanted one.
func newHelm(dir string, s *sender.Sender, log *slog.Logger) (*helm, error) {
	h := &helm{sender: s, marker: filepath.Join(dir, "paused"), log: log}
	text, err := os.ReadFile(h.marker)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for a pause: %w", err)
	}
	h.pause = &pauseMark{}
	if json.Unmarshal(text, h.pause) != nil {
		*h.pause = pauseMark{Reason: "the file " + h.marker + " says so, but not since when"}
	}
	s.Pause()
	return h, nil
}

// Pause implements [admin.Control]. Sending stops even where that cannot be
// kept over a restart.
func (h *helm) Pause(reason string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sender.Pause()
	mark := &pauseMark{Since: time.Now().UTC().Truncate(time.Millisecond), Reason: reason}
	if h.pause != nil {
		mark.Since, mark.Reason = h.pause.Since, cmp.Or(reason, h.pause.Reason)
	}
	h.pause = mark
	text, err := json.Marshal(mark)
	if err == nil {
		err = writeDurably(h.marker, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("sending is paused, but a restart would resume it: %w", err)
	}
	return nil
}

// Resume implements [admin.Control].
func (h *helm) Resume() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sender.Resume()
	h.pause = nil
	err := os.Remove(h.marker)
	if err == nil {
		err = syncDir(filepath.Dir(h.marker))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sending is resumed, but a restart would pause it: %w", err)
	}
	return nil
}

// StopIntake implements [admin.Control].
func (h *helm) StopIntake(ctx context.Context) error {
	h.mu.Lock()
	if h.closedSince.IsZero() {
		h.closedSince = time.Now().Truncate(time.Millisecond)
		h.log.Info("intake stopped by an operator, to drain", "to_start_it_again", "restart trackd")
	}
	h.mu.Unlock()
	h.closeDoors()
	select {
	case <-h.doorsShut:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// IntakeStopped implements [admin.Control].
func (h *helm) IntakeStopped() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closedSince
}

// upstream says in the operator's words what the sender reports.
func (h *helm) upstream() status.Upstream {
	l := h.sender.Upstream()
	out := status.Upstream{State: status.State(l.State), Since: l.Since.Round(time.Millisecond), Why: l.Why, Alarm: l.Alarm,
		Rate: l.Rate, HoldUntil: l.HoldUntil, LastSuccess: l.LastSuccess, NextProbe: l.NextProbe, Delivered: l.Delivered, Failures: l.Failures}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pause != nil && l.State == sender.Paused {
		out.Since = h.pause.Since
		out.Why = "paused by an operator"
		if h.pause.Reason != "" {
			out.Why += " (" + h.pause.Reason + ")"
		}
		out.Why += ": trackd resume when you are ready"
	}
	return out
}

// writeDurably replaces a file so that after a crash it is there whole.
func writeDurably(path string, text []byte) error {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
