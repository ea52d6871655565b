package boltqueue

import (
	"errors"
	"time"

	"trackd/queue/boltqueue/segment"
)

const (
	// thinBytes is how large a segment must be to be worth rewriting.
	thinBytes = 1 << 20

	// thinShare is the part of a segment in use, one in so many, below which it
	// is rewritten.
	thinShare = 2

	// thinRetry is how long to wait after a rewrite failed: the disk may be full.
	thinRetry = time.Minute
)

// thin rewrites sealed segments of which little is left: stragglers and dead
// letters must not keep 32 MiB each. Called by the writer, which is held up
// for as long as writing half a segment takes; not while delivery is in the
// segment, as it soon may be empty. It reports whether it did.
func (q *Queue) thin(seg *segmentState) bool {
	if now := time.Now(); !q.thinnable(seg) || now.Before(seg.thinAfter) {
		return false
	} else if err := q.rewrite(seg, false); err != nil {
		seg.thinAfter = now.Add(thinRetry)
		q.log.Warn("segment not made smaller", "segment", seg.Number, "error", err)
		if errors.Is(err, segment.ErrDamaged) {
			q.spoiled(seg, err)
		}
		return false
	}
	q.log.Debug("segment made smaller", "segment", seg.Number, "bytes", seg.Size)
	return true
}

func (q *Queue) thinnable(seg *segmentState) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return seg != q.tail && seg != q.cursor.seg && seg.known && seg.failed == nil && !seg.book.Empty() &&
		seg.Size > min(thinBytes, q.opts.segmentBytes/2) && seg.Size-seg.Free <= seg.Size/thinShare
}

// rewrite copies a segment into a small file of the same identity and the same
// addresses, and lets that take its name: atomic by itself. With scrub the copy
// lacks the bytes of settled events. Whoever wants to enter meanwhile waits.
func (q *Queue) rewrite(seg *segmentState, scrub bool) error {
	q.spares.Lock() // nobody else takes the room that is free in between
	defer q.spares.Unlock()
	replaced, err := seg.Compact(q.step, q.syncDir, scrub)
	if err != nil && replaced {
		q.fail(seg, err) // after a power cut the old file may have the name again
	}
	if err != nil {
		return err
	}
	if err := seg.Enter(seg.Measure); err != nil {
		return err
	}
	return seg.ReserveForMarks(q.opts.marksSlack(seg.Size))
}
