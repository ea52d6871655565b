package event

import (
	"crypto/rand"
	"time"

	"github.com/oklog/ulid/v2"
)

// Parser turns what an app wrote into an [Event]. Its zero value is ready to
// use and takes the lifecycle events only. It is safe for concurrent use.
type Parser struct {
	// Accept says which track calls pass.
	Accept Accept
}

// Parse judges raw, one JSON object, and brings it into normal form:
//
//   - "type" is "track"; absent, null and "" are filled in.
//   - "messageId" is the app's, or a new ULID of the time now.
//   - "timestamp" is the app's, RFC 3339 with an offset, or now in UTC with
//     milliseconds. An offset without its colon gets one.
//   - "userId", "anonymousId", "messageId": a number becomes the string of its
//     digits as written. Of userId and anonymousId there is at least one; null
//     and "" are removed.
//   - "sentAt" and "writeKey" are removed; so are "properties", "context" and
//     "integrations" when null.
//   - The properties that the specification lists for this event are strings
//     (numbers become their digits as written, null is removed) or, for
//     from_background, a boolean.
//   - What is filled in takes the place of its null or ""; absent members are
//     added at the end in the order type, messageId, timestamp.
//
// A messageId has at most [MaxIDBytes], an event at most 512 levels of nesting.
// Everything else, the order of keys and the white space within values
// included, passes byte for byte. Parsing a Body again yields the same Event.
//
// The error is always an [*Error] and holds every problem of the event. A call
// of another type is told just that; rules for track calls do not concern it.
// Parse keeps no reference to raw.
func (p Parser) Parse(raw []byte, now time.Time) (Event, error) {
	ev, _, err := p.ParseInto(nil, raw, now)
	return ev, err
}

// ParseInto is Parse with the Body written to the beginning of room, if it fits,
// instead of memory of its own. It returns the rest of room.
func (p Parser) ParseInto(room, raw []byte, now time.Time) (Event, []byte, error) {
	ev, rest, err := p.parse(room, raw, now)
	if err != nil {
		return Event{}, room, err
	}
	return ev, rest, nil
}

// parse is ParseInto with the error in its own type.
func (p Parser) parse(room, raw []byte, now time.Time) (ev Event, rest []byte, err *Error) {
	if len(raw) > MaxDoorBytes {
		return ev, nil, refusal(Oversize, tooLarge(len(raw), "before normalising", MaxDoorBytes))
	}
	v := verdict{raw: raw, accept: p.Accept}
	if err := v.read(raw); err != nil {
		return ev, nil, err
	}
	v.judge(now)
	body, rest := v.normalForm(room)
	if len(body) > MaxBytes {
		v.refusal.add(Oversize, tooLarge(len(body), "after normalising", MaxBytes))
	}
	if len(v.refusal.Problems) > 0 {
		return ev, nil, &Error{v.refusal.Code, v.refusal.Problems}
	}
	return Event{ID: v.id, Name: v.name, Persons: v.persons, Body: body}, rest, nil
}

// normalForm returns the body to send, made in room if it fits, and the rest of
// room.
func (v *verdict) normalForm(room []byte) (body, rest []byte) {
	size := v.formSize()
	if size > len(room) {
		body, rest = make([]byte, 0, size), room
	} else {
		body, rest = room[:0:size], room[size:]
	}
	body = append(body, v.raw[:v.end]...)
	body = apply(body, v.splices[:v.spliced])[v.start:]
	for _, a := range v.absent[:v.added] {
		body = appendMember(body, `"`, a.name, `":"`, a.value, `"`)
	}
	return body, rest
}

// formSize bounds what normalForm needs.
func (v *verdict) formSize() int {
	size := v.end
	for _, s := range v.splices[:v.spliced] {
		size += len(s.with)
	}
	for _, a := range v.absent[:v.added] {
		size += len(`,"":""`) + len(a.name) + len(a.value)
	}
	return size
}

// mintID returns a new ULID of the time now.
func mintID(now time.Time) string {
	ms := uint64(max(now.UnixMilli(), 0))                              // a clock before 1970 must not close the door
	return ulid.MustNew(min(ms, ulid.MaxTime()), rand.Reader).String() // crypto/rand never fails
}
