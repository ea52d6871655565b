package sender

import (
	"time"
)

// breaker is a circuit breaker. It decides whether events flow to the upstream,
// and when the next probe may go while they do not. Its state Open means that
// events flow. It learns only from attempts of its present epoch: those begun
// before it tripped, or with an older key, say nothing about now.
//
// It trips when as many attempts as limit have failed and none passed between, or
// fewer over half a minute.
// First attempts count, and those of events that nobody outlived: a failure that
// is, or may be, the event's own counts only once nothing has passed for long. It
// recovers when a probe passes.
//
// A run of bad events at the head of the queue trips it as an outage does. So a
// breaker that trips again soon after events passed lets twice as many through
// the next time.
type breaker struct {
	state State // Open, Probing or Denied
	since time.Time

	limit     int       // failures in a row that trip it
	run       int       // failures since the last sign of life
	runSince  time.Time // when the first of them came
	heard     time.Time // when the last sign of life came, or when it recovered; zero: never
	recovered time.Time // zero: it has not tripped yet
	passes    int       // deliveries since it recovered

	delays    delays
	interval  time.Duration // between the last probe and the next
	next      time.Time     // when the next probe may go
	out       bool          // a probe is out
	urged     bool          // an operator wants the next probe now
	newcomer  bool          // an event arrived since it tripped and has not been probed
	extra     time.Time     // when a newcomer last earned a probe
	probes    int           // since it tripped
	trippedAt time.Time     // the last time

	epoch uint64 // grows when what is in flight stops to count
}

const (
	tripAfter = 16  // failures in a row
	tripMost  = 256 // failures in a row, after it tripped again and again
	tripQuiet = 64  // the same where nothing passed between but the probe

	// Where there is little to send, fewer failures in a row trip it, if they span
	// some time.
	tripFew      = 6
	tripFewAfter = 30 * time.Second

	// relapse is how soon after recovering a trip counts as one more of the same
	// trouble.
	relapse = time.Minute

	// ownCountsAfter is how long nothing has passed until failures that may be the
	// events' own count, too.
	ownCountsAfter = 5 * time.Minute

	// extraEvery is how often an event that arrives while the breaker is tripped
	// may be probed ahead of time.
	extraEvery = 4 * time.Minute

	// failedHeadsAfter is how long the breaker is tripped before every other probe
	// is an event that has failed before.
	failedHeadsAfter = 5 * time.Minute
)

// failure is what the breaker is told about an attempt that failed.
type failure struct {
	denied bool // key, address or something in between is wrong
	surely bool // and the answer cannot be about the event: 401, 404, 407, 3xx
	own    bool // is, or may be, the event's own trouble
}

func newBreaker(d delays, now time.Time) breaker {
	return breaker{state: Open, since: now, limit: tripAfter, delays: d}
}

// alive notes that the destination is there and talks to us, and whether it took
// an event. It reports whether that made the breaker recover.
func (b *breaker) alive(now time.Time, epoch uint64, delivered bool) (recovered bool) {
	if epoch != b.epoch {
		return false
	}
	if b.state != Open {
		b.state, b.since, b.recovered, b.passes = Open, now, now, 0
		b.out, b.urged, b.newcomer, recovered = false, false, false, true
	}
	b.heard, b.run = now, 0
	if delivered {
		b.passes++
	}
	return recovered
}

// fail notes that an attempt failed and reports whether the state changed.
func (b *breaker) fail(now time.Time, epoch uint64, f failure) (changed bool) {
	if epoch != b.epoch {
		return false
	}
	if b.state != Open {
		return b.probeFailed(now, f)
	}
	silent := now.Sub(b.heard) >= ownCountsAfter
	if !f.own || silent {
		if b.run++; b.run == 1 {
			b.runSince = now
		}
	}
	few := b.run >= tripFew && now.Sub(b.runSince) >= tripFewAfter
	switch {
	case f.denied && (f.surely || silent && !f.own):
		b.trip(now, Denied)
	case b.run < b.limit && !few:
		return false
	case f.denied:
		b.trip(now, Denied)
	default:
		b.trip(now, Probing)
	}
	return true
}

func (b *breaker) trip(now time.Time, state State) {
	if b.passes > 0 {
		b.extra = time.Time{}
	}
	switch {
	case b.passes == 0 || now.Sub(b.recovered) >= relapse:
		b.limit = tripAfter
	case b.passes == 1: // nothing but the probe: a quiet host, or an upstream that hardly answers
		b.limit = min(2*b.limit, tripQuiet)
	default:
		b.limit = min(2*b.limit, tripMost)
	}
	b.state, b.since, b.trippedAt, b.passes = state, now, now, 0
	b.run, b.probes, b.out, b.urged, b.newcomer = 0, 0, false, false, false
	b.epoch++
	b.delays.reset()
	b.interval = b.delays.next()
	b.next = now.Add(b.interval)
}

func (b *breaker) probeFailed(now time.Time, f failure) (changed bool) {
	b.out = false
	if b.urged {
		b.next = now
	} else {
		b.interval = b.delays.next()
		b.next = now.Add(b.interval)
	}
	if f.denied && (f.surely || !f.own) && b.state == Probing {
		b.state, b.since = Denied, now
		return true
	}
	return false
}

// again has another probe follow the one that failed soon.
func (b *breaker) again(now time.Time) { b.next = now.Add(b.delays.min) }

// postpone ends a probe that was neither passed nor failed.
func (b *breaker) postpone(now time.Time, epoch uint64) {
	if epoch == b.epoch && b.state != Open {
		b.out = false
		b.next = now.Add(b.interval)
	}
}

// due is when the next probe may go: earlier if a newcomer earns one.
func (b *breaker) due() time.Time {
	if earned := b.extra.Add(extraEvery); b.newcomer && earned.Before(b.next) {
		return earned
	}
	return b.next
}

// launch notes that a probe goes out and says which kind of event it shall be.
func (b *breaker) launch(now time.Time) probeKind {
	kind := probeNewest
	switch {
	case b.newcomer && !now.Before(b.extra.Add(extraEvery)):
		b.extra, b.newcomer = now, false
	case now.Sub(b.trippedAt) >= failedHeadsAfter && b.probes%2 == 1:
		kind = probeFailed
	default:
		kind = []probeKind{probeNewest, probeOldest, probeRandom}[b.probes%3]
	}
	b.out, b.urged = true, false
	b.probes++
	return kind
}

// probeKind says which event is the best probe now. Bad events tend to come
// together, so no kind is tried twice in a row.
type probeKind uint8

const (
	probeNewest probeKind = iota // of those never tried
	probeOldest
	probeRandom
	probeFailed // of those that have failed, the one with least against it
)

// probeNow makes the next probe due, and the waits after it short again.
func (b *breaker) probeNow(now time.Time) {
	if b.state == Open {
		return
	}
	b.next, b.urged = now, true
	b.delays.reset()
	b.interval = b.delays.next()
}

// renew notes that the key has changed: what is in flight with the old one does
// not count, and a probe that is out does not keep the next one waiting.
func (b *breaker) renew(now time.Time) {
	b.epoch++
	b.out = false
	b.probeNow(now)
}
