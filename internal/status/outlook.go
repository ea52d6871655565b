package status

import (
	"time"

	"trackd/queue"
)

// Backlog is what waits to be delivered.
type Backlog struct {
	Leased           int     `json:"leased"`     // with the sender
	Parked           int     `json:"parked"`     // waiting for a later attempt
	ParkedMax        int     `json:"parked_max"` // places for those
	Held             int     `json:"held"`       // settled, but the disk does not know it yet
	OldestAgeSeconds float64 `json:"oldest_age_seconds"`
	Full             string  `json:"full,omitempty"` // why new events are refused
}

// BacklogOf returns the backlog of a queue at a moment.
func BacklogOf(s queue.Stats, now time.Time) Backlog {
	b := Backlog{Leased: s.Leased, Parked: s.Parked, ParkedMax: s.ParkedMax, Held: s.Held, Full: s.Full}
	if !s.Oldest.IsZero() {
		b.OldestAgeSeconds = max(now.Sub(s.Oldest), 0).Seconds()
	}
	return b
}

// OldestAge is how long the oldest event has been waiting.
func (b Backlog) OldestAge() time.Duration {
	return time.Duration(b.OldestAgeSeconds * float64(time.Second))
}

// Outlook is what will become of the events that wait, as far as that can be
// known.
type Outlook struct {
	NetDrain       *float64 `json:"net_drain_per_second"` // by how many events a second the backlog shrinks; null: not known
	SecondsToEmpty *float64 `json:"seconds_to_empty"`     // null: not known, or never at this pace
	WillPass72h    *bool    `json:"will_pass_72h"`        // whether any event will be older when delivered; null: not known
	Summary        string   `json:"summary"`              // the same as a sentence
}
