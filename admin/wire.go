package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"trackd/queue"
)

// Letter is a dead letter as it goes over the socket and into exports.
type Letter struct {
	Address   string       `json:"address"`
	Reason    queue.Reason `json:"reason"`
	Status    int          `json:"status,omitempty"` // HTTP status of the last answer
	Detail    string       `json:"detail"`           // what the far side, or the door, said
	Attempts  int          `json:"attempts"`
	AtDoor    bool         `json:"at_door"` // rejected at the door, never accepted
	Taken     time.Time    `json:"taken"`
	Died      time.Time    `json:"died"`
	Name      string       `json:"name,omitempty"`
	MessageID string       `json:"message_id,omitempty"`
	Event     Body         `json:"event"`
}

// Waiting is an event that waits to be delivered, as it goes over the socket
// and into exports.
type Waiting struct {
	Address   string    `json:"address"`
	Taken     time.Time `json:"taken"`
	Name      string    `json:"name"`
	MessageID string    `json:"message_id"`
	Event     Body      `json:"event"`
}

// Body is what a client sent. As JSON it is the object itself, or a string
// where it is none.
type Body []byte

// MarshalJSON implements [json.Marshaler].
func (b Body) MarshalJSON() ([]byte, error) {
	if b.isObject() {
		return b, nil
	}
	return json.Marshal(string(b))
}

// UnmarshalJSON implements [json.Unmarshaler].
func (b *Body) UnmarshalJSON(text []byte) error {
	if text[0] != '"' {
		*b = slices.Clone(text)
		return nil
	}
	var s string
	err := json.Unmarshal(text, &s)
	*b = Body(s)
	return err
}

func (b Body) isObject() bool {
	return len(b) > 0 && bytes.TrimSpace(b)[:1][0] == '{' && utf8.Valid(b) && json.Valid(b)
}

func letterOf(l queue.DeadLetter) Letter {
	out := Letter{Address: l.Address.String(), Reason: l.Reason, Status: l.Status, Detail: l.Detail, Attempts: l.Attempts,
		AtDoor: l.AtDoor, Taken: l.Taken, Died: l.Died, Name: l.Event.Name, MessageID: l.Event.ID, Event: l.Event.Body}
	if l.AtDoor { // the door has read nothing in it: show what is there
		out.Name, out.MessageID = claims(l.Event.Body)
	}
	return out
}

// claims returns what a body says it is, if it says so in text.
func claims(body []byte) (name, id string) {
	var says struct{ Event, MessageID any }
	if json.Unmarshal(body, &says) != nil {
		return "", ""
	}
	name, _ = says.Event.(string)
	id, _ = says.MessageID.(string)
	return name, id
}

func waitingOf(d queue.Delivery) Waiting {
	return Waiting{Address: d.Address.String(), Taken: d.Taken,
		Name: d.Event.Name, MessageID: d.Event.ID, Event: d.Event.Body}
}

// Unwrap returns what one line of an import asks to be taken: of an exported
// letter or event its "event", of anything else the line itself.
func Unwrap(line []byte) []byte {
	var exported struct {
		Address string    `json:"address"`
		Taken   time.Time `json:"taken"`
		Event   Body      `json:"event"`
	}
	if json.Unmarshal(line, &exported) != nil || len(exported.Event) == 0 || exported.Taken.IsZero() {
		return line
	}
	if _, err := queue.ParseAddress(exported.Address); err != nil {
		return line
	}
	return exported.Event
}

// Amended says what one call to replay or discard did. A call looks at a
// bounded number of letters; the next goes on after Last.
type Amended struct {
	Matched int    `json:"matched"` // letters looked at
	Changed int    `json:"changed"` // of those, replayed or discarded
	Last    string `json:"last"`    // address of the last one looked at
	More    bool   `json:"more"`    // there may be more
}

// Counted says how many letters match a filter.
type Counted struct {
	Count    int                  `json:"count"`
	ByReason map[queue.Reason]int `json:"by_reason"`
}

// BadEventError says what is wrong with an event that was to be imported.
type BadEventError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error is Message, which names the code.
func (e *BadEventError) Error() string { return e.Message }

// importOrder asks for events to be taken.
type importOrder struct {
	Events [][]byte `json:"events"` // base64, since they may be anything
}

// Imported says what became of the events of one call to import.
type Imported struct {
	Taken    int         `json:"taken"`
	Bad      []BadImport `json:"bad"`
	NotTaken int         `json:"not_taken"`     // good or not, trackd could not take them now
	Why      string      `json:"why,omitempty"` // it could not
}

// BadImport names one event of an import that no queue should keep.
type BadImport struct {
	Index int `json:"index"` // within the call, from 0
	BadEventError
}

// failure is the answer to what could not be done.
type failure struct {
	Error string `json:"error"`
}

// formOf writes a filter as a form.
func formOf(f queue.Filter) url.Values {
	form := url.Values{}
	for _, r := range f.Reasons {
		form.Add("reason", string(r))
	}
	for _, s := range f.Statuses {
		form.Add("status", strconv.Itoa(s))
	}
	for name, value := range map[string]string{"event": f.Event, "id": f.ID, "user": f.User} {
		if value != "" {
			form.Set(name, value)
		}
	}
	for _, at := range f.At {
		form.Add("at", at.String())
	}
	if !f.TakenBefore.IsZero() {
		form.Set("before", f.TakenBefore.Format(time.RFC3339Nano))
	}
	if f.After != (queue.Address{}) {
		form.Set("after", f.After.String())
	}
	if f.Limit > 0 {
		form.Set("limit", strconv.Itoa(f.Limit))
	}
	return form
}

// filterOf reads a form back. A field it does not know, or one without a value,
// is an error, so that a slip cannot widen what a filter selects.
func filterOf(form url.Values) (f queue.Filter, err error) {
	for name, values := range form {
		if len(values) > 1 && !slices.Contains([]string{"reason", "status", "at"}, name) {
			return f, fmt.Errorf("filter: %s is given %d times", name, len(values))
		}
		for _, value := range values {
			if value == "" {
				return f, fmt.Errorf("filter: %s has no value", name)
			}
			switch name {
			case "reason":
				f.Reasons = append(f.Reasons, queue.Reason(value))
				if !slices.Contains(queue.Reasons(), queue.Reason(value)) {
					err = fmt.Errorf("there is no reason %q", value)
				}
			case "status":
				var status int
				status, err = strconv.Atoi(value)
				f.Statuses = append(f.Statuses, status)
			case "event":
				f.Event = value
			case "id":
				f.ID = value
			case "user":
				f.User = value
			case "before":
				f.TakenBefore, err = time.Parse(time.RFC3339Nano, value)
			case "after":
				f.After, err = queue.ParseAddress(value)
			case "at":
				var at queue.Address
				at, err = queue.ParseAddress(value)
				f.At = append(f.At, at)
			case "limit":
				if f.Limit, err = strconv.Atoi(value); f.Limit < 0 {
					err = fmt.Errorf("%d is less than nothing", f.Limit)
				}
			default:
				err = fmt.Errorf("there is no field %q", name)
			}
			if err != nil {
				return f, fmt.Errorf("filter: %s: %w", name, err)
			}
		}
	}
	return f, nil
}
