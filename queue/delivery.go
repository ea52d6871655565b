package queue

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"trackd/event"
)

// Address locates one event or letter in its backend. It is stable for the
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

// Delivery is one event on loan from the queue. Its holder owns the memory.
type Delivery struct {
	Address Address
	Event   event.Event
	Taken   time.Time // when the door took it

	// What the last Retry outcome of this process said; zero after a start and
	// after a replay. The queue keeps them for the sender and reads none of them.
	Attempts int    // requests made so far
	Strikes  int    // of those, failures that were the event's own
	Passes   uint64 // deliveries the line had made when it last failed
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

	// Retry only.
	Delay   time.Duration // until due again, on the monotonic clock
	Strikes int
	Passes  uint64

	// Retry and Bury.
	Attempts int

	// Bury only.
	Reason Reason // rejected, too_large, poison or expired
	Status int    // HTTP status of the last answer, 0 if there was none
	Detail string // what the far side said, verbatim and bounded
}
