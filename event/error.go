package event

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Code says in one word why an event was not accepted. The set is closed.
type Code string

// The codes of a rejection.
const (
	Malformed    Code = "malformed"     // not one JSON object in valid UTF-8 with unique keys
	Invalid      Code = "invalid"       // a field is missing or of the wrong kind
	NotLifecycle Code = "not_lifecycle" // the accept setting excludes this call or name
	Oversize     Code = "oversize"      // larger than MaxBytes once normalised, or than MaxInputBytes before
)

// weight orders the codes: an Error with several problems bears the heaviest.
// Oversize outweighs the judgement of content because input beyond
// MaxInputBytes is not read at all; so an event does not change its code on the way
// from 33 KB to 66 KB. Malformed stands alone: nothing else is judged then.
func (c Code) weight() int {
	switch c {
	case Malformed:
		return 4
	case Oversize:
		return 3
	case NotLifecycle:
		return 2
	case Invalid:
		return 1
	}
	return 0
}

// Problem is one thing wrong with an event.
type Problem struct {
	Field   string // path of the field, for example "properties.version"; "" is the whole event
	Found   string // what was there: valid UTF-8 of at most 64 bytes
	Allowed string // what may be there
}

// String renders p as "field: found X, allowed Y".
func (p Problem) String() string {
	s := "found " + p.Found + ", allowed " + p.Allowed
	if p.Field == "" {
		return s
	}
	return p.Field + ": " + s
}

// Error is the rejection of one event: every problem found, together.
type Error struct {
	Code     Code // the heaviest: malformed, oversize, not_lifecycle, invalid
	Problems []Problem
}

// Error lists all problems on one line.
func (e *Error) Error() string { return string(e.Code) + ": " + strings.Join(e.Texts(), "; ") }

// Texts returns each problem as one sentence, for "meta.errors" of a reply.
func (e *Error) Texts() []string {
	texts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		texts[i] = p.String()
	}
	return texts
}

// add records one more problem. The zero Error has none.
func (e *Error) add(code Code, p Problem) {
	if code.weight() > e.Code.weight() {
		e.Code = code
	}
	p.Found = shorten(p.Found, maxFound)
	e.Problems = append(e.Problems, p)
}

// reject returns an Error with a single problem.
func reject(code Code, p Problem) *Error {
	e := new(Error)
	e.add(code, p)
	return e
}

// maxFound bounds Problem.Found, in bytes.
const maxFound = 64

// shorten returns s as valid UTF-8 of at most limit bytes, with an ellipsis
// where something is missing.
func shorten(s string, limit int) string {
	const ellipsis = "…"
	if len(s) > 4*limit {
		s = s[:4*limit] // all that can matter: no need to mend a megabyte
	}
	s = strings.ToValidUTF8(s, "�")
	if len(s) <= limit {
		return s
	}
	end := limit - len(ellipsis)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + ellipsis
}

// show returns what there is to say about a JSON value: itself when it is a
// scalar, its kind when it is not, "nothing" when it is absent.
func show(value []byte) string {
	if len(value) == 0 {
		return "nothing"
	}
	switch jsontext.Kind(value[0]) {
	case jsontext.KindBeginObject:
		return "an object"
	case jsontext.KindBeginArray:
		return "an array"
	}
	return string(value[:min(len(value), 4*maxFound)])
}

// tooLarge is the problem of size bytes where at most limit are taken.
func tooLarge(size int, what string, limit int) Problem {
	return Problem{
		Found:   fmt.Sprintf("%d bytes %s", size, what),
		Allowed: fmt.Sprintf("at most %d bytes", limit),
	}
}
