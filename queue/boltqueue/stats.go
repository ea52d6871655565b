package boltqueue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

// Stats implements [queue.Queue].
func (q *Queue) Stats(ctx context.Context) (queue.Stats, error) {
	if err := ctx.Err(); err != nil {
		return queue.Stats{}, err
	}
	if q.isClosed() {
		return queue.Stats{}, queue.ErrClosed
	}
	// Memory first: a file that memory knows to be set aside is seen in the directory, too.
	s := q.snapshot()
	disk, err := q.lookAtDisk()
	s.Bytes, s.MaxBytes, s.FreeBytes, s.Damaged = disk.Bytes, q.opts.MaxBytes, disk.Free, disk.damaged
	if err != nil {
		s.Alarms = append(s.Alarms, fmt.Sprintf("the queue's directory cannot be read, what is told of it is older: %v", err))
	}
	return s, nil
}

// diskState is what Stats tells of the directory.
type diskState struct {
	segment.Usage
	damaged []string
}

// lookAtDisk returns the state of the directory, the one seen last if it cannot
// be read.
func (q *Queue) lookAtDisk() (diskState, error) {
	use, err := segment.DiskUsage(q.opts.Dir)
	damaged, err2 := setAsideFiles(q.opts.Dir)
	q.mu.Lock()
	defer q.mu.Unlock()
	if err = errors.Join(err, err2); err == nil {
		q.disk = diskState{use, damaged}
	}
	return q.disk, err
}

// snapshot is what memory knows.
func (q *Queue) snapshot() queue.Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := queue.Stats{Exact: true, Leased: len(q.held) - len(q.parked) - len(q.returned),
		Parked: len(q.parked), ParkedMax: queue.MaxParked, Full: q.full,
		DeadByReason: map[queue.Reason]uint64{}, Alarms: slices.Sorted(maps.Values(q.alarms))}
	for _, seg := range q.line {
		s.Exact = s.Exact && seg.known
		s.Account = s.Account.Add(accountOf(seg.book))
		s.RejectBytes += int64(seg.book.RejectBytes)
		s.SampleBytes += int64(seg.book.SampleBytes)
		for code, n := range seg.book.DeadBy {
			if n > 0 {
				s.DeadByReason[reasonOf(uint8(code))] += n
			}
		}
		if seg.failed != nil || !seg.held.IsZero() {
			s.Held += heldEvents(seg)
		}
	}
	if s.Queued > 0 {
		s.Oldest = q.oldest()
	}
	return s
}

// heldEvents counts outcomes of a segment that the disk does not know of.
func heldEvents(seg *segmentState) int {
	n := 0
	for _, b := range seg.dirty {
		n += b.stored.By[segment.Live] - b.now.By[segment.Live]
	}
	return n
}

func older(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// oldest returns when the oldest queued event was taken, or a little earlier:
// what has not been read yet is not older than what was read before it. The
// caller holds mu.
func (q *Queue) oldest() (t time.Time) {
	for _, b := range q.open {
		if b.now.By[segment.Live] > 0 {
			t = older(t, b.taken)
		}
	}
	for _, seg := range q.line {
		_, replayed := seg.replayed.first()
		switch c := &q.cursor; {
		case seg.book.Live == 0:
		case replayed, c.seg == nil, seg.Number > c.seg.Number:
			t = older(t, seg.oldest)
		case seg == c.seg && c.next < seg.book.NextBlock:
			t = older(t, q.nextTaken())
		}
	}
	return t
}

// nextTaken returns when the block that the cursor comes to next was taken. The
// caller holds mu.
func (q *Queue) nextTaken() time.Time {
	c := &q.cursor
	if b, ok := q.cache.blocks[blockKey{c.seg, c.next}]; ok {
		return b.Taken
	}
	for _, f := range c.ahead {
		if f.Number >= c.next {
			return f.Taken
		}
	}
	return c.seg.oldest
}
