package sender

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// pace decides when the next request may go out. It halves when the
// destination throttles and climbs back as events pass: below easy it doubles
// each second, beyond it adds a hundredth of full each second. So it ramps up
// fast after an outage, and gently towards a rate that was too much before.
type pace struct {
	full  float64 // events per second, as configured
	burst int     // at full pace; less in proportion below

	rate    float64 // now
	easy    float64
	climbed time.Time // when rate was last raised
	halved  time.Time // when it was last halved
	quiet   time.Time // nothing goes out before: the destination's Retry-After

	limiter *rate.Limiter
}

const (
	slowest    = 1.0 // events per second below which a throttled line does not fall
	rampFrom   = 0.1 // of full, where the line starts after it opens
	climb      = 0.01
	calm       = time.Second // between two halvings at least
	longestAsk = 5 * time.Minute
)

func newPace(full float64, burst int) pace {
	p := pace{limiter: rate.NewLimiter(rate.Limit(full), burst)}
	p.full, p.burst, p.rate, p.easy = full, burst, full, full
	return p
}

// reset changes the configured pace. It drops to it at once, and climbs to it
// if it had been throttled.
func (p *pace) reset(now time.Time, full float64, burst int) {
	throttled := p.rate < p.full
	p.full, p.burst = full, burst
	p.easy = min(p.easy, full)
	if throttled {
		p.set(now, min(p.rate, full))
		return
	}
	p.easy = full
	p.set(now, full)
}

// take returns how long to wait until one request may go out. Zero means now,
// and takes the token.
func (p *pace) take(now time.Time) time.Duration {
	if wait := p.quiet.Sub(now); wait > 0 {
		return wait
	}
	if p.limiter.AllowN(now, 1) {
		return 0
	}
	missing := 1 - p.limiter.TokensAt(now)
	return max(time.Duration(missing/p.rate*float64(time.Second)), time.Microsecond)
}

// spill takes away what came in beyond the burst while so many requests were
// paid for ahead of being sent: their tokens take up room in the bucket still.
func (p *pace) spill(now time.Time, ahead int) {
	if ahead == 0 {
		return
	}
	if over := p.limiter.TokensAt(now) + float64(ahead-p.limiter.Burst()); over >= 1 {
		p.limiter.AllowN(now, int(over))
	}
}

// throttled halves the pace because of a 429 to a request sent at began. The
// answers to requests that were out already when it was last halved do not
// count, so that all workers' being refused together is one event.
func (p *pace) throttled(now, began time.Time) {
	if began.Before(p.halved) || now.Sub(p.halved) < calm {
		return
	}
	p.halved, p.climbed = now, now
	p.set(now, max(p.rate/2, min(slowest, p.full)))
	p.easy = p.rate
}

// passed raises the pace, if it is down, by what the time since the last time
// earns. An idle minute earns a second.
func (p *pace) passed(now time.Time) {
	if p.rate >= p.full {
		return
	}
	earned := min(now.Sub(p.climbed), time.Second).Seconds()
	p.climbed = now
	if p.rate < p.easy {
		p.set(now, min(p.rate*math.Exp2(earned), p.easy))
		return
	}
	p.set(now, min(p.rate+climb*p.full*earned, p.full))
}

// ramp starts the pace from low because the line has opened.
func (p *pace) ramp(now time.Time) {
	p.easy = max(p.easy, p.rate)
	p.climbed = now
	p.set(now, min(p.rate, max(rampFrom*p.full, min(slowest, p.full))))
	p.limiter.SetBurstAt(now, 1)
}

// hush keeps everything back for as long as the destination asks, but at most
// longestAsk.
func (p *pace) hush(now time.Time, ask time.Duration) {
	if until := now.Add(min(ask, longestAsk)); until.After(p.quiet) {
		p.quiet = until
	}
}

func (p *pace) set(now time.Time, to float64) {
	p.rate = to
	p.limiter.SetLimitAt(now, rate.Limit(to))
	p.limiter.SetBurstAt(now, max(1, int(float64(p.burst)*to/p.full)))
}
