package sender

import (
	"math"
	"time"

	"trackd/queue"
)

// evidence tells an event's own trouble from the upstream's, by comparing the
// event with the others (outlier detection). What counts is how events fare that
// are tried for the first time: nothing is known against them. A failure speaks
// against its event only as far as it would surprise if the event's chances were
// those of a first attempt, and only if others passed since it last failed.
type evidence struct {
	successes uint64  // deliveries so far, from 1: a Delivery with Successes 0 has not failed in this process
	failing   average // of first attempts: the share that failed
	retried   average // of later attempts: the share that passed

	// So long many first attempts have failed, or some since they did: bad events
	// may stand before the good ones.
	mixedUntil time.Time

	// The last address at which a first attempt has failed since they were mixed,
	// and how long a failure takes: time-outs keep workers from the good ones.
	failedUpTo queue.Address
	failTook   time.Duration
}

// average is a moving average of a share. While little was seen it weighs all of
// it alike, later about the last 32.
type average struct {
	share float64
	seen  float64 // how much share rests on, as a number of attempts
}

const mostSeen = 32

// mixedFor is how long after the last failure of a first attempt fresh events go
// on being taken from both ends.
const mixedFor = 5 * time.Minute

func newEvidence() evidence {
	return evidence{
		successes: 1,
		failing:   average{share: 1, seen: 1}, // nobody is suspected before something passed
		retried:   average{share: 0.5, seen: 1},
	}
}

func (a *average) add(happened bool) {
	a.seen = min(a.seen+1, mostSeen)
	if happened {
		a.share += (1 - a.share) / a.seen
	} else {
		a.share -= a.share / a.seen
	}
}

// upper is share with its standard error on top. The error of a moving average
// is that of twice as many attempts as its weight counts.
func (a *average) upper() float64 {
	return min(1, a.share+math.Sqrt(a.share*(1-a.share)/(2*a.seen)))
}

// isFirst reports whether d has not been answered yet in a way that speaks for
// or against it, in this process or an earlier one.
func isFirst(d queue.Delivery) bool { return d.FirstFailed.IsZero() }

// passed notes that d was delivered.
func (e *evidence) passed(d queue.Delivery) {
	e.successes++
	if isFirst(d) {
		e.failing.add(false)
	} else {
		e.retried.add(true)
	}
}

// failed notes that d failed, after so long. It returns the strikes d has now, and whether the
// failure is, or may be, d's own rather than the upstream's.
func (e *evidence) failed(now time.Time, d queue.Delivery, took time.Duration) (strikes float64, own bool) {
	e.failTook += (took - e.failTook) / 8
	strikes = d.Strikes
	othersPassed := d.Successes > 0 && d.Successes < e.successes
	if othersPassed {
		strikes += min(1, -math.Log2(e.failing.upper()))
	}
	if isFirst(d) {
		e.failing.add(true)
		if !e.mixed(now) {
			e.failedUpTo = queue.Address{}
		}
		if e.failedUpTo.Compare(d.Address) < 0 {
			e.failedUpTo = d.Address
		}
		if e.failing.share > 0.25 || e.mixed(now) {
			e.mixedUntil = now.Add(mixedFor)
		}
	} else {
		e.retried.add(false)
	}
	return strikes, othersPassed || strikes > 0
}

// retryShare is how much of what is sent may be retries while there are fresh
// events too: as much as retries pass, within bounds.
func (e *evidence) retryShare() float64 { return min(max(e.retried.share, 0.1), 0.5) }

// mixed reports whether bad events may stand before the good ones.
func (e *evidence) mixed(now time.Time) bool { return now.Before(e.mixedUntil) }

// slow reports whether failures keep workers for long.
func (e *evidence) slow() bool { return e.failTook > time.Second }
