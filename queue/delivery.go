package queue

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"trackd/event"
)

// Address locates one event or dead letter in its backend. It is stable for the
// life of the event, comparable and ordered; what the halves mean is the
// backend's own affair. The zero Address is before every other.
type Address struct{ Hi, Lo uint64 }

// Compare orders addresses as the backend lists them.
func (a Address) Compare(b Address) int {
	return cmp.Or(cmp.Compare(a.Hi, b.Hi), cmp.Compare(a.Lo, b.Lo))
}

// String renders a as 32 hexadecimal digits, which ParseAddress reads back.
func (a Address) String() string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], a.Hi)
	binary.BigEndian.PutUint64(raw[8:], a.Lo)
	return hex.EncodeToString(raw[:])
}

// ParseAddress is the inverse of Address.String.
func ParseAddress(s string) (Address, error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != 16 {
		return Address{}, fmt.Errorf("address %q: want 32 hexadecimal digits", s)
	}
	return Address{Hi: binary.BigEndian.Uint64(raw[:8]), Lo: binary.BigEndian.Uint64(raw[8:])}, nil
}

// Delivery is one event leased from the queue. Its holder owns the memory.
type Delivery struct {
	Address Address
	Event   event.Event
	Taken   time.Time // when it was taken

	// The evidence against the event: what the last Retry outcome said. The queue
	// keeps it for the sender and reads none of it. Zero for an event that never
	// failed and after a replay. Strikes and FirstFailed outlive a restart, as
	// they were at most an hour before it; the others are zero after a start.
	Attempts    int       // requests made so far by this process
	Strikes     float64   // how much of the blame for its failures is its own
	FirstFailed time.Time // when its first attempt failed; zero: none has
	LastStatus  int       // HTTP status of the last answer, 0 if there was none
	LastDetail  string    // what the far side said last, verbatim and bounded
	Successes   uint64    // deliveries the sender had made when it last failed
}

// Verb is what becomes of a leased event.
type Verb uint8

// The verbs of an Outcome.
const (
	Delivered Verb = iota + 1 // the destination has it
	Retry                     // due again after Outcome.Delay
	Return                    // nothing was decided; due at once, as it was
	Bury                      // will never pass: becomes a dead letter
)

// Outcome settles one Delivery.
type Outcome struct {
	Address Address
	Verb    Verb

	// Retry only: they come back with the next Delivery of the event.
	Delay       time.Duration // until due again, on the monotonic clock
	Strikes     float64
	FirstFailed time.Time
	Successes   uint64

	// Retry and Bury.
	Attempts int
	Status   int    // HTTP status of the last answer, 0 if there was none
	Detail   string // what the far side said, verbatim and bounded

	// Bury only.
	Reason Reason // rejected, too_large, poison or expired
}
