package boltqueue

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

// cursor is the place in the line up to which events were handed out.
// Guarded by Queue.mu; only the holder of lessee moves it.
type cursor struct {
	seg    *segmentState // nil before the first
	next   uint64        // number of the next block to open
	block  *openBlock
	events []event.Event    // of block
	at     int              // next of events to hand out
	ahead  []segment.Stored // read from the disk, not opened yet
	edits  int              // of seg, when ahead was read
}

// passed reports whether the cursor has handed out the live events of a block
// that existed then. The caller holds mu.
func (q *Queue) passed(k blockKey) bool {
	c := &q.cursor
	return c.seg != nil && (k.seg.Number < c.seg.Number || k.seg == c.seg && k.number < c.next)
}

// takeFresh leases up to n events at the cursor, of one block. more is false
// when the cursor has come to the end, or fresh events must wait.
func (q *Queue) takeFresh(n int) (got []queue.Delivery, more bool) {
	if !q.openNext() {
		return nil, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	c := &q.cursor
	slab := make([]heldEvent, 0, min(n, len(c.events)-c.at)) // one allocation for all
	for len(got) < n && c.at < len(c.events) {
		i := c.at
		c.at++
		if c.block.States[i] != segment.Live || c.block.held[i] {
			continue
		}
		slab = append(slab, heldEvent{block: c.block, index: i})
		q.lend(&slab[len(slab)-1])
		got = append(got, c.block.delivery(i, c.events[i]))
	}
	return got, true
}

// openNext makes the cursor stand in a block that has events to hand out,
// opening the next one if need be. It reports false when there is none.
func (q *Queue) openNext() bool {
	for {
		q.mu.Lock()
		c := &q.cursor
		if c.at < len(c.events) {
			q.mu.Unlock()
			return true
		}
		if b := c.block; b != nil {
			c.block, c.events = nil, nil
			q.dropIdle(b)
		}
		if q.nDirty > maxDirty || time.Now().Before(q.rereadAt) {
			q.mu.Unlock()
			return false
		}
		seg := c.seg
		found, err := q.openAhead()
		q.mu.Unlock()
		if err != nil {
			q.spoiled(seg, err)
		}
		if found {
			continue
		}
		if !q.fetch() {
			return false
		}
	}
}

// spoiled raises the alarm about a file that was right when it was walked and
// is not any more. What is wrong with it is repaired at the next start.
func (q *Queue) spoiled(seg *segmentState, err error) {
	if errors.Is(err, queue.ErrClosed) {
		return
	}
	if passes(err) {
		q.raise("reading "+filepath.Base(seg.Path), fmt.Sprintf("%s cannot be read now: %v; this is tried again every second", seg.Path, err))
		return
	}
	q.raise(filepath.Base(seg.Path), fmt.Sprintf(
		"%s was damaged while in use: %v; what cannot be read is not sent; restart to repair the file, and check the disk", seg.Path, err))
}

// openAhead opens the next block from the cache or from what was read ahead,
// and reports whether there was one. The caller holds mu.
func (q *Queue) openAhead() (bool, error) {
	c := &q.cursor
	if c.seg == nil {
		return false, nil
	}
	if b, ok := q.cache.take(blockKey{c.seg, c.next}); ok {
		return true, q.enterBlock(segment.Stored{Number: c.next, Taken: b.Taken, Raw: b.Raw, Count: b.Count, Marks: segment.Marks{States: make([]segment.State, b.Count)}})
	}
	if c.edits != c.seg.edits {
		c.ahead = nil // marks were changed since they were read
	}
	for len(c.ahead) > 0 && c.ahead[0].Number < c.next {
		c.ahead = c.ahead[1:] // came from the cache
	}
	if len(c.ahead) == 0 {
		return false, nil
	}
	f := c.ahead[0]
	c.ahead = c.ahead[1:]
	return true, q.enterBlock(f)
}

// enterBlock moves the cursor into f. The caller holds mu.
func (q *Queue) enterBlock(f segment.Stored) error {
	c := &q.cursor
	key := blockKey{c.seg, f.Number}
	c.next, c.at = f.Number+1, 0
	if len(c.seg.replayed) == 0 {
		c.seg.oldest = f.Taken // nothing before it is waiting to be read
	}
	events, err := segment.DecodeBlock(f.Raw, f.Count)
	if err = errors.Join(f.Damage, err); err != nil {
		return fmt.Errorf("block %d of segment %d: %w", f.Number, c.seg.Number, err)
	}
	b := q.open[key]
	if b == nil {
		b = newOpenBlock(key, f)
	}
	if b.now.By[segment.Live] > 0 {
		q.open[key] = b
		c.block, c.events = b, events
	}
	return nil
}

func newOpenBlock(key blockKey, f segment.Stored) *openBlock {
	t := segment.TallyOf(f.States, f.Letters)
	return &openBlock{blockKey: key, Marks: f.Marks, taken: f.Taken, held: make([]bool, f.Count), now: t, stored: t}
}

// fetch reads on from the disk, or moves the cursor to the next segment. It
// reports false when the cursor is at the end of the line.
func (q *Queue) fetch() bool {
	seg, from := q.standOn()
	if seg == nil {
		return q.nextSegment(seg)
	}
	if err := q.learn(seg); err != nil {
		return !q.reread(seg, err) && q.nextSegment(seg)
	}
	q.mu.Lock()
	end, edits := seg.book.NextBlock, seg.edits
	q.mu.Unlock()
	if from >= end {
		return q.leaveSegment(seg)
	}
	blocks, err := seg.ReadBlocks(from, end, nil)
	if err != nil {
		if !errors.Is(err, errGone) {
			q.spoiled(seg, err)
		}
		return !q.reread(seg, err) && q.nextSegment(seg)
	}
	q.mu.Lock()
	again := !q.rereadAt.IsZero()
	q.rereadAt = time.Time{}
	q.mu.Unlock()
	if again {
		q.lower("reading " + filepath.Base(seg.Path))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cursor.ahead, q.cursor.edits = blocks, edits
	if len(blocks) == 0 {
		q.cursor.next = end
	}
	return true
}

// reread reports whether what failed may work at the next try, and has the
// cursor wait until then.
func (q *Queue) reread(seg *segmentState, err error) bool {
	if !passes(err) {
		return false
	}
	q.spoiled(seg, err)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rereadAt = time.Now().Add(rereadAfter)
	return true
}

// leaveSegment moves the cursor on from a segment it has read to the end,
// unless more was committed to it meanwhile. A segment gets no more blocks
// once another follows it in the line, so one look under the lock decides.
func (q *Queue) leaveSegment(seg *segmentState) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cursor.next < seg.book.NextBlock || q.stepOver(seg)
}

// standOn returns where the cursor is.
func (q *Queue) standOn() (seg *segmentState, next uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cursor.seg, q.cursor.next
}

// nextSegment moves the cursor to the segment after seg, or to the first when
// seg is nil. It reports false when there is none.
func (q *Queue) nextSegment(seg *segmentState) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stepOver(seg)
}

// stepOver is nextSegment for a caller that holds mu.
func (q *Queue) stepOver(seg *segmentState) bool {
	for _, s := range q.line {
		if seg == nil || s.Number > seg.Number {
			if seg != nil && !seg.gone {
				q.noteWork(seg) // it may be compacted now
				nudge(q.kick)
			}
			if seg != nil && !seg.gone {
				q.noteWork(seg) // it may be compacted now
				nudge(q.kick)
			}
			q.cursor = cursor{seg: s, next: 1}
			return true
		}
	}
	return false
}

// cache holds blocks that were just committed and that the cursor will come
// to next, so that they need not be read back. Guarded by Queue.mu.
type cache struct {
	blocks map[blockKey]*segment.Block
	bytes  int
}

const cacheBytes = 4 << 20

func (c *cache) init() { c.blocks = map[blockKey]*segment.Block{} }

func (c *cache) take(k blockKey) (*segment.Block, bool) {
	b, ok := c.blocks[k]
	if ok {
		delete(c.blocks, k)
		c.bytes -= len(b.Raw)
	}
	return b, ok
}

// offer keeps a block for the cursor if it is near and there is room. The
// caller holds mu.
func (q *Queue) offer(seg *segmentState, number uint64, b *segment.Block) {
	if q.cursor.seg == seg && q.cache.bytes+len(b.Raw) <= cacheBytes {
		q.cache.blocks[blockKey{seg, number}] = b
		q.cache.bytes += len(b.Raw)
	}
}
