package boltqueue

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

// fullRecheck is how often the keeper looks whether a full queue has room
// again. Only outside help needs it: room that the queue makes itself is seen
// at once.
const fullRecheck = time.Second

// maxOpen is how many segments may be open at a time beyond those in use.
const maxOpen = 16

// learnRetry is how often the keeper tries to read what it could not.
const learnRetry = time.Second

// keep is the keeper: it makes the spare, unlinks empty segments, reads books
// after a start and looks after a full queue.
func (q *Queue) keep() {
	known := false
	for {
		known = known || q.learnAll()
		q.tendSpare()
		q.sweep()
		var recheck <-chan time.Time
		if q.whyFull() != nil || !known {
			recheck = time.After(min(fullRecheck, learnRetry))
		}
		select {
		case <-q.tend:
		case <-recheck:
		case <-q.stop:
			q.sweep()
			return
		}
	}
}

// learnAll reads the books that the start did not need, and gives back what an
// earlier process had reserved for appends. It reports whether all are known.
func (q *Queue) learnAll() (known bool) {
	known = true
	for _, seg := range q.segments() {
		if q.isClosed() {
			return true
		}
		err := q.learn(seg)
		if err == nil {
			err = q.do(func() error { return q.sealLate(seg) })
		}
		q.closeIdle()
		about := "reading " + filepath.Base(seg.Path)
		if err == nil || errors.Is(err, errAside) || errors.Is(err, queue.ErrClosed) {
			q.lower(about) // set aside with an alarm of its own
			continue
		}
		q.raise(about, fmt.Sprintf("%s cannot be read now: %v; this is tried again every second", seg.Path, err))
		known = false
	}
	nudge(q.wake)
	return known
}

// tendSpare makes a spare ahead of need. When none can be made the tail goes
// on until it is full.
func (q *Queue) tendSpare() {
	q.spares.Lock()
	defer q.spares.Unlock()
	if q.spare != nil {
		q.reopen()
		return
	}
	if why, err := q.noRoomFor(2 * q.opts.reservation()); err != nil || why != "" {
		return
	}
	if err := q.makeSpare(); err != nil && !errors.Is(err, queue.ErrFull) {
		q.raise("line", fmt.Sprintf("no segment can be made ahead: %v", err))
		return
	}
	q.lower("line")
}

// reopen ends a refusal that a commit without room began, as soon as there is
// some room: the next commit will tell whether it is enough. There is a spare,
// so that nothing else stands in the way.
func (q *Queue) reopen() {
	if q.whyFull() == nil {
		return
	}
	if why, err := q.noRoomFor(0); err == nil && why == "" {
		q.setFull("")
	}
}

// retire takes an empty segment that is not the tail out of the line. Its
// book balances alone, so the account of the files that stay still does. Marks
// that were not flushed yet need not be. Called by the writer only.
func (q *Queue) retire(seg *segmentState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if seg == q.tail || !seg.known || !seg.book.Empty() || !slices.Contains(q.line, seg) {
		return
	}
	q.line = slices.DeleteFunc(q.line, func(s *segmentState) bool { return s == seg })
	q.removed = append(q.removed, seg)
	seg.gone = true
	delete(q.work, seg)
	q.forget(seg)
	nudge(q.tend)
}

// forget drops what memory holds of a segment whose events are all settled.
// The caller holds mu.
func (q *Queue) forget(seg *segmentState) {
	if seg.failed == nil {
		q.nDirty -= len(seg.dirty)
	}
	seg.dirty = nil
	for key := range q.open {
		if key.seg == seg {
			delete(q.open, key)
		}
	}
}

// sweep unlinks the files of segments that left the line, and closes files
// that nobody used for a while.
func (q *Queue) sweep() {
	q.mu.Lock()
	gone := q.removed
	q.removed = nil
	q.mu.Unlock()
	for _, seg := range gone {
		about := "removing " + filepath.Base(seg.Path)
		if err := q.unlink(seg); err != nil {
			q.raise(about, fmt.Sprintf("%s is empty and could not be removed, which is tried again: %v", seg.Path, err))
			q.mu.Lock()
			q.removed = append(q.removed, seg)
			q.mu.Unlock()
			continue
		}
		q.lower(about)
	}
	if len(gone) > 0 && q.whyFull() != nil {
		q.tendSpare()
	}
	q.closeIdle()
}

func (q *Queue) unlink(seg *segmentState) error {
	if err := seg.End(errGone); err != nil {
		return err
	}
	// An earlier attempt may have got this far.
	err := q.step("unlink.remove", func() error { return segment.Remove(seg.Path) })
	if err != nil {
		return err
	}
	return q.step("unlink.syncdir", func() error { return q.syncDir() })
}

// errGone means that a segment was unlinked because nothing in it is left.
var errGone = errors.New("segment is gone")

// closeIdle keeps the number of open files within maxOpen, closing those
// entered longest ago.
func (q *Queue) closeIdle() {
	q.mu.Lock()
	var idle []*segmentState
	for _, s := range q.line {
		if s != q.tail && s != q.cursor.seg {
			idle = append(idle, s)
		}
	}
	q.mu.Unlock()
	idle = slices.DeleteFunc(idle, func(s *segmentState) bool { return s.lastUsed().IsZero() })
	if len(idle) <= maxOpen {
		return
	}
	slices.SortFunc(idle, func(a, b *segmentState) int { return a.lastUsed().Compare(b.lastUsed()) })
	for _, s := range idle[:len(idle)-maxOpen] {
		if err := s.Close(); err != nil {
			q.log.Warn("segment not closed", "segment", s.Number, "error", err)
		}
	}
}

// lastUsed is when somebody last entered an open segment; zero when closed.
func (s *segmentState) lastUsed() time.Time {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if s.DB == nil {
		return time.Time{}
	}
	return s.Used
}
