package sender

import (
	"fmt"
	"slices"
	"time"

	"trackd/queue"
)

// keep holds a leased event at hand.
func (s *scheduler) keep(it *item) {
	it.where = atHand
	s.lanes.moved(it)
	switch {
	case it.blocked > 0:
		s.window.block(it)
	case isFirst(*it.delivery):
		s.window.add(it)
	default:
		s.retries = append(s.retries, it)
	}
}

// unblock lets those go that are first in all their lanes now. Those that are not
// at hand go when they come.
func (s *scheduler) unblock(ready []*item) {
	for _, it := range ready {
		if it.where == atHand {
			s.window.remove(it)
			s.keep(it)
		}
	}
}

// enter has it take its place in the order, and those wait that it comes before.
func (s *scheduler) enter(it *item) {
	it.entered = s.openTime
	if !s.ordered {
		it.places = nil
		return
	}
	for _, other := range s.lanes.enter(it, it.delivery.Event.Persons) {
		if other.where == atHand {
			s.window.remove(other)
			s.retries = slices.DeleteFunc(s.retries, func(r *item) bool { return r == other })
			s.keep(other)
		}
	}
}

// lease has the leaser lease, unless it is at it, or events are on their way back
// to the queue that come before those it would bring.
func (s *scheduler) lease(max int) {
	if !s.asked && max > 0 && !s.returning && !s.settlingReturned {
		s.asked = true
		s.wants <- max
	}
}

// leased takes in what was leased.
func (s *scheduler) leased(l lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = false
	now := time.Now()
	breaker := &s.health.breaker
	for _, d := range l.deliveries {
		if s.burying[d.Address] || s.settlingBuried[d.Address] {
			continue // settled already
		}
		it := newItem(d)
		if known := s.parked.remove(d.Address); known != nil {
			it.places, it.entered, it.failed, it.failedAt = it.places[:len(known.places)], known.entered, known.failed, known.failedAt
			s.lanes.replace(known, it)
		} else {
			s.enter(it)
		}
		switch {
		case s.expire(now, it):
			s.unblock(s.lanes.leave(it))
		case !isFirst(d) && len(s.retries) >= maxRetries:
			s.park(it, s.health.delays.after(d.Attempts))
		default:
			s.keep(it)
			breaker.newcomer = breaker.newcomer || breaker.state != Open && isFirst(d) && it.blocked == 0 && d.Taken.After(breaker.trippedAt)
		}
	}
	if s.outdated {
		s.takeBack()
		s.giveBack()
		s.outdated = false
	}
	s.health.suspects = s.parked.suspects
	if l.err != nil && !s.stopping {
		s.stopping, s.err = true, fmt.Errorf("lease events: %w", l.err)
	}
}

// giveBack returns to the queue what is held here.
func (s *scheduler) giveBack() {
	back := s.window.ready
	for it := range s.window.blocked {
		back = append(back, it)
	}
	back = append(back, s.retries...)
	slices.SortFunc(back, func(a, b *item) int { return a.address.Compare(b.address) })
	s.window, s.retries = window{blocked: map[*item]struct{}{}}, nil
	s.outdated = s.outdated || s.asked && len(back) > 0
	for _, it := range back {
		if !isFirst(*it.delivery) {
			s.park(it, s.health.delays.min)
			continue
		}
		s.outcomes = append(s.outcomes, queue.Outcome{Address: it.address, Verb: queue.Return})
		it.where = waiting
		s.lanes.leave(it)
		s.returning = true
	}
}
