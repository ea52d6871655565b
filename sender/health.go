package sender

import (
	"log/slog"
	"time"

	"trackd/queue"
)

// health is all that is known about the upstream, and all decisions that follow
// from an attempt. It is not safe for concurrent use.
type health struct {
	breaker     breaker
	limiter     limiter
	evidence    evidence
	delays      delays        // of single events
	maximum     float64       // strikes that make an event poison
	poisonAfter time.Duration // and how long ago its first failure must be

	paused      bool
	pausedSince time.Time
	pauseReason string

	told       State // the state logged and shown last
	toldSince  time.Time
	lastPass   time.Time
	failures   int    // since lastPass
	last       string // the latest of them, as a sentence
	buries     int    // since lastPass
	crowdedOut int    // suspects buried for want of places, since the start
	suspects   int    // failed events that wait for their next attempt

	newKey  string // how another key comes into force
	onState func(State)
	log     *slog.Logger
}

// tooManyBuries is how many events in a row are buried before that is an
// alarm of its own: it is the sender of them, or the address, that is wrong.
const tooManyBuries = 20

func newHealth(o Options, now time.Time) *health {
	return &health{
		breaker:     newBreaker(newDelays(o.RetryMin, o.RetryMax), now),
		limiter:     newLimiter(o.Rate, o.Burst),
		evidence:    newEvidence(),
		delays:      newDelays(o.RetryMin, o.RetryMax),
		maximum:     float64(o.MaxAttempts),
		poisonAfter: max(o.PoisonAfter, 0),
		told:        Open,
		toldSince:   now,
		newKey:      o.NewKey,
		onState:     func(State) {},
		log:         o.Log,
	}
}

// report is one finished attempt.
type report struct {
	item    *item
	answer  answer
	verdict verdict
	result  result
	epoch   uint64 // of the breaker when it began
	began   time.Time
}

// learn takes in one attempt: what it means for the upstream, and, as the
// outcome, for its event.
func (h *health) learn(now time.Time, r report) queue.Outcome {
	// A Retry-After holds everything back where the answer is about us; else it
	// concerns the event alone.
	if s := r.answer.status; r.answer.retryAfter > 0 && (s == 429 || s == 503) {
		h.limiter.holdUntil(now, r.answer.retryAfter)
	}
	before := h.breaker.state
	var o queue.Outcome
	switch {
	case r.verdict == delivered:
		o = h.passed(now, r)
	case r.verdict == bury:
		o = h.rejected(now, r)
	case r.verdict == untried: // we are stopping
		o = queue.Outcome{Address: r.item.address, Verb: queue.Return}
	case r.result == resultThrottled:
		o = h.throttled(now, r)
	default:
		o = h.failed(now, r)
	}
	if before != Open && h.breaker.state == Open {
		h.limiter.ramp(now)
	}
	h.tell(now, r)
	return o
}

func (h *health) passed(now time.Time, r report) queue.Outcome {
	h.evidence.passed(*r.item.delivery)
	h.breaker.alive(now, r.epoch, true)
	h.limiter.passed(now)
	if h.buries >= tooManyBuries {
		h.log.Info("events are accepted again", "buried", h.buries)
	}
	h.lastPass, h.failures, h.buries = now, 0, 0
	return queue.Outcome{Address: r.item.address, Verb: queue.Delivered}
}

// rejected buries an event that the destination will never take. While it denies
// us this proves nothing: a wrong address rejects events as well.
func (h *health) rejected(now time.Time, r report) queue.Outcome {
	if h.breaker.state == Denied {
		h.breaker.fail(now, r.epoch, failure{})
	} else {
		h.breaker.alive(now, r.epoch, false)
	}
	reason := queue.Rejected
	if r.result == resultTooLarge {
		reason = queue.TooLarge
	}
	return h.bury(r, reason)
}

func (h *health) bury(r report, reason queue.Reason) queue.Outcome {
	if h.buries++; h.buries == tooManyBuries {
		h.log.Error("every event is being rejected", "buried", h.buries, "status", r.answer.status)
	}
	return queue.Outcome{
		Address:  r.item.address,
		Verb:     queue.Bury,
		Attempts: r.item.delivery.Attempts + 1,
		Reason:   reason,
		Status:   r.answer.status,
		Detail:   r.answer.detail(),
	}
}

// throttled slows everything down. The event has done nothing wrong: it waits
// the shortest time, and what is known about its failures stays as it was.
func (h *health) throttled(now time.Time, r report) queue.Outcome {
	h.limiter.throttled(now, r.began)
	if h.breaker.state == Denied {
		h.breaker.postpone(now, r.epoch)
	} else { // it is there and has only too much to do
		h.breaker.alive(now, r.epoch, false)
	}
	d := r.item.delivery
	return queue.Outcome{
		Address:     d.Address,
		Verb:        queue.Retry,
		Delay:       max(h.delays.after(1), min(r.answer.retryAfter, longestAsk)),
		Attempts:    d.Attempts + 1,
		Strikes:     d.Strikes,
		FirstFailed: d.FirstFailed,
		Successes:   d.Successes,
		Status:      r.answer.status,
		Detail:      r.answer.detail(),
	}
}

// failed parks an event alone, later and later, and buries it as poison once it
// has failed often and long enough while others passed.
func (h *health) failed(now time.Time, r report) queue.Outcome {
	h.failures++
	h.last = r.answer.summary() + ": " + r.result.advice()
	if r.result == resultUnauthorized {
		h.last += ", " + h.newKey
	}
	d := r.item.delivery
	strikes, own := h.evidence.failed(now, *d, now.Sub(r.began))
	h.breaker.fail(now, r.epoch, failure{denied: r.verdict == deny, surely: r.result.aboutUs(), own: own})
	first := d.FirstFailed
	if first.IsZero() {
		first = now
	}
	if strikes >= h.maximum && now.Sub(first) >= h.poisonAfter {
		return h.bury(r, queue.Poison)
	}
	attempts := d.Attempts + 1
	return queue.Outcome{
		Address:     d.Address,
		Verb:        queue.Retry,
		Delay:       max(h.delays.after(attempts), min(r.answer.retryAfter, longestAsk)),
		Attempts:    attempts,
		Strikes:     strikes,
		FirstFailed: first,
		Successes:   h.evidence.successes,
		Status:      r.answer.status,
		Detail:      r.answer.detail(),
	}
}

// pause notes an operator's wish.
func (h *health) pause(now, since time.Time, reason string) {
	if h.paused && reason == h.pauseReason {
		return
	}
	h.paused, h.pausedSince, h.pauseReason = true, since, reason
	h.log.Info("sending paused by an operator", "reason", reason, "since", since.UTC().Format(time.RFC3339))
	h.onState(h.state(now))
}

// resume ends the pause.
func (h *health) resume(now time.Time) {
	if !h.paused {
		return
	}
	h.paused, h.pauseReason = false, ""
	h.log.Info("sending resumed by an operator", "after", now.Sub(h.pausedSince))
	h.onState(h.state(now))
}

// state is what the upstream's state is called now.
func (h *health) state(now time.Time) State {
	switch {
	case h.paused:
		return Paused
	case h.breaker.state == Open && h.limiter.isThrottled(now):
		return Throttled
	}
	return h.breaker.state
}

// tell logs and shows a change of state that r brought about, once.
func (h *health) tell(now time.Time, r report) {
	state := h.breaker.state
	if state == Open && h.limiter.isThrottled(now) {
		state = Throttled
	}
	if state == h.told {
		return
	}
	switch state {
	case Open:
		h.log.Info("delivery recovered", "from", h.told, "after", now.Sub(h.toldSince))
	case Throttled:
		h.log.Warn("the destination throttles everything: sending slowly until something passes", "status", r.answer.status)
	case Denied:
		h.log.Error("the destination denies us: probing until it is mended", "result", r.result, "status", r.answer.status, "why", h.last)
	default:
		h.log.Warn("the destination is in trouble: probing", "result", r.result, "status", r.answer.status, "why", h.last)
	}
	// One trouble that turns into another is still the same time without delivery.
	if h.told == Open {
		h.toldSince = now
	}
	h.told = state
	h.onState(h.state(now))
}
