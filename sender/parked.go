package sender

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"time"

	"trackd/queue"
)

// maxParked is how many failed events wait in the queue for their next attempt
// at most. They take memory, there and here. What comes beyond makes the
// strongest suspect of them a dead letter, so that fresh events never stop.
const maxParked = 99_500 // of the queue's 100,000: the last outcomes are on their way

// parked is what is known of the events that wait in the queue for their next
// attempt.
type parked struct {
	known    map[queue.Address]*item
	order    byStrikes
	suspects int // of them, those that failed: others were throttled
}

// add notes that an event waits from now on, with what o says against it, and
// returns what is kept of it.
func (p *parked) add(o queue.Outcome) *item {
	it := &item{address: o.Address, strikes: o.Strikes, first: math.MaxInt64, attempts: int32(o.Attempts), status: int32(o.Status)}
	if !o.FirstFailed.IsZero() {
		it.first = o.FirstFailed.Unix()
		p.suspects++
	}
	p.known[it.address] = it
	heap.Push(&p.order, it)
	return it
}

// remove forgets the event at a, which waits no longer, and returns what was
// known of it; nil: nothing.
func (p *parked) remove(a queue.Address) *item {
	it := p.known[a]
	if it == nil {
		return nil
	}
	if it.first != math.MaxInt64 {
		p.suspects--
	}
	delete(p.known, a)
	heap.Remove(&p.order, it.heap)
	return it
}

// strongest returns the event that has most against it.
func (p *parked) strongest() *item { return p.order[0] }

// byStrikes is a heap of events, the strongest suspect first.
type byStrikes []*item

func (s byStrikes) Len() int { return len(s) }
func (s byStrikes) Less(i, j int) bool {
	return cmp.Or(-cmp.Compare(s[i].strikes, s[j].strikes), cmp.Compare(s[i].first, s[j].first)) < 0
}
func (s byStrikes) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].heap, s[j].heap = i, j
}
func (s *byStrikes) Push(x any) {
	it := x.(*item)
	it.heap = len(*s)
	*s = append(*s, it)
}
func (s *byStrikes) Pop() any {
	last := len(*s) - 1
	it := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	return it
}

// park has it wait in the queue. When places run out there, the strongest suspect
// of all that wait becomes a dead letter instead.
func (s *scheduler) park(it *item, delay time.Duration) {
	d := it.delivery
	o := queue.Outcome{
		Address: it.address, Verb: queue.Retry, Delay: delay, Attempts: d.Attempts,
		Strikes: d.Strikes, FirstFailed: d.FirstFailed, Successes: d.Successes,
		Status: d.LastStatus, Detail: d.LastDetail,
	}
	s.outcomes = append(s.outcomes, o)
	small := s.parked.add(o)
	small.where, small.parkedAt, small.entered = waiting, s.openTime, it.entered
	small.failed, small.failedAt = it.failed, it.failedAt
	small.places = make([]place, len(it.places))
	s.lanes.replace(it, small)
	s.lanes.moved(small)
	if len(s.parked.known) <= maxParked {
		return
	}
	worst := s.parked.remove(s.parked.strongest().address)
	s.outcomes = append(s.outcomes, queue.Outcome{
		Address: worst.address, Verb: queue.Bury, Reason: queue.Poison,
		Attempts: int(worst.attempts), Status: int(worst.status),
		Detail: fmt.Sprintf("%d failed events wait for another attempt, and of these it had failed most clearly: %.1f strikes in %d attempts", maxParked, worst.strikes, worst.attempts),
	})
	s.burying[worst.address] = true
	s.unblock(s.lanes.leave(worst))
	s.metrics.buried[queue.Poison].Inc()
	if s.health.crowdedOut++; s.health.crowdedOut == 1 {
		s.log.Error("places for failed events have run out: the strongest suspects become dead letters", "waiting", maxParked)
	}
}
