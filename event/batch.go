package event

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxItems bounds the items of a batch. Nothing shorter than this event can
	// pass, so no batch of good events is excluded; what is excluded is a
	// megabyte of commas, which would cost a hundred times that in refusals.
	maxItems = MaxBatchBytes / len(`{"event":"e","userId":"u"}`)

	// maxShared bounds what an envelope's context and integrations add to all
	// items together: a small body must not become gigabytes.
	maxShared = 16 * MaxBatchBytes
)

// Item is what became of one element of a batch.
type Item struct {
	// Event is the event in normal form, if Err is nil.
	Event Event

	// Raw is the element as it was judged, for the dead letter: with the
	// envelope's context and integrations where they could be merged. It may
	// share memory with the body of the batch.
	Raw []byte

	// Err says why the element was refused; nil: it was not.
	Err *Error
}

// ParseBatch judges the body of a /v1/batch call,
//
//	{"batch":[…],"context":{…},"integrations":{…}}
//
// and returns its elements in order, each judged as [Parser.Parse] would. The
// envelope's context and integrations are merged into every element key by key,
// one level deep; where both have a key, the element wins. Other keys of the
// envelope are ignored.
//
// The error, always an [*Error], tells that the envelope itself is bad: not one
// JSON object, without an array "batch", or too large. Then there are no items.
// A duplicate key, broken UTF-8 or deep nesting within an element concerns that
// element alone.
func (p Parser) ParseBatch(body []byte, now time.Time) ([]Item, error) {
	env, err := openEnvelope(body)
	if err != nil {
		return nil, err
	}
	items := make([]Item, len(env.elements))
	for i, raw := range env.elements {
		item := &items[i]
		item.Raw = env.merge(raw)
		item.Event, _, item.Err = p.parse(nil, item.Raw, now)
	}
	return items, nil
}

// openEnvelope takes a batch apart. The elements share memory with body.
func openEnvelope(body []byte) (*envelope, *Error) {
	if len(body) > MaxBatchBytes {
		return nil, refusal(Oversize, tooLarge(len(body), "in one batch", MaxBatchBytes))
	}
	found, err := findParts(body)
	if err != nil {
		return nil, err
	}
	env := new(envelope)
	if err := env.takeElements(body, found.batch); err != nil {
		return nil, err
	}
	if err := env.takeShared(body, "context", found.context); err != nil {
		return nil, err
	}
	if err := env.takeShared(body, "integrations", found.integrations); err != nil {
		return nil, err
	}
	if total := env.sharedBytes * len(env.elements); total > maxShared {
		return nil, refusal(Oversize, tooLarge(total, "of context and integrations merged into the items", maxShared))
	}
	return env, nil
}

// parts is where the members of an envelope that matter stand in it.
type parts struct{ batch, context, integrations member }

// findParts reads body as an envelope. It is lenient about what lies within the
// elements, since each of them is judged strictly on its own.
func findParts(body []byte) (found parts, err *Error) {
	lenient := json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if !jsontext.Value(body).IsValid(lenient) {
		return found, syntaxError(body, lenient)
	}
	open := skipSpace(body, 0)
	if body[open] != '{' {
		return found, malformed(show(bytes.Trim(body, jsonSpace)))
	}
	for m := range members(body, open) {
		var place *member
		switch name := string(m.name(body)); name {
		case "batch":
			place = &found.batch
		case "context":
			place = &found.context
		case "integrations":
			place = &found.integrations
		default:
			continue
		}
		if place.end > 0 {
			return found, malformed(fmt.Sprintf("duplicate key %q", m.name(body)))
		}
		*place = m
	}
	return found, nil
}

// envelope is a batch taken apart.
type envelope struct {
	elements    [][]byte
	shared      []shared
	sharedBytes int // what one element grows by, at most
}

// takeElements notes the elements of batch.
func (e *envelope) takeElements(body []byte, batch member) *Error {
	if batch.kind(body) != jsontext.KindBeginArray {
		return refusal(Invalid, Problem{
			Field: "batch", Found: show(batch.value(body)), Allowed: "an array of track calls",
		})
	}
	for element := range elements(body, batch.start) {
		if len(e.elements) == maxItems {
			return refusal(Oversize, Problem{
				Field:   "batch",
				Found:   fmt.Sprintf("more than %d items", maxItems),
				Allowed: fmt.Sprintf("at most %d items", maxItems),
			})
		}
		e.elements = append(e.elements, element)
	}
	return nil
}

// takeShared notes the entries of an object that every element is to have.
func (e *envelope) takeShared(body []byte, field string, m member) *Error {
	switch m.kind(body) {
	case jsontext.KindInvalid, jsontext.KindNull:
		return nil
	case jsontext.KindBeginObject:
	default:
		return refusal(Invalid, Problem{Field: field, Found: show(m.value(body)), Allowed: "an object"})
	}
	// Strictly, and here rather than once more for every element.
	object := m.value(body)
	if err := checkObject(object); err != nil {
		err.Problems[0].Field = field
		return err
	}
	s := shared{field: field, index: make(map[string]int)}
	for m := range members(object, 0) {
		s.index[string(m.name(object))] = len(s.entries)
		s.entries = append(s.entries, string(object[m.key:m.end]))
	}
	s.all = "{" + strings.Join(s.entries, ",") + "}"
	if len(s.entries) > 0 {
		e.shared = append(e.shared, s)
		e.sharedBytes += len(object)
	}
	return nil
}

// merge returns element with the shared objects merged in: element itself if
// there is nothing to do or it is nothing to merge into.
func (e *envelope) merge(element []byte) []byte {
	if len(e.shared) == 0 || element[0] != '{' {
		return element
	}
	found := make([]member, len(e.shared))
	for m := range members(element, 0) {
		for i, s := range e.shared {
			if s.field == string(m.name(element)) {
				found[i] = m
			}
		}
	}
	text := append(make([]byte, 0, len(element)+e.sharedBytes+64), element...)
	var splices []splice
	for i, s := range e.shared {
		if found[i].end > 0 {
			splices = append(splices, s.into(element, found[i])...)
		}
	}
	text = apply(text, splices)
	for i, s := range e.shared {
		if found[i].end == 0 {
			text = appendMember(text, `"`, s.field, `":`, s.all)
		}
	}
	return text
}

// shared is an object of the envelope that every element is to have.
type shared struct {
	field   string
	all     string         // the object as JSON
	entries []string       // its members as written
	index   map[string]int // of an entry by its decoded name
}

// into returns what completes m, the element's own object of that name. An m
// that is no object stays for the parser to refuse.
func (s shared) into(element []byte, m member) []splice {
	switch m.kind(element) {
	case jsontext.KindNull:
		return []splice{{from: m.start, to: m.end, with: s.all}}
	case jsontext.KindBeginObject:
	default:
		return nil
	}
	missing := slices.Clone(s.entries)
	for own := range members(element, m.start) {
		if i, ok := s.index[string(own.name(element))]; ok {
			missing[i] = ""
		}
	}
	missing = slices.DeleteFunc(missing, func(entry string) bool { return entry == "" })
	if len(missing) == 0 {
		return nil
	}
	with := strings.Join(missing, ",")
	end := len(trimSpace(element[:m.end-len("}")]))
	if element[end-1] != '{' {
		with = "," + with
	}
	return []splice{{from: end, to: end, with: with}}
}
