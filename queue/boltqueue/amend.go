package boltqueue

import (
	"context"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"trackd/queue"
)

// Replay implements [queue.Queue].
func (q *Queue) Replay(ctx context.Context, filter queue.Filter) (int, error) {
	return q.amend(ctx, filter, live)
}

// Discard implements [queue.Queue].
func (q *Queue) Discard(ctx context.Context, filter queue.Filter) (int, error) {
	return q.amend(ctx, filter, discarded)
}

// amend moves the letters that match to another state, chunk by chunk.
func (q *Queue) amend(ctx context.Context, filter queue.Filter, to state) (total int, err error) {
	for letters, err := range q.letterChunks(ctx, filter) {
		if err != nil {
			return total, err
		}
		if filter.Limit > 0 {
			letters = letters[:min(len(letters), filter.Limit-total)]
		}
		n, err := q.amendChunk(ctx, letters, to)
		total += n
		if err != nil || total == filter.Limit && filter.Limit > 0 {
			return total, err
		}
	}
	return total, nil
}

// amendChunk changes letters of one segment.
func (q *Queue) amendChunk(ctx context.Context, letters []queue.DeadLetter, to state) (int, error) {
	atDoor := slices.IndexFunc(letters, func(l queue.DeadLetter) bool { return l.AtDoor })
	if atDoor < 0 {
		atDoor = len(letters)
	}
	dead, rejects := letters[:atDoor], letters[atDoor:]
	if to == live {
		var err error
		if rejects, err = q.takeAnew(ctx, rejects); err != nil {
			return 0, err
		}
	}
	seg := q.segment(letters[0].Address.Hi)
	if seg == nil {
		return 0, nil // the segment went meanwhile, and its letters with it
	}
	total := 0
	err := q.do(func() error {
		n, err := q.edit(seg, dead, to)
		total += n
		if err != nil {
			return err
		}
		n, err = q.dropRejects(seg, rejects)
		total += n
		return err
	})
	return total, err
}

// takeAnew parses rejects again, appends those that pass now, and returns
// them, to be discarded. A crash in between leaves both.
func (q *Queue) takeAnew(ctx context.Context, rejects []queue.DeadLetter) (passed []queue.DeadLetter, err error) {
	var b queue.Batch
	for _, l := range rejects {
		if ev, err := q.opts.Parse(l.Event.Body, time.Now()); err == nil {
			b.Events = append(b.Events, ev)
			passed = append(passed, l)
		}
	}
	if len(passed) == 0 {
		return nil, nil
	}
	return passed, q.Append(ctx, b)
}

func (q *Queue) segment(number uint64) *segment {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.line {
		if s.number == number {
			return s
		}
	}
	return nil
}

// edit changes dead events of one segment to another state, durably, and
// returns how many. Memory follows the disk: until the transaction is durable
// the letters are dead to everyone. It runs in the writer.
func (q *Queue) edit(seg *segment, letters []queue.DeadLetter, to state) (total int, err error) {
	for len(letters) > 0 {
		var edits []edit
		for len(letters) > 0 && len(edits) < flushBlocks {
			number := letters[0].Address.Lo >> 16
			n := slices.IndexFunc(letters, func(l queue.DeadLetter) bool { return l.Address.Lo>>16 != number })
			if n < 0 {
				n = len(letters)
			}
			b, err := q.load(blockKey{seg, number})
			if err != nil {
				return total, err
			}
			if b != nil {
				edits = append(edits, edit{block: b, letters: letters[:n], to: to})
			}
			letters = letters[n:]
		}
		if err := q.writable(seg); err != nil {
			return total, err
		}
		marks, n := q.pickEdits(seg, edits)
		if err := q.putAll(seg, marks); err != nil {
			return total, err
		}
		total += n
		nudge(q.wake)
	}
	return total, nil
}

// edit is what shall become of some letters of a block.
type edit struct {
	block   *openBlock
	letters []queue.DeadLetter
	to      state
}

// load returns what memory should know of a block, reading it if need be; nil
// when the block is gone.
func (q *Queue) load(k blockKey) (*openBlock, error) {
	q.mu.Lock()
	b := q.open[k]
	q.mu.Unlock()
	if b != nil {
		return b, nil
	}
	blocks, err := readBlocks(k.seg, k.number, k.number+1)
	if err != nil || len(blocks) == 0 {
		return nil, err
	}
	if blocks[0].damage != nil {
		return nil, blocks[0].damage
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if b := q.open[k]; b != nil { // the cursor came by meanwhile
		return b, nil
	}
	b = newOpenBlock(k, blocks[0])
	q.open[k] = b
	return b, nil
}

// pickEdits begins the flush of certain blocks, due or not, as they will be
// once their letters are edited, and counts the letters that are still there.
func (q *Queue) pickEdits(seg *segment, edits []edit) (picked []marking, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	before := len(seg.dirty)
	seg.dirty = slices.DeleteFunc(seg.dirty, func(b *openBlock) bool {
		return slices.ContainsFunc(edits, func(e edit) bool { return e.block == b })
	})
	if seg.failed == nil {
		q.nDirty -= before - len(seg.dirty)
	}
	for _, e := range edits {
		m := e.block.pick()
		m.edit(e)
		n += len(m.edited)
		picked = append(picked, m)
	}
	return picked, n
}

// edit changes those letters of m that are still dead.
func (m *marking) edit(e edit) {
	m.to = e.to
	for _, l := range e.letters {
		i := int(l.Address.Lo & (blockEvents - 1))
		at, found := slices.BinarySearchFunc(m.letters, i, byIndex)
		if !found {
			continue
		}
		m.letters = slices.Delete(m.letters, at, at+1)
		m.states[i] = e.to
		m.edited = append(m.edited, i)
	}
	m.now = tallyOf(m.states, m.letters)
}

// applyEdits brings memory in step with an edit that is durable. Events that
// are live again are due at once, unless the cursor is yet to come to them.
// The caller holds mu.
func (q *Queue) applyEdits(m marking) {
	if len(m.edited) == 0 {
		return
	}
	b, now := m.block, time.Now()
	b.seg.edits++ // what the cursor read ahead is out of date
	for _, i := range m.edited {
		b.dropLetter(i)
		q.shift(b, i, m.to)
		ahead := b == q.cursor.block && i >= q.cursor.at
		if m.to == live && q.passed(b.blockKey) && !ahead {
			q.park(loan{block: b, index: i}, now)
		}
	}
}

// dropRejects deletes rejects of one segment. It runs in the writer.
func (q *Queue) dropRejects(seg *segment, letters []queue.DeadLetter) (int, error) {
	if len(letters) == 0 {
		return 0, nil
	}
	if err := q.writable(seg); err != nil {
		return 0, err
	}
	after, n := seg.stored, 0
	err := q.step("rejects.commit", func() error {
		return seg.update(func(tx *bolt.Tx) error {
			bucket := tx.Bucket([]byte(bucketRejects))
			for _, l := range letters {
				key := numberKey(l.Address.Lo &^ rejectFlag)
				if bucket.Get(key) == nil {
					continue // gone since it was listed
				}
				if err := bucket.Delete(key); err != nil {
					return err
				}
				after.dropReject(reasonCode(l.Reason), len(l.Event.Body))
				n++
			}
			return seg.putBook(tx, after)
		})
	})
	if err != nil {
		q.writeFailed(seg, err)
		return 0, fmt.Errorf("discard %d rejects of segment %d: %w", len(letters), seg.number, err)
	}
	q.dropped(seg, after)
	return n, nil
}

// dropped brings memory in step after rejects were deleted.
func (q *Queue) dropped(seg *segment, after book) {
	q.mu.Lock()
	defer q.mu.Unlock()
	gone := seg.stored.rejects - after.rejects
	bytes := seg.stored.rejectBytes - after.rejectBytes
	seg.book.dead -= gone
	seg.book.discarded += gone
	seg.book.rejects -= gone
	seg.book.rejectBytes -= bytes
	for i := range seg.book.deadBy {
		seg.book.deadBy[i] -= seg.stored.deadBy[i] - after.deadBy[i]
	}
	q.rejects -= int64(bytes)
	seg.stored = after
}
