package queue

import (
	"sync"

	"trackd/event"
)

const (
	// MaxSampleBytes bounds, by cost on disk, the rejects of not_lifecycle that
	// are kept: samples of what the configuration excludes.
	MaxSampleBytes = 16 << 20

	// MaxParked is how many events may wait for a retry before the sender buries
	// those with the strongest evidence against them.
	MaxParked = 100_000
)

// Cost is what an event takes of a [Reservation]: its bytes, and what a backend
// stores beside them. Compression is not counted on.
func Cost(ev event.Event) int64 {
	n := int64(len(ev.ID) + len(ev.Name) + len(ev.Body))
	return n + n/8 + 128
}

// Reservation is room that [Queue.Reserve] set aside. Its methods are safe for
// concurrent use; a nil Reservation holds nothing.
type Reservation struct {
	mu     sync.Mutex
	left   int64
	giveUp func(bytes int64)
}

// NewReservation returns a reservation of bytes. The backend is told by giveUp
// of those that are set aside no more: they were used, or released.
func NewReservation(bytes int64, giveUp func(bytes int64)) *Reservation {
	return &Reservation{left: bytes, giveUp: giveUp}
}

// Draw takes bytes out of the reservation, for a backend's Append. They stay
// set aside until used is called. ok is false, and nothing is taken, if there
// are not as many.
func (r *Reservation) Draw(bytes int64) (used func(), ok bool) {
	if r == nil {
		return nil, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if bytes > r.left {
		return nil, false
	}
	r.left -= bytes
	return func() { r.giveUp(bytes) }, true
}

// Release gives back what was not drawn. Calling it again does nothing.
func (r *Reservation) Release() {
	if r == nil {
		return
	}
	r.mu.Lock()
	left := r.left
	r.left = 0
	r.mu.Unlock()
	if left > 0 {
		r.giveUp(left)
	}
}
