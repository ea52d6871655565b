package boltqueue

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"trackd/queue"
)

// Stats implements [queue.Queue].
func (q *Queue) Stats(ctx context.Context) (queue.Stats, error) {
	if err := ctx.Err(); err != nil {
		return queue.Stats{}, err
	}
	if q.isClosed() {
		return queue.Stats{}, queue.ErrClosed
	}
	use, err := diskUsage(q.opts.Dir)
	if err != nil {
		return queue.Stats{}, err
	}
	unopened, err := q.oldestUnopened()
	if err != nil {
		return queue.Stats{}, err
	}
	s := q.snapshot()
	s.Bytes, s.MaxBytes, s.FreeBytes = use.bytes, q.opts.MaxBytes, use.free
	s.Oldest = older(s.Oldest, unopened)
	s.Damaged, err = setAsideFiles(q.opts.Dir)
	return s, err
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
		s.Account = s.Account.Add(seg.book.account())
		s.RejectBytes += int64(seg.book.rejectBytes)
		s.SampleBytes += int64(seg.book.sampleBytes)
		for code, n := range seg.book.deadBy {
			if n > 0 {
				s.DeadByReason[reasonOf(uint8(code))] += n
			}
		}
		if seg.failed != nil || !seg.held.IsZero() {
			s.Held += heldEvents(seg)
		}
	}
	for _, b := range q.open {
		if b.now.by[live] > 0 {
			s.Oldest = older(s.Oldest, b.taken)
		}
	}
	return s
}

// heldEvents counts outcomes of a segment that the disk does not know of.
func heldEvents(seg *segment) int {
	n := 0
	for _, b := range seg.dirty {
		n += b.stored.by[live] - b.now.by[live]
	}
	return n
}

func older(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// oldestUnopened returns when the first live event the cursor has not come to
// was taken; zero if there is none.
func (q *Queue) oldestUnopened() (time.Time, error) {
	seg, from := q.standOn()
	for _, s := range q.segments() {
		q.mu.Lock()
		again, isAgain := s.replayed.first()
		q.mu.Unlock()
		if isAgain {
			return q.firstLive(s, again)
		}
		if seg != nil && s.number < seg.number {
			continue
		}
		start := uint64(1)
		if s == seg {
			start = from
		}
		taken, err := q.firstLive(s, start)
		if !taken.IsZero() || err != nil && !errors.Is(err, errGone) {
			return taken, err
		}
	}
	return time.Time{}, nil
}

// firstLive returns when the first live event of a segment in blocks from
// start on was taken.
func (q *Queue) firstLive(seg *segment, start uint64) (time.Time, error) {
	if err := q.learn(seg); err != nil {
		return time.Time{}, errGone // set aside and alarmed
	}
	q.mu.Lock()
	b, cached := q.cache.blocks[blockKey{seg, start}]
	nothing := seg.known && (seg.book.live == 0 || seg.book.nextBlock <= start)
	q.mu.Unlock()
	switch {
	case nothing:
		return time.Time{}, nil
	case cached:
		return b.taken, nil
	}
	var taken time.Time
	err := seg.view(func(tx *bolt.Tx) error {
		marks := tx.Bucket([]byte(bucketMarks))
		c := tx.Bucket([]byte(bucketBlocks)).Cursor()
		for k, v := c.Seek(numberKey(start)); k != nil && taken.IsZero(); k, v = c.Next() {
			f, err := parseFrame(v, kindBlock, seg.identity, keyNumber(k))
			if err != nil {
				continue
			}
			if m, err := blockMarks(marks.Get(k), seg.identity, f.number, int(f.count)); err != nil || slices.Contains(m.states, live) {
				taken = timeOf(f.stamp)
			}
		}
		return nil
	})
	return taken, err
}
