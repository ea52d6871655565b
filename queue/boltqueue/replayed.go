package boltqueue

import (
	"errors"
	"math/bits"
	"time"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

// blockSet is a set of block numbers.
type blockSet []uint64

func (s *blockSet) add(n uint64) {
	for uint64(len(*s)) <= n/64 {
		*s = append(*s, 0)
	}
	(*s)[n/64] |= 1 << (n % 64)
}

func (s blockSet) remove(n uint64) {
	if n/64 < uint64(len(s)) {
		s[n/64] &^= 1 << (n % 64)
	}
}

// first returns the least number of the set.
func (s blockSet) first() (n uint64, ok bool) {
	for i, word := range s {
		if word != 0 {
			return uint64(i)*64 + uint64(bits.TrailingZeros64(word)), true
		}
	}
	return 0, false
}

// replayed is the block whose replayed events are being handed out. A replay
// only notes, in each segment, which blocks behind the cursor hold some: so a
// million of them take no memory. Guarded by Queue.mu; only the holder of
// lessee moves it.
type replayed struct {
	block  *openBlock
	events []event.Event
	at     int
}

// takeReplayed leases up to n replayed events.
func (q *Queue) takeReplayed(n int) (got []queue.Delivery) {
	for len(got) < n && q.openReplayed() {
		q.mu.Lock()
		r := &q.replay
		for len(got) < n && r.at < len(r.events) {
			i := r.at
			r.at++
			if r.block.States[i] != segment.Live || r.block.held[i] || q.aheadOfCursor(r.block, i) {
				continue
			}
			q.lend(&heldEvent{block: r.block, index: i})
			got = append(got, r.block.delivery(i, r.events[i]))
		}
		if b := r.block; r.at == len(r.events) {
			*r = replayed{}
			q.dropIdle(b)
		}
		q.mu.Unlock()
	}
	return got
}

// aheadOfCursor reports whether the cursor is yet to come to an event. The
// caller holds mu.
func (q *Queue) aheadOfCursor(b *openBlock, index int) bool {
	return b == q.cursor.block && index >= q.cursor.at || !q.passed(b.blockKey)
}

// openReplayed makes replay stand in a block, opening the next one if need be.
// It reports false when there is none, or it cannot be read now.
func (q *Queue) openReplayed() bool {
	for {
		q.mu.Lock()
		if q.replay.block != nil {
			q.mu.Unlock()
			return true
		}
		var key blockKey
		for _, seg := range q.line {
			if n, ok := seg.replayed.first(); ok {
				key = blockKey{seg, n}
				break
			}
		}
		if key.seg != nil {
			key.seg.replayed.remove(key.number) // before it is read: a replay meanwhile notes it again
		}
		q.mu.Unlock()
		if key.seg == nil {
			return false
		}
		events, err := q.readEvents(key)
		if err == nil {
			err = q.load(key, func(b *openBlock) { q.replay = replayed{block: b, events: events} })
		}
		if err == nil || errors.Is(err, errGone) {
			continue
		}
		q.spoiled(key.seg, err)
		if passes(err) {
			q.mu.Lock()
			key.seg.replayed.add(key.number)
			q.rereadAt = time.Now().Add(rereadAfter)
			q.mu.Unlock()
			return false
		}
	}
}
