package boltqueue

import (
	"context"
	"errors"
	"iter"
	"maps"
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
	return flatten(q.letterChunks(ctx, filter, func(queue.DeadLetter) bool { return true }), filter.Limit, queue.DeadLetter{})
}

// Queued implements [queue.Queue].
func (q *Queue) Queued(ctx context.Context, filter queue.Filter) iter.Seq2[queue.Delivery, error] {
	return flatten(q.queuedChunks(ctx, filter), filter.Limit, queue.Delivery{})
}

// queuedChunks yields the queued events that match in runs that lie in one
// segment.
func (q *Queue) queuedChunks(ctx context.Context, filter queue.Filter) iter.Seq2[[]queue.Delivery, error] {
	match := func(d queue.Delivery) bool { return filter.MatchEvent(d.Address, d.Event, d.Taken) }
	return walk(ctx, q, filter, q.queuedIn, match)
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

// letterChunks yields the dead letters that match, and that may be chosen, in
// runs that lie in one segment. Outcomes settled before the call are on disk
// first, as far as that can be.
func (q *Queue) letterChunks(ctx context.Context, filter queue.Filter, may func(queue.DeadLetter) bool) iter.Seq2[[]queue.DeadLetter, error] {
	return func(yield func([]queue.DeadLetter, error) bool) {
		if err := q.do(func() error { q.flushAll(); return nil }); err != nil {
			yield(nil, err)
			return
		}
		match := func(l queue.DeadLetter) bool { return filter.MatchLetter(l) && may(l) }
		walk(ctx, q, filter, q.lettersIn, match)(yield)
	}
}

// chunk is what one transaction brought.
type chunk[T any] struct {
	match func(T) bool
	items []T
	bytes int    // of the items
	seen  int    // bytes read to find them
	last  uint64 // low half of the address to go on after
	done  bool   // nothing is left in the segment
}

func (c *chunk[T]) full() bool {
	return len(c.items) >= chunkItems || c.bytes >= chunkBytes || c.seen >= 4*chunkBytes
}

// add keeps an item that matches. What it refers to is copied: a body is a
// small part of the memory of its block.
func (c *chunk[T]) add(item T, addr queue.Address, body *[]byte, own func(*T, []byte)) {
	c.last = addr.Lo
	if c.match(item) {
		own(&item, slices.Clone(*body))
		c.items = append(c.items, item)
		c.bytes += len(*body)
	}
}

// walk reads the line segment by segment, chunk by chunk, and yields what
// matches.
func walk[T any](ctx context.Context, q *Queue, filter queue.Filter,
	read func(seg *segment, after uint64, c *chunk[T]) error, match func(T) bool) iter.Seq2[[]T, error] {
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
				c := chunk[T]{match: match, last: after}
				err := read(seg, after, &c)
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
				if len(c.items) > 0 && !yield(c.items, nil) {
					return
				}
				after, done = c.last, c.done
			}
		}
	}
}

// lettersIn reads the dead of one segment beyond an address: first those of
// blocks, then the rejects.
func (q *Queue) lettersIn(seg *segment, after uint64, c *chunk[queue.DeadLetter]) error {
	if q.learn(seg) != nil {
		c.done = true // set aside, with an alarm
		return nil
	}
	q.mu.Lock()
	none, nextBlock, nextReject := seg.book.dead == 0, seg.book.nextBlock, seg.book.nextReject
	q.mu.Unlock()
	if none {
		c.done = true
		return nil
	}
	return seg.view(func(tx *bolt.Tx) error {
		if after < rejectFlag {
			if err := seg.deadOfBlocks(tx, after, nextBlock, c); err != nil || c.full() {
				return err
			}
		}
		return seg.deadRejects(tx, after, nextReject, c)
	})
}

func ownLetter(l *queue.DeadLetter, body []byte) { l.Event.Body = body }
func ownDelivery(d *queue.Delivery, body []byte) { d.Event.Body = body }

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
		c.seen += len(f.raw)
		key := blockKey{s, f.number}
		for _, l := range f.letters {
			addr := key.address(l.index)
			if addr.Lo <= after {
				continue
			}
			c.add(queue.DeadLetter{Address: addr, Event: events[l.index], Reason: reasonOf(l.reason), Status: l.status,
				Detail: s.text(tx, l.text), Attempts: l.attempts, Taken: f.taken, Died: l.died}, addr, &events[l.index].Body, ownLetter)
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
		c.seen += len(v)
		c.add(queue.DeadLetter{Address: addr, Event: event.Event{Body: body}, AtDoor: true, Reason: reason,
			Detail: detail, Taken: taken, Died: taken}, addr, &body, ownLetter)
	}
	c.done = true
	return nil
}

// queuedIn reads the live events of one segment beyond an address.
func (q *Queue) queuedIn(seg *segment, after uint64, c *chunk[queue.Delivery]) error {
	if q.learn(seg) != nil {
		c.done = true // set aside, with an alarm
		return nil
	}
	blocks, err := q.currentBlocks(seg, after>>16)
	if err != nil {
		return err
	}
	for _, f := range blocks {
		events, err := decodeBlock(f.raw, f.count)
		if f.damage == nil && err == nil {
			key := blockKey{seg, f.number}
			for i, s := range f.states {
				if addr := key.address(i); s == live && addr.Lo > after {
					d := queue.Delivery{Address: addr, Event: events[i], Taken: f.taken}
					addEvidence(&d, f.evidence[i])
					c.add(d, addr, &events[i].Body, ownDelivery)
				}
			}
		}
		c.last = f.number<<16 | (blockEvents - 1)
	}
	c.done = len(blocks) < readAhead
	return nil
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
			blocks[i].states, blocks[i].evidence = slices.Clone(b.states), maps.Clone(b.evidence)
		}
	}
	return blocks, seg.marked == marked, nil
}
