package boltqueue

import (
	"errors"
	"sync/atomic"
)

// Knobs reach what only tests may turn.
type Knobs struct {
	SegmentBytes int64 // where a segment is full; 0: as in production
	NoSync       bool  // do not fsync
	Fault        func(point string, after bool) error
}

// OpenWith opens a queue with knobs. The queue can be abandoned.
func OpenWith(o Options, k Knobs) (*Queue, error) {
	var dead atomic.Bool
	o.segmentBytes, o.noSync = k.SegmentBytes, k.NoSync
	o.fault = func(point string, after bool) error {
		switch {
		case dead.Load() || point == pointAbandon && dead.CompareAndSwap(false, true):
			return errAbandoned
		case k.Fault != nil:
			return k.Fault(point, after)
		}
		return nil
	}
	return Open(o)
}

const pointAbandon = "abandon"

var errAbandoned = errors.New("the process is gone")

// Abandon lets go of the files of a queue opened by OpenWith, writing nothing
// more, as if the process had been killed between two writes.
func (q *Queue) Abandon() {
	_ = q.opts.fault(pointAbandon, false)
	_ = q.Close() // says that nothing could be written, which is the point
}
