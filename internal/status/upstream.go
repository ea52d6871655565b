package status

import "time"

// State is what the sender does about the destination. The set is closed: it
// labels metrics.
type State string

// The states.
const (
	Open      State = "open"      // sending
	Throttled State = "throttled" // the destination answers 429: sending as slowly as it asks for
	Probing   State = "probing"   // the destination is in trouble: one event at a time tries it
	Denied    State = "denied"    // key or address are wrong, an operator is needed; probed as well
	Paused    State = "paused"    // by an operator
)

// States lists every State once.
func States() []State { return []State{Open, Throttled, Probing, Denied, Paused} }

// Upstream is the state of the way to the destination.
type Upstream struct {
	State       State     `json:"state"`
	Since       time.Time `json:"since"`                 // when it came into this state
	Why         string    `json:"why,omitempty"`         // one sentence: what is wrong and what to do
	Alarm       string    `json:"alarm,omitempty"`       // what else an operator must know
	Rate        float64   `json:"rate"`                  // events per second it may send now
	HoldUntil   time.Time `json:"hold_until,omitzero"`   // the destination asked for silence until then (Retry-After)
	NextProbe   time.Time `json:"next_probe,omitzero"`   // when the next probe may go; none when open or paused
	LastSuccess time.Time `json:"last_success,omitzero"` // the last delivery since the start
	Delivered   uint64    `json:"delivered"`             // since the start
	Failures    int       `json:"failures"`              // attempts that failed since the last delivery
	Suspects    int       `json:"suspects"`              // events that failed and wait for their next attempt
}
