package sender

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"trackd/queue"
)

// lease is what one Lease brought.
type lease struct {
	deliveries []queue.Delivery
	err        error
}

// leaser leases as many as the scheduler wants, whenever it wants some, until
// ctx ends or wants closes.
func (s *scheduler) leaser(ctx context.Context) {
	for max := range s.wants {
		ds, err := s.queue.Lease(ctx, max)
		s.leases <- lease{ds, err} // capacity 1, one want at a time: never waits
	}
}

// worker attempts one job after the other until jobs closes. ctx cuts an
// attempt off.
func (s *scheduler) worker(ctx context.Context) {
	buf := make([]byte, maxText)
	for {
		j, ok := s.jobs.take()
		if !ok {
			return
		}
		began := time.Now()
		d := j.item.delivery
		a, v, r := answer{}, untried, resultStopped
		if s.clear() {
			a = s.client.attempt(ctx, d.Event.Type, d.Event.Body, buf)
			v, r = judge(a)
			if v == untried && ctx.Err() == nil {
				v, r = retry, resultNetwork // it was not us
			}
		}
		if v.troubles() {
			s.jobs.trouble()
		}
		s.metrics.attempts[r].Inc()
		s.metrics.duration.Observe(time.Since(began).Seconds())
		if s.log.Enabled(ctx, slog.LevelDebug) { // lets an operator follow one messageId
			s.log.LogAttrs(ctx, slog.LevelDebug, "attempted",
				slog.String("message_id", d.Event.ID), slog.Int("attempt", d.Attempts+1),
				slog.String("result", string(r)), slog.Int("status", a.status))
		}
		s.reports <- report{item: j.item, answer: a, verdict: v, result: r, epoch: j.epoch, began: began}
	}
}

// settler settles batch after batch until batches closes. A batch the queue
// does not take is offered again until ctx ends: no outcome may be lost while
// its event is leased.
func (s *scheduler) settler(ctx context.Context) {
	for batch := range s.batches {
		if err := s.settle(ctx, batch); err != nil {
			s.log.Error("outcomes not settled: these events may be sent again", "count", len(batch), "error", err)
		}
		s.settled <- struct{}{} // capacity 1, one batch at a time: never waits
	}
}

func (s *scheduler) settle(ctx context.Context, batch []queue.Outcome) error {
	waits := newDelays(settleMin, settleMax)
	for tries := 1; ; tries++ {
		err := s.queue.Settle(ctx, batch...)
		if err == nil && tries > 1 {
			s.log.Info("settling recovered", "tries", tries)
		}
		if err == nil || errors.Is(err, queue.ErrClosed) || ctx.Err() != nil {
			return err
		}
		if tries == 1 {
			s.log.Error("settling failed: sending waits for it", "count", len(batch), "error", err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(waits.next()):
		}
	}
}

const (
	settleMin = 50 * time.Millisecond
	settleMax = 5 * time.Second
)
