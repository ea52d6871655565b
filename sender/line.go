package sender

import (
	"fmt"
	"log/slog"
	"time"

	"trackd/queue"
)

// State is what the line does. The set is closed: it labels metrics.
type State string

// The states.
const (
	Open      State = "open"      // sending
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

	Rate        float64   // events per second it may send now
	HoldUntil   time.Time // the destination asked for silence until then; zero if not
	NextProbe   time.Time // when the next probe may go; zero when open or paused
	LastSuccess time.Time // of the last delivery; zero: none since the start
	Delivered   uint64    // since the start
	Failures    int       // attempts that failed since the last delivery
}

// line is all that is known about the way to the destination and all decisions
// that follow from an attempt. It is not safe for concurrent use.
type line struct {
	gate    gate
	pace    pace
	blame   blame
	delays  delays // of single events
	maximum int    // strikes that bury

	paused      bool
	pausedSince time.Time

	lastPass time.Time
	failures int    // since lastPass
	last     string // the latest of them, as a sentence
	buries   int    // since lastPass

	onState func(State)
	log     *slog.Logger
}

// tooManyBuries is how many events in a row are buried before that is an
// alarm of its own: it is the sender of them, or the address, that is wrong.
const tooManyBuries = 20

func newLine(o Options, now time.Time) *line {
	return &line{
		gate:    newGate(max(o.Workers, 10), newDelays(o.RetryMin, o.RetryMax), now),
		pace:    newPace(o.Rate, o.Burst),
		blame:   newBlame(),
		delays:  newDelays(o.RetryMin, o.RetryMax),
		maximum: o.MaxAttempts,
		onState: func(State) {},
		log:     o.Log,
	}
}

// report is one finished attempt.
type report struct {
	delivery queue.Delivery
	answer   answer
	verdict  verdict
	result   result
	epoch    uint64 // of the gate when it began
	began    time.Time
}

// learn takes in one attempt: what it means for the line, and, as the outcome,
// for its event.
func (l *line) learn(now time.Time, r report) queue.Outcome {
	l.heed(now, r)
	switch r.verdict {
	case delivered:
		return l.passed(now, r)
	case bury:
		return l.refused(now, r)
	case untried: // we are stopping
		return queue.Outcome{Address: r.delivery.Address, Verb: queue.Return}
	}
	if r.result == resultThrottled {
		return l.throttled(now, r)
	}
	return l.failed(now, r)
}

// heed applies what a Retry-After asks for to the whole line where the answer
// is about us; else it concerns the event alone.
func (l *line) heed(now time.Time, r report) {
	if s := r.answer.status; r.answer.retryAfter > 0 && (s == 429 || s == 503) {
		l.pace.hush(now, r.answer.retryAfter)
	}
}

func (l *line) passed(now time.Time, r report) queue.Outcome {
	l.blame.passed()
	if l.gate.pass(now, r.epoch) {
		l.opened(now)
	}
	l.pace.passed(now)
	if l.buries >= tooManyBuries {
		l.log.Info("events are accepted again", "buried", l.buries)
	}
	l.lastPass, l.failures, l.buries = now, 0, 0
	return queue.Outcome{Address: r.delivery.Address, Verb: queue.Delivered}
}

// refused buries an event that the destination will never take. Where the
// line is denied this proves nothing: a wrong address refuses events as well.
func (l *line) refused(now time.Time, r report) queue.Outcome {
	if l.gate.state == Denied {
		l.gate.fail(now, r.epoch, r.delivery, false, false)
	} else if l.gate.alive(now, r.epoch) {
		l.opened(now)
	}
	reason := queue.Rejected
	if r.result == resultTooLarge {
		reason = queue.TooLarge
	}
	return l.bury(r, reason)
}

func (l *line) bury(r report, reason queue.Reason) queue.Outcome {
	if l.buries++; l.buries == tooManyBuries {
		l.log.Error("every event is being rejected", "buried", l.buries, "status", r.answer.status)
	}
	return queue.Outcome{
		Address:  r.delivery.Address,
		Verb:     queue.Bury,
		Attempts: r.delivery.Attempts + 1,
		Reason:   reason,
		Status:   r.answer.status,
		Detail:   r.answer.detail(),
	}
}

// throttled slows the line. The event has done nothing wrong: it waits the
// shortest time, and what is known about its failures stays as it was.
func (l *line) throttled(now time.Time, r report) queue.Outcome {
	l.pace.throttled(now, r.began)
	if l.gate.state == Denied {
		l.gate.postpone(now, r.epoch)
	} else if l.gate.alive(now, r.epoch) { // it is there and has only too much to do
		l.opened(now)
	}
	return queue.Outcome{
		Address:   r.delivery.Address,
		Verb:      queue.Retry,
		Delay:     max(l.delays.after(1), min(r.answer.retryAfter, longestAsk)),
		Attempts:  r.delivery.Attempts + 1,
		Strikes:   r.delivery.Strikes,
		Successes: r.delivery.Successes,
	}
}

// failed parks an event alone, later and later, and buries it once it has
// failed often enough while others passed.
func (l *line) failed(now time.Time, r report) queue.Outcome {
	l.failures++
	l.last = explain(r)
	strikes, own := l.blame.failed(r.delivery)
	if l.gate.fail(now, r.epoch, r.delivery, r.verdict == deny, own) {
		l.closed(r)
	}
	if strikes >= float64(l.maximum) {
		return l.bury(r, queue.Poison)
	}
	attempts := r.delivery.Attempts + 1
	return queue.Outcome{
		Address:   r.delivery.Address,
		Verb:      queue.Retry,
		Delay:     max(l.delays.after(attempts), min(r.answer.retryAfter, longestAsk)),
		Attempts:  attempts,
		Strikes:   strikes,
		Successes: l.blame.passes,
	}
}

func (l *line) opened(now time.Time) {
	l.log.Info("delivery recovered", "attempts", l.gate.probes, "after", now.Sub(l.gate.closedAt))
	l.pace.ramp(now)
	l.onState(l.state())
}

func (l *line) closed(r report) {
	if l.gate.state == Denied {
		l.log.Error("delivery paused", "result", r.result, "status", r.answer.status, "why", l.last)
	} else {
		l.log.Warn("delivery paused", "result", r.result, "status", r.answer.status, "why", l.last)
	}
	l.onState(l.state())
}

// pause notes an operator's wish.
func (l *line) pause(now time.Time, on bool) {
	if l.paused == on {
		return
	}
	l.paused = on
	if on {
		l.pausedSince = now
		l.log.Info("delivery paused by an operator")
	} else {
		l.log.Info("delivery resumed by an operator", "after", now.Sub(l.pausedSince))
	}
	l.onState(l.state())
}

func (l *line) state() State {
	if l.paused {
		return Paused
	}
	return l.gate.state
}

func (l *line) report(now time.Time) Upstream {
	r := Upstream{
		State:       l.state(),
		Since:       l.gate.since,
		Rate:        l.pace.rate,
		LastSuccess: l.lastPass,
		Delivered:   l.blame.passes - 1,
		Failures:    l.failures,
	}
	if l.pace.quiet.After(now) {
		r.HoldUntil = l.pace.quiet
	}
	r.Why = l.why(r)
	switch r.State {
	case Paused:
		r.Since = l.pausedSince
	case Probing, Denied:
		r.NextProbe = l.gate.next
		if r.HoldUntil.After(r.NextProbe) {
			r.NextProbe = r.HoldUntil
		}
	}
	if l.buries >= tooManyBuries {
		r.Alarm = fmt.Sprintf("the last %d events were rejected and none passed: look at the dead letters, then at what sends these events and at the upstream url", l.buries)
	}
	return r
}

func (l *line) why(r Upstream) string {
	switch {
	case r.State == Paused:
		return "paused by an operator: resume it when you are ready"
	case r.State != Open:
		return l.last
	case !r.HoldUntil.IsZero():
		return "the destination asked for silence (Retry-After): sending goes on by itself"
	case l.failures > 0:
		return fmt.Sprintf("attempts failed since the last delivery: %d, the latest: %s", l.failures, l.last)
	case l.pace.rate < l.pace.full:
		return "below the full rate after throttling or an outage: it climbs by itself"
	}
	return ""
}

// explain says in one sentence what came of a failed attempt and what to do.
func explain(r report) string {
	return r.answer.summary() + ": " + r.result.advice()
}
