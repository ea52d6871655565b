package sender_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"trackd/sender"
)

func TestAliveAnswersWhileTheSchedulerTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newMemQueue(), newSite(t), nil)
		wantAlive(t, r.Sender, "idle")
		r.Pause(time.Now(), "")
		wantAlive(t, r.Sender, "paused")
		r.end(t)
		if err := aliveWithin(t, r.Sender, time.Minute); err == nil {
			t.Error("after Run returned: got alive")
		}
	})
}

func TestAliveDoesNotAnswerForAWedgedScheduler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		s.set(says(401, `{}`)) // the scheduler logs that, and the log's reader hangs
		stuck := make(chan struct{})
		r := start(t, q, s, func(o *sender.Options) {
			o.Log = slog.New(slog.NewTextHandler(stuckWriter(stuck), nil))
		})
		q.add("a")
		synctest.Wait()
		if err := aliveWithin(t, r.Sender, time.Hour); err == nil {
			t.Error("wedged for an hour: got alive")
		}
		close(stuck)
		wantAlive(t, r.Sender, "free again")
		r.end(t)
	})
}

// stuckWriter takes nothing until it is closed.
type stuckWriter chan struct{}

func (w stuckWriter) Write(p []byte) (int, error) {
	<-w
	return len(p), nil
}

func wantAlive(t *testing.T, s *sender.Sender, when string) {
	t.Helper()
	if err := aliveWithin(t, s, time.Second); err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

func aliveWithin(t *testing.T, s *sender.Sender, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return s.Alive(ctx)
}
