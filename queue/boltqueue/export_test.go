package boltqueue

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"trackd/event"
	"trackd/queue/boltqueue/segment"
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

// Points lists the names of the fault points.
func Points() []string {
	var names []string
	for _, p := range points() {
		names = append(names, p.name)
	}
	return names
}

// Flush makes every outcome durable: marks are written, and segments in which
// nothing is left are gone from the disk.
func (q *Queue) Flush() error {
	if err := q.do(func() error { q.flushAll(); return nil }); err != nil {
		return err
	}
	for range 1000 {
		if tidy, err := q.tidy(); tidy || err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("empty segments stay")
}

// tidy reports whether the directory holds no segment but the line's.
func (q *Queue) tidy() (bool, error) {
	q.spares.Lock()
	defer q.spares.Unlock()
	numbers, err := segment.SegmentNumbers(q.opts.Dir)
	if err != nil {
		return false, err
	}
	line := q.segments()
	return !slices.ContainsFunc(numbers, func(n uint64) bool {
		inLine := slices.ContainsFunc(line, func(s *segmentState) bool { return s.Number == n })
		return !inLine && (q.spare == nil || q.spare.Number != n)
	}), nil
}

// Make is how a segment file is made.
type Make struct {
	Blocks int
	Codecs map[uint8]int // blocks, by codec
}

// MakeOf tells how the segment file at path is made; it must be sound.
func MakeOf(path string) (Make, error) {
	in, err := segment.Verify(path)
	if err != nil {
		return Make{}, err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return Make{}, err
	}
	p, err := segment.OpenPages(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return Make{}, err
	}
	m := Make{Codecs: map[uint8]int{}}
	err = p.Walk(func(bucket string, key, value []byte) error {
		if bucket != segment.BucketBlocks {
			return nil
		}
		f, err := segment.ParseFrame(value, segment.KindBlock, in.Identity, segment.KeyNumber(key))
		m.Blocks++
		m.Codecs[f.Codec]++
		return err
	})
	return m, err
}

// Rewrite copies the segment file at one path to another, as thinning does.
func Rewrite(from, to string) error {
	seg := &segment.File{}
	db, err := segment.OpenBolt(from, seg.Options())
	if err != nil {
		return err
	}
	return errors.Join(segment.CopyInto(to, db, seg, false), db.Close())
}

// Blocks packs and unpacks the blocks of events that pass through, or wait.
type Blocks struct{ segment.Packing }

// NewBlocks returns Blocks with a packer of their own.
func NewBlocks(wait bool) (Blocks, error) {
	p, err := segment.NewPacker()
	b := Blocks{segment.Packing{Packer: p}}
	if wait {
		b.Stay = segment.Waiting
	}
	return b, err
}

// Full is how many bytes of events fill a block.
func (b Blocks) Full() int { return b.Stay.BlockBytes() }

// Pack makes a block of events and returns it as stored.
func (b Blocks) Pack(events []event.Event) []byte {
	block := segment.NewBlock(time.Now(), 2*b.Full(), b.Packing)
	for _, ev := range events {
		block.Add(ev)
	}
	return block.Value(1, 1)
}

// Unpack takes a block as stored apart.
func (b Blocks) Unpack(stored []byte) ([]event.Event, error) {
	f, err := segment.ParseFrame(stored, segment.KindBlock, 1, 1)
	if err != nil {
		return nil, err
	}
	raw, err := f.Unpack(b.Packer)
	if err != nil {
		return nil, err
	}
	return segment.DecodeBlock(raw, int(f.Count))
}
