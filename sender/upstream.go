package sender

import (
	"fmt"
	"time"

	"trackd/internal/status"
)

// Upstream is a report on the destination and the way to it.
type Upstream = status.Upstream

// State is what the sender does about the destination.
type State = status.State

// The states.
const (
	Open      = status.Open
	Throttled = status.Throttled
	Probing   = status.Probing
	Denied    = status.Denied
	Paused    = status.Paused
)

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
		u.Why = "paused by an operator"
		if h.pauseReason != "" {
			u.Why += " (" + h.pauseReason + ")"
		}
		u.Why += ": trackd resume when you are ready"
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
