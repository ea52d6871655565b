package boltqueue

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unique"

	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

// Settle implements [queue.Queue].
func (q *Queue) Settle(_ context.Context, outcomes ...queue.Outcome) error {
	if q.isClosed() {
		return queue.ErrClosed
	}
	var errs []error
	now := time.Now()
	q.mu.Lock()
	again, complete := false, q.nDirty == 0
	for _, o := range outcomes {
		e := q.held[o.Address]
		if e == nil || e.where != leased && (e.where != parked || o.Verb != queue.Bury) {
			continue
		}
		b := e.block
		switch o.Verb {
		case queue.Delivered:
			q.letGo(e)
			q.change(b, e.index, segment.Delivered, now)
		case queue.Bury:
			if reasonCode(o.Reason) == 0 { // it would be taken for damage
				errs = append(errs, fmt.Errorf("settle %s: bury with reason %q, which is none of queue.Reasons", o.Address, o.Reason))
				continue
			}
			q.letGo(e)
			b.addLetter(segment.DeadEvent{Index: e.index, Reason: reasonCode(o.Reason), Status: o.Status,
				Attempts: o.Attempts, Died: now, Detail: o.Detail})
			q.change(b, e.index, segment.Dead, now)
		case queue.Retry:
			q.accuse(b, e.index, o, now)
			q.park(e, now.Add(o.Delay))
			again = true
		default:
			e.where, e.due = returned, time.Time{}
			heap.Push(&q.returned, e)
			again = true
		}
		complete = complete || b.settled()
	}
	q.mu.Unlock()
	if again {
		nudge(q.wake)
	}
	if complete {
		nudge(q.kick)
	}
	return errors.Join(errs...)
}

const (
	// evidenceEvery is how often the evidence against one event reaches the disk.
	evidenceEvery = time.Hour

	// maxDetail bounds what is remembered of an answer to an event that waits.
	maxDetail = 256
)

// accuse keeps the evidence of a Retry outcome. The caller holds mu.
func (q *Queue) accuse(b *openBlock, index int, o queue.Outcome, now time.Time) {
	e := &segment.Evidence{Strikes: o.Strikes, FirstFailed: o.FirstFailed, Attempts: o.Attempts, Status: o.Status,
		Detail: unique.Make(o.Detail[:min(len(o.Detail), maxDetail)]), Successes: o.Successes}
	if old := b.Evidence[index]; old != nil {
		e.Stored = old.Stored
	}
	b.Note(index, e)
	if (e.Strikes != 0 || !e.FirstFailed.IsZero()) && now.Sub(e.Stored) >= evidenceEvery {
		q.noteDirty(b, now)
	}
}

// addLetter keeps letters in index order.
func (b *openBlock) addLetter(l segment.DeadEvent) {
	i, _ := slices.BinarySearchFunc(b.Letters, l.Index, byIndex)
	b.Letters = slices.Insert(b.Letters, i, l)
	b.now.DeadBy[l.Reason]++
	b.seg.book.DeadBy[l.Reason]++
}

// dropLetter forgets the letter of an event that is not dead any more.
func (b *openBlock) dropLetter(index int) {
	if i, found := slices.BinarySearchFunc(b.Letters, index, byIndex); found {
		reason := b.Letters[i].Reason
		b.Letters = slices.Delete(b.Letters, i, i+1)
		b.now.DeadBy[reason]--
		b.seg.book.DeadBy[reason]--
	}
}

func byIndex(l segment.DeadEvent, index int) int { return cmp.Compare(l.Index, index) }

// change moves an event to another state in memory and notes that its block
// must be marked. The caller holds mu.
func (q *Queue) change(b *openBlock, index int, to segment.State, now time.Time) {
	q.shift(b, index, to)
	q.noteDirty(b, now)
}

// shift moves an event to another state in memory. The caller holds mu.
func (q *Queue) shift(b *openBlock, index int, to segment.State) {
	from := b.States[index]
	before := b.now
	b.States[index] = to
	b.Note(index, nil)
	b.now.By[from]--
	b.now.By[to]++
	b.seg.book.Shift(before, b.now)
}

// noteDirty queues a block for the next flush. The caller holds mu.
func (q *Queue) noteDirty(b *openBlock, now time.Time) {
	q.noteWork(b.seg)
	if !b.since.IsZero() {
		return
	}
	b.since = now
	b.seg.dirty = append(b.seg.dirty, b)
	if b.seg.failed == nil {
		q.nDirty++
	}
}

// picked is one block on its way to the disk.
type picked struct {
	segment.Marking
	block *openBlock

	edited []int         // events that change their state once this is durable
	to     segment.State // what they are then
	leased int           // how many of them were leased at that moment
}

// buries reports whether there is a letter that the disk does not know.
func (m picked) buries() bool { return m.Now.By[segment.Dead] > m.Was.By[segment.Dead] }

// markings returns what is written of picked blocks. What the write notes in
// their letters is seen in both.
func markings(all []picked) []segment.Marking {
	out := make([]segment.Marking, len(all))
	for i, m := range all {
		out[i] = m.Marking
	}
	return out
}

// pickMarks takes the blocks of seg whose marks are due: those unflushed for
// flushAfter, and, when a commit goes there anyway, those that are settled.
func (q *Queue) pickMarks(seg *segmentState, now time.Time, joining bool) []picked {
	q.mu.Lock()
	defer q.mu.Unlock()
	if seg.failed != nil {
		return nil
	}
	var all []picked
	seg.dirty = slices.DeleteFunc(seg.dirty, func(b *openBlock) bool {
		due := now.Sub(b.since) >= flushAfter || joining && b.settled()
		if !due || b.flushed || len(all) == flushBlocks {
			return false
		}
		all = append(all, b.pick())
		return true
	})
	q.nDirty -= len(all)
	return all
}

// pick begins the flush of a block. The caller holds Queue.mu.
func (b *openBlock) pick() picked {
	b.since, b.flushed = time.Time{}, true
	m := picked{block: b, Marking: segment.Marking{Number: b.number, Was: b.stored, Now: b.now,
		Marks: segment.Marks{States: slices.Clone(b.States), Letters: slices.Clone(b.Letters)}}}
	for i, e := range b.Evidence {
		e.Stored = time.Now()
		m.Note(i, e)
	}
	return m
}

// unpickMarks puts blocks back whose transaction failed.
func (q *Queue) unpickMarks(seg *segmentState, marks []picked) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range marks {
		m.block.flushed = false
		q.noteDirty(m.block, time.Now())
	}
}

// markedThrough notes that marks are on disk and the book with them.
func (q *Queue) markedThrough(seg *segmentState, marks []picked, after segment.Counters) {
	seg.Stored = after
	q.mu.Lock()
	defer q.mu.Unlock()
	seg.marked++
	for i := range marks {
		m := &marks[i]
		b := m.block
		b.flushed, b.stored = false, m.Now
		q.applyEdits(m)
		for _, l := range m.Letters {
			if i, found := slices.BinarySearchFunc(b.Letters, l.Index, byIndex); found && b.Letters[i].Died.Equal(l.Died) {
				b.Letters[i].Text, b.Letters[i].Detail = l.Text, ""
			}
		}
		q.dropIdle(b)
	}
}

// dropIdle forgets a block that memory need not know of: the disk says all
// there is to say, and no event of it is held or being handed out. The caller
// holds mu.
func (q *Queue) dropIdle(b *openBlock) {
	if b.since.IsZero() && !b.flushed && b.nHeld == 0 && b != q.cursor.block && b != q.replay.block && q.open[b.blockKey] == b {
		delete(q.open, b.blockKey)
	}
}
