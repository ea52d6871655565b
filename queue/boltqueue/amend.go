package boltqueue

import (
	"context"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

// Replay implements [queue.Queue].
func (q *Queue) Replay(ctx context.Context, filter queue.Filter) (int, error) {
	return q.amend(ctx, filter, segment.Live)
}

// Discard implements [queue.Queue].
func (q *Queue) Discard(ctx context.Context, filter queue.Filter) (int, error) {
	return q.amend(ctx, filter, segment.Discarded)
}

// amend moves the dead letters that match to another state, chunk by chunk, at
// most filter.Limit of them.
func (q *Queue) amend(ctx context.Context, filter queue.Filter, to segment.State) (total int, err error) {
	may := func(l queue.DeadLetter) bool { return !(to == segment.Live && l.AtDoor) && !q.claimed(l.Address) }
	for letters, err := range q.letterChunks(ctx, filter, may) {
		if err != nil {
			return total, err
		}
		for len(letters) > 0 {
			n := len(letters)
			if filter.Limit > 0 {
				n = min(n, filter.Limit-total)
			}
			changed, _, err := q.alter(addresses(letters[:n]), change{from: segment.Dead, to: to})
			total += changed
			if err != nil || filter.Limit > 0 && total >= filter.Limit {
				return total, err
			}
			letters = letters[n:]
		}
	}
	return total, nil
}

func addresses(letters []queue.DeadLetter) []queue.Address {
	at := make([]queue.Address, len(letters))
	for i, l := range letters {
		at[i] = l.Address
	}
	return at
}

// claimed reports whether a dead letter is being replaced.
func (q *Queue) claimed(at queue.Address) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.claims[at]
}

// Replace implements [queue.Queue]. Limit bounds the letters that are handed to
// put.
func (q *Queue) Replace(ctx context.Context, filter queue.Filter,
	put func(context.Context, []queue.DeadLetter) ([]queue.Address, error)) (total int, err error) {
	handed := 0
	for letters, err := range q.letterChunks(ctx, filter, func(queue.DeadLetter) bool { return true }) {
		if err != nil {
			return total, err
		}
		if filter.Limit > 0 {
			letters = letters[:min(len(letters), filter.Limit-handed)]
		}
		n, err := q.replaceChunk(ctx, letters, put)
		total += n
		if handed += len(letters); err != nil || filter.Limit > 0 && handed == filter.Limit {
			return total, err
		}
	}
	return total, nil
}

// replaceChunk replaces letters of one segment.
func (q *Queue) replaceChunk(ctx context.Context, letters []queue.DeadLetter,
	put func(context.Context, []queue.DeadLetter) ([]queue.Address, error)) (int, error) {
	// A segment that takes no changes would keep what was replaced, and each call
	// would append it again.
	seg := q.segment(letters[0].Address.Hi)
	if seg == nil {
		return 0, nil // the segment went meanwhile, and its letters with it
	}
	if err := q.writable(seg); err != nil {
		return 0, err
	}
	q.mu.Lock()
	letters = slices.DeleteFunc(letters, func(l queue.DeadLetter) bool { return q.claims[l.Address] })
	for _, l := range letters {
		q.claims[l.Address] = true
	}
	q.mu.Unlock()
	mine := addresses(letters)
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		for _, at := range mine {
			delete(q.claims, at)
		}
	}()
	if len(letters) == 0 {
		return 0, nil
	}
	replacedAt, err := put(ctx, letters)
	replacedAt = slices.DeleteFunc(slices.Clone(replacedAt), func(at queue.Address) bool { return !slices.Contains(mine, at) })
	n, _, err2 := q.alter(replacedAt, change{from: segment.Dead, to: segment.Discarded, claimed: true})
	if err == nil {
		err = err2
	}
	return n, err
}

// Erase implements [queue.Queue].
func (q *Queue) Erase(ctx context.Context, filter queue.Filter, compactNow bool) (erased, inFlight int, err error) {
	touched := map[uint64]bool{}
	erase := func(at []queue.Address, from segment.State) error {
		if filter.Limit > 0 {
			at = at[:min(len(at), filter.Limit-erased)]
		}
		n, leased, err := q.alter(at, change{from: from, to: segment.Discarded})
		erased, inFlight = erased+n, inFlight+leased
		if n > 0 {
			touched[at[0].Hi] = true
		}
		return err
	}
	for events, err := range q.queuedChunks(ctx, filter) {
		if err == nil {
			at := make([]queue.Address, len(events))
			for i, d := range events {
				at[i] = d.Address
			}
			err = erase(at, segment.Live)
		}
		if err != nil {
			return erased, inFlight, err
		}
	}
	for letters, err := range q.letterChunks(ctx, filter, func(l queue.DeadLetter) bool { return !q.claimed(l.Address) }) {
		if err == nil {
			err = erase(addresses(letters), segment.Dead)
		}
		if err != nil {
			return erased, inFlight, err
		}
	}
	for number := range touched {
		if seg := q.segment(number); compactNow && seg != nil {
			if err := q.do(func() error { return q.scrub(seg) }); err != nil {
				return erased, inFlight, err
			}
		}
	}
	return erased, inFlight, nil
}

// scrub rewrites a segment without the bytes of what is settled. It runs in the
// writer.
func (q *Queue) scrub(seg *segmentState) error {
	q.mu.Lock()
	isTail, gone := q.tail == seg, seg.gone
	q.mu.Unlock()
	if gone {
		return nil
	}
	if isTail {
		next, err := q.takeSpare()
		if err != nil {
			return fmt.Errorf("rewrite segment %d, which takes appends: %w", seg.Number, err)
		}
		q.follow(next)
		q.seal(seg)
	}
	if q.isEmpty(seg) {
		q.retire(seg)
		return nil
	}
	return q.rewrite(seg, true)
}

func (q *Queue) segment(number uint64) *segmentState {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.line {
		if s.Number == number {
			return s
		}
	}
	return nil
}

// change is what an operator makes of events.
type change struct {
	from, to segment.State
	claimed  bool // the caller claimed them
}

// alter moves events and rejects of one segment from one state to another,
// durably, and returns how many there were, and how many of them were leased.
// The writer does it in slices of a bounded number of blocks, and turns to
// others in between.
func (q *Queue) alter(at []queue.Address, c change) (total, wereLeased int, err error) {
	most := flushBlocks
	for len(at) > 0 {
		seg := q.segment(at[0].Hi)
		if seg == nil {
			return total, wereLeased, nil // the segment went meanwhile, and all that was in it
		}
		err := q.do(func() error {
			if err := q.writable(seg); err != nil {
				return err
			}
			if !c.claimed {
				q.mu.Lock()
				at = slices.DeleteFunc(slices.Clone(at), func(a queue.Address) bool { return q.claims[a] })
				q.mu.Unlock()
			}
			rest, n, held, err := q.alterSome(seg, at, c, most)
			if segment.NoRoom(err) && most > 1 {
				// Marks that were due delete blocks, whose pages smaller changes fit in.
				most /= 4
				for q.flush(seg, time.Now().Add(flushAfter)) {
				}
				return nil
			}
			at, total, wereLeased = rest, total+n, wereLeased+held
			return err
		})
		if err != nil {
			return total, wereLeased, err
		}
	}
	return total, wereLeased, nil
}

// alterSome changes up to most blocks, or so many rejects, and returns
// what is left to do. Memory follows the disk: until the transaction is durable
// the events are to everyone what they were. It runs in the writer.
func (q *Queue) alterSome(seg *segmentState, at []queue.Address, c change, most int) (rest []queue.Address, n, wereLeased int, err error) {
	if len(at) == 0 {
		return nil, 0, 0, nil
	}
	if at[0].Lo&rejectFlag != 0 {
		some := at[:min(len(at), 16*most)]
		n, err = q.dropRejects(seg, some)
		return at[len(some):], n, 0, err
	}
	var all []picked
	for len(at) > 0 && at[0].Lo&rejectFlag == 0 && len(all) < most {
		number := at[0].Lo >> 16
		end := slices.IndexFunc(at, func(a queue.Address) bool { return a.Lo>>16 != number })
		if end < 0 {
			end = len(at)
		}
		err := q.load(blockKey{seg, number}, func(b *openBlock) {
			q.unqueue(b)
			m := b.pick()
			m.change(at[:end], c)
			all = append(all, m)
		})
		if err != nil {
			q.unpickMarks(seg, all)
			return nil, 0, 0, err
		}
		at = at[end:]
	}
	if len(all) == 0 {
		return at, 0, 0, nil
	}
	if err := q.putAll(seg, all); err != nil {
		return nil, 0, 0, err
	}
	for _, m := range all {
		n += len(m.edited)
		wereLeased += m.leased
	}
	nudge(q.wake)
	return at, n, wereLeased, nil
}

// load hands what memory should know of a block to use, with mu held, reading
// the block if need be. It does nothing when the block is gone.
func (q *Queue) load(k blockKey, use func(*openBlock)) error {
	for {
		q.mu.Lock()
		if b := q.open[k]; b != nil {
			use(b)
			q.mu.Unlock()
			return nil
		}
		marked := k.seg.marked
		q.mu.Unlock()
		blocks, err := k.seg.ReadBlocks(k.number, k.number+1, nil)
		if err == nil && len(blocks) > 0 {
			err = blocks[0].Damage
		}
		if err != nil || len(blocks) == 0 {
			return err
		}
		q.mu.Lock()
		if q.open[k] == nil && marked == k.seg.marked { // nothing changed meanwhile
			b := newOpenBlock(k, blocks[0])
			q.open[k] = b
			use(b)
			q.mu.Unlock()
			return nil
		}
		q.mu.Unlock()
	}
}

// unqueue takes a block out of those that await their marks. The caller holds
// mu.
func (q *Queue) unqueue(b *openBlock) {
	if i := slices.Index(b.seg.dirty, b); i >= 0 {
		b.seg.dirty = slices.Delete(b.seg.dirty, i, i+1)
		if b.seg.failed == nil {
			q.nDirty--
		}
	}
}

// change changes those events of m that are still what they are to be changed
// from.
func (m *picked) change(at []queue.Address, c change) {
	m.to = c.to
	for _, a := range at {
		i := int(a.Lo & (segment.BlockEvents - 1))
		if i >= len(m.States) || m.States[i] != c.from {
			continue
		}
		if l, found := slices.BinarySearchFunc(m.Letters, i, byIndex); found {
			m.Letters = slices.Delete(m.Letters, l, l+1)
		}
		m.States[i] = c.to
		m.Note(i, nil)
		m.edited = append(m.edited, i)
	}
	m.Now = segment.TallyOf(m.States, m.Letters)
}

// applyEdits brings memory in step with a change that is durable. Events that
// are queued again are due at once, unless the cursor is yet to come to them.
// The caller holds mu.
func (q *Queue) applyEdits(m *picked) {
	if len(m.edited) == 0 {
		return
	}
	b := m.block
	q.noteWork(b.seg)
	b.seg.edits++            // what the cursor read ahead is out of date
	q.cache.take(b.blockKey) // and so is this
	for _, i := range m.edited {
		if e := q.held[b.address(i)]; e != nil {
			if e.where == leased {
				m.leased++
			}
			q.letGo(e)
		}
		b.dropLetter(i)
		q.shift(b, i, m.to)
		if m.to == segment.Live {
			b.seg.oldest = older(b.seg.oldest, b.taken)
		}
		if m.to == segment.Live && !q.aheadOfCursor(b, i) {
			b.seg.replayed.add(b.number)
		}
	}
}

// dropRejects deletes rejects of one segment. It runs in the writer.
func (q *Queue) dropRejects(seg *segmentState, at []queue.Address) (n int, err error) {
	after := seg.Stored
	numbers := make([]uint64, len(at))
	for i, one := range at {
		numbers[i] = one.Lo &^ rejectFlag
	}
	err = q.step("rejects.commit", func() error {
		return seg.Update(func(tx *bolt.Tx) (err error) {
			n, err = seg.DropRejects(tx, numbers, &after)
			return err
		})
	})
	if err != nil {
		q.writeFailed(seg, err)
		return 0, fmt.Errorf("discard %d rejects of segment %d: %w", len(at), seg.Number, err)
	}
	q.dropped(seg, after)
	return n, nil
}

// dropped brings memory in step after rejects were deleted.
func (q *Queue) dropped(seg *segmentState, after segment.Counters) {
	q.mu.Lock()
	defer q.mu.Unlock()
	gone := seg.Stored.Rejects - after.Rejects
	bytes, samples := seg.Stored.RejectBytes-after.RejectBytes, seg.Stored.SampleBytes-after.SampleBytes
	seg.book.Dead -= gone
	seg.book.Discarded += gone
	seg.book.Rejects -= gone
	seg.book.RejectBytes -= bytes
	seg.book.SampleBytes -= samples
	for i := range seg.book.DeadBy {
		seg.book.DeadBy[i] -= seg.Stored.DeadBy[i] - after.DeadBy[i]
	}
	q.rejects -= int64(bytes)
	q.samples -= int64(samples)
	seg.Stored = after
	q.noteWork(seg)
	nudge(q.kick)
}
