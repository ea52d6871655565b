package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"trackd/queue"
)

// standing measures what a queue can do while something stands in it, and then,
// in one made anew, how fast the first count events leave.
func standing(stand func(t *turn, dir string) error, count int) func(*turn) (figures, error) {
	return func(t *turn) (figures, error) {
		dir := filepath.Join(t.dir, "taking")
		if err := stand(t, dir); err != nil {
			return nil, err
		}
		in, err := t.takeIn(dir)
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(t.dir, "giving")
		if err := stand(t, dir); err != nil {
			return nil, err
		}
		out, err := t.drain(dir, count)
		return figures{delivered: out[delivered]}.with(in), err
	}
}

// takeIn measures the daemon on the queue in dir: first its answers, which add
// little to what is there, then how much it takes.
func (t *turn) takeIn(dir string) (figures, error) {
	s, err := t.serveTrackd(dir)
	if err != nil {
		return nil, err
	}
	got, err := t.loadOn(s, posting(1))
	if err != nil {
		return nil, err
	}
	much, err := t.loadOn(s, streaming(4, 256, typical))
	if err != nil {
		return nil, err
	}
	memory, err := memoryOf(s.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	got[taken], got[ready] = much[taken], 1000*s.ready.Seconds()
	return got.with(memory), t.stop(s)
}

// playBury makes dead letters: events that a destination has refused.
//
//	bury DIR COUNT
func playBury(ctx context.Context, args []string) error {
	var dir string
	var count int
	if err := scan(args, &dir, &count); err != nil {
		return err
	}
	q, err := openQueue(dir, nil)
	if err != nil {
		return err
	}
	err = fill(ctx, q, count)
	for left := count; err == nil && left > 0; {
		var n int
		n, err = buryNext(ctx, q, min(left, 256))
		left -= n
	}
	stats, unknown := q.Stats(ctx)
	if err = errors.Join(err, unknown, q.Close()); err != nil {
		return err
	}
	if stats.Dead != uint64(count) {
		return fmt.Errorf("%d dead letters, want %d", stats.Dead, count)
	}
	return figures{counted: float64(count)}.print()
}

// buryNext buries up to most events and returns how many.
func buryNext(ctx context.Context, q queue.Queue, most int) (int, error) {
	held, err := q.Lease(ctx, most)
	if err != nil {
		return 0, err
	}
	outcomes := make([]queue.Outcome, len(held))
	for i, d := range held {
		outcomes[i] = queue.Outcome{Address: d.Address, Verb: queue.Bury, Attempts: 1,
			Reason: queue.Rejected, Status: 400, Detail: `{"meta":{"errors":["not this one"]}}`}
	}
	return len(held), q.Settle(ctx, outcomes...)
}
