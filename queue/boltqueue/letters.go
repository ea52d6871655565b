package boltqueue

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"time"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue/segment"
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
// runs that lie in one segment.
func (q *Queue) letterChunks(ctx context.Context, filter queue.Filter, may func(queue.DeadLetter) bool) iter.Seq2[[]queue.DeadLetter, error] {
	match := func(l queue.DeadLetter) bool { return filter.MatchLetter(l) && may(l) }
	return walk(ctx, q, filter, q.lettersIn, match)
}

// chunk is what one reading brought.
type chunk[T any] struct {
	match func(T) bool
	items []T
	bytes int    // of the items' bodies
	last  uint64 // low half of the address to go on after
	done  bool   // nothing is left in the segment
}

// add keeps an item that matches. Its body is copied: it is a small part of the
// memory of its block.
func (c *chunk[T]) add(item T, addr queue.Address, body *[]byte, own func(*T, []byte)) {
	c.last = addr.Lo
	if c.match(item) {
		own(&item, slices.Clone(*body))
		c.items = append(c.items, item)
		c.bytes += len(*body)
	}
}

// walk reads segment by segment, chunk by chunk, and yields what matches.
func walk[T any](ctx context.Context, q *Queue, filter queue.Filter,
	read func(seg *segmentState, after uint64, c *chunk[T]) error, match func(T) bool) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		if q.isClosed() {
			yield(nil, queue.ErrClosed)
			return
		}
		defer q.closeIdle()
		for _, seg := range q.segments() {
			if seg.Number < filter.After.Hi {
				continue
			}
			var after uint64
			if seg.Number == filter.After.Hi {
				after = filter.After.Lo
			}
			for done := false; !done; {
				if err := ctx.Err(); err != nil {
					yield(nil, err)
					return
				}
				c := chunk[T]{match: match, last: after}
				err := q.learn(seg)
				if err == nil {
					err = read(seg, after, &c)
				}
				switch {
				case errors.Is(err, segment.ErrDamaged):
					// One bad file must not hide what the others hold.
					q.spoiled(seg, err)
					done = true
				case errors.Is(err, errGone), errors.Is(err, errAside):
					done = true
				case err != nil:
					yield(nil, err)
					return
				}
				if len(c.items) > 0 && !yield(c.items, nil) {
					return
				}
				after, done = c.last, done || c.done
			}
			q.closeIdle()
		}
	}
}

func ownLetter(l *queue.DeadLetter, body []byte) { l.Event.Body = body }
func ownDelivery(d *queue.Delivery, body []byte) { d.Event.Body = body }

// lettersIn reads the dead of one segment beyond an address: first those of
// blocks, then the rejects.
func (q *Queue) lettersIn(seg *segmentState, after uint64, c *chunk[queue.DeadLetter]) error {
	q.mu.Lock()
	none, nextReject := seg.book.Dead == 0, seg.book.NextReject
	q.mu.Unlock()
	switch {
	case none:
		c.done = true
		return nil
	case after >= rejectFlag:
		return q.rejectsIn(seg, after, nextReject, c)
	}
	blocks, err := q.currentBlocks(seg, after>>16, true)
	if err != nil {
		return err
	}
	var texts []uint64 // of the letters in c, 0 where the detail is known
	for _, f := range blocks {
		events, err := segment.DecodeBlock(f.Raw, f.Count)
		if f.Damage != nil || err != nil {
			continue // told by the walk that repairs, not by a listing
		}
		for _, l := range f.Letters {
			addr := blockKey{seg, f.Number}.address(l.Index)
			if addr.Lo <= after {
				continue
			}
			n := len(c.items)
			c.add(queue.DeadLetter{Address: addr, Event: events[l.Index], Reason: reasonOf(l.Reason), Status: l.Status,
				Detail: l.Detail, Attempts: l.Attempts, Taken: f.Taken, Died: l.Died}, addr, &events[l.Index].Body, ownLetter)
			if len(c.items) > n {
				texts = append(texts, l.Text)
			}
		}
	}
	c.last = rejectFlag // the rejects come next
	if len(blocks) == segment.ReadAhead {
		c.last = blocks[segment.ReadAhead-1].Number<<16 | (segment.BlockEvents - 1)
	}
	stored, err := seg.ReadTexts(texts)
	for i, text := range stored {
		if c.items[i].Detail == "" {
			c.items[i].Detail = text
		}
	}
	return err
}

// rejectsIn adds the rejects beyond an address and before number end to c.
func (q *Queue) rejectsIn(seg *segmentState, after, end uint64, c *chunk[queue.DeadLetter]) (err error) {
	c.done, err = seg.ReadRejects(after&^rejectFlag+1, end, func(number uint64, taken time.Time, r segment.Reject) bool {
		addr := queue.Address{Hi: seg.Number, Lo: rejectFlag | number}
		c.add(queue.DeadLetter{Address: addr, Event: event.Event{Body: r.Body}, AtDoor: true, Reason: reasonOf(r.Reason),
			Detail: r.Detail, Taken: taken, Died: taken}, addr, &r.Body, ownLetter)
		return c.bytes < chunkBytes
	})
	return err
}

// chunkBytes bounds the bodies of rejects that one reading brings.
const chunkBytes = 1 << 20

// queuedIn reads the live events of one segment beyond an address.
func (q *Queue) queuedIn(seg *segmentState, after uint64, c *chunk[queue.Delivery]) error {
	blocks, err := q.currentBlocks(seg, after>>16, false)
	if err != nil {
		return err
	}
	for _, f := range blocks {
		events, err := segment.DecodeBlock(f.Raw, f.Count)
		if f.Damage == nil && err == nil {
			key := blockKey{seg, f.Number}
			for i, s := range f.States {
				if addr := key.address(i); s == segment.Live && addr.Lo > after {
					d := queue.Delivery{Address: addr, Event: events[i], Taken: f.Taken}
					addEvidence(&d, f.Evidence[i])
					c.add(d, addr, &events[i].Body, ownDelivery)
				}
			}
		}
		c.last = f.Number<<16 | (segment.BlockEvents - 1)
	}
	c.done = len(blocks) < segment.ReadAhead
	return nil
}

// currentBlocks reads blocks of a segment from number from on, with what became
// of their events until now, be it on disk or in memory. With dead only those
// that may hold dead letters.
func (q *Queue) currentBlocks(seg *segmentState, from uint64, dead bool) (blocks []segment.Stored, err error) {
	for range 3 {
		if blocks, steady, err := q.lookAtBlocks(seg, from, dead); steady || err != nil {
			return blocks, err
		}
	}
	err = q.do(func() error { // the writer writes no marks meanwhile
		blocks, _, err = q.lookAtBlocks(seg, from, dead)
		return err
	})
	return blocks, err
}

// lookAtBlocks is currentBlocks, but for outcomes that went from memory to the
// disk in between: then it is not steady.
func (q *Queue) lookAtBlocks(seg *segmentState, from uint64, onlyDead bool) (blocks []segment.Stored, steady bool, err error) {
	var wanted func(uint64, bool) bool
	q.mu.Lock()
	end, marked := seg.book.NextBlock, seg.marked // beyond the end may lie what a failed commit left
	if onlyDead {
		deadInMemory := map[uint64]bool{}
		for key, b := range q.open {
			if key.seg == seg && len(b.Letters) > 0 {
				deadInMemory[key.number] = true
			}
		}
		wanted = func(number uint64, marked bool) bool { return marked || deadInMemory[number] }
	}
	q.mu.Unlock()
	if blocks, err = seg.ReadBlocks(from, end, wanted); err != nil {
		return nil, false, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if seg.gone {
		return nil, false, errGone // everything in it is settled, and never was marked so
	}
	for i, f := range blocks {
		if b := q.open[blockKey{seg, f.Number}]; b != nil {
			blocks[i].Marks = segment.Marks{States: slices.Clone(b.States), Letters: slices.Clone(b.Letters), Evidence: maps.Clone(b.Evidence)}
		}
	}
	return blocks, seg.marked == marked, nil
}
