package boltqueue

import (
	"context"
	"errors"
	"iter"
	"slices"

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
				if errors.Is(err, queue.ErrClosed) {
					yield(nil, err)
					return
				}
				if err != nil {
					// One bad file must not hide what the others hold.
					q.spoiled(seg, err)
					break
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
	if q.learn(seg) != nil {
		c.done = true // set aside, with an alarm
		return c, nil
	}
	q.mu.Lock()
	none, nextBlock, nextReject := seg.book.dead == 0, seg.book.nextBlock, seg.book.nextReject
	q.mu.Unlock()
	if none {
		c.done = true
		return c, nil
	}
	err = seg.view(func(tx *bolt.Tx) error {
		if after < rejectFlag {
			if err := seg.deadOfBlocks(tx, after, nextBlock, &c); err != nil || c.full() {
				return err
			}
		}
		return seg.deadRejects(tx, after, nextReject, &c)
	})
	return c, err
}

// deadOfBlocks adds the dead of blocks before end to c, whole blocks at a time.
// Beyond may lie what a failed commit left.
func (s *segment) deadOfBlocks(tx *bolt.Tx, after, end uint64, c *chunk[queue.DeadLetter]) error {
	blocks := tx.Bucket([]byte(bucketBlocks))
	cur := tx.Bucket([]byte(bucketMarks)).Cursor()
	for k, _ := cur.Seek(numberKey(after >> 16)); k != nil && keyNumber(k) < end && !c.full(); k, _ = cur.Next() {
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

// deadRejects adds the rejects before end to c.
func (s *segment) deadRejects(tx *bolt.Tx, after, end uint64, c *chunk[queue.DeadLetter]) error {
	cur := tx.Bucket([]byte(bucketRejects)).Cursor()
	from := uint64(0)
	if after > rejectFlag {
		from = after&^rejectFlag + 1
	}
	for k, v := cur.Seek(numberKey(from)); k != nil && keyNumber(k) < end; k, v = cur.Next() {
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
	if q.learn(seg) != nil {
		c.done = true // set aside, with an alarm
		return c, nil
	}
	blocks, err := q.currentBlocks(seg, after>>16)
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
		for i, s := range f.states {
			if addr := key.address(i); s == live && addr.Lo > after {
				c.add(queue.Delivery{Address: addr, Event: events[i], Taken: f.taken}, addr, len(events[i].Body))
			}
		}
		c.last = f.number<<16 | (blockEvents - 1)
	}
	c.done = len(blocks) < readAhead
	return c, nil
}

// currentBlocks reads blocks of a segment from number from on, with what became
// of their events until now, be it on disk or in memory.
func (q *Queue) currentBlocks(seg *segment, from uint64) (blocks []fetched, err error) {
	for range 3 {
		if blocks, steady, err := q.lookAtBlocks(seg, from); steady || err != nil {
			return blocks, err
		}
	}
	err = q.do(func() error { // the writer writes no marks meanwhile
		blocks, _, err = q.lookAtBlocks(seg, from)
		return err
	})
	return blocks, err
}

// lookAtBlocks is currentBlocks, but for outcomes that went from memory to the
// disk in between: then it is not steady.
func (q *Queue) lookAtBlocks(seg *segment, from uint64) (blocks []fetched, steady bool, err error) {
	q.mu.Lock()
	end, marked := seg.book.nextBlock, seg.marked // beyond the end may lie what a failed commit left
	q.mu.Unlock()
	if blocks, err = readBlocks(seg, from, end); err != nil {
		return nil, false, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if seg.gone {
		return nil, false, errGone // everything in it is settled, and never was marked so
	}
	for i, f := range blocks {
		if b := q.open[blockKey{seg, f.number}]; b != nil {
			blocks[i].states = slices.Clone(b.states)
		}
	}
	return blocks, seg.marked == marked, nil
}
