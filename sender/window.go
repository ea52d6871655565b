package sender

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"trackd/queue"
)

// item is an event that the sender has leased, or has parked after a failure.
type item struct {
	address  queue.Address
	delivery *queue.Delivery // nil while it is parked in the queue
	source   source          // while it is launched

	// While it is parked; what is known of an event then is little on purpose.
	strikes          float64
	first            int64 // when it failed first, in Unix seconds; the largest: never
	attempts, status int32
	heap             int // its place in the order of parked
}

// source is where the next event to be sent is taken from.
type source uint8

const (
	fromNowhere source = iota
	fromOldest         // the oldest fresh event
	fromNewest         // the newest fresh event
	fromRetries
	sources
)

// window holds the events that were leased and never answered. They stay in it
// while the upstream is tripped, so that probes find candidates among many, and
// are returned to the queue only at a stop or a pause.
type window struct {
	items []*item // in address order
	bytes int     // of their bodies
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
	return maxWindow - len(w.items)
}

// add puts it at its place, which is nearly always the end.
func (w *window) add(it *item) {
	w.bytes += len(it.delivery.Event.Body)
	if n := len(w.items); n == 0 || w.items[n-1].address.Compare(it.address) < 0 {
		w.items = append(w.items, it)
		return
	}
	w.items = slices.Insert(w.items, w.find(it.address), it)
}

func (w *window) find(a queue.Address) int {
	i, _ := slices.BinarySearchFunc(w.items, a, func(it *item, a queue.Address) int { return it.address.Compare(a) })
	return i
}

// take removes and returns the ith event.
func (w *window) take(i int) *item {
	it := w.items[i]
	w.bytes -= len(it.delivery.Event.Body)
	if i == 0 { // nearly always: without moving the others
		w.items[0] = nil
		w.items = w.items[1:]
		return it
	}
	w.items = slices.Delete(w.items, i, i+1)
	return it
}

// probe removes and returns the event that makes the best probe of this kind;
// nil when there is none.
func (w *window) probe(kind probeKind) *item {
	switch n := len(w.items); {
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
