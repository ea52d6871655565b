package event

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth bounds the nesting of one event: what PHP's json_decode reads by
// default, far beyond what any client sends, and little enough that a stack
// never matters.
const maxDepth = 512

// property is a member of "properties" that some lifecycle event has a rule for.
type property struct {
	name string
	member
}

// outline is where the members that some rule speaks of stand in one event.
type outline struct {
	start, end int // the object is text[start:end]

	typ, event, messageID                    member
	pageName, pageCategory                   member // "name" and "category"
	timestamp, originalTimestamp             member
	userID, anonymousID, previousID, groupID member
	properties, traits, context              member
	integrations, sentAt, writeKey           member

	spec  [7]property // specProperty knows seven names and keys are unique
	specs int         // of which this many were there
}

// read fills o in from text, one valid object. (Finding the members with the
// library's decoder takes half as long again as checking and then walking.)
func (o *outline) read(text []byte) {
	o.start, o.end = skipSpace(text, 0), len(trimSpace(text))
	for m := range members(text, o.start) {
		if place := o.topLevel(m.name(text)); place != nil {
			*place = m
		}
	}
	if o.properties.kind(text) != jsontext.KindBeginObject {
		return
	}
	for m := range members(text, o.properties.start) {
		// Which event this is may only be known from a later member.
		if name := specProperty(m.name(text)); name != "" {
			o.spec[o.specs] = property{name, m}
			o.specs++
		}
	}
}

// topLevel returns the place for the member called name, nil if no rule speaks
// of it.
func (o *outline) topLevel(name []byte) *member {
	switch string(name) {
	case "type":
		return &o.typ
	case "event":
		return &o.event
	case "name":
		return &o.pageName
	case "category":
		return &o.pageCategory
	case "messageId":
		return &o.messageID
	case "timestamp":
		return &o.timestamp
	case "originalTimestamp":
		return &o.originalTimestamp
	case "userId":
		return &o.userID
	case "anonymousId":
		return &o.anonymousID
	case "previousId":
		return &o.previousID
	case "groupId":
		return &o.groupID
	case "properties":
		return &o.properties
	case "traits":
		return &o.traits
	case "context":
		return &o.context
	case "integrations":
		return &o.integrations
	case "sentAt":
		return &o.sentAt
	case "writeKey":
		return &o.writeKey
	}
	return nil
}

// checkObject reports why raw is not one JSON object as trackd takes it. It
// returns raw, or a copy of the same length in which lone surrogates are
// replaced, and how many there were.
func checkObject(raw []byte) (text []byte, replaced int, err *Error) {
	if plain(raw) {
		return raw, 0, checkIsObject(raw)
	}
	if nestsDeeper(raw, maxDepth) {
		return nil, 0, malformed(fmt.Sprintf("more than %d levels of nesting", maxDepth))
	}
	text = raw
	if !jsontext.Value(text).IsValid() {
		// The library takes a lone surrogate for a mistake.
		if text, replaced = replaceSurrogates(raw); replaced == 0 || !jsontext.Value(text).IsValid() {
			return nil, 0, syntaxError(text)
		}
	}
	return text, replaced, checkIsObject(text)
}

// checkIsObject reports that a valid value is no object.
func checkIsObject(text []byte) *Error {
	if text[skipSpace(text, 0)] == '{' {
		return nil
	}
	return malformed(show(bytes.Trim(text, jsonSpace)))
}

// malformed is the rejection of input that is not what trackd takes at all.
func malformed(found string) *Error {
	return reject(Malformed, Problem{
		Found:   found,
		Allowed: "one JSON object in valid UTF-8 with unique keys",
	})
}

// syntaxError tells why text is not one valid JSON value.
func syntaxError(text []byte, opts ...jsontext.Options) *Error {
	err := json.Unmarshal(text, new(jsontext.Value), opts...)
	syntactic, ok := errors.AsType[*jsontext.SyntacticError](err)
	if !ok {
		return malformed(fmt.Sprint(err))
	}
	what, _, _ := strings.Cut(fmt.Sprint(syntactic.Err), " (") // without what it expected
	switch {
	case errors.Is(syntactic.Err, jsontext.ErrDuplicateName):
		what = fmt.Sprintf("duplicate key %q", shorten(syntactic.JSONPointer.LastToken(), 20))
	case errors.Is(syntactic.Err, io.ErrUnexpectedEOF):
		what = "the end of the input"
	}
	at := fmt.Sprintf(" at byte %d", syntactic.ByteOffset)
	return malformed(shorten(what, maxFound-len(at)) + at)
}
