package boltqueue

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	bolt "go.etcd.io/bbolt"

	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

// write is the writer: the only goroutine that changes segments in the line.
// Each turn commits what callers brought, with the marks that are due in the
// same file, then the marks that are due elsewhere.
func (q *Queue) write() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if g := q.intake.take(q.packing()); g != nil {
			q.commit(g) // whoever brings more meanwhile has the writer look again
		}
		timer.Reset(q.flushDue(time.Now()))
		select {
		case <-q.kick:
		case <-timer.C:
		case op := <-q.ops:
			op()
		case <-q.stop:
			q.finish()
			return
		}
	}
}

// expectedStay judges by where delivery stands and where appends go. Delivery
// that has not begun is behind, too.
func expectedStay(cursor, tail *segmentState) segment.Stay {
	if cursor == tail && tail != nil {
		return segment.Passing
	}
	return segment.Waiting
}

// packing decides how the blocks of the next group are made.
func (q *Queue) packing() segment.Packing {
	q.mu.Lock()
	defer q.mu.Unlock()
	return segment.Packing{Packer: q.packer, Stay: expectedStay(q.cursor.seg, q.tail)}
}

// finish commits what was brought before Close, and all marks.
func (q *Queue) finish() {
	if g := q.intake.take(q.packing()); g != nil {
		q.commit(g)
	}
	q.mu.Lock()
	for _, b := range q.open {
		if len(b.Evidence) > 0 { // at most an hour old on disk, and now exact
			q.noteDirty(b, time.Now())
		}
	}
	q.mu.Unlock()
	q.flushAll()
}

// do runs op in the writer and returns its error.
func (q *Queue) do(op func() error) error {
	done := make(chan error, 1)
	select {
	case q.ops <- func() { done <- op() }:
		return <-done
	case <-q.stop:
		return queue.ErrClosed
	}
}

// commit makes a group durable and wakes everyone who waits for it.
func (q *Queue) commit(g *group) {
	begin := time.Now()
	if g.err = q.store(g); g.err != nil {
		q.returnCost(g.rejectCost, g.sampleCost)
	}
	close(g.done)
	if g.callers > 1 {
		runtime.Gosched() // what they bring next should not miss the next commit
	}
	q.opts.OnCommit(Commit{Duration: time.Since(begin), Events: g.events(), Err: g.err})
}

// store commits g to the tail, with the marks that are due there. Until it
// returned nil nothing of g can be leased.
func (q *Queue) store(g *group) error {
	seg, err := q.tailWithRoom()
	if err != nil {
		return err
	}
	for _, b := range g.blocks {
		b.Pack() // before the segment is entered: others may want to read there
	}
	picked := q.pickMarks(seg, time.Now(), true)
	marks := markings(picked)
	after, first := seg.Stored, seg.Stored.NextBlock
	after.Take(g.blocks, g.rejects)
	err = q.step("append.commit", func() error {
		return seg.Update(func(tx *bolt.Tx) error {
			if err := seg.PutGroup(tx, g.blocks, g.rejects); err != nil {
				return err
			}
			return seg.PutMarks(tx, marks, &after)
		})
	})
	if err != nil {
		q.unpickMarks(seg, picked)
		q.writeFailed(seg, err)
		if segment.NoRoom(err) && q.writable(seg) == nil {
			q.setFull(diskFull)
			return fmt.Errorf("%w: %s", queue.ErrFull, diskFull)
		}
		return fmt.Errorf("append to segment %d: %w", seg.Number, err)
	}
	q.markedThrough(seg, picked, after)
	q.publish(seg, g, first)
	return nil
}

// publish lets the cursor see what was committed.
func (q *Queue) publish(seg *segmentState, g *group, first uint64) {
	q.mu.Lock()
	if seg.book.Live == 0 && len(g.blocks) > 0 {
		seg.oldest = g.blocks[0].Taken
	}
	seg.book.Take(g.blocks, g.rejects)
	q.tailSize = seg.Size
	for i, b := range g.blocks {
		q.offer(seg, first+uint64(i), b)
	}
	q.mu.Unlock()
	nudge(q.wake)
}

// writeFailed decides what a failed transaction means for the segment. A full
// medium is waited out, and so is what kept the file from being opened;
// everything else is final for that file in this
// process, because what a failed fsync left behind cannot be known.
func (q *Queue) writeFailed(seg *segmentState, err error) {
	if errors.Is(err, segment.ErrNotOpened) && !errors.Is(err, segment.ErrDamaged) {
		q.raise(fmt.Sprintf("segment %d", seg.Number), fmt.Sprintf("%s cannot be opened now: %v; outcomes are held in memory, this is tried again every second", seg.Path, err))
		return
	}
	if segment.NoRoom(err) && seg.Shows(seg.Stored) {
		q.raise(fmt.Sprintf("segment %d", seg.Number), "the disk is full: outcomes are held in memory; free some space")
		return
	}
	q.fail(seg, err)
}

// fail ends writing to a segment in this process.
func (q *Queue) fail(seg *segmentState, err error) {
	q.mu.Lock()
	if seg.failed == nil { // or they do not count any more
		q.nDirty -= len(seg.dirty)
	}
	seg.failed = err
	if q.tail == seg {
		q.tail = nil
	}
	q.mu.Unlock()
	q.raise(fmt.Sprintf("segment %d", seg.Number), fmt.Sprintf(
		"writing %s failed: %v; nothing more is written to it, its events are sent all the same and may be sent again after a restart; check the disk", seg.Path, err))
	nudge(q.tend)
}

// writable returns why nothing more is written to a segment, or nil.
func (q *Queue) writable(seg *segmentState) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if seg.failed == nil {
		return nil
	}
	return fmt.Errorf("segment %d takes no more changes until a restart, since: %w", seg.Number, seg.failed)
}

// tailWithRoom returns the segment that takes the next commit, rolling to the
// next one when the tail is full.
func (q *Queue) tailWithRoom() (*segmentState, error) {
	q.mu.Lock()
	tail := q.tail
	q.mu.Unlock()
	if tail != nil && tail.Size < q.opts.segmentBytes {
		return tail, nil
	}
	next, err := q.takeSpare()
	if err != nil {
		return nil, err
	}
	q.follow(next)
	if tail != nil {
		q.seal(tail)
	}
	return next, nil
}

// follow makes next the tail.
func (q *Queue) follow(next *segmentState) {
	q.mu.Lock()
	q.line = append(q.line, next)
	q.tail, q.tailSize = next, next.Size
	q.mu.Unlock()
	nudge(q.tend) // for another spare
}

// seal ends a segment's time as the tail: an empty commit, so that either of
// bbolt's meta pages shows everything, and its reservation is exchanged for a
// small one for marks.
func (q *Queue) seal(seg *segmentState) {
	err := q.step("seal.commit", func() error {
		return seg.Update(func(tx *bolt.Tx) error { return seg.PutBook(tx, seg.Stored) })
	})
	if err != nil {
		q.writeFailed(seg, err)
		return
	}
	q.spares.Lock() // nobody else takes the room that is free in between
	err = q.step("seal.release", func() error { return seg.ReserveForMarks(q.opts.marksSlack(seg.Size)) })
	q.spares.Unlock()
	if err != nil {
		q.log.Warn("reservation not exchanged", "segment", seg.Number, "error", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.noteWork(seg)
}

// sealLate seals a segment that an earlier process appended to at its end. It
// runs in the writer.
func (q *Queue) sealLate(seg *segmentState) error {
	q.mu.Lock()
	settled := q.tail == seg || seg.gone || seg.failed != nil || seg.book.Empty()
	q.mu.Unlock()
	allocated, err := segment.AllocatedTo(seg.Path)
	if settled || err != nil || allocated <= seg.Size+2*q.opts.marksSlack(seg.Size) {
		return err
	}
	q.seal(seg)
	return nil
}

// marksSlack is what a sealed segment of so many bytes has reserved beyond them,
// for marks and the neighbours of what they change. A small one has less of it:
// segments that a process left after a short life must not pile up.
func (o Options) marksSlack(size int64) int64 {
	return max(size/8, min(2*size, 1<<20, o.reservation()-size))
}
