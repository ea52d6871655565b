package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue"
)

const (
	fillBatch   = 1000 // events of one Append
	fillCallers = 4    // so that parsing and committing overlap
	buryBatch   = 256
)

// prepareQueue makes a queue in dir that holds so many dead letters and, behind
// them, so many queued events, each of a person of its own.
func (r *run) prepareQueue(dir string, dead, queued int) error {
	_, err := r.role("fill", dir, fmt.Sprint(dead), fmt.Sprint(queued), "0")
	return err
}

// playFill puts dead letters and events into a queue at rest. The events concern
// so many persons.
//
//	fill DIR DEAD QUEUED PERSONS
func playFill(ctx context.Context, args []string) error {
	var dir string
	var dead, queued, persons int
	if err := scan(args, &dir, &dead, &queued, &persons); err != nil {
		return err
	}
	q, err := openQueue(dir)
	if err != nil {
		return err
	}
	err = fill(ctx, q, dead, 0)
	for left := dead; err == nil && left > 0; {
		var n int
		n, err = bury(ctx, q, min(left, buryBatch))
		left -= n
	}
	if err == nil {
		err = fill(ctx, q, queued, persons)
	}
	stats, unknown := q.Stats(ctx)
	if err = errors.Join(err, unknown, q.Close()); err != nil {
		return err
	}
	if stats.Dead != uint64(dead) || stats.Queued != uint64(queued) {
		return fmt.Errorf("the queue holds %d dead letters and %d events, want %d and %d", stats.Dead, stats.Queued, dead, queued)
	}
	return figures{counted: float64(dead + queued)}.print()
}

// openQueue opens the queue in dir however little space the disk has left.
func openQueue(dir string) (*boltqueue.Queue, error) {
	return boltqueue.Open(boltqueue.Options{Dir: dir, MaxBytes: 64 << 30, MinFreeBytes: -1})
}

// fill appends count events.
func fill(ctx context.Context, q queue.Queue, count, persons int) error {
	group, ctx := errgroup.WithContext(ctx)
	for caller := range fillCallers {
		group.Go(func() error {
			for n := caller * fillBatch; n < count; n += fillCallers * fillBatch {
				events := make([]event.Event, min(count-n, fillBatch))
				for i := range events {
					var err error
					if events[i], err = (event.Parser{}).Parse(sample(nil, typical, 1, n+i, persons), time.Now()); err != nil {
						return err
					}
				}
				if err := q.Append(ctx, queue.Batch{Events: events}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// bury makes up to most events dead letters, as ones that the destination has
// refused, and returns how many.
func bury(ctx context.Context, q queue.Queue, most int) (int, error) {
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

// withBacklog measures what a queue can do while it holds what prepare puts in
// it: its answers first, which add little, then how much it accepts, and then, in
// a queue made anew, how fast the first count events leave.
func withBacklog(prepare func(r *run, dir string) error, count int) func(*run) (figures, error) {
	return func(r *run) (figures, error) {
		accepting, leaving := filepath.Join(r.dir, "accepting"), filepath.Join(r.dir, "leaving")
		if err := prepare(r, accepting); err != nil {
			return nil, err
		}
		s, err := r.serveTrackd(accepting)
		if err != nil {
			return nil, err
		}
		got, err := r.loadOn(s, posting(1))
		if err != nil {
			return nil, err
		}
		saturated, err := r.loadOn(s, streaming(4, 256, typical))
		if err != nil {
			return nil, err
		}
		memory, err := memoryOf(s.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		if err := r.stop(s); err != nil {
			return nil, err
		}
		if err := prepare(r, leaving); err != nil {
			return nil, err
		}
		drained, err := r.drain(leaving, count, nil)
		got[taken], got[ready], got[delivered] = saturated[taken], 1000*s.ready.Seconds(), drained[delivered]
		return got.with(memory), err
	}
}
