package admin

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"trackd/event"
	"trackd/queue"
)

// Amended says what one call to replay or discard did. A call looks at a
// bounded number of letters; the next goes on after Last.
type Amended struct {
	Matched int    `json:"matched"`          // letters looked at
	Changed int    `json:"changed"`          // of those, replayed or discarded, also if Failed
	Last    string `json:"last"`             // address of the last one looked at
	More    bool   `json:"more"`             // there may be more
	Failed  string `json:"failed,omitempty"` // why the others were not
}

// Counted says how many letters match a filter.
type Counted struct {
	Count    int                  `json:"count"`
	ByReason map[queue.Reason]int `json:"by_reason"`
}

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
	Index   int        `json:"index"` // within the call, from 0
	Code    event.Code `json:"code"`
	Message string     `json:"message"` // names every problem
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
	for _, t := range f.Types {
		form.Add("type", t.String())
	}
	for name, value := range map[string]string{"event": f.Event, "id": f.ID, "user": f.User} {
		if value != "" {
			form.Set(name, value)
		}
	}
	for _, at := range f.At {
		form.Add("at", at.String())
	}
	for name, at := range map[string]time.Time{"taken_before": f.TakenBefore, "taken_after": f.TakenAfter, "died_before": f.DiedBefore} {
		if !at.IsZero() {
			form.Set(name, at.Format(time.RFC3339Nano))
		}
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
		if len(values) > 1 && !slices.Contains([]string{"reason", "status", "type", "at"}, name) {
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
			case "type":
				var t event.Type
				t, err = event.ParseType(value)
				f.Types = append(f.Types, t)
			case "event":
				f.Event = value
			case "id":
				f.ID = value
			case "user":
				f.User = value
			case "taken_before":
				f.TakenBefore, err = time.Parse(time.RFC3339Nano, value)
			case "taken_after":
				f.TakenAfter, err = time.Parse(time.RFC3339Nano, value)
			case "died_before":
				f.DiedBefore, err = time.Parse(time.RFC3339Nano, value)
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
