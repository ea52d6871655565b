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
// returns how many. It runs in the writer.
func (q *Queue) edit(seg *segment, letters []queue.DeadLetter, to state) (total int, err error) {
	for len(letters) > 0 {
		var blocks []*openBlock
		var changed []loan
		for len(letters) > 0 && len(blocks) < flushBlocks {
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
				blocks = append(blocks, b)
				changed = append(changed, q.revive(b, letters[:n], to)...)
			}
			letters = letters[n:]
		}
		if err := q.putAll(seg, q.pickBlocks(seg, blocks)); err != nil {
			q.revert(changed)
			return total, err
		}
		q.parkRevived(changed)
		total += len(changed)
	}
	return total, nil
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

// revive changes those letters of a block that are still dead, in memory, and
// remembers what they were.
func (q *Queue) revive(b *openBlock, letters []queue.DeadLetter, to state) (changed []loan) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b.seg.edits++
	for _, dl := range letters {
		i := int(dl.Address.Lo & (blockEvents - 1))
		if i >= len(b.states) || b.states[i] != dead {
			continue
		}
		at, _ := slices.BinarySearchFunc(b.letters, i, byIndex)
		l := b.letters[at]
		b.dropLetter(i)
		q.change(b, i, to, time.Now())
		changed = append(changed, loan{block: b, index: i, was: &l})
	}
	return changed
}

// revert undoes revive after its transaction failed.
func (q *Queue) revert(changed []loan) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range changed {
		l.block.addLetter(*l.was)
		q.change(l.block, l.index, dead, time.Now())
	}
}

// pickBlocks begins the flush of certain blocks, due or not.
func (q *Queue) pickBlocks(seg *segment, blocks []*openBlock) []marking {
	q.mu.Lock()
	defer q.mu.Unlock()
	var picked []marking
	before := len(seg.dirty)
	seg.dirty = slices.DeleteFunc(seg.dirty, func(b *openBlock) bool { return slices.Contains(blocks, b) })
	if seg.failed == nil {
		q.nDirty -= before - len(seg.dirty)
	}
	for _, b := range blocks {
		picked = append(picked, b.pick())
	}
	return picked
}

// parkRevived makes events that are live again due at once, unless the cursor
// is yet to come to them.
func (q *Queue) parkRevived(changed []loan) {
	q.mu.Lock()
	now := time.Now()
	for _, l := range changed {
		ahead := l.block == q.cursor.block && l.index >= q.cursor.at
		if l.block.states[l.index] == live && q.passed(l.block.blockKey) && !ahead {
			l.was = nil
			q.park(l, now)
		}
	}
	q.mu.Unlock()
	nudge(q.wake)
}

// dropRejects deletes rejects of one segment. It runs in the writer.
func (q *Queue) dropRejects(seg *segment, letters []queue.DeadLetter) (int, error) {
	if len(letters) == 0 {
		return 0, nil
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
