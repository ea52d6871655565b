package sandbox

import (
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

// call is one request to the API, as it was heard.
type call struct {
	at         time.Time
	path       string
	strict     bool // X-Strict-Mode: 1
	authorized bool
	body       []byte

	events   []heard
	problems []string // with any of the events, or with the call as a whole
}

// heard is what the stand-in needs to know of one event.
type heard struct {
	messageID   string
	name        string
	userID      string
	anonymousID string
	bad         bool
}

// hear reads the request. The error says that its body did not come whole.
func (s *Server) hear(r *http.Request) (*call, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxReadBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	user, _, _ := r.BasicAuth()
	return &call{
		at:         time.Now(),
		path:       r.URL.Path,
		strict:     r.Header.Get("X-Strict-Mode") == "1",
		authorized: s.authorized(user),
		body:       body,
	}, nil
}

// authorized reports whether user is the key asked for.
func (s *Server) authorized(user string) bool {
	if s.key == "" {
		return user != ""
	}
	return subtle.ConstantTimeCompare([]byte(user), []byte(s.key)) == 1
}

// readTrack takes the body for one event.
func (c *call) readTrack() {
	object, problems := parseCall(c.body)
	c.problems = problems
	c.events = []heard{hearEvent(object, problems)}
}

// readBatch takes the body for {"batch":[…]}.
func (c *call) readBatch() {
	if len(c.body) > maxBatchBytes {
		c.condemn(fmt.Sprintf("the batch has more than %d bytes", maxBatchBytes))
		return
	}
	var envelope struct {
		Batch []jsontext.Value `json:"batch"`
	}
	err := json.Unmarshal(c.body, &envelope)
	_, unfit := errors.AsType[*json.SemanticError](err)
	switch {
	case unfit, err == nil && len(envelope.Batch) == 0:
		c.condemn("the body must be an object in which batch lists at least one event")
		return
	case err != nil:
		c.condemn(malformed(err))
		return
	}
	for i, item := range envelope.Batch {
		object, problems := parseCall(item)
		c.events = append(c.events, hearEvent(object, problems))
		for _, problem := range problems {
			c.problems = append(c.problems, fmt.Sprintf("batch[%d]: %s", i, problem))
		}
	}
}

// condemn makes c a call of which nothing can be used.
func (c *call) condemn(problem string) {
	c.events, c.problems = []heard{{bad: true}}, []string{problem}
}

// hearEvent picks out what counts. object may be nil.
func hearEvent(object map[string]any, problems []string) heard {
	text := func(key string) string { s, _ := object[key].(string); return s }
	return heard{
		messageID:   text("messageId"),
		name:        text("event"),
		userID:      text("userId"),
		anonymousID: text("anonymousId"),
		bad:         len(problems) > 0,
	}
}

// honest is the answer the API documents for c, and what it does with the
// events.
func (c *call) honest() answer {
	switch {
	case c.strict && !c.authorized:
		return answer{status: http.StatusUnauthorized}
	case c.strict && len(c.problems) > 0:
		return answer{status: http.StatusBadRequest, body: errorBody(c.problems...)}
	case !c.authorized:
		return answer{status: http.StatusOK, body: "{}", dropped: len(c.events)}
	}
	a := answer{status: http.StatusOK, body: "{}"}
	for _, event := range c.events {
		if event.bad {
			a.dropped++
		} else {
			a.stored = append(a.stored, event)
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
