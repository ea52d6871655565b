package queue

import (
	"slices"
	"time"

	"trackd/event"
)

// Reason says why a dead letter is one. The set is closed: it labels metrics.
type Reason string

// The reasons, in the order of Reasons. The first four come from ingest and
// equal the codes of package event, the others from the sender.
const (
	Malformed           = Reason(event.Malformed)
	Invalid             = Reason(event.Invalid)
	NotLifecycle        = Reason(event.NotLifecycle)
	Oversize            = Reason(event.Oversize)
	Rejected     Reason = "rejected"  // the destination answered 400 or 422 with a JSON object
	TooLarge     Reason = "too_large" // the destination answered 413
	Poison       Reason = "poison"    // failed max_attempts times while others passed
	Expired      Reason = "expired"   // older than max_age before it could be sent
)

// Reasons lists every Reason once, in a fixed order.
func Reasons() []Reason {
	return []Reason{Malformed, Invalid, NotLifecycle, Oversize, Rejected, TooLarge, Poison, Expired}
}

// DeadLetter is an event that will not be sent unless an operator replays it.
type DeadLetter struct {
	Address  Address
	Event    event.Event // of rejected input, Body is the input as it came and ID is empty
	AtDoor   bool        // rejected at ingest, never accepted
	Reason   Reason
	Status   int    // HTTP status of the last answer, 0 if there was none
	Detail   string // what the destination, or ingest, said
	Attempts int
	Taken    time.Time // when it was taken
	Died     time.Time // when it became a dead letter; equals Taken for rejected input
}

// Filter selects events or dead letters. The zero Filter selects all; every field
// set narrows the selection.
type Filter struct {
	Reasons     []Reason     // any of these; dead letters only
	Statuses    []int        // any of these; dead letters only
	Types       []event.Type // any of these
	Event       string       // exact event name
	ID          string       // exact messageId
	User        string       // exact userId or anonymousId
	TakenAfter  time.Time    // taken at this time or later; zero: any time
	TakenBefore time.Time    // taken before this; zero: any time
	DiedBefore  time.Time    // became a dead letter before this; zero: any time; dead letters only
	After       Address      // at an address beyond this one: the way to continue
	At          []Address    // only these addresses
	Limit       int          // at most this many; 0: no bound
}

// MatchEvent reports whether an event at addr, taken then, passes the fields
// that concern events. Limit is the caller's to keep.
func (f Filter) MatchEvent(addr Address, ev event.Event, taken time.Time) bool {
	switch {
	case addr.Compare(f.After) <= 0,
		len(f.At) > 0 && !slices.Contains(f.At, addr),
		len(f.Types) > 0 && !slices.Contains(f.Types, ev.Type),
		f.Event != "" && ev.Name != f.Event,
		f.ID != "" && ev.ID != f.ID,
		taken.Before(f.TakenAfter),
		!f.TakenBefore.IsZero() && !taken.Before(f.TakenBefore):
		return false
	}
	return f.User == "" || event.HasUser(ev.Body, f.User)
}

// MatchLetter reports whether l passes every field. Limit is the caller's to
// keep.
func (f Filter) MatchLetter(l DeadLetter) bool {
	switch {
	case len(f.Reasons) > 0 && !slices.Contains(f.Reasons, l.Reason),
		len(f.Statuses) > 0 && !slices.Contains(f.Statuses, l.Status),
		!f.DiedBefore.IsZero() && !l.Died.Before(f.DiedBefore):
		return false
	}
	return f.MatchEvent(l.Address, l.Event, l.Taken)
}
