package event

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// draft is one event on its way to normal form: where its members stand, what
// is wrong with them, and what has to change.
type draft struct {
	outline
	parser Parser
	raw    []byte // what the outline's offsets count in

	call      Type
	id, name  string
	persons   Persons
	rejection Error

	// Arrays, so that a draft needs no heap. Each of the 14 top-level members and
	// 7 properties that some rule speaks of changes at most once.
	splices [21]splice
	spliced int
	absent  [3]addition // members to add, in this order
	added   int
}

// addition is a member that the app left to us.
type addition struct{ name, value string }

// judge applies every rule.
func (d *draft) judge(now time.Time) {
	if !d.judgeType() {
		return
	}
	d.judgeName()
	d.judgeMessageID(now)
	d.judgeTimestamp(now)
	d.judgeIDs()
	d.judgeObject("properties", d.properties)
	d.judgeObject("traits", d.traits)
	d.judgeObject("context", d.context)
	d.judgeObject("integrations", d.integrations)
	if d.call == TypeTrack {
		d.judgeSpec()
	}
	d.remove(d.sentAt)
	d.remove(d.writeKey)
}

// judgeType decides which call this is and reports whether the rules of that
// call are to be applied: not to a call that is excluded or unknown.
func (d *draft) judgeType() bool {
	d.call = d.parser.call
	if d.blank(d.typ) {
		d.fill(d.typ, "type", d.call.String())
	} else if d.kind(d.typ) != jsontext.KindString {
		d.reject(Invalid, "type", d.typ, d.parser.types()) // and judged on, to tell all problems at once
	} else {
		call, known := typeNamed(d.text(d.typ))
		if !known || d.parser.atEndpoint && call != d.call {
			d.reject(Invalid, "type", d.typ, d.parser.types())
			return false
		}
		d.call = call
	}
	if d.call != TypeTrack && d.parser.Accept != All {
		d.rejection.add(NotLifecycle, Problem{
			Field: "type", Found: fmt.Sprintf("%q", d.call), Allowed: `"track"; the setting accept: all admits every call`,
		})
		return false
	}
	return true
}

// types says in words which types pass.
func (p Parser) types() string {
	switch {
	case p.atEndpoint:
		return fmt.Sprintf("%q, as the endpoint says", p.call)
	case p.Accept == All:
		return `"track", "identify", "page", "screen", "group" or "alias"`
	}
	return `"track"`
}

// judgeName finds the event's name, and holds that of a track call against the
// accept setting. Names match exactly: the destination would take a misspelt
// one and recognise nothing.
func (d *draft) judgeName() {
	switch d.call {
	case TypeTrack:
	case TypePage, TypeScreen: // a name is optional there
		if !d.blank(d.pageName) && d.kind(d.pageName) != jsontext.KindString {
			d.reject(Invalid, "name", d.pageName, "a string")
		} else if !d.blank(d.pageName) {
			d.name = string(d.text(d.pageName))
		}
		if !d.blank(d.pageCategory) && d.kind(d.pageCategory) != jsontext.KindString {
			d.reject(Invalid, "category", d.pageCategory, "a string")
		}
		return
	default:
		return
	}

	if d.blank(d.event) || d.kind(d.event) != jsontext.KindString {
		d.reject(Invalid, "event", d.event, "the name of the event, a non-empty string")
		return
	}
	name := d.text(d.event)
	if d.name = lifecycleName(name); d.name != "" {
		return
	}
	d.name = string(name)
	if d.parser.Accept != Lifecycle {
		return
	}
	allowed := "one of the seven lifecycle events"
	if near := nearestName(d.name); near != "" {
		allowed += fmt.Sprintf(" (did you mean %q?)", near)
	}
	d.reject(NotLifecycle, "event", d.event, allowed+"; the setting accept: track admits any name")
}

// judgeMessageID takes the app's id or mints one.
func (d *draft) judgeMessageID(now time.Time) {
	if d.blank(d.messageID) {
		d.id = mintID(now)
		d.fill(d.messageID, "messageId", d.id)
		return
	}
	if d.judgeID("messageId", d.messageID) {
		d.id = string(d.text(d.messageID))
	}
	if len(d.id) > MaxIDBytes {
		d.rejection.add(Invalid, Problem{
			Field:   "messageId",
			Found:   fmt.Sprintf("%d bytes", len(d.id)),
			Allowed: fmt.Sprintf("at most %d bytes", MaxIDBytes),
		})
	}
}

// judgeTimestamp takes the app's time, from timestamp or, where there is none,
// from originalTimestamp, which some SDKs send instead. An event without either
// is stamped now: the destination would otherwise use the time of receipt, which
// may be an outage later.
func (d *draft) judgeTimestamp(now time.Time) {
	const allowed = `an RFC 3339 time with offset such as "2024-01-15T10:30:00.000Z"`
	field, from := "timestamp", d.timestamp
	if d.blank(from) {
		field, from = "originalTimestamp", d.originalTimestamp
	}
	switch {
	case d.blank(from):
		d.fill(d.timestamp, "timestamp", now.UTC().Format(mintedTime))
	case d.kind(from) == jsontext.KindNumber:
		d.reject(Invalid, field, from, allowed+
			"; a number would be read as milliseconds, and Unix seconds become a day in 1970")
	case d.kind(from) != jsontext.KindString:
		d.reject(Invalid, field, from, allowed)
	default:
		came := string(d.text(from))
		sent, ok := checkTimestamp(came)
		switch {
		case !ok:
			d.reject(Invalid, field, from, allowed)
		case d.blank(d.timestamp):
			d.fill(d.timestamp, "timestamp", strings.Clone(sent)) // else came would need the heap always
		case sent != came:
			d.replace(d.timestamp, `"`+sent+`"`)
		}
	}
}

// judgeIDs brings the ids of persons and groups into normal form and asks for
// those that the call needs. The published schema wants exactly one of userId
// and anonymousId, but its own mobile SDKs send both.
func (d *draft) judgeIDs() {
	var there [4]bool
	for i, id := range [...]struct {
		field string
		member
	}{{"userId", d.userID}, {"anonymousId", d.anonymousID}, {"previousId", d.previousID}, {"groupId", d.groupID}} {
		if d.blank(id.member) {
			d.remove(id.member)
			continue
		}
		there[i] = true // well or badly: one problem is enough
		if d.judgeID(id.field, id.member) && id.field != "groupId" {
			d.persons.add(d.text(id.member))
		}
	}

	user, anonymous, previous, group := there[0], there[1], there[2], there[3]
	missing := func(field, found, allowed string) {
		d.rejection.add(Invalid, Problem{Field: field, Found: found, Allowed: allowed})
	}
	switch d.call {
	case TypeTrack:
		if !user && !anonymous && !group {
			missing("userId", "neither userId nor anonymousId nor groupId", "at least one of them, as a non-empty string")
		}
	case TypeIdentify, TypePage, TypeScreen:
		if !user && !anonymous {
			missing("userId", "neither userId nor anonymousId", "at least one of them, as a non-empty string")
		}
	case TypeGroup:
		if !group {
			missing("groupId", "nothing", "a non-empty string")
		}
	case TypeAlias:
		if !user {
			missing("userId", "nothing", "a non-empty string")
		}
		if !previous {
			missing("previousId", "nothing", "a non-empty string")
		}
	}
}

// judgeID makes a string of a number and reports whether m is an id at all.
func (d *draft) judgeID(field string, m member) bool {
	switch d.kind(m) {
	case jsontext.KindString:
		return true
	case jsontext.KindNumber:
		d.quote(m)
		return true
	}
	d.reject(Invalid, field, m, "a string or a number")
	return false
}

// judgeObject removes null, makes an object of an empty array, which is how PHP
// writes an empty one, and rejects what is no object.
func (d *draft) judgeObject(field string, m member) {
	switch {
	case d.kind(m) == jsontext.KindInvalid, d.kind(m) == jsontext.KindBeginObject:
	case d.kind(m) == jsontext.KindNull:
		d.remove(m)
	case isEmptyArray(m.value(d.raw)):
		d.replace(m, "{}")
	default:
		d.reject(Invalid, field, m, "an object")
	}
}

// isEmptyArray reports whether a valid value is an array of no elements.
func isEmptyArray(value []byte) bool {
	return len(value) > 1 && value[0] == '[' && value[skipSpace(value, 1)] == ']'
}

// judgeSpec applies what the specification says of this event's properties.
func (d *draft) judgeSpec() {
	for _, p := range d.spec[:d.specs] {
		rule, kind := ruleFor(d.name, p.name), d.kind(p.member)
		switch {
		case rule == free:
		case kind == jsontext.KindNull:
			d.remove(p.member)
		case rule == text && kind == jsontext.KindNumber:
			d.quote(p.member)
		case rule == text && kind != jsontext.KindString:
			d.reject(Invalid, "properties."+p.name, p.member, "a string or a number")
		case rule == boolean && kind != jsontext.KindTrue && kind != jsontext.KindFalse:
			d.reject(Invalid, "properties."+p.name, p.member, "true or false")
		}
	}
}

// kind returns the kind of m's value, KindInvalid when m is absent.
func (d *draft) kind(m member) jsontext.Kind { return m.kind(d.raw) }

// blank reports whether m is absent, null or "", which all mean the same.
func (d *draft) blank(m member) bool {
	switch d.kind(m) {
	case jsontext.KindInvalid, jsontext.KindNull:
		return true
	case jsontext.KindString:
		return m.end-m.start == len(`""`)
	}
	return false
}

// text returns the decoded string that m holds, or any other value as it stands.
func (d *draft) text(m member) []byte {
	if d.kind(m) == jsontext.KindString {
		return unquote(m.value(d.raw))
	}
	return m.value(d.raw)
}

// reject records that m, shown as it is, is not allowed.
func (d *draft) reject(code Code, field string, m member, allowed string) {
	d.rejection.add(code, Problem{Field: field, Found: show(m.value(d.raw)), Allowed: allowed})
}

// fill gives m a value: in its place, or at the end if it is absent.
func (d *draft) fill(m member, name, value string) {
	if m.end == 0 {
		d.absent[d.added] = addition{name, value}
		d.added++
		return
	}
	d.replace(m, `"`+value+`"`)
}

// quote makes m, a number, a string of the same digits.
func (d *draft) quote(m member) { d.replace(m, `"`+string(m.value(d.raw))+`"`) }

// replace gives m another value.
func (d *draft) replace(m member, value string) {
	d.change(splice{from: m.start, to: m.end, with: value})
}

// remove takes m out, if it is there.
func (d *draft) remove(m member) {
	if m.end > 0 {
		d.change(splice{from: m.key, to: m.end, member: true})
	}
}

// change records a splice of raw.
func (d *draft) change(s splice) {
	d.splices[d.spliced] = s
	d.spliced++
}
