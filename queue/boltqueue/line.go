package boltqueue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

// diskFull is why a queue is full whose disk is.
const diskFull = "the disk is full; free some space"

// startLine finds the segments in dir and begins a new one to append to.
func (q *Queue) startLine() error {
	numbers, err := segment.SegmentNumbers(q.opts.Dir)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		q.line = append(q.line, q.newSegment(n))
	}
	if err := q.adoptSpare(); err != nil {
		return err
	}
	q.removeUnfinished() // not before it is sure that the directory is ours
	return q.ensureTail()
}

// removeUnfinished removes files that a crash left before they had a name.
func (q *Queue) removeUnfinished() {
	paths, _ := filepath.Glob(filepath.Join(q.opts.Dir, "*.seg.tmp")) // the pattern is right
	for _, p := range paths {
		if err := os.Remove(p); err != nil {
			q.log.Warn("unfinished segment not removed", "file", p, "error", err)
		}
	}
}

// adoptSpare takes the newest segments out of the line again if nothing was
// ever written to them: one of them will be the tail, the others go, or each
// start would leave one more. It reads the newest file in any case: it tells
// whether the directory is ours.
func (q *Queue) adoptSpare() error {
	for n := len(q.line); n > 0; n-- {
		last := q.line[n-1]
		q.highest = max(q.highest, last.Number)
		if err := q.learn(last); errors.Is(err, segment.ErrNewer) || errors.Is(err, segment.ErrOlder) {
			return err
		} else if err != nil || !last.book.Virgin() {
			return nil // damage was set aside by learn
		}
		q.line = q.line[:n-1]
		delete(q.work, last)
		if q.spare != nil {
			if err := errors.Join(q.spare.End(errGone), segment.Remove(q.spare.Path)); err != nil {
				return err
			}
		}
		q.setSpare(last)
	}
	return nil
}

// ensureTail begins a segment: what an earlier process left is never appended
// to. A full disk is not an error: what is queued can still be sent.
func (q *Queue) ensureTail() error {
	next, err := q.takeSpare()
	switch {
	case errors.Is(err, queue.ErrFull):
		return nil
	case err != nil && len(q.line) == 0:
		return err
	case err != nil:
		q.raise("line", fmt.Sprintf("no segment can be begun: %v; events are refused, what is queued is sent", err))
		q.setFull(err.Error())
		return nil
	}
	q.line = append(q.line, next)
	q.tail = next
	return nil
}

// errAside means that a segment was set aside: it can be neither read nor
// repaired.
var errAside = errors.New("segment is set aside")

// learn walks a segment's file and reads its book, once, repairing the file if
// need be. Until then nothing else touches the file. Errors: errAside; what
// passes, such as a lack of file descriptors, and is tried again.
func (q *Queue) learn(seg *segmentState) error {
	if known, err := q.learned(seg); known || err != nil {
		return err
	}
	q.verifying.Lock()
	defer q.verifying.Unlock()
	if known, err := q.learned(seg); known || err != nil {
		return err
	}
	if q.isClosed() {
		return queue.ErrClosed
	}
	in, err := seg.Verify()
	if errors.Is(err, segment.ErrDamaged) {
		var text string
		if in, text, err = seg.Salvage(err, q.step, q.syncDir); text != "" {
			q.raise(filepath.Base(seg.Path), text)
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, segment.ErrNewer), errors.Is(err, segment.ErrOlder):
		q.setAside(seg, err)
		return err
	case errors.Is(err, segment.ErrDamaged), errors.Is(err, fs.ErrNotExist), errors.Is(err, segment.ErrNoFile):
		q.setAside(seg, err)
		return errAside
	default:
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	seg.Stored, seg.book, seg.known = in.Counters, in.Counters, true
	seg.Stamp, seg.oldest = in.Stamp, in.Oldest
	seg.Size, seg.Free = in.Size, in.Free
	q.rejects += int64(in.Counters.RejectBytes)
	q.samples += int64(in.Counters.SampleBytes)
	q.noteWork(seg)
	nudge(q.kick)
	return nil
}

// learned reports whether learn is done with a segment, with errAside if in
// vain.
func (q *Queue) learned(seg *segmentState) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if seg.unreadable != nil {
		return false, errAside
	}
	return seg.known, nil
}

// setAside takes a segment that can be neither read nor repaired out of the
// line and leaves its file where it is.
func (q *Queue) setAside(seg *segmentState, why error) {
	q.mu.Lock()
	seg.unreadable = why
	q.line = slices.DeleteFunc(q.line, func(s *segmentState) bool { return s == seg })
	q.mu.Unlock()
	if !errors.Is(why, errGone) {
		q.raise(filepath.Base(seg.Path), fmt.Sprintf("%s cannot be read: %v; it is left as it is and its events are not sent", seg.Path, why))
	}
}

// takeSpare returns a segment that is ready to append to, making one if none
// was made ahead. ErrFull when the bounds do not allow one.
func (q *Queue) takeSpare() (*segmentState, error) {
	q.spares.Lock()
	defer q.spares.Unlock()
	if q.spare == nil {
		if err := q.makeSpare(); err != nil {
			return nil, err
		}
	}
	next := q.spare
	q.setSpare(nil)
	return next, nil
}

// makeSpare makes the next segment if the bounds allow. The caller holds
// spares.
func (q *Queue) makeSpare() error {
	q.mu.Lock()
	size := 2 * q.opts.reservation()
	if q.reserved > 0 {
		size = q.opts.reservation() // what was set aside must fit
	}
	q.mu.Unlock()
	why, err := q.noRoomFor(size)
	if err != nil {
		return err
	}
	if why == "" {
		made, err := q.birth(q.nextNumber())
		if segment.NoRoom(err) {
			why = diskFull
		} else if err != nil {
			return err
		} else {
			q.setSpare(made)
		}
	}
	q.setFull(why)
	if why != "" {
		return fmt.Errorf("%w: %s", queue.ErrFull, why)
	}
	return nil
}

// setSpare notes which segment is made ahead. The caller holds spares.
func (q *Queue) setSpare(seg *segmentState) {
	q.spare = seg
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.hasSpare = seg != nil; q.hasSpare {
		q.ahead = max(q.ahead-1, 0)
	}
}

// noRoomFor says why size more bytes must not be used, or "".
func (q *Queue) noRoomFor(size int64) (string, error) {
	u, err := segment.DiskUsage(q.opts.Dir)
	switch {
	case err != nil:
		return "", err
	case u.Bytes+size > q.opts.MaxBytes:
		return fmt.Sprintf("the queue uses %s of max_bytes %s; wait until it drains, or raise max_bytes", segment.InUnits(u.Bytes), segment.InUnits(q.opts.MaxBytes)), nil
	case u.Free < size+max(q.opts.MinFreeBytes, 0):
		return fmt.Sprintf("the disk has %s left and min_free_bytes is %s; free some space", segment.InUnits(u.Free), segment.InUnits(q.opts.MinFreeBytes)), nil
	}
	return "", nil
}

// nextNumber is beyond every number in use, files set aside included, and
// beyond those of files that are just being removed. The caller holds spares.
func (q *Queue) nextNumber() uint64 {
	numbers, err := segment.SegmentNumbers(q.opts.Dir)
	if err != nil || len(numbers) == 0 {
		numbers = []uint64{0}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.line {
		q.highest = max(q.highest, s.Number)
	}
	q.highest = max(q.highest, numbers[len(numbers)-1]) + 1
	return q.highest
}

// setFull notes why there is no room, or that there is. Who refuses an event for
// it tells so.
func (q *Queue) setFull(why string) {
	q.mu.Lock()
	was := q.full
	q.full = why
	q.mu.Unlock()
	if was == "" && why != "" {
		nudge(q.tend) // the keeper looks out for room, by itself
	}
}
