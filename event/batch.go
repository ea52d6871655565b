package event

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxItems bounds the items of a batch. Nothing shorter than this event can
// pass, so no batch of good events is excluded; what is excluded is megabytes
// of commas, each of which would become a dead letter.
const maxItems = MaxBatchBytes / len(`{"event":"e","userId":"u"}`)

// Batch is the body of a /v1/batch call taken apart,
//
//	{"batch":[…],"context":{…},"integrations":{…}}
//
// whose items are brought out one at a time, so that a body never becomes many
// times its size in memory. It shares memory with the body. A Batch is not safe
// for concurrent use.
type Batch struct {
	body   []byte
	first  int // offset of the first item
	next   int // offset of the next one
	count  int
	taken  int // items that Next returned
	bound  int64
	shared []shared
	merged []byte // the last item with the shared objects in it, used again
}

// Item is one element of a batch, to be parsed as if it had come alone.
type Item struct {
	// Raw is the element, with the envelope's context and integrations merged in
	// key by key, one level deep; where both have a key, the element's stays. An
	// element that is no JSON object stands here as it came.
	Raw []byte

	// Merged says that Raw is overwritten by the next call of Next; else it is
	// part of the body.
	Merged bool

	// Err, if set, says why the item is rejected without being parsed: with what
	// is shared it would be too large. Then Raw is the element alone.
	Err *Error
}

// OpenBatch takes the envelope of a batch apart. Keys of it other than batch,
// context and integrations are ignored.
//
// The error, always an [*Error], tells that the envelope itself is bad: not one
// JSON object, without an array "batch", or too large. Whatever is wrong with
// one element (syntax included, as long as it is certain where the element
// ends) concerns that element alone.
func OpenBatch(body []byte) (*Batch, error) {
	b, err := openBatch(body)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// openBatch is OpenBatch with the error in its own type.
func openBatch(body []byte) (*Batch, *Error) {
	if len(body) > MaxBatchBytes {
		return nil, reject(Oversize, tooLarge(len(body), "in one batch", MaxBatchBytes))
	}
	var batch, context, integrations member
	err := envelope(body, func(name []byte, m member) *Error {
		place := &batch
		switch string(name) {
		case "batch":
		case "context":
			place = &context
		case "integrations":
			place = &integrations
		default:
			return nil
		}
		if place.end > 0 {
			return malformed(fmt.Sprintf("duplicate key %q", name))
		}
		*place = m
		return nil
	})
	if err != nil {
		return nil, err
	}
	if batch.kind(body) != jsontext.KindBeginArray {
		return nil, reject(Invalid, Problem{Field: "batch", Found: show(batch.value(body)), Allowed: "an array of calls"})
	}
	b := &Batch{body: body}
	if err := b.share("context", context); err != nil {
		return nil, err
	}
	if err := b.share("integrations", integrations); err != nil {
		return nil, err
	}
	return b, b.measure(batch.start)
}

// envelope visits the members of the object that body must be, without looking
// into their values. A visit's error ends it.
func envelope(body []byte, visit func(name []byte, m member) *Error) *Error {
	lenient := json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	i := skipSpace(body, 0)
	if i == len(body) || body[i] != '{' {
		if jsontext.Value(body).IsValid(lenient) {
			return malformed(show(bytes.Trim(body, jsonSpace)))
		}
		return syntaxError(body, lenient)
	}
	i = skipSpace(body, i+1)
	for more := i < len(body) && body[i] != '}'; more; {
		// A name and a colon.
		m := member{key: i}
		if i == len(body) || body[i] != '"' {
			return syntaxError(body, lenient)
		}
		if m.colon = endOfString(body, i); m.colon == 0 {
			return syntaxError(body, lenient)
		}
		if i = skipSpace(body, m.colon); i == len(body) || body[i] != ':' {
			return syntaxError(body, lenient)
		}

		// Any value.
		m.start = skipSpace(body, i+1)
		certain := false
		if m.end, certain = endOfElement(body, m.start); !certain || m.end == m.start {
			return syntaxError(body, lenient)
		}
		if err := visit(m.name(body), m); err != nil {
			return err
		}

		// The end, or a comma and another member.
		i = skipSpace(body, m.end)
		if more = body[i] == ','; more {
			i = skipSpace(body, i+1)
		}
	}
	if i == len(body) || body[i] != '}' || skipSpace(body, i+1) != len(body) {
		return syntaxError(body, lenient)
	}
	return nil
}

// measure finds the first item of the array that opens at body[open], counts
// the items and bounds what becomes of them.
func (b *Batch) measure(open int) *Error {
	b.first = skipSpace(b.body, open+1)
	b.next = b.first
	if b.body[b.first] == ']' {
		return nil
	}
	sharedBytes := b.sharedBytes()
	for i := b.first; ; {
		if b.count++; b.count > maxItems {
			return reject(Oversize, Problem{
				Field:   "batch",
				Found:   fmt.Sprintf("more than %d items", maxItems),
				Allowed: fmt.Sprintf("at most %d items", maxItems),
			})
		}
		end, certain := endOfElement(b.body, i)
		if !certain {
			return syntaxError(b.body)
		}
		b.bound += int64(min(end-i+sharedBytes+maxGrowth, MaxBytes))
		if i = skipSpace(b.body, end); b.body[i] == ']' {
			return nil
		}
		i = skipSpace(b.body, i+len(","))
	}
}

// maxGrowth bounds how much longer an item can get on its way to normal form: a
// type, a messageId and a timestamp are added, three ids and seven properties
// quoted.
const maxGrowth = 256

// Len returns the number of items.
func (b *Batch) Len() int { return b.count }

// MaxBodies returns an upper bound on the sum of the bodies of all events that
// can come of the batch.
func (b *Batch) MaxBodies() int64 { return b.bound }

// Left returns the number of items that Next has not returned yet.
func (b *Batch) Left() int { return b.count - b.taken }

// Rewind makes Next begin with the first item again.
func (b *Batch) Rewind() { b.next, b.taken = b.first, 0 }

// Next returns the next item, in their order; ok is false when there is none.
func (b *Batch) Next() (item Item, ok bool) {
	if b.Left() == 0 {
		return Item{}, false
	}
	b.taken++
	end, _ := endOfElement(b.body, b.next) // measure was certain
	element := b.body[b.next:end]
	if b.next = skipSpace(b.body, end); b.body[b.next] == ',' {
		b.next = skipSpace(b.body, b.next+1)
	}
	return b.merge(element), true
}

// shared is an object of the envelope that every element is to have.
type shared struct {
	field   string
	object  []byte   // as it stands in the body
	text    string   // the same, to be merged; "" if it is beyond MaxInputBytes
	entries []extent // its members, in the order of their decoded names
}

// name returns the decoded name of an entry.
func (s *shared) name(e extent) []byte {
	return unquote(s.object[e.from:endOfString(s.object, int(e.from))])
}

// share notes the entries of an object that every element is to have.
func (b *Batch) share(field string, m member) *Error {
	object := m.value(b.body)
	switch {
	case m.end == 0, string(object) == "null":
		return nil
	case object[0] != '{':
		if isEmptyArray(object) {
			return nil
		}
		return reject(Invalid, Problem{Field: field, Found: show(object), Allowed: "an object"})
	case len(object) > MaxInputBytes: // then no item can have it, whatever it holds
		b.shared = append(b.shared, shared{field: field, object: object})
		return nil
	}
	// Strictly, and here rather than once more for every element. A lone
	// surrogate stays: it is replaced in each of them.
	if _, _, err := checkObject(object); err != nil {
		err.Problems[0].Field = field
		return err
	}
	// As offsets in order, not as a map: many batches may be open at once.
	s := shared{field: field, object: object}
	for m := range members(object, 0) {
		s.entries = append(s.entries, extent{uint32(m.key), uint32(m.end)})
	}
	slices.SortFunc(s.entries, func(a, b extent) int { return bytes.Compare(s.name(a), s.name(b)) })
	if len(s.entries) > 0 {
		s.text = string(object)
		b.shared = append(b.shared, s)
	}
	return nil
}

// sharedBytes is how much an element grows by when it is merged, at most.
func (b *Batch) sharedBytes() int {
	n := 0
	for _, s := range b.shared {
		n += len(`,"":`) + len(s.field) + len(s.object)
	}
	return n
}

// merge returns element with the shared objects in it, or element itself if
// there is nothing to do or it is nothing to merge into.
func (b *Batch) merge(element []byte) Item {
	if len(b.shared) == 0 || len(element) > MaxInputBytes {
		return Item{Raw: element}
	}
	if _, _, err := checkObject(element); err != nil {
		return Item{Raw: element} // the parser will find the same
	}
	size := len(element) + b.sharedBytes()
	if size > MaxInputBytes {
		return Item{Raw: element, Err: reject(Oversize,
			tooLarge(size, "with the context and integrations of its batch", MaxInputBytes))}
	}

	// Complete the objects that the element has of its own.
	found := make([]member, len(b.shared))
	for m := range members(element, 0) {
		for i, s := range b.shared {
			if s.field == string(m.name(element)) {
				found[i] = m
			}
		}
	}
	b.merged = append(slices.Grow(b.merged[:0], size), element...)
	var splices []splice
	for i := range b.shared {
		if s := &b.shared[i]; found[i].end > 0 {
			splices = append(splices, s.into(element, found[i])...)
		}
	}
	b.merged = apply(b.merged, splices)

	// Add the others.
	for i, s := range b.shared {
		if found[i].end == 0 {
			b.merged = appendMember(b.merged, `"`, s.field, `":`, s.text)
		}
	}
	return Item{Raw: b.merged, Merged: true}
}

// into returns what completes m, the element's own object of that name. An m
// that is no object stays for the parser to reject.
func (s *shared) into(element []byte, m member) []splice {
	switch value := m.value(element); {
	case m.kind(element) == jsontext.KindNull, isEmptyArray(value):
		return []splice{{from: m.start, to: m.end, with: s.text}}
	case m.kind(element) != jsontext.KindBeginObject:
		return nil
	}
	missing := slices.Clone(s.entries)
	for own := range members(element, m.start) {
		at, found := slices.BinarySearchFunc(s.entries, own.name(element), func(e extent, name []byte) int {
			return bytes.Compare(s.name(e), name)
		})
		if found {
			missing[at] = extent{}
		}
	}
	missing = slices.DeleteFunc(missing, func(e extent) bool { return e.to == 0 })
	if len(missing) == 0 {
		return nil
	}
	slices.SortFunc(missing, func(a, b extent) int { return cmp.Compare(a.from, b.from) }) // as they came
	var text []byte
	for _, e := range missing {
		text = append(append(text, s.object[e.from:e.to]...), ',')
	}
	with := string(text[:len(text)-len(",")])
	end := len(trimSpace(element[:m.end-len("}")]))
	if element[end-1] != '{' {
		with = "," + with
	}
	return []splice{{from: end, to: end, with: with}}
}
