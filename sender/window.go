package sender

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"trackd/event"
	"trackd/queue"
)

// item is an event that the sender has leased, or has parked after a failure.
type item struct {
	address  queue.Address
	delivery *queue.Delivery // nil while it is parked in the queue
	where    whereabouts
	source   source // while it is launched

	places   []place       // in the lanes of its persons
	blocked  int           // in how many of them it is not first
	entered  time.Duration // open time when it was leased first
	failed   bool          // in this process
	failedAt time.Duration // open time when it failed first
	parkedAt time.Duration // open time when it was parked last

	// While it is parked; what is known of an event then is little on purpose.
	strikes          float64
	first            int64 // when it failed first, in Unix seconds; the largest: never
	attempts, status int32
	heap             int // its place in the order of parked
}

// newItem keeps what was leased, in one piece. Each event stands by itself: one
// that is held for long must not hold what was leased with it.
func newItem(d queue.Delivery) *item {
	whole := &struct {
		item
		queue.Delivery
		places [len(event.Persons{})]place
	}{item: item{address: d.Address}, Delivery: d}
	whole.item.delivery, whole.item.places = &whole.Delivery, whole.places[:]
	return &whole.item
}

// source is where the next event to be sent is taken from.
type source uint8

const (
	fromNowhere source = iota
	fromOldest         // the oldest fresh event
	fromNewest         // the newest fresh event
	fromRetries
	fromLanes // out of order, to relieve the window
	sources
)

// window holds the events that were leased and are not with the workers. They
// stay in it while the upstream is in trouble, so that probes find candidates
// among many, and are returned to the queue only at a stop or a pause.
type window struct {
	ready   []*item            // never answered, free to go, in address order
	blocked map[*item]struct{} // not first in a lane of theirs
	bytes   int                // of the bodies of both
}

const (
	maxWindow      = 4096
	maxWindowBytes = 8 << 20
)

// room is how many more events may be leased.
func (w *window) room() int {
	if w.bytes >= maxWindowBytes {
		return 0
	}
	return maxWindow - len(w.ready) - len(w.blocked)
}

// add puts an event that is free to go at its place, nearly always the end.
func (w *window) add(it *item) {
	w.bytes += len(it.delivery.Event.Body)
	if n := len(w.ready); n == 0 || w.ready[n-1].address.Compare(it.address) < 0 {
		w.ready = append(w.ready, it)
		return
	}
	w.ready = slices.Insert(w.ready, w.find(it.address), it)
}

func (w *window) find(a queue.Address) int {
	i, _ := slices.BinarySearchFunc(w.ready, a, func(it *item, a queue.Address) int { return it.address.Compare(a) })
	return i
}

// take removes and returns the ith event.
func (w *window) take(i int) *item {
	it := w.ready[i]
	w.bytes -= len(it.delivery.Event.Body)
	if i == 0 { // nearly always: without moving the others
		w.ready[0] = nil
		w.ready = w.ready[1:]
		return it
	}
	w.ready = slices.Delete(w.ready, i, i+1)
	return it
}

// remove takes it out, wherever it is.
func (w *window) remove(it *item) {
	if _, ok := w.blocked[it]; ok {
		w.bytes -= len(it.delivery.Event.Body)
		delete(w.blocked, it)
		return
	}
	if i := w.find(it.address); i < len(w.ready) && w.ready[i] == it {
		w.take(i)
	}
}

// block holds an event that may not go yet.
func (w *window) block(it *item) {
	w.bytes += len(it.delivery.Event.Body)
	w.blocked[it] = struct{}{}
}

// probe removes and returns the event that makes the best probe of this kind;
// nil when there is none.
func (w *window) probe(kind probeKind) *item {
	switch n := len(w.ready); {
	case n == 0:
		return nil
	case kind == probeOldest:
		return w.take(0)
	case kind == probeRandom:
		return w.take(rand.IntN(n))
	default:
		return w.take(n - 1)
	}
}

// leastSuspect returns the index of the failed event that makes the best probe:
// the one with least against it; among equals the one whose failure is longest
// ago, which stands first.
func leastSuspect(failed []*item) int {
	best := 0
	for i, it := range failed {
		a, b := it.delivery, failed[best].delivery
		if cmp.Or(cmp.Compare(a.Strikes, b.Strikes), cmp.Compare(a.Attempts, b.Attempts)) < 0 {
			best = i
		}
	}
	return best
}
