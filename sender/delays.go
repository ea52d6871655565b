package sender

import (
	"time"

	"github.com/cenkalti/backoff/v4"
)

// delays makes growing waits with jitter, never shorter than min nor longer
// than max. backoff spreads each interval by half to both sides, so it is given
// bounds that keep the spread inside ours; jitter remains at the upper end,
// where a fleet would else fall into step.
type delays struct {
	min, max time.Duration
	b        *backoff.ExponentialBackOff
}

// longest is a count of steps after which any sequence stands at its maximum.
const longest = 64

func newDelays(min, max time.Duration) delays {
	return delays{min: min, max: max, b: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(2*min),
		backoff.WithRandomizationFactor(0.5),
		backoff.WithMultiplier(2),
		backoff.WithMaxInterval(max*2/3),
		backoff.WithMaxElapsedTime(0), // the default of 15 minutes would end in Stop, a negative wait
	)}
}

// next returns the next wait of the sequence.
func (d *delays) next() time.Duration {
	return min(max(d.b.NextBackOff(), d.min), d.max)
}

// reset begins the sequence anew.
func (d *delays) reset() { d.b.Reset() }

// after returns the wait that follows the nth failure, from 1. It uses up the
// sequence: a delays serves either next or after.
func (d *delays) after(n int) time.Duration {
	d.reset()
	for range min(n, longest) - 1 {
		d.next()
	}
	return d.next()
}
