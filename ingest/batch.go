package ingest

import (
	"bytes"
	"time"

	"trackd/event"
	"trackd/queue"
)

const (
	// maxBatch bounds the events of one batch, so that no client fills a commit
	// alone.
	maxBatch = 1000

	// maxArena bounds an arena. It holds several events of any size.
	maxArena = 256 << 10

	// maxItemBytes is how much of a batch of items, as they are sent on, is
	// committed at a time.
	maxItemBytes = (maxArena - added) / 5 * 4

	// maxRejected bounds what the rejects of a batch hold. One more may exceed it.
	maxRejected = 256 << 10

	// rejectStep is how much of the work budget rejects take at a time.
	rejectStep = 16 << 10
)

// batch is what one commit makes durable, and the memory it needs. The queue
// keeps nothing of it.
type batch struct {
	queue.Batch
	arena    arena  // of the events' bodies
	work     charge // for the arena and the rejects
	rejected int64  // bytes that the rejects hold, about
	full     bool   // no more is to be added
	replaced int    // lone surrogates

	// Of the socket only.
	notes []note // one for each reject
	first uint64 // number of its first line
}

// size returns the number of events and rejects.
func (b *batch) size() int { return len(b.Events) + len(b.Rejects) }

// smallArena is the largest arena that is not charged.
const smallArena = freeBytes + freeBytes/4 + added

// newBatch returns an empty batch with room for size bytes of input, after
// waiting for its share of the work budget.
func (s *Server) newBatch(size int) *batch {
	pool := &s.batches
	if arenaSize(size) > smallArena { // apart: else small ones would hold large arenas that nobody paid for
		pool = &s.largeBatches
	}
	b := pool.Get().(*batch)
	b.work.budget = s.budgets.work
	if want := max(arenaSize(size), len(b.arena.all)); want > smallArena {
		_ = b.work.raise(s.cut, int64(want)) // fails when the server gives up, and bounds nothing any more
	}
	b.arena.reserve(size)
	return b
}

// putBatch gives b back, empty: nothing that it held may be in use.
func (s *Server) putBatch(b *batch) {
	clear(b.Events)
	clear(b.Rejects)
	clear(b.notes)
	b.Events, b.Rejects, b.notes, b.Room = b.Events[:0], b.Rejects[:0], b.notes[:0], nil
	b.rejected, b.full, b.replaced, b.first = 0, false, 0, 0
	b.arena.free = b.arena.all
	b.work.release()
	switch {
	case len(b.arena.all) <= smallArena:
		s.batches.Put(b)
	case len(b.arena.all) <= maxArena:
		s.largeBatches.Put(b)
	}
}

// add parses raw and adds it, as an event or as a reject. It returns why it is
// rejected, nil if it is not. Rejects keep raw itself.
func (b *batch) add(parser event.Parser, raw []byte, now time.Time) *event.Error {
	parsed, err := parser.ParseInto(b.arena.free, raw, now)
	b.arena.free = parsed.Rest
	if err != nil {
		return asRejection(err)
	}
	b.replaced += parsed.Replaced
	b.Events = append(b.Events, parsed.Event)
	b.full = b.full || b.size() >= maxBatch
	return nil
}

// reject adds raw as a reject, or a copy of it if it will be overwritten, and
// says that the batch is full when rejects take too much memory.
func (b *batch) reject(raw []byte, why *event.Error, overwritten bool) {
	detail := why.Error()
	b.rejected += int64(2*len(detail)) + rejectOverhead
	if raw = raw[:min(len(raw), event.MaxInputBytes)]; overwritten {
		raw = bytes.Clone(raw)
		b.rejected += int64(len(raw))
	}
	b.Rejects = append(b.Rejects, queue.Reject{Body: raw, Reason: queue.Reason(why.Code), Detail: detail})
	if b.size() >= maxBatch || b.rejected > maxRejected {
		b.full = true
	} else if b.rejected > freeBytes {
		steps := b.rejected/rejectStep + 1
		b.full = b.full || !b.work.tryRaise(int64(len(b.arena.all))+steps*rejectStep)
	}
}

// rejectOverhead is what a reject holds besides its text: the entries in the
// batch and its notes, and the problems.
const rejectOverhead = 400

// arena is memory for the bodies of events that are on their way to the queue.
// It is used again once an Append has returned.
type arena struct {
	all, free []byte
}

// added is how much an event may grow here before it gets memory of its own: a
// type, a messageId and a timestamp.
const added = 128

// arenaSize returns the size of the arena for size bytes of input, one event at
// least.
func arenaSize(size int) int { return size + added + size/4 }

// reserve sees to it that size bytes of input find room.
func (a *arena) reserve(size int) {
	if size = arenaSize(size); size > len(a.free) {
		a.all = make([]byte, size)
		a.free = a.all
	}
}
