package sandbox

import (
	"cmp"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxBatchBytes = 500_000 // of a batch, as the API documents it
	maxReadBytes  = 1 << 20 // of any body; the rest is not read
)

// call is one request to the API.
type call struct {
	at         time.Time
	path       string
	strict     bool // X-Strict-Mode: 1
	authorized bool
	body       []byte

	events   []event
	problems []string // with any of the events, or with the call as a whole
}

// event is what the stand-in needs to know of one event of a call.
type event struct {
	callType    string
	name        string // of a track, page or screen call
	messageID   string
	userID      string
	anonymousID string
	groupID     string
	problems    []string
}

// readCall reads the request and its events. callType is that of the endpoint,
// "" at an endpoint for batches. The error says that the body did not come whole.
func (s *Server) readCall(r *http.Request, callType string) (*call, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxReadBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	user, _, _ := r.BasicAuth()
	c := &call{
		at:         time.Now(),
		path:       r.URL.Path,
		strict:     r.Header.Get("X-Strict-Mode") == "1",
		authorized: s.authorized(user),
		body:       body,
	}
	if callType == "" {
		c.readBatch()
		return c, nil
	}
	object, problems := judge(callType, body)
	c.problems = problems
	c.events = []event{newEvent(callType, object, problems)}
	return c, nil
}

// authorized reports whether user is the key asked for.
func (s *Server) authorized(user string) bool {
	if s.key == "" {
		return user != ""
	}
	return subtle.ConstantTimeCompare([]byte(user), []byte(s.key)) == 1
}

// readBatch reads the body as {"batch":[…]}. Of a batch that cannot be read
// nothing is accepted; it counts as one bad event.
func (c *call) readBatch() {
	var envelope struct {
		Batch []jsontext.Value `json:"batch"`
	}
	err := json.Unmarshal(c.body, &envelope)
	_, unfit := errors.AsType[*json.SemanticError](err)
	switch {
	case len(c.body) > maxBatchBytes:
		c.problems = []string{fmt.Sprintf("the batch has more than %d bytes", maxBatchBytes)}
	case unfit, err == nil && len(envelope.Batch) == 0:
		c.problems = []string{"the body must be an object in which batch lists at least one event"}
	case err != nil:
		c.problems = []string{malformed(err)}
	}
	if c.problems != nil {
		c.events = []event{{callType: "batch", problems: c.problems}}
		return
	}
	for i, item := range envelope.Batch {
		object, problems := judge("", item)
		c.events = append(c.events, newEvent("", object, problems))
		for _, problem := range problems {
			c.problems = append(c.problems, fmt.Sprintf("batch[%d]: %s", i, problem))
		}
	}
}

// newEvent picks out what counts. object may be nil.
func newEvent(callType string, object map[string]any, problems []string) event {
	text := func(key string) string { s, _ := object[key].(string); return s }
	return event{
		callType:    cmp.Or(callType, text("type")),
		name:        cmp.Or(text("event"), text("name")),
		messageID:   text("messageId"),
		userID:      text("userId"),
		anonymousID: text("anonymousId"),
		groupID:     text("groupId"),
		problems:    problems,
	}
}

// documentedAnswer is the answer that the API documents for c, and what it does
// with the events.
func (c *call) documentedAnswer() answer {
	switch {
	case c.strict && !c.authorized:
		return answer{status: http.StatusUnauthorized}
	case c.strict && len(c.problems) > 0:
		return answer{status: http.StatusBadRequest, body: errorBody(c.problems...)}
	case !c.authorized:
		return answer{status: http.StatusOK, body: "{}", dropped: len(c.events)}
	}
	a := answer{status: http.StatusOK, body: "{}"}
	for _, e := range c.events {
		if len(e.problems) > 0 {
			a.dropped++
		} else {
			a.accepted = append(a.accepted, e)
		}
	}
	return a
}

// errorBody is the body of a 400.
func errorBody(problems ...string) string {
	var reply struct {
		Meta struct {
			Errors []string `json:"errors"`
		} `json:"meta"`
	}
	reply.Meta.Errors = problems
	body, err := json.Marshal(reply, jsontext.AllowInvalidUTF8(true))
	if err != nil { // strings always marshal
		panic(err)
	}
	return string(body)
}
