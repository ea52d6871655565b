package event

import (
	"crypto/rand"
	"time"

	"github.com/oklog/ulid/v2"
)

// Parser turns what an app wrote into an [Event]. Its zero value is ready to
// use, takes the lifecycle events only, and reads input without a "type" as a
// track call. It is safe for concurrent use.
type Parser struct {
	// Accept says which calls pass.
	Accept Accept

	call       Type // of input without a type
	atEndpoint bool // input with another type is rejected
}

// At returns p for what comes to the endpoint of one call: input without a
// "type" is that call, and input with another is rejected.
func (p Parser) At(endpoint Type) Parser {
	p.call, p.atEndpoint = endpoint, true
	return p
}

// Typed returns raw as it is to be kept when it was rejected: as it came, save
// that an object without a "type" gets that of the endpoint it came to, if that
// is not the one for track calls. So it can be parsed anew elsewhere.
func (p Parser) Typed(raw []byte) []byte {
	if !p.atEndpoint || p.call == TypeTrack {
		return raw
	}
	text, _, err := checkObject(raw)
	if err != nil {
		return raw
	}
	d := draft{parser: p, raw: text}
	d.outline.read(text)
	if !d.blank(d.typ) {
		return raw
	}
	d.raw = raw // replacing a surrogate moves nothing
	d.fill(d.typ, "type", p.call.String())
	if typed, _ := d.normalForm(nil); len(typed) <= MaxInputBytes {
		return typed
	}
	return raw
}

// Parsed is what [Parser.ParseInto] made of its input.
type Parsed struct {
	Event Event

	// Rest is the part of the arena that is still free.
	Rest []byte

	// Replaced is how many lone surrogates became U+FFFD.
	Replaced int
}

// Parse judges raw, one JSON object, and brings it into normal form:
//
//   - "type" is the call; absent, null and "" are filled in.
//   - "messageId" is the app's, or a new ULID of the time now.
//   - "timestamp" is the app's, RFC 3339 with an offset; or that of
//     "originalTimestamp", which itself passes; or now in UTC with milliseconds.
//     An offset without its colon gets one.
//   - "userId", "anonymousId", "previousId", "groupId", "messageId": a number
//     becomes the string of its digits as written, null and "" are removed. The
//     ids that the call needs are there: of a track call userId, anonymousId or
//     groupId; of identify, page and screen userId or anonymousId; of group
//     groupId; of alias userId and previousId.
//   - "sentAt" and "writeKey" are removed; so are "properties", "traits",
//     "context" and "integrations" when null. An empty array in their place
//     becomes an empty object.
//   - The properties that the specification lists for a lifecycle event are
//     strings (numbers become their digits as written, null is removed) or, for
//     from_background, a boolean.
//   - An escaped surrogate that is not half of a pair becomes U+FFFD.
//   - What is filled in takes the place of its null or ""; absent members are
//     added at the end in the order type, messageId, timestamp.
//
// A messageId has at most [MaxIDBytes], an event at most 512 levels of nesting.
// Everything else, the order of keys and the white space within values
// included, passes byte for byte. Parsing a Body again yields the same Event.
//
// The error is always an [*Error] and holds every problem of the event. A call
// that Accept excludes is told just that; the rules of its type do not concern
// it. Parse keeps no reference to raw.
func (p Parser) Parse(raw []byte, now time.Time) (Event, error) {
	parsed, err := p.parse(nil, raw, now)
	if err != nil {
		return Event{}, err
	}
	return parsed.Event, nil
}

// ParseInto is Parse with the Body written to the beginning of arena, if it
// fits, instead of memory of its own.
func (p Parser) ParseInto(arena, raw []byte, now time.Time) (Parsed, error) {
	parsed, err := p.parse(arena, raw, now)
	if err != nil {
		return Parsed{Rest: arena}, err
	}
	return parsed, nil
}

// parse is ParseInto with the error in its own type.
func (p Parser) parse(arena, raw []byte, now time.Time) (Parsed, *Error) {
	if len(raw) > MaxInputBytes {
		return Parsed{}, reject(Oversize, tooLarge(len(raw), "before normalising", MaxInputBytes))
	}
	d := draft{parser: p}
	text, replaced, err := checkObject(raw)
	if err != nil {
		return Parsed{}, err
	}
	d.raw = text
	d.outline.read(text)
	d.judge(now)
	body, rest := d.normalForm(arena)
	if len(body) > MaxBytes {
		d.rejection.add(Oversize, tooLarge(len(body), "after normalising", MaxBytes))
	}
	if len(d.rejection.Problems) > 0 {
		return Parsed{}, &Error{d.rejection.Code, d.rejection.Problems}
	}
	return Parsed{
		Event: Event{Type: d.call, ID: d.id, Name: d.name, Persons: d.persons, Body: body},
		Rest:  rest, Replaced: replaced,
	}, nil
}

// normalForm returns the body to send, made in arena if it fits, and the rest of
// arena.
func (d *draft) normalForm(arena []byte) (body, rest []byte) {
	// At most so much: removals are not counted.
	size := d.end
	for _, s := range d.splices[:d.spliced] {
		size += len(s.with)
	}
	for _, a := range d.absent[:d.added] {
		size += len(`,"":""`) + len(a.name) + len(a.value)
	}
	if size > len(arena) {
		body, rest = make([]byte, 0, size), arena
	} else {
		body, rest = arena[:0:size], arena[size:]
	}
	body = append(body, d.raw[:d.end]...)
	body = apply(body, d.splices[:d.spliced])[d.start:]
	for _, a := range d.absent[:d.added] {
		body = appendMember(body, `"`, a.name, `":"`, a.value, `"`)
	}
	return body, rest
}

// mintID returns a new ULID of the time now.
func mintID(now time.Time) string {
	ms := uint64(max(now.UnixMilli(), 0))                              // a clock before 1970 must not stop events
	return ulid.MustNew(min(ms, ulid.MaxTime()), rand.Reader).String() // crypto/rand never fails
}
