package sender

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"trackd/event"
)

// lanes keep the order of each person's events. A lane holds the unresolved
// events that name one person's id, in address order, and only the first of it
// may be sent. An event of several ids stands in as many lanes, and is ready when
// it is first in all of them: since all lanes have the same order, there is always
// one that is, whatever ids are joined.
//
// An event leaves its lanes when it is delivered or buried. One that fails stays
// first, so that those behind wait for it, but not for ever: when it has held one
// up for as long as hold, it leaves that lane alone. Times here are open time,
// which runs only while the upstream is open.
type lanes struct {
	hold     time.Duration
	byPerson map[uint64]*lane
	crowded  []*lane // those with more than one event
	holding  holding // those whose first has failed and holds others up
	free     []*lane // to be used again
}

// lane holds the unresolved events of one id.
type lane struct {
	person      uint64
	first, last *place
	n           int
	crowdedAt   int           // index in crowded, -1 if not there
	holdingAt   int           // index in holding, -1 if not there
	until       time.Duration // when the hold ends
}

// place is the place of one event in one lane.
type place struct {
	item       *item
	lane       *lane // nil once it has left
	prev, next *place
}

// whereabouts says where an event that the sender knows is.
type whereabouts uint8

const (
	atHand   whereabouts = iota // leased, not launched
	launched                    // with the workers
	waiting                     // parked in the queue
)

func newLanes(hold time.Duration) lanes {
	return lanes{hold: hold, byPerson: map[uint64]*lane{}}
}

// enter puts it into the lane of each of its ids. It returns the events that are
// first no longer, because it is older.
func (l *lanes) enter(it *item, persons event.Persons) (displaced []*item) {
	n := 0
	for n < len(persons) && persons[n] != 0 {
		n++
	}
	it.places = it.places[:n]
	for i := range it.places {
		ln := l.byPerson[persons[i]]
		if ln == nil {
			ln = l.newLane(persons[i])
		}
		p := &it.places[i]
		*p = place{item: it, lane: ln, prev: ln.last}
		for p.prev != nil && p.prev.item.address.Compare(it.address) > 0 { // hardly ever
			p.prev = p.prev.prev
		}
		if p.prev == nil {
			p.next, ln.first = ln.first, p
		} else {
			p.next, p.prev.next = p.prev.next, p
			it.blocked++
		}
		if p.next == nil {
			ln.last = p
		} else {
			p.next.prev = p
		}
		if p.prev == nil && p.next != nil {
			if p.next.item.blocked++; p.next.item.blocked == 1 {
				displaced = append(displaced, p.next.item)
			}
		}
		ln.n++
		l.refresh(ln)
	}
	return displaced
}

func (l *lanes) newLane(person uint64) *lane {
	var ln *lane
	if n := len(l.free); n > 0 {
		ln = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		ln = new(lane)
	}
	*ln = lane{person: person, crowdedAt: -1, holdingAt: -1}
	l.byPerson[person] = ln
	return ln
}

// leave takes it out of all its lanes and returns the events that are first in
// all of theirs now.
func (l *lanes) leave(it *item) (ready []*item) {
	for i := range it.places {
		if it.places[i].lane != nil {
			ready = l.leaveLane(&it.places[i], ready)
		}
	}
	return ready
}

// leaveLane takes the event at p out of that lane and appends to ready whoever is
// first in all its lanes now.
func (l *lanes) leaveLane(p *place, ready []*item) []*item {
	ln := p.lane
	if p.prev != nil {
		p.prev.next = p.next
		p.item.blocked--
	} else {
		ln.first = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		ln.last = p.prev
	}
	if p.prev == nil && p.next != nil {
		if p.next.item.blocked--; p.next.item.blocked == 0 {
			ready = append(ready, p.next.item)
		}
	}
	*p = place{item: p.item}
	ln.n--
	l.refresh(ln)
	if ln.n == 0 {
		delete(l.byPerson, ln.person)
		if len(l.free) < maxWindow {
			l.free = append(l.free, ln)
		}
	}
	return ready
}

// replace has b stand where a stands: it is the same event, of which more or less
// is kept.
func (l *lanes) replace(a, b *item) {
	b.blocked = a.blocked
	for i := range a.places {
		p := &b.places[i]
		*p = a.places[i]
		p.item = b
		switch {
		case p.lane == nil:
			continue
		case p.prev != nil:
			p.prev.next = p
		default:
			p.lane.first = p
		}
		if p.next != nil {
			p.next.prev = p
		} else {
			p.lane.last = p
		}
	}
}

// moved notes that the whereabouts of it, or what is known against it, changed.
func (l *lanes) moved(it *item) {
	for i := range it.places {
		if p := &it.places[i]; p.lane != nil && p.prev == nil {
			l.refresh(p.lane)
		}
	}
}

// refresh keeps crowded and holding right for ln.
func (l *lanes) refresh(ln *lane) {
	switch {
	case ln.n > 1 && ln.crowdedAt < 0:
		ln.crowdedAt = len(l.crowded)
		l.crowded = append(l.crowded, ln)
	case ln.n <= 1 && ln.crowdedAt >= 0:
		last := l.crowded[len(l.crowded)-1]
		l.crowded[ln.crowdedAt], last.crowdedAt = last, ln.crowdedAt
		l.crowded = l.crowded[:len(l.crowded)-1]
		ln.crowdedAt = -1
	}
	// Nobody is released while the first is on its way: it may be delivered. Who has
	// waited behind one that failed waits no longer behind the next. What was only
	// throttled comes back in seconds, unless an operator erased it.
	first := ln.first
	holds := ln.n > 1 && (first.item.failed || first.item.where == waiting) && first.item.where != launched
	switch {
	case holds && first.item.failed:
		ln.until = min(first.item.failedAt, first.next.item.entered) + l.hold
	case holds:
		ln.until = first.item.parkedAt + l.hold
	}
	switch {
	case holds && ln.holdingAt < 0:
		heap.Push(&l.holding, ln)
	case holds:
		heap.Fix(&l.holding, ln.holdingAt)
	case ln.holdingAt >= 0:
		heap.Remove(&l.holding, ln.holdingAt)
	}
}

// release lets the first event of each lane whose hold has ended leave that lane.
// It returns how many there were, and the events that are ready now.
func (l *lanes) release(open time.Duration) (n int, ready []*item) {
	for len(l.holding) > 0 && l.holding[0].until <= open {
		ready = l.leaveLane(l.holding[0].first, ready)
		n++
	}
	return n, ready
}

// waiter returns the first event of ln that is at hand and may not go yet; nil
// if there is none.
func (ln *lane) waiter() *item {
	for p := ln.first.next; p != nil; p = p.next {
		if p.item.where == atHand {
			return p.item
		}
	}
	return nil
}

// behind returns an event that waits for it; nil if there is none.
func (l *lanes) behind(it *item) *item {
	for i := range it.places {
		if p := &it.places[i]; p.lane != nil && p.prev == nil {
			if w := p.lane.waiter(); w != nil {
				return w
			}
		}
	}
	return nil
}

// relieve returns the event that may best go out of order: a waiter of the longest
// lane, if there is one whose first has not failed and will soon be gone, else of
// the longest of the others; nil when nobody waits.
func (l *lanes) relieve() *item {
	rank := func(ln *lane) int {
		if ln.first.item.failed {
			return ln.n
		}
		return ln.n + maxParked
	}
	var best *lane
	var found *item
	for _, ln := range l.crowded {
		if best != nil && cmp.Compare(rank(ln), rank(best)) <= 0 {
			continue
		}
		if w := ln.waiter(); w != nil {
			best, found = ln, w
		}
	}
	return found
}

// holding is a heap of lanes, the one whose hold ends first before the others.
type holding []*lane

func (h holding) Len() int           { return len(h) }
func (h holding) Less(i, j int) bool { return h[i].until < h[j].until }
func (h holding) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].holdingAt, h[j].holdingAt = i, j
}
func (h *holding) Push(x any) {
	ln := x.(*lane)
	ln.holdingAt = len(*h)
	*h = append(*h, ln)
}
func (h *holding) Pop() any {
	last := len(*h) - 1
	ln := (*h)[last]
	*h = slices.Delete(*h, last, last+1)
	ln.holdingAt = -1
	return ln
}
