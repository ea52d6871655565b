package sender

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// limiter decides when the next request may go out. It halves its rate when the
// destination throttles and climbs back as events pass: below soft it doubles
// each second, beyond it adds a hundredth of full each second. So it ramps up
// fast after an outage, and gently towards a rate that was too much before.
type limiter struct {
	full  float64 // events per second, as configured
	burst int     // at the full rate; less in proportion below

	rate    float64 // now
	soft    float64
	climbed time.Time // when rate was last raised
	halved  time.Time // when it was last halved
	hold    time.Time // nothing goes out before: the destination's Retry-After

	// What throttling did since an event last passed. Without a pass in between,
	// one more 429 says nothing new about the rate the destination can take.
	refused      int       // answers 429
	firstRefused time.Time // when the first of them came
	barren       bool      // halved, and nothing passed since

	bucket *rate.Limiter
}

const (
	slowest    = 1.0 / 30               // events per second below which throttling does not go
	rampFrom   = 0.1                    // of full, where the rate starts after an outage
	climb      = 0.01                   // of full, each second beyond soft
	holdDown   = 800 * time.Millisecond // between two halvings at least
	longestAsk = 5 * time.Minute

	// Nothing but 429, this often or for this long, is the state throttled.
	throttledAfter = 16
	throttledFor   = 15 * time.Second
)

func newLimiter(full float64, burst int) limiter {
	l := limiter{bucket: rate.NewLimiter(rate.Limit(full), burst)}
	l.full, l.burst, l.rate, l.soft = full, burst, full, full
	return l
}

// reset changes the configured rate. It drops to it at once, and climbs to it
// if it had been throttled.
func (l *limiter) reset(now time.Time, full float64, burst int) {
	lowered := l.rate < l.full
	l.full, l.burst = full, burst
	l.soft = min(l.soft, full)
	if lowered {
		l.set(now, min(l.rate, full))
		return
	}
	l.soft = full
	l.set(now, full)
}

// take returns how long to wait until one request may go out. Zero means now,
// and takes the token.
func (l *limiter) take(now time.Time) time.Duration {
	if wait := l.hold.Sub(now); wait > 0 {
		return wait
	}
	if l.bucket.AllowN(now, 1) {
		return 0
	}
	missing := 1 - l.bucket.TokensAt(now)
	return max(time.Duration(missing/l.rate*float64(time.Second)), time.Microsecond)
}

// dropExcess takes away what came in beyond the burst while so many requests
// were paid for but not sent: their tokens take up room in the bucket still.
func (l *limiter) dropExcess(now time.Time, unsent int) {
	if unsent == 0 {
		return
	}
	if over := l.bucket.TokensAt(now) + float64(unsent-l.bucket.Burst()); over >= 1 {
		l.bucket.AllowN(now, int(over))
	}
}

// throttled halves the rate because of a 429 to a request sent at began, and
// lets nothing out at once of what had gathered. The answers to requests that
// were out already when it was last halved do not count, so that all workers'
// being refused together is one event. Soft falls once until something passes:
// what the destination can take is not known from refusals alone.
func (l *limiter) throttled(now, began time.Time) {
	if l.refused++; l.refused == 1 {
		l.firstRefused = now
	}
	if began.Before(l.halved) || now.Sub(l.halved) < holdDown {
		return
	}
	l.halved, l.climbed = now, now
	l.set(now, max(l.rate/2, min(slowest, l.full)))
	l.bucket.SetBurstAt(now, 1)
	if !l.barren {
		l.soft = l.rate
	}
	l.barren = true
}

// isThrottled reports whether the destination has answered nothing but 429 for
// a while.
func (l *limiter) isThrottled(now time.Time) bool {
	return l.refused >= throttledAfter || l.refused > 2 && now.Sub(l.firstRefused) >= throttledFor
}

// passed raises the rate, if it is down, by what the time since the last time
// earns. An idle minute earns a second. The first pass after nothing but 429
// restarts it.
func (l *limiter) passed(now time.Time) {
	barren := l.barren
	l.refused, l.barren = 0, false
	if l.rate >= l.full {
		return
	}
	if start := min(l.soft, rampFrom*l.full); barren && l.rate < start {
		l.climbed = now
		l.set(now, start)
		l.bucket.SetBurstAt(now, 1)
		return
	}
	earned := min(now.Sub(l.climbed), time.Second).Seconds()
	l.climbed = now
	if l.rate < l.soft {
		l.set(now, min(l.rate*math.Exp2(earned), l.soft))
		return
	}
	l.set(now, min(l.rate+climb*l.full*earned, l.full))
}

// ramp starts from a low rate because the breaker has recovered.
func (l *limiter) ramp(now time.Time) {
	l.soft = max(l.soft, l.rate)
	l.climbed = now
	l.set(now, min(l.rate, max(rampFrom*l.full, min(1, l.full))))
	l.bucket.SetBurstAt(now, 1)
}

// holdUntil keeps everything back for as long as the destination asks, but at
// most longestAsk.
func (l *limiter) holdUntil(now time.Time, ask time.Duration) {
	if until := now.Add(min(ask, longestAsk)); until.After(l.hold) {
		l.hold = until
	}
}

func (l *limiter) set(now time.Time, to float64) {
	l.rate = to
	l.bucket.SetLimitAt(now, rate.Limit(to))
	l.bucket.SetBurstAt(now, max(1, int(float64(l.burst)*to/l.full)))
}
