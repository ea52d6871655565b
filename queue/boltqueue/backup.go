package boltqueue

import (
	"context"
	"errors"
	"fmt"
	"os"

	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

// Copied tells what a backup holds.
type Copied struct {
	Files   int
	Bytes   int64
	Account queue.Account // of what was copied
}

// Backup copies the queue into dir, which must not exist or be empty, while it
// is at work. Each segment is copied between two of its transactions, by
// reference where the filesystem can; nothing moves between segments, so the
// copies together are a queue, as it was at moments during the call. Durable at
// return. What is delivered after its segment was copied is sent again by
// whoever starts the copy. After an error dir holds nothing that looks whole.
func (q *Queue) Backup(ctx context.Context, dir string) (done Copied, err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return done, fmt.Errorf("back up to %s: the directory is not empty; name another", dir)
	}
	if err := segment.MakeDir(dir); err != nil {
		return done, fmt.Errorf("back up to %s: %w", dir, err)
	}
	var made []string
	for _, seg := range q.segments() {
		if err = ctx.Err(); err != nil {
			break
		}
		to := segment.SegmentPath(dir, seg.Number)
		var counted segment.Counters
		var size int64
		if err = q.learn(seg); err == nil {
			counted, size, err = seg.CopyTo(to)
		}
		q.closeIdle()
		if errors.Is(err, errGone) || errors.Is(err, errAside) {
			err = nil // nothing is left in it, or an alarm tells of it
			continue
		}
		if err != nil {
			break
		}
		made = append(made, to)
		done.Files++
		done.Bytes += size
		done.Account = done.Account.Add(accountOf(counted))
	}
	if err == nil {
		err = segment.SyncDir(dir)
	}
	if err != nil {
		for _, path := range made {
			err = errors.Join(err, segment.Remove(path))
		}
		return Copied{}, fmt.Errorf("back up to %s: %w", dir, err)
	}
	return done, nil
}
