package sender

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"trackd/queue"
)

// job is one delivery a worker is to attempt.
type job struct {
	delivery queue.Delivery
	epoch    uint64 // of the gate when it was launched
	probe    bool   // to be tried although the line is not open
}

// loan is what one Lease brought.
type loan struct {
	deliveries []queue.Delivery
	err        error
}

// leaser leases as many as the scheduler wants, whenever it wants some, until
// ctx ends or wants closes.
func (s *scheduler) leaser(ctx context.Context) {
	for max := range s.wants {
		ds, err := s.queue.Lease(ctx, max)
		s.loans <- loan{ds, err} // capacity 1, one want at a time: never waits
	}
}

// worker attempts one job after the other until jobs closes. ctx cuts an
// attempt off.
func (s *scheduler) worker(ctx context.Context) {
	buf := make([]byte, maxText)
	for j := range s.jobs {
		if !j.probe && (s.troubles.Load() > 0 || s.halted.Load()) {
			s.reports <- report{delivery: j.delivery, verdict: untried, epoch: j.epoch}
			continue
		}
		began := time.Now()
		a := s.client.attempt(ctx, j.delivery.Event.Type, j.delivery.Event.Body, buf)
		v, r := judge(a)
		if v == untried && ctx.Err() == nil {
			v, r = retry, resultNetwork // it was not us
		}
		if v.troubles() {
			s.troubles.Add(1)
		}
		s.metrics.attempts[r].Inc()
		s.metrics.duration.Observe(time.Since(began).Seconds())
		s.trace(ctx, j.delivery, a, r)
		s.reports <- report{
			delivery: j.delivery, answer: a, verdict: v, result: r, epoch: j.epoch, began: began,
		}
	}
}

// trace lets an operator follow one messageId.
func (s *scheduler) trace(ctx context.Context, d queue.Delivery, a answer, r result) {
	if !s.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	s.log.LogAttrs(ctx, slog.LevelDebug, "attempted",
		slog.String("message_id", d.Event.ID),
		slog.Int("attempt", d.Attempts+1),
		slog.String("result", string(r)),
		slog.Int("status", a.status))
}

// settler settles batch after batch until batches closes. A batch the queue
// does not take is offered again until ctx ends: no outcome may be lost while
// the event is on loan.
func (s *scheduler) settler(ctx context.Context) {
	for batch := range s.batches {
		if err := s.settle(ctx, batch); err != nil {
			s.log.Error("outcomes not settled: these events may be sent again", "count", len(batch), "error", err)
		}
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
