package sender

import "trackd/queue"

// blame tells an event's own trouble from the line's, by what became of the
// others: an event that fails again although others passed since its last
// failure is itself the odd one out.
type blame struct {
	passes uint64  // deliveries so far, from 1: a Delivery with Successes 0 has not failed yet
	share  float64 // of recent attempts, those that passed: a moving average
}

const (
	// memory is how much one attempt weighs in share: about the last 32 count.
	memory = 1.0 / 32

	// healthy is the share below which nobody is blamed. An event with a fair
	// coin against it fails twenty times in a row once in a million; at a tenth
	// of the attempts passing it would be one in eight.
	healthy = 0.5
)

func newBlame() blame { return blame{passes: 1} }

func (b *blame) passed() {
	b.passes++
	b.share += memory * (1 - b.share)
}

// failed returns the strikes d has now, and whether the failure says nothing
// about the line because it is, or may be, d's own.
func (b *blame) failed(d queue.Delivery) (strikes float64, own bool) {
	strikes = d.Strikes
	othersPassed := d.Successes > 0 && d.Successes < b.passes
	if othersPassed && b.share >= healthy {
		strikes++
	}
	b.share -= memory * b.share
	return strikes, othersPassed || strikes > 0
}
