package boltqueue

import (
	"time"

	"trackd/queue/boltqueue/segment"
)

// reservation is the disk a segment claims at birth: beyond the point where it
// is full it holds the commit that crosses the line, the marks of all its
// blocks, and pages that bbolt copies.
func (o Options) reservation() int64 { return o.segmentBytes + o.segmentBytes/4 }

// segmentState is a file of the queue and what memory knows beyond it.
type segmentState struct {
	*segment.File

	thinAfter time.Time // not rewritten before this: the last try failed; the writer's

	// Guarded by Queue.mu.
	book       segment.Counters // stored, and what was settled since
	oldest     time.Time        // when the first event that may be queued was taken
	known      bool             // the file was walked and its book read
	unreadable error            // the file could be neither read nor repaired
	failed     error            // a write or fsync failed: final for this process
	held       time.Time        // no marks before this: the medium had no room
	dirty      []*openBlock
	replayed   blockSet // blocks behind the cursor that hold replayed events
	edits      int      // counts changes made behind the cursor's back
	marked     int      // counts transactions that stored marks
	gone       bool     // it left the line, for nothing in it is left
}

// newSegment returns a segment that is not known yet.
func (q *Queue) newSegment(number uint64) *segmentState {
	return &segmentState{File: segment.NewFile(q.opts.Dir, number, q.packer, q.opts.noSync)}
}

// birth makes segment number in dir, durable before it returns.
func (q *Queue) birth(number uint64) (*segmentState, error) {
	s := q.newSegment(number)
	reserved, err := s.Make(q.step, q.opts.reservation(), q.syncDir)
	if err != nil {
		return nil, err
	}
	if !reserved {
		q.raise("reserve", "the filesystem cannot reserve disk: when it is full, outcomes may have to wait in memory")
	}
	s.book, s.known = s.Stored, true
	return s, nil
}
