package admin

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"

	"trackd/queue"
)

// DeadLetter is a dead letter as it goes over the socket and into exports.
type DeadLetter struct {
	Address   string       `json:"address"`
	Reason    queue.Reason `json:"reason"`
	Status    int          `json:"status,omitempty"` // HTTP status of the last answer
	Detail    string       `json:"detail"`           // what the destination or ingest said about it
	Attempts  int          `json:"attempts"`
	AtIngest  bool         `json:"at_door"` // rejected at ingest, never accepted
	Taken     time.Time    `json:"taken"`
	Died      time.Time    `json:"died"`
	Name      string       `json:"name,omitempty"`
	MessageID string       `json:"message_id,omitempty"`
	Content
}

// QueuedEvent is an event that waits to be delivered, as it goes over the
// socket and into exports.
type QueuedEvent struct {
	Address   string    `json:"address"`
	Taken     time.Time `json:"taken"`
	Name      string    `json:"name"`
	MessageID string    `json:"message_id"`
	*Failures           // nil: it has not failed since the daemon started
	Content
}

// Failures is what is known against an event that waits for another attempt.
type Failures struct {
	Attempts   int       `json:"attempts"`              // made by this process
	Since      time.Time `json:"failing_since"`         // when it first failed
	Strikes    float64   `json:"strikes"`               // how much of that is its own fault; sender.max_attempts is too much
	LastStatus int       `json:"last_status,omitempty"` // HTTP status of the last answer
	LastDetail string    `json:"last_detail"`           // what the destination said last
}

// Content is what a client sent. Exactly one of its fields is set, and both are
// lossless.
type Content struct {
	Event  Body   `json:"event,omitzero"`         // valid UTF-8
	Base64 []byte `json:"event_base64,omitempty"` // anything else
}

// contentOf returns body as it is exported.
func contentOf(body []byte) Content {
	switch {
	case body == nil:
		return Content{Event: Body{}}
	case utf8.Valid(body):
		return Content{Event: body}
	}
	return Content{Base64: body}
}

// Bytes returns what the client sent.
func (c Content) Bytes() []byte {
	if c.Event != nil {
		return c.Event
	}
	return c.Base64
}

// Indented returns what the client sent for people to read: an object with one
// member a line, anything else as it is.
func (c Content) Indented() []byte {
	var text bytes.Buffer
	if !c.Event.isObject() || json.Indent(&text, c.Event, "", "  ") != nil {
		return c.Bytes()
	}
	return text.Bytes()
}

// Body is text a client sent. As JSON it is the object itself, which jq and
// editors can work on, or a string where it is none.
type Body []byte

// IsZero reports whether there is no body; an empty one is one.
func (b Body) IsZero() bool { return b == nil }

// maxNesting bounds the levels of an object that is exported as such. Readers
// of JSON give up at some depth, and the export must not be what reaches it.
const maxNesting = 200

// MarshalJSON implements [json.Marshaler].
func (b Body) MarshalJSON() ([]byte, error) {
	if b.isObject() {
		return b, nil
	}
	return json.Marshal(string(b))
}

// isObject reports whether b is an object that can stand in an export as it is.
func (b Body) isObject() bool {
	return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) && !hasControls(b) && nesting(b) <= maxNesting && json.Valid(b)
}

// UnmarshalJSON implements [json.Unmarshaler].
func (b *Body) UnmarshalJSON(text []byte) error {
	if text[0] != '"' {
		*b = append(Body{}, text...)
		return nil
	}
	var s string
	err := json.Unmarshal(text, &s)
	*b = Body(s)
	return err
}

// nesting returns how many levels deep text is if it is JSON.
func nesting(text []byte) int {
	depth, deepest, inString := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

func deadLetterOf(l queue.DeadLetter) DeadLetter {
	out := DeadLetter{Address: l.Address.String(), Reason: l.Reason, Status: l.Status, Detail: l.Detail, Attempts: l.Attempts,
		AtIngest: l.AtDoor, Taken: l.Taken, Died: l.Died, Name: l.Event.Name, MessageID: l.Event.ID, Content: contentOf(l.Event.Body)}
	if l.AtDoor { // ingest has read nothing in it: show what it says of itself
		var says struct{ Event, MessageID any }
		if json.Unmarshal(l.Event.Body, &says) == nil {
			out.Name, _ = says.Event.(string)
			out.MessageID, _ = says.MessageID.(string)
		}
	}
	return out
}

func queuedEventOf(d queue.Delivery) QueuedEvent {
	e := QueuedEvent{Address: d.Address.String(), Taken: d.Taken,
		Name: d.Event.Name, MessageID: d.Event.ID, Content: contentOf(d.Event.Body)}
	if !d.FirstFailed.IsZero() {
		e.Failures = &Failures{Attempts: d.Attempts, Since: d.FirstFailed, Strikes: d.Strikes, LastStatus: d.LastStatus, LastDetail: d.LastDetail}
	}
	return e
}

// Unwrap returns what one line of an import asks to be taken: of an exported
// dead letter or event what its client sent, of anything else the line itself.
// An "event" is preferred to an "event_base64": somebody has mended it.
func Unwrap(line []byte) []byte {
	var exported struct {
		Address string    `json:"address"`
		Taken   time.Time `json:"taken"`
		Content
	}
	if json.Unmarshal(line, &exported) != nil || exported.Bytes() == nil || exported.Taken.IsZero() {
		return line
	}
	if _, err := queue.ParseAddress(exported.Address); err != nil {
		return line
	}
	return exported.Bytes()
}
