package event

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// verdict collects what is wrong with one event, and what has to change on its
// way to normal form.
type verdict struct {
	outline
	raw    []byte
	accept Accept

	id, name string
	persons  Persons
	refusal  Error

	// Arrays, so that a verdict needs no heap. Each of the 18 places in the
	// outline changes at most once.
	splices [18]splice
	spliced int
	absent  [3]addition // members to add, in this order
	added   int
}

// addition is a member that the app left to us.
type addition struct{ name, value string }

// judge applies every rule.
func (v *verdict) judge(now time.Time) {
	if !v.judgeType() {
		return
	}
	v.judgeEvent()
	v.judgeMessageID(now)
	v.judgeTimestamp(now)
	v.judgeUser()
	v.judgeObject("properties", v.properties)
	v.judgeObject("context", v.context)
	v.judgeObject("integrations", v.integrations)
	v.judgeSpec()
	v.remove(v.sentAt)
	v.remove(v.writeKey)
}

// judgeType reports whether this is, or is meant to be, a track call.
func (v *verdict) judgeType() bool {
	switch {
	case v.blank(v.typ):
		v.fill(v.typ, "type", "track")
	case v.kind(v.typ) != jsontext.KindString:
		v.refuse(Invalid, "type", v.typ, `"track"`)
	case string(v.text(v.typ)) != "track":
		v.refuse(NotLifecycle, "type", v.typ, `"track", whatever the setting accept says`)
		return false
	}
	return true
}

// judgeEvent holds the name against the accept setting. Names match exactly:
// the destination would take a misspelt one and recognise nothing.
func (v *verdict) judgeEvent() {
	if v.blank(v.event) || v.kind(v.event) != jsontext.KindString {
		v.refuse(Invalid, "event", v.event, "the name of the event, a non-empty string")
		return
	}
	name := v.text(v.event)
	if v.name = lifecycleName(name); v.name != "" {
		return
	}
	v.name = string(name)
	if v.accept == Track {
		return
	}
	allowed := "one of the seven lifecycle events"
	if near := nearestName(v.name); near != "" {
		allowed += fmt.Sprintf(" (did you mean %q?)", near)
	}
	v.refuse(NotLifecycle, "event", v.event, allowed+"; the setting accept: track admits any name")
}

// judgeMessageID takes the app's id or mints one.
func (v *verdict) judgeMessageID(now time.Time) {
	if v.blank(v.messageID) {
		v.id = mintID(now)
		v.fill(v.messageID, "messageId", v.id)
		return
	}
	if v.judgeID("messageId", v.messageID) {
		v.id = string(v.text(v.messageID))
	}
	if len(v.id) > MaxIDBytes {
		v.refusal.add(Invalid, Problem{
			Field:   "messageId",
			Found:   fmt.Sprintf("%d bytes", len(v.id)),
			Allowed: fmt.Sprintf("at most %d bytes", MaxIDBytes),
		})
	}
}

// judgeTimestamp takes the app's time or stamps the event now: the destination
// would otherwise use the time of receipt, which may be an outage later.
func (v *verdict) judgeTimestamp(now time.Time) {
	const allowed = `an RFC 3339 time with offset such as "2024-01-15T10:30:00.000Z"`
	switch {
	case v.blank(v.timestamp):
		v.fill(v.timestamp, "timestamp", now.UTC().Format(mintedTime))
	case v.kind(v.timestamp) == jsontext.KindNumber:
		v.refuse(Invalid, "timestamp", v.timestamp, allowed+
			"; a number would be read as milliseconds, and Unix seconds become a day in 1970")
	case v.kind(v.timestamp) != jsontext.KindString:
		v.refuse(Invalid, "timestamp", v.timestamp, allowed)
	default:
		came := string(v.text(v.timestamp))
		sent, ok := checkTimestamp(came)
		if !ok {
			v.refuse(Invalid, "timestamp", v.timestamp, allowed)
		} else if sent != came {
			v.replace(v.timestamp, `"`+sent+`"`)
		}
	}
}

// judgeUser asks for at least one id of the person. The published schema wants
// exactly one, but its own mobile SDKs send both.
func (v *verdict) judgeUser() {
	named := false
	for _, id := range [...]struct {
		field string
		member
	}{{"userId", v.userID}, {"anonymousId", v.anonymousID}} {
		if v.blank(id.member) {
			v.remove(id.member)
			continue
		}
		if v.judgeID(id.field, id.member) {
			v.persons.add(v.text(id.member))
		}
		named = true // well or badly: one problem is enough
	}
	if !named {
		v.refusal.add(Invalid, Problem{
			Field:   "userId",
			Found:   "neither userId nor anonymousId",
			Allowed: "at least one of them, as a non-empty string",
		})
	}
}

// judgeID makes a string of a number and reports whether m is an id at all.
func (v *verdict) judgeID(field string, m member) bool {
	switch v.kind(m) {
	case jsontext.KindString:
		return true
	case jsontext.KindNumber:
		v.quote(m)
		return true
	}
	v.refuse(Invalid, field, m, "a string or a number")
	return false
}

// judgeObject removes null and refuses what is no object.
func (v *verdict) judgeObject(field string, m member) {
	switch v.kind(m) {
	case jsontext.KindInvalid, jsontext.KindBeginObject:
	case jsontext.KindNull:
		v.remove(m)
	default:
		v.refuse(Invalid, field, m, "an object")
	}
}

// judgeSpec applies what the specification says of this event's properties.
func (v *verdict) judgeSpec() {
	for _, p := range v.spec[:v.specs] {
		rule, kind := ruleFor(v.name, p.name), v.kind(p.member)
		switch {
		case rule == free:
		case kind == jsontext.KindNull:
			v.remove(p.member)
		case rule == text && kind == jsontext.KindNumber:
			v.quote(p.member)
		case rule == text && kind != jsontext.KindString:
			v.refuse(Invalid, "properties."+p.name, p.member, "a string or a number")
		case rule == boolean && kind != jsontext.KindTrue && kind != jsontext.KindFalse:
			v.refuse(Invalid, "properties."+p.name, p.member, "true or false")
		}
	}
}

// kind returns the kind of m's value, KindInvalid when m is absent.
func (v *verdict) kind(m member) jsontext.Kind { return m.kind(v.raw) }

// blank reports whether m is absent, null or "", which all mean the same.
func (v *verdict) blank(m member) bool {
	switch v.kind(m) {
	case jsontext.KindInvalid, jsontext.KindNull:
		return true
	case jsontext.KindString:
		return m.end-m.start == len(`""`)
	}
	return false
}

// text returns the decoded string, or the digits, that m holds.
func (v *verdict) text(m member) []byte {
	if v.kind(m) == jsontext.KindString {
		return unquote(m.value(v.raw))
	}
	return m.value(v.raw)
}

// refuse records that m, shown as it is, is not allowed.
func (v *verdict) refuse(code Code, field string, m member, allowed string) {
	v.refusal.add(code, Problem{Field: field, Found: show(m.value(v.raw)), Allowed: allowed})
}

// fill gives m a value: in its place, or at the end if it is absent.
func (v *verdict) fill(m member, name, value string) {
	if m.end == 0 {
		v.absent[v.added] = addition{name, value}
		v.added++
		return
	}
	v.replace(m, `"`+value+`"`)
}

// quote makes m, a number, a string of the same digits.
func (v *verdict) quote(m member) { v.replace(m, `"`+string(m.value(v.raw))+`"`) }

// replace gives m another value.
func (v *verdict) replace(m member, value string) {
	v.change(splice{from: m.start, to: m.end, with: value})
}

// remove takes m out, if it is there.
func (v *verdict) remove(m member) {
	if m.end > 0 {
		v.change(splice{from: m.key, to: m.end, member: true})
	}
}

// change records a splice of raw.
func (v *verdict) change(s splice) {
	v.splices[v.spliced] = s
	v.spliced++
}
