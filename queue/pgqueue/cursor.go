package pgqueue

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"trackd/event"
	"trackd/queue"
)

// stage is where an event stands in the holder's memory.
type stage uint8

const (
	fetched  stage = iota // read ahead, body in memory
	leased                // with the sender
	returned              // due at once, before any fresh one
	parked                // due later
	settling              // delivered or buried, and not flushed
)

// item is an event in the holder's memory.
type item struct {
	id       int64
	taken    time.Time
	event    event.Event // while fetched
	replayed bool
	stage    stage

	evidence queue.Outcome // the last Retry, or what the database remembers of one
	due      time.Time     // while parked; monotonic

	// Of the evidence, what the database remembers.
	strikes     float64
	firstFailed time.Time
	writtenAt   time.Time // zero: not by this process
}

func (it *item) address() queue.Address { return queue.Address{Lo: uint64(it.id)} }

// delivery returns what the sender is told.
func (it *item) delivery(ev event.Event) queue.Delivery {
	e := it.evidence
	return queue.Delivery{Address: it.address(), Event: ev, Taken: it.taken, Attempts: e.Attempts, Strikes: e.Strikes,
		FirstFailed: e.FirstFailed, LastStatus: e.Status, LastDetail: e.Detail, Successes: e.Successes}
}

// holding is all that the holder of the lease has handed out or read ahead. It
// is plain data, guarded by Queue.mu.
type holding struct {
	items    map[int64]*item // by id, whatever their stage
	fresh    []*item         // fetched, by id
	replays  []*item         // fetched, by number of their replay
	returned []*item         // by id
	parked   parkedHeap
	turn     bool // whether the next one, of those due again and the fresh, is fresh
	leased   int

	cursor       int64 // no id up to this one is still to be fetched
	replayCursor int64 // the same for numbers of replays
}

func newHolding() holding { return holding{items: map[int64]*item{}} }

// lowMark returns the lowest id that is not settled, replayed events apart.
func (h *holding) lowMark() int64 {
	low := h.cursor + 1
	for id, it := range h.items {
		if !it.replayed {
			low = min(low, id)
		}
	}
	return low
}

// unwritten reports whether the database remembers other strikes than this
// item has.
func (it *item) unwritten() bool {
	return it.evidence.Strikes != it.strikes || !it.evidence.FirstFailed.Equal(it.firstFailed)
}

// goBack lets the cursor see every event from the low mark on once more. What
// was handed out is not fetched again.
func (h *holding) goBack(lowMark int64) {
	for _, it := range slices.Concat(h.fresh, h.replays) {
		delete(h.items, it.id)
	}
	h.fresh, h.replays = nil, nil
	h.cursor, h.replayCursor = max(0, lowMark-1), 0
}

// add takes fetched events in. One that is in memory already stays as it is,
// unless it only waits for its outcome to be flushed: then another centre has
// replayed it meanwhile. An id with another time is another event: a failover
// gave the id twice.
func (h *holding) add(to *[]*item, items []*item) {
	for _, it := range items {
		if old := h.items[it.id]; old != nil {
			if old.taken.Equal(it.taken) && (old.stage != settling || !it.replayed) {
				continue
			}
			h.remove(old)
		}
		h.items[it.id] = it
		*to = append(*to, it)
	}
}

// remove forgets an item.
func (h *holding) remove(it *item) {
	if h.items[it.id] == it {
		delete(h.items, it.id)
	}
	is := func(other *item) bool { return other == it }
	switch it.stage {
	case fetched:
		h.fresh, h.replays = slices.DeleteFunc(h.fresh, is), slices.DeleteFunc(h.replays, is)
	case returned:
		h.returned = slices.DeleteFunc(h.returned, is)
	case parked:
		if i := slices.Index(h.parked, it); i >= 0 {
			heap.Remove(&h.parked, i)
		}
	case leased:
		h.leased--
	}
	it.stage = settling
}

// give puts an event back among those that are due at once.
func (h *holding) give(it *item) {
	if it.stage == leased {
		h.leased--
	}
	it.stage = returned
	at, _ := slices.BinarySearchFunc(h.returned, it, func(a, b *item) int { return cmp.Compare(a.id, b.id) })
	h.returned = slices.Insert(h.returned, at, it)
}

// park lets a leased event wait until due.
func (h *holding) park(it *item, due time.Time) {
	h.leased--
	it.stage, it.due = parked, due
	heap.Push(&h.parked, it)
}

// pick leases up to most items: returned ones first, then those due again and
// fresh ones in turn, so that neither holds up the other.
func (h *holding) pick(most int, now time.Time) (picked []*item) {
	n := min(most, len(h.returned))
	picked = append(picked, h.returned[:n]...)
	h.returned = slices.Delete(h.returned, 0, n)
	for len(picked) < most {
		again := len(h.replays) > 0 || len(h.parked) > 0 && !h.parked[0].due.After(now)
		if !again && len(h.fresh) == 0 {
			break
		}
		h.turn = !h.turn
		switch {
		case len(h.fresh) > 0 && (h.turn || !again):
			picked, h.fresh = append(picked, h.fresh[0]), h.fresh[1:]
		case len(h.parked) > 0 && !h.parked[0].due.After(now):
			picked = append(picked, heap.Pop(&h.parked).(*item))
		default:
			picked, h.replays = append(picked, h.replays[0]), h.replays[1:]
		}
	}
	for _, it := range picked {
		it.stage = leased
	}
	h.leased += len(picked)
	return picked
}

// waiting counts the parked events that are not due.
func (h *holding) waiting(now time.Time) (n int) {
	for _, it := range h.parked {
		if it.due.After(now) {
			n++
		}
	}
	return n
}

// parkedHeap has the next due first, then the lower id.
type parkedHeap []*item

func (h parkedHeap) Len() int { return len(h) }
func (h parkedHeap) Less(i, j int) bool {
	return cmp.Or(h[i].due.Compare(h[j].due), cmp.Compare(h[i].id, h[j].id)) < 0
}
func (h parkedHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *parkedHeap) Push(x any)   { *h = append(*h, x.(*item)) }
func (h *parkedHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
