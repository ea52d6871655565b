package daemon

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
	"trackd/sender"
)

// pauser stops sending as operators ask, and remembers that over restarts.
type pauser struct {
	sender *sender.Sender
	marker string // path of the file that says sending is paused

	mu    sync.Mutex
	pause *pauseMark // nil: not paused; guarded by mu
}

// intake is what brings events in. An operator can stop it while everything
// else goes on.
type intake struct {
	ordered context.Context // ends when an operator wants the intake stopped
	order   context.CancelFunc
	ended   chan struct{} // closed by Run once everything that was read is answered
	log     *slog.Logger

	mu    sync.Mutex
	since time.Time // of the first order; zero: none; guarded by mu
}

func newIntake(log *slog.Logger) *intake {
	in := &intake{ended: make(chan struct{}), log: log}
	in.ordered, in.order = context.WithCancel(context.Background())
	return in
}

// control is everything an operator can order.
type control struct {
	*pauser
	*intake
	*reloader
}

var _ admin.Control = control{}

// pauseMark is what the marker file holds.
type pauseMark struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
}

// newPauser takes up the pause that an operator asked for before the restart, if
// there is one. A marker that cannot be read still means a pause: somebody
// wanted one.
func newPauser(dir string, s *sender.Sender) (*pauser, error) {
	p := &pauser{sender: s, marker: filepath.Join(dir, "paused")}
	text, err := os.ReadFile(p.marker)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for a pause: %w", err)
	}
	p.pause = &pauseMark{}
	if json.Unmarshal(text, p.pause) != nil {
		*p.pause = pauseMark{Since: time.Now().UTC(), Reason: "the file " + p.marker + " says so, but not since when"}
	}
	s.Pause(p.pause.Since, p.pause.Reason)
	return p, nil
}

// Pause implements [admin.Control]. Sending stops even where that cannot be
// kept over a restart.
func (p *pauser) Pause(reason string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	mark := &pauseMark{Since: time.Now().UTC().Truncate(time.Millisecond), Reason: reason}
	if p.pause != nil {
		mark.Since, mark.Reason = p.pause.Since, cmp.Or(reason, p.pause.Reason)
	}
	p.pause = mark
	p.sender.Pause(mark.Since, mark.Reason)
	text, err := json.Marshal(mark)
	if err == nil {
		err = writeDurably(p.marker, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("sending is paused, but a restart would resume it: %w", err)
	}
	return nil
}

// Resume implements [admin.Control].
func (p *pauser) Resume() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sender.Resume()
	p.pause = nil
	err := os.Remove(p.marker)
	if err == nil {
		err = syncDir(filepath.Dir(p.marker))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sending is resumed, but a restart would pause it: %w", err)
	}
	return nil
}

// StopIntake implements [admin.Control].
func (in *intake) StopIntake(ctx context.Context) error {
	in.mu.Lock()
	if in.since.IsZero() {
		in.since = time.Now().Truncate(time.Millisecond)
		in.log.Info("intake stopped by an operator, to drain", "to_start_it_again", "restart trackd")
	}
	in.mu.Unlock()
	in.order()
	select {
	case <-in.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// IntakeStopped implements [admin.Control].
func (in *intake) IntakeStopped() time.Time {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.since
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
