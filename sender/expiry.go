package sender

import (
	"fmt"
	"slices"
	"time"

	"trackd/queue"
)

// sweepEvery is how often events that are held here are looked at for their age.
const sweepEvery = time.Minute

// sweep buries what has become too old while it was held here.
func (s *scheduler) sweep(now time.Time) {
	if s.maxAge == 0 || now.Sub(s.swept) < sweepEvery {
		return
	}
	s.swept = now
	var expired []*item
	for it := range s.window.blocked {
		expired = append(expired, it)
	}
	expired = append(append(expired, s.retries...), s.window.ready...)
	expired = slices.DeleteFunc(expired, func(it *item) bool { return !s.expire(now, it) })
	for _, it := range expired {
		s.window.remove(it)
		s.retries = slices.DeleteFunc(s.retries, func(other *item) bool { return other == it })
		s.unblock(s.lanes.leave(it))
	}
}

// expire buries it if it is too old to be sent, and reports whether it was.
func (s *scheduler) expire(now time.Time, it *item) bool {
	if s.maxAge == 0 {
		return false
	}
	d := it.delivery
	carried := s.begin.Round(0).Add(now.Sub(s.begin))
	if age(d.Taken.Round(0), now.Round(0), carried) <= s.maxAge {
		return false
	}
	o := queue.Outcome{
		Address: d.Address, Verb: queue.Bury, Attempts: d.Attempts,
		Reason: queue.Expired, Detail: fmt.Sprintf("older than max_age, %v, before it could be sent", s.maxAge),
	}
	s.metrics.settled(o, *d, now)
	s.outcomes = append(s.outcomes, o)
	return true
}

// age is how old an event is for certain. It asks two clocks, the wall's, and
// the wall's of when we began carried on by the monotonic one. Where the wall
// clock jumped they differ, and the smaller age counts.
func age(taken, wall, carried time.Time) time.Duration {
	return max(min(wall.Sub(taken), carried.Sub(taken)), 0)
}
