package ingest

import (
	"time"

	"trackd/event"
)

// arena is memory for the bodies of events that are on their way to the queue.
// It is used again once an Append has returned, for the queue keeps nothing of
// what it was given.
type arena struct {
	all, free []byte
}

const (
	// added is how much an event may grow here before it gets memory of
	// its own: a type, a messageId and a timestamp.
	added = 128

	// maxArena bounds what is kept to be used again.
	maxArena = 2 * largeRead
)

// reserve sees to it that size bytes of input, one event at least, find room.
func (r *arena) reserve(size int) {
	if size += added + size/4; size > len(r.free) {
		r.all = make([]byte, size)
		r.free = r.all
	}
}

// parse judges raw. The Body of the event lies in r.
func (r *arena) parse(parser event.Parser, raw []byte, now time.Time) (event.Event, error) {
	parsed, err := parser.ParseInto(r.free, raw, now)
	r.free = parsed.Rest
	return parsed.Event, err
}

// empty gives all of it back: no event with a Body in r may be in use.
func (r *arena) empty() {
	if len(r.all) > maxArena {
		r.all = nil
	}
	r.free = r.all
}
