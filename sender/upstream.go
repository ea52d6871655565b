package sender

import (
	"fmt"
	"time"
)

// State is what the upstream does: the destination and the way to it. The set is
// closed: it labels metrics.
type State string

// The states.
const (
	Open      State = "open"      // events flow
	Throttled State = "throttled" // nothing but 429 comes back: one request at a time, slowly
	Probing   State = "probing"   // the destination is in trouble: one event at a time tries it
	Denied    State = "denied"    // key or address are wrong, an operator is needed; probed as well
	Paused    State = "paused"    // by an operator
)

// States lists every State once.
func States() []State { return []State{Open, Throttled, Probing, Denied, Paused} }

// Upstream is a report on the destination and the way to it.
type Upstream struct {
	State State
	Since time.Time // when it came into this state
	Why   string    // one sentence: what is wrong and what to do; "" when all is well
	Alarm string    // what else an operator must know; "" if nothing

	Rate        float64   // events per second it may be sent now
	HoldUntil   time.Time // the destination asked for silence until then; zero if not
	NextProbe   time.Time // when the next probe may go; zero when open, throttled or paused
	LastSuccess time.Time // of the last delivery; zero: none since the start
	Delivered   uint64    // since the start
	Failures    int       // attempts that failed since the last delivery
	Suspects    int       // events that failed and wait for their next attempt
}

// report tells an operator how things are.
func (h *health) report(now time.Time) Upstream {
	u := Upstream{
		State:       h.state(now),
		Since:       h.breaker.since,
		Rate:        h.limiter.rate,
		LastSuccess: h.lastPass,
		Delivered:   h.evidence.successes - 1,
		Failures:    h.failures,
		Suspects:    h.suspects,
	}
	if h.limiter.hold.After(now) {
		u.HoldUntil = h.limiter.hold
	}
	switch u.State {
	case Paused:
		u.Since = h.pausedSince
		u.Why = "paused by an operator: resume it when you are ready"
	case Probing, Denied:
		u.Why = h.last
		u.NextProbe = h.breaker.due()
		if u.HoldUntil.After(u.NextProbe) {
			u.NextProbe = u.HoldUntil
		}
	case Throttled:
		u.Since = h.limiter.firstRefused
		u.Why = fmt.Sprintf("the destination answers nothing but 429, %d times since the last delivery: lower sender.rate or raise the account's limit; it is asked again by itself", h.limiter.refused)
	case Open:
		switch {
		case !u.HoldUntil.IsZero():
			u.Why = "the destination asked for silence (Retry-After): sending goes on by itself"
		case h.failures > 0:
			u.Why = fmt.Sprintf("attempts failed since the last delivery: %d, the latest: %s", h.failures, h.last)
		case h.limiter.rate < h.limiter.full:
			u.Why = "below the full rate after throttling or an outage: it climbs by itself"
		}
	}
	switch {
	case h.buries >= tooManyBuries:
		u.Alarm = fmt.Sprintf("the last %d events were rejected and none passed: look at the dead letters, then at what sends these events and at the upstream url", h.buries)
	case h.crowdedOut > 0:
		u.Alarm = fmt.Sprintf("%d failed events were buried before sender.poison_after, because %d wait for another attempt: look at the dead letters of reason poison", h.crowdedOut, maxParked)
	}
	return u
}
