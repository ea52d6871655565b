package boltqueue

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"trackd/queue/boltqueue/segment"
)

const (
	// flushAfter is how long an outcome may wait in memory for its mark.
	flushAfter = 200 * time.Millisecond

	// flushBlocks is how many blocks one transaction marks at most.
	flushBlocks = 64

	// heldRetry is how long to wait after a medium had no room for marks.
	heldRetry = time.Second
)

// turnCommits bounds the transactions of one turn of the writer: callers who
// wait for their events come first in the next.
const turnCommits = 4

// flushDue writes marks that are due, retires what is empty, compacts what has
// become sparse, and returns how long the writer may sleep.
func (q *Queue) flushDue(now time.Time) time.Duration {
	q.rollIdle()
	commits := 0
	for _, seg := range q.withWork() {
		q.retire(seg)
		for q.flushNeeded(seg, now) {
			if commits == turnCommits {
				return 0
			}
			commits++
			if !q.flush(seg, now) {
				break
			}
		}
		if q.thin(seg) {
			return 0 // one in a turn
		}
		q.workDone(seg)
	}
	return q.untilDue()
}

// withWork returns the segments the writer may have to do something about,
// oldest first.
func (q *Queue) withWork() []*segmentState {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.SortedFunc(maps.Keys(q.work), func(a, b *segmentState) int { return cmp.Compare(a.Number, b.Number) })
}

// workDone forgets that there was work to do for a segment, if there is none.
func (q *Queue) workDone(seg *segmentState) {
	thin := q.thinnable(seg)
	q.mu.Lock()
	defer q.mu.Unlock()
	if seg.gone || seg.failed != nil || len(seg.dirty) == 0 && !thin {
		delete(q.work, seg)
	}
}

// noteWork has the writer look at a segment in its next turn. The caller holds
// mu.
func (q *Queue) noteWork(seg *segmentState) { q.work[seg] = true }

// flushNeeded reports whether a segment has marks that should not wait.
func (q *Queue) flushNeeded(seg *segmentState, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if seg.failed != nil || len(seg.dirty) == 0 || now.Before(seg.held) {
		return false
	}
	settled := 0
	for _, b := range seg.dirty {
		if now.Sub(b.since) >= flushAfter {
			return true
		}
		if b.settled() {
			settled++
		}
	}
	return settled >= flushBlocks
}

// flush marks up to flushBlocks blocks of seg and reports success.
func (q *Queue) flush(seg *segmentState, now time.Time) bool {
	marks := q.pickMarks(seg, now, true)
	if len(marks) == 0 {
		return false
	}
	return q.putAll(seg, marks) == nil
}

// putAll marks the picked blocks in one transaction of their own.
func (q *Queue) putAll(seg *segmentState, marks []picked) error {
	begin, after := time.Now(), seg.Stored
	err := q.step(markingPoint(marks), func() error {
		return seg.Update(func(tx *bolt.Tx) error { return seg.PutMarks(tx, markings(marks), &after) })
	})
	q.opts.OnCommit(Commit{Duration: time.Since(begin), Err: err})
	if err != nil {
		q.unpickMarks(seg, marks)
		q.holdOff(seg)
		q.writeFailed(seg, err)
		return fmt.Errorf("mark %d blocks of segment %d: %w", len(marks), seg.Number, err)
	}
	q.markedThrough(seg, marks, after)
	q.release(seg)
	return nil
}

// markingPoint is the fault point of a transaction that stores marks.
func markingPoint(marks []picked) string {
	switch {
	case slices.ContainsFunc(marks, func(m picked) bool { return len(m.edited) > 0 && m.to == segment.Live }):
		return "replay.commit"
	case slices.ContainsFunc(marks, func(m picked) bool { return len(m.edited) > 0 }):
		return "discard.commit"
	case slices.ContainsFunc(marks, picked.buries):
		return "bury.commit"
	default:
		return "marks.commit"
	}
}

// holdOff puts off the next flush of a segment that had no room for marks.
func (q *Queue) holdOff(seg *segmentState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	seg.held = time.Now().Add(heldRetry)
}

// release ends the hold and its alarm.
func (q *Queue) release(seg *segmentState) {
	q.mu.Lock()
	was := !seg.held.IsZero()
	seg.held = time.Time{}
	q.mu.Unlock()
	if was {
		q.lower(fmt.Sprintf("segment %d", seg.Number))
	}
}

// untilDue returns the time until there is something to do.
func (q *Queue) untilDue() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	next := time.Hour
	for seg := range q.work {
		switch {
		case seg.failed != nil:
		case len(seg.dirty) > 0:
			next = min(next, max(time.Until(seg.dirty[0].since.Add(flushAfter)), time.Until(seg.held)))
		default:
			next = min(next, time.Until(seg.thinAfter))
		}
	}
	return max(next, time.Millisecond)
}

// flushAll writes every mark that can be written, due or not, and retires
// what is empty.
func (q *Queue) flushAll() {
	q.rollIdle()
	for _, seg := range q.withWork() {
		q.retire(seg)
		for q.flush(seg, time.Now().Add(flushAfter)) {
		}
	}
}

// idleRollBytes is how large a tail of which little is left may be before the
// line moves on, so that its disk can be given back.
const idleRollBytes = 4 << 20

// isEmpty reports whether nothing in a segment is worth keeping.
func (q *Queue) isEmpty(seg *segmentState) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return seg.book.Empty()
}

// rollIdle leaves a tail that has grown and holds next to nothing any more, so
// that a drained queue is small again.
func (q *Queue) rollIdle() {
	q.mu.Lock()
	tail := q.tail
	roll := tail != nil && tail.Size > min(idleRollBytes, q.opts.segmentBytes/2) &&
		(tail.book.Empty() || tail.Size-tail.Free <= tail.Size/8)
	q.mu.Unlock()
	if !roll {
		return
	}
	next, err := q.takeSpare()
	if err != nil {
		return // no room for another; this one still serves
	}
	q.follow(next)
	if q.isEmpty(tail) {
		return // its file goes as it is
	}
	q.seal(tail)
	q.thin(tail)
}
