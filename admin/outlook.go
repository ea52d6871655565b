package admin

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"trackd/internal/status"
)

// late is the age past which an event triggers no campaigns any more. The
// destination documents it.
const late = 72 * time.Hour

// The pace of the queue is that of the last paceWindow and of nothing older, so
// that it cannot contradict what an operator has just seen.
const (
	paceWindow  = 10 * time.Second
	sampleEvery = time.Second
)

// trend remembers how long the queue was at each second of the last few.
type trend struct {
	mu      sync.Mutex
	samples []sample // oldest first, none older than paceWindow when noted; guarded by mu
}

type sample struct {
	at     time.Time
	queued uint64
}

// sample notes the length of the queue every second until ctx ends.
func (s *Server) sample(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		look, cancel := context.WithTimeout(ctx, statsTimeout)
		if st, err := s.opts.Queue.Stats(look); err == nil {
			s.trend.note(time.Now(), st.Queued)
		}
		cancel()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// note takes a sample and forgets those that say nothing about now.
func (t *trend) note(now time.Time, queued uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.samples = slices.DeleteFunc(t.samples, func(s sample) bool { return now.Sub(s.at) > paceWindow })
	t.samples = append(t.samples, sample{now, queued})
}

// pace returns by how many events a second the queue gets shorter, negative
// when it grows, nil when that is not known. What was before since, when the
// upstream came into the state it is in, says nothing about it.
func (t *trend) pace(now, since time.Time, queued uint64) *float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, from := range t.samples {
		age := now.Sub(from.at)
		if age > paceWindow || from.at.Before(since) {
			continue
		}
		if age < sampleEvery {
			return nil
		}
		return new((float64(from.queued) - float64(queued)) / age.Seconds())
	}
	return nil
}

// foresee says what will become of a queue of so many events, the oldest of
// that age, that shrinks by pace a second. Taking the oldest to leave last is
// the careful reading: fresh events go before due retries of old ones.
//
// Only a queue that is being delivered has an outlook. While the destination
// takes nothing, or less than it is offered, how the queue moved in the last
// seconds says nothing about when it will be empty.
func foresee(now time.Time, queued uint64, oldest time.Duration, pace *float64, up status.Upstream) status.Outlook {
	switch stalled := now.Sub(laterOf(up.LastSuccess, up.Since)); {
	case queued == 0:
		return status.Outlook{NetDrain: pace, SecondsToEmpty: new(0.0), WillPass72h: new(false), Summary: "nothing waits"}
	case up.State == status.Paused:
		return unforeseen(oldest, "nothing is delivered while sending is paused")
	case up.State == status.Throttled:
		return unforeseen(oldest, "when it will be empty cannot be known while the destination throttles")
	case up.State != status.Open:
		return unforeseen(oldest, "nothing is delivered while the upstream is "+string(up.State))
	case stalled > stallAfter(up.Rate):
		return unforeseen(oldest, "nothing was delivered for "+Span(stalled))
	}
	o := status.Outlook{NetDrain: pace}
	if pace != nil && *pace > 0 {
		o.SecondsToEmpty = new(math.Ceil(float64(queued) / *pace))
	}
	switch {
	case oldest >= late:
		o.WillPass72h = new(true)
		o.Summary = pastLate
	case o.SecondsToEmpty != nil:
		left := time.Duration(min(*o.SecondsToEmpty, math.MaxInt32)) * time.Second
		o.WillPass72h = new(oldest+left > late)
		o.Summary = fmt.Sprintf("empty in %s, before anything passes 72 h", Span(left))
		if *o.WillPass72h {
			o.Summary = fmt.Sprintf("empty in %s: events will pass 72 h before they are delivered, and then trigger no campaigns", Span(left))
		}
	case pace == nil:
		o.Summary = "how fast the queue drains is not known yet: ask again in a second"
	default:
		o.Summary = fmt.Sprintf("the queue does not get shorter; the oldest event passes 72 h in %s if it is not delivered before", Span(late-oldest))
	}
	return o
}

const pastLate = "the oldest event is past 72 h: it is still delivered, but triggers no campaigns any more"

// unforeseen is the outlook of a queue of which only the past is known.
func unforeseen(oldest time.Duration, why string) status.Outlook {
	if oldest >= late {
		return status.Outlook{WillPass72h: new(true), Summary: why + "; " + pastLate}
	}
	return status.Outlook{Summary: fmt.Sprintf("%s; the oldest event passes 72 h in %s", why, Span(late-oldest))}
}

// stallAfter is how long an open upstream that may send so many events a second
// can go without a delivery before that means something.
func stallAfter(rate float64) time.Duration {
	return max(3*time.Second, time.Duration(2/max(rate, 0.01)*float64(time.Second)))
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Span renders d for people: two units at most, whole seconds.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	switch d = max(d, 0); {
	case d >= 2*day:
		return fmt.Sprintf("%dd %dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh %dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm %ds", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%ds", d.Round(time.Second)/time.Second)
	}
}
