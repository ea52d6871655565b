package sandbox

import (
	"bytes"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxNames bounds Received.Events: further names are counted as otherNames.
const (
	maxNames   = 1000
	otherNames = "(other names)"
)

// Received is what arrived since the start, or since Forget.
type Received struct {
	Calls uint64 `json:"calls"` // requests to /v1/track and /v1/batch

	// Accepted events are stored: answered 200, or their answer was lost.
	Accepted   uint64 `json:"accepted"`
	Unique     uint64 `json:"unique"`     // different messageIds among them
	Duplicates uint64 `json:"duplicates"` // accepted under a messageId that was there already
	WithoutID  uint64 `json:"without_id"` // accepted without a messageId
	Dropped    uint64 `json:"dropped"`    // answered 2xx and thrown away

	Statuses map[int]uint64    `json:"statuses"` // whole answers by status
	Broken   map[End]uint64    `json:"broken"`   // other ends of a call
	Events   map[string]uint64 `json:"events"`   // accepted by event name, of at most 1,000 names

	First time.Time `json:"first,omitzero"` // when the first call came
	Last  time.Time `json:"last,omitzero"`  // when the last one came
}

// Call is one remembered request.
type Call struct {
	At       time.Time      `json:"at"`
	Path     string         `json:"path"`
	Strict   bool           `json:"strict"`
	Status   int            `json:"status,omitzero"` // 0: there was no whole answer
	Broken   End            `json:"broken,omitzero"` // how it ended then
	Accepted int            `json:"accepted"`        // events stored
	Dropped  int            `json:"dropped,omitzero"`
	Problems []string       `json:"problems,omitempty"` // what is wrong with it, in either mode
	Body     jsontext.Value `json:"body"`               // a string when the body is not valid JSON
}

// ledger counts and remembers. All fields are guarded by mu.
type ledger struct {
	mu     sync.Mutex
	totals Received // Unique and Duplicates are computed when read
	ids    map[string]uint32
	ring   []entry // the latest calls, next is the oldest
	next   int
	keep   int // length the ring grows to
}

// entry is a remembered call in few bytes; the reader pays for the rest.
type entry struct {
	call   call
	answer answer
}

func newLedger(keep int) *ledger {
	l := &ledger{keep: keep}
	l.forget()
	return l
}

// forget starts anew.
func (l *ledger) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = make(map[string]uint32)
	l.ring, l.next = nil, 0
	l.totals = Received{
		Statuses: make(map[int]uint64),
		Broken:   make(map[End]uint64),
		Events:   make(map[string]uint64),
	}
}

// book counts c and what became of it.
func (l *ledger) book(c *call, a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &l.totals
	t.Calls++
	if t.First.IsZero() {
		t.First = c.at
	}
	t.Last = c.at
	if a.end == Whole {
		t.Statuses[a.status]++
	} else {
		t.Broken[a.end]++
	}
	t.Dropped += uint64(a.dropped)
	for _, event := range a.stored {
		l.store(event)
	}
	l.remember(c, a)
}

// store counts one accepted event. mu is held.
func (l *ledger) store(event heard) {
	l.totals.Accepted++
	if event.messageID == "" {
		l.totals.WithoutID++
	} else {
		l.ids[event.messageID]++
	}
	name := event.name
	if _, known := l.totals.Events[name]; !known && len(l.totals.Events) >= maxNames {
		name = otherNames
	}
	l.totals.Events[name]++
}

// remember puts c in the ring. mu is held.
func (l *ledger) remember(c *call, a answer) {
	e := entry{call: *c, answer: a}
	if len(c.body) > maxEventBytes {
		e.call.body = bytes.Clone(c.body[:maxEventBytes])
	}
	switch {
	case l.keep == 0:
	case len(l.ring) < l.keep:
		l.ring = append(l.ring, e)
	default:
		l.ring[l.next] = e
		l.next = (l.next + 1) % l.keep
	}
}

// received returns a copy of the totals.
func (l *ledger) received() Received {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.totals
	r.Unique = uint64(len(l.ids))
	r.Duplicates = r.Accepted - r.WithoutID - r.Unique
	r.Statuses = maps.Clone(r.Statuses)
	r.Broken = maps.Clone(r.Broken)
	r.Events = maps.Clone(r.Events)
	return r
}

// copyIDs returns a copy of the counts by messageId.
func (l *ledger) copyIDs() map[string]uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.ids)
}

// recent returns at most n calls, the latest first.
func (l *ledger) recent(n int) []Call {
	var calls []Call
	for _, e := range l.latest(n) {
		calls = append(calls, e.show())
	}
	return calls
}

// latest copies at most n entries, the latest first.
func (l *ledger) latest(n int) []entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := len(l.ring)
	var entries []entry
	for i := range min(n, size) {
		entries = append(entries, l.ring[(l.next+size-1-i)%size])
	}
	return entries
}

// show makes an entry readable.
func (e entry) show() Call {
	c := Call{
		At:       e.call.at,
		Path:     e.call.path,
		Strict:   e.call.strict,
		Broken:   e.answer.end,
		Accepted: len(e.answer.stored),
		Dropped:  e.answer.dropped,
		Problems: e.call.problems,
		Body:     e.call.body,
	}
	if e.answer.end == Whole {
		c.Status = e.answer.status
	}
	if !c.Body.IsValid() {
		c.Body = quote(e.call.body)
	}
	return c
}

// quote makes a JSON string of a body that is no JSON.
func quote(body []byte) jsontext.Value {
	quoted, err := json.Marshal(strings.ToValidUTF8(string(body), "\uFFFD"))
	if err != nil { // valid UTF-8 always marshals
		panic(err)
	}
	return quoted
}
