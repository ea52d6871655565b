package boltqueue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"trackd/event"
	"trackd/queue"
)

// A listing copies at most this much out of one transaction before it hands
// anything on: no transaction is open while others act on what they see.
const (
	chunkItems = 1_000
	chunkBytes = 1 << 20
)

func keyNumber(key []byte) uint64 {
	if len(key) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(key)
}

// DeadLetters implements [queue.Queue].
func (q *Queue) DeadLetters(ctx context.Context, filter queue.Filter) iter.Seq2[queue.DeadLetter, error] {
	return flatten(q.letterChunks(ctx, filter), filter.Limit, queue.DeadLetter{})
}

// Queued implements [queue.Queue].
func (q *Queue) Queued(ctx context.Context, filter queue.Filter) iter.Seq2[queue.Delivery, error] {
	read := func(seg *segment, after uint64) (chunk[queue.Delivery], error) { return q.queuedIn(seg, after) }
	match := func(d queue.Delivery) bool { return filter.MatchEvent(d.Address, d.Event, d.Taken) }
	return flatten(walk(ctx, q, filter, read, match), filter.Limit, queue.Delivery{})
}

// flatten yields single items of chunks, at most limit unless that is 0.
func flatten[T any](chunks iter.Seq2[[]T, error], limit int, none T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		n := 0
		for items, err := range chunks {
			if err != nil {
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
				if n++; n == limit {
					return
				}
			}
		}
	}
}

// letterChunks yields the letters that match in runs that lie in one segment.
// Outcomes settled before the call are on disk first, as far as that can be.
func (q *Queue) letterChunks(ctx context.Context, filter queue.Filter) iter.Seq2[[]queue.DeadLetter, error] {
	return func(yield func([]queue.DeadLetter, error) bool) {
		if err := q.do(func() error { q.flushAll(); return nil }); err != nil {
			yield(nil, err)
			return
		}
		walk(ctx, q, filter, q.lettersIn, filter.MatchLetter)(yield)
	}
}

// chunk is what one transaction brought.
type chunk[T any] struct {
	items []T
	bytes int
	last  uint64 // low half of the address to go on after
	done  bool   // nothing is left in the segment
}

func (c *chunk[T]) full() bool { return len(c.items) >= chunkItems || c.bytes >= chunkBytes }

func (c *chunk[T]) add(item T, addr queue.Address, size int) {
	c.items = append(c.items, item)
	c.bytes += size
	c.last = addr.Lo
}

// walk reads the line segment by segment, chunk by chunk, and yields what
// matches.
func walk[T any](ctx context.Context, q *Queue, filter queue.Filter,
	read func(*segment, uint64) (chunk[T], error), match func(T) bool) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		for _, seg := range q.segments() {
			if seg.number < filter.After.Hi {
				continue
			}
			var after uint64
			if seg.number == filter.After.Hi {
				after = filter.After.Lo
			}
			for done := false; !done; {
				if err := ctx.Err(); err != nil {
					yield(nil, err)
					return
				}
				c, err := read(seg, after)
				if errors.Is(err, errGone) {
					break
				}
				if err != nil {
					yield(nil, fmt.Errorf("list segment %d: %w", seg.number, err))
					return
				}
				matching := slices.DeleteFunc(c.items, func(item T) bool { return !match(item) })
				if len(matching) > 0 && !yield(matching, nil) {
					return
				}
				after, done = c.last, c.done
			}
		}
	}
}

// lettersIn reads the dead of one segment beyond an address: first those of
// blocks, then the rejects.
func (q *Queue) lettersIn(seg *segment, after uint64) (c chunk[queue.DeadLetter], err error) {
	c.last = after
	if err := q.learn(seg); err != nil {
		return c, err
	}
	q.mu.Lock()
	none := seg.book.dead == 0
	q.mu.Unlock()
	if none {
		c.done = true
		return c, nil
	}
	err = seg.view(func(tx *bolt.Tx) error {
		if after < rejectFlag {
			if err := seg.deadOfBlocks(tx, after, &c); err != nil || c.full() {
				return err
			}
		}
		return seg.deadRejects(tx, after, &c)
	})
	return c, err
}

// deadOfBlocks adds the dead of blocks to c, whole blocks at a time.
func (s *segment) deadOfBlocks(tx *bolt.Tx, after uint64, c *chunk[queue.DeadLetter]) error {
	blocks := tx.Bucket([]byte(bucketBlocks))
	cur := tx.Bucket([]byte(bucketMarks)).Cursor()
	for k, _ := cur.Seek(numberKey(after >> 16)); k != nil && !c.full(); k, _ = cur.Next() {
		f := readBlock(s, k, blocks.Get(k), tx.Bucket([]byte(bucketMarks)))
		if f.damage != nil {
			continue // named by the walk that repairs, not by a listing
		}
		events, err := decodeBlock(f.raw, f.count)
		if err != nil {
			continue
		}
		key := blockKey{s, f.number}
		for _, l := range f.letters {
			addr := key.address(l.index)
			if addr.Lo <= after {
				continue
			}
			c.add(queue.DeadLetter{Address: addr, Event: events[l.index], Reason: reasonOf(l.reason), Status: l.status,
				Detail: s.text(tx, l.text), Attempts: l.attempts, Taken: f.taken, Died: l.died}, addr, len(events[l.index].Body))
		}
	}
	return nil
}

// text returns a stored detail, or says that it cannot be read.
func (s *segment) text(tx *bolt.Tx, number uint64) string {
	if number == 0 {
		return ""
	}
	f, err := parseFrame(tx.Bucket([]byte(bucketTexts)).Get(numberKey(number)), kindText, s.identity, number)
	if err != nil {
		return "(the stored text is " + err.Error() + ")"
	}
	return string(f.payload)
}

func (s *segment) deadRejects(tx *bolt.Tx, after uint64, c *chunk[queue.DeadLetter]) error {
	cur := tx.Bucket([]byte(bucketRejects)).Cursor()
	from := uint64(0)
	if after > rejectFlag {
		from = after&^rejectFlag + 1
	}
	for k, v := cur.Seek(numberKey(from)); k != nil; k, v = cur.Next() {
		if c.full() {
			return nil
		}
		n := keyNumber(k)
		f, err := parseFrame(v, kindReject, s.identity, n)
		if err != nil {
			continue
		}
		reason, detail, body, err := decodeReject(f)
		if err != nil {
			continue
		}
		addr := queue.Address{Hi: s.number, Lo: rejectFlag | n}
		taken := timeOf(f.stamp)
		c.add(queue.DeadLetter{Address: addr, Event: event.Event{Body: slices.Clone(body)}, AtDoor: true, Reason: reason,
			Detail: detail, Taken: taken, Died: taken}, addr, len(body))
	}
	c.done = true
	return nil
}

// queuedIn reads the live events of one segment beyond an address.
func (q *Queue) queuedIn(seg *segment, after uint64) (c chunk[queue.Delivery], err error) {
	c.last = after
	if err := q.learn(seg); err != nil {
		return c, err
	}
	blocks, err := readBlocks(seg, after>>16, ^uint64(0))
	if err != nil {
		return c, err
	}
	for _, f := range blocks {
		events, err := decodeBlock(f.raw, f.count)
		if f.damage != nil || err != nil {
			c.last = f.number<<16 | (blockEvents - 1)
			continue
		}
		key := blockKey{seg, f.number}
		for i, s := range q.statesNow(key, f.states) {
			if addr := key.address(i); s == live && addr.Lo > after {
				c.add(queue.Delivery{Address: addr, Event: events[i], Taken: f.taken}, addr, len(events[i].Body))
			}
		}
		c.last = f.number<<16 | (blockEvents - 1)
	}
	c.done = len(blocks) < readAhead
	return c, nil
}

// statesNow returns the states of a block as memory knows them, or else as
// the disk said.
func (q *Queue) statesNow(k blockKey, stored []state) []state {
	q.mu.Lock()
	defer q.mu.Unlock()
	if b := q.open[k]; b != nil {
		return slices.Clone(b.states)
	}
	return stored
}

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
