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
			q.change(b, e.index, delivered, now)
		case queue.Bury:
			if reasonCode(o.Reason) == 0 { // it would be taken for damage
				errs = append(errs, fmt.Errorf("settle %s: bury with reason %q, which is none of queue.Reasons", o.Address, o.Reason))
				continue
			}
			q.letGo(e)
			b.addLetter(letter{index: e.index, reason: reasonCode(o.Reason), status: o.Status,
				attempts: o.Attempts, died: now, detail: o.Detail})
			q.change(b, e.index, dead, now)
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
	e := &evidence{strikes: o.Strikes, firstFailed: o.FirstFailed, attempts: o.Attempts, status: o.Status,
		detail: unique.Make(o.Detail[:min(len(o.Detail), maxDetail)]), successes: o.Successes}
	if old := b.evidence[index]; old != nil {
		e.stored = old.stored
	}
	b.note(index, e)
	if (e.strikes != 0 || !e.firstFailed.IsZero()) && now.Sub(e.stored) >= evidenceEvery {
		q.noteDirty(b, now)
	}
}

// addLetter keeps letters in index order.
func (b *openBlock) addLetter(l letter) {
	i, _ := slices.BinarySearchFunc(b.letters, l.index, byIndex)
	b.letters = slices.Insert(b.letters, i, l)
	b.now.deadBy[l.reason]++
	b.seg.book.deadBy[l.reason]++
}

// dropLetter forgets the letter of an event that is not dead any more.
func (b *openBlock) dropLetter(index int) {
	if i, found := slices.BinarySearchFunc(b.letters, index, byIndex); found {
		reason := b.letters[i].reason
		b.letters = slices.Delete(b.letters, i, i+1)
		b.now.deadBy[reason]--
		b.seg.book.deadBy[reason]--
	}
}

func byIndex(l letter, index int) int { return cmp.Compare(l.index, index) }

// change moves an event to another state in memory and notes that its block
// must be marked. The caller holds mu.
func (q *Queue) change(b *openBlock, index int, to state, now time.Time) {
	q.shift(b, index, to)
	q.noteDirty(b, now)
}

// shift moves an event to another state in memory. The caller holds mu.
func (q *Queue) shift(b *openBlock, index int, to state) {
	from := b.states[index]
	before := b.now
	b.states[index] = to
	b.note(index, nil)
	b.now.by[from]--
	b.now.by[to]++
	b.seg.book.shift(before, b.now)
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
	marking
	block *openBlock

	edited []int // events that change their state once this is durable
	to     state // what they are then
	leased int   // how many of them were leased at that moment
}

// buries reports whether there is a letter that the disk does not know.
func (m picked) buries() bool { return m.now.by[dead] > m.was.by[dead] }

// markings returns what is written of picked blocks. What the write notes in
// their letters is seen in both.
func markings(all []picked) []marking {
	out := make([]marking, len(all))
	for i, m := range all {
		out[i] = m.marking
	}
	return out
}

// pickMarks takes the blocks of seg whose marks are due: those unflushed for
// flushAfter, and, when a commit goes there anyway, those that are settled.
func (q *Queue) pickMarks(seg *segment, now time.Time, joining bool) []picked {
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
	m := picked{block: b, marking: marking{number: b.number, was: b.stored, now: b.now,
		marks: marks{states: slices.Clone(b.states), letters: slices.Clone(b.letters)}}}
	for i, e := range b.evidence {
		e.stored = time.Now()
		m.note(i, e)
	}
	return m
}

// unpickMarks puts blocks back whose transaction failed.
func (q *Queue) unpickMarks(seg *segment, marks []picked) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range marks {
		m.block.flushed = false
		q.noteDirty(m.block, time.Now())
	}
}

// markedThrough notes that marks are on disk and the book with them.
func (q *Queue) markedThrough(seg *segment, marks []picked, after book) {
	seg.stored = after
	q.mu.Lock()
	defer q.mu.Unlock()
	seg.marked++
	for i := range marks {
		m := &marks[i]
		b := m.block
		b.flushed, b.stored = false, m.now
		q.applyEdits(m)
		for _, l := range m.letters {
			if i, found := slices.BinarySearchFunc(b.letters, l.index, byIndex); found && b.letters[i].died.Equal(l.died) {
				b.letters[i].text, b.letters[i].detail = l.text, ""
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
