package event

import "strings"

// Code says in one word why an event was not accepted. The set is closed.
type Code string

// The codes of a refusal.
const (
	Malformed    Code = "malformed"     // not one JSON object in valid UTF-8 with unique keys
	Invalid      Code = "invalid"       // a field is missing or of the wrong kind
	NotLifecycle Code = "not_lifecycle" // the accept setting excludes this call or name
	Oversize     Code = "oversize"      // larger than MaxBytes once normalised, or than the door takes
)

// Problem is one thing wrong with an event.
type Problem struct {
	Field   string // path of the field, for example "properties.version"; "" is the whole event
	Found   string // what was there, shortened
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

// Error is the refusal of one event: every problem found, together.
type Error struct {
	Code     Code
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
