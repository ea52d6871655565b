package admin

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// late is the age past which an event triggers no campaigns any more. The
// destination documents it.
const late = 72 * time.Hour

// trend remembers how long the queue was when somebody asked, so that its pace
// is known without a timer.
type trend struct {
	mu      sync.Mutex
	samples []sample // oldest first; guarded by mu
}

type sample struct {
	at     time.Time
	queued uint64
}

// What is older than trendWindow says nothing about now; samples closer than
// trendSpacing say nothing new; trendSpan smooths over what goes in and out in
// bursts.
const (
	trendWindow  = 2 * time.Minute
	trendSpan    = 10 * time.Second
	trendSpacing = time.Second
)

// note takes a sample. One from before since, when the line came into the state
// it is in, makes none of now superfluous.
func (t *trend) note(now, since time.Time, queued uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.samples = slices.DeleteFunc(t.samples, func(s sample) bool { return now.Sub(s.at) > trendWindow })
	n := len(t.samples)
	if n == 0 || now.Sub(t.samples[n-1].at) >= trendSpacing || t.samples[n-1].at.Before(since) {
		t.samples = append(t.samples, sample{now, queued})
	}
}

// pace returns by how many events a second the queue gets shorter, negative
// when it grows, nil when that is not known. What was before since, when the
// line came into the state it is in, says nothing about it.
func (t *trend) pace(now, since time.Time, queued uint64) *float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var from *sample
	for _, s := range slices.Backward(t.samples) {
		age := now.Sub(s.at)
		if age > trendWindow || s.at.Before(since) {
			break
		}
		if age >= trendSpacing {
			from = &s
		}
		if age >= trendSpan {
			break
		}
	}
	if from == nil {
		return nil
	}
	return new((float64(from.queued) - float64(queued)) / now.Sub(from.at).Seconds())
}

// Outlook is what will become of the events that wait, as far as that can be
// known.
type Outlook struct {
	NetDrain       *float64 `json:"net_drain_per_second"` // events fewer a second; null: not known yet
	SecondsToEmpty *float64 `json:"seconds_to_empty"`     // null: not known, or never at this pace
	WillPass72h    *bool    `json:"will_pass_72h"`        // whether any event will be older when delivered; null: not known
	Summary        string   `json:"summary"`              // the same as a sentence
}

// foresee judges a queue of so many events, the oldest of that age, that
// shrinks by pace a second. Taking the oldest to leave last is the careful
// reading: fresh events go before due retries of old ones.
func foresee(queued uint64, oldest time.Duration, pace *float64) Outlook {
	o := Outlook{NetDrain: pace}
	if pace != nil && *pace > 0 {
		o.SecondsToEmpty = new(math.Ceil(float64(queued) / *pace))
	}
	switch {
	case queued == 0:
		o.SecondsToEmpty, o.WillPass72h = new(0.0), new(false)
		o.Summary = "nothing waits"
	case oldest >= late:
		o.WillPass72h = new(true)
		o.Summary = "the oldest event is past 72 h: it is still delivered, but triggers no campaigns any more"
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
