package main

import (
	"context"
	"errors"
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
)

// playFill puts events into a queue at rest.
//
//	fill DIR COUNT
func playFill(ctx context.Context, args []string) error {
	var dir string
	var count int
	if err := scan(args, &dir, &count); err != nil {
		return err
	}
	q, err := openQueue(dir, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(fill(ctx, q, count), q.Close()); err != nil {
		return err
	}
	return figures{counted: float64(count)}.print()
}

// openQueue opens the queue in dir whatever room the disk has left.
func openQueue(dir string, onCommit func(boltqueue.Commit)) (*boltqueue.Queue, error) {
	return boltqueue.Open(boltqueue.Options{Dir: dir, MaxBytes: 64 << 30, MinFreeBytes: -1, OnCommit: onCommit})
}

// fill appends count events.
func fill(ctx context.Context, q queue.Queue, count int) error {
	group, ctx := errgroup.WithContext(ctx)
	for caller := range fillCallers {
		group.Go(func() error {
			for n := caller * fillBatch; n < count; n += fillCallers * fillBatch {
				events, err := parsed(n, min(count-n, fillBatch))
				if err != nil {
					return err
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

// parsed returns the events from the n-th on, as a door would hand them over.
func parsed(n, count int) ([]event.Event, error) {
	events := make([]event.Event, count)
	for i := range events {
		var err error
		if events[i], err = (event.Parser{}).Parse(sample(nil, typical, 1, n+i), time.Now()); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// filled returns the directory of a queue with count events.
func (t *turn) filled(count int) (string, error) {
	dir := filepath.Join(t.dir, "queue")
	_, err := t.play("fill", dir, count)
	return dir, err
}
