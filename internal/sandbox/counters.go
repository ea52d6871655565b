package sandbox

import (
	"bytes"
	"maps"
	"slices"
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
	Calls uint64 `json:"calls"` // requests to an endpoint of the API

	// Accepted events are stored: answered 200, or their answer was lost.
	Accepted   uint64 `json:"accepted"`
	Unique     uint64 `json:"unique"`     // different messageIds among them
	Duplicates uint64 `json:"duplicates"` // accepted under a messageId that was there already
	WithoutID  uint64 `json:"without_id"` // accepted without a messageId
	Dropped    uint64 `json:"dropped"`    // answered 2xx and thrown away

	Statuses map[int]uint64    `json:"statuses"` // whole answers by status
	Broken   map[End]uint64    `json:"broken"`   // other ends of a call
	Types    map[string]uint64 `json:"types"`    // accepted by type of call
	Events   map[string]uint64 `json:"events"`   // accepted track calls by event name, of at most 1,000 names

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

// counters count and remember. All fields are guarded by mu.
type counters struct {
	mu     sync.Mutex
	totals Received // Unique and Duplicates are computed when read
	ids    map[string]uint32
	ring   []entry // the latest calls, next is the oldest
	next   int
	keep   int // length the ring grows to

	waiting []waiter // for more different messageIds
}

// entry is a remembered call; what Call has besides is made when it is read.
type entry struct {
	call   call
	answer answer
}

func newCounters(keep int) *counters {
	n := &counters{keep: keep}
	n.forget()
	return n
}

// forget starts anew.
func (n *counters) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ids = make(map[string]uint32)
	n.ring, n.next = nil, 0
	n.totals = Received{
		Statuses: make(map[int]uint64),
		Broken:   make(map[End]uint64),
		Types:    make(map[string]uint64),
		Events:   make(map[string]uint64),
	}
}

// count counts c and what became of it.
func (n *counters) count(c *call, a answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := &n.totals
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
	for _, e := range a.accepted {
		n.accept(e)
	}
	n.wake()
	n.remember(c, a)
}

// accept counts one accepted event. mu is held.
func (n *counters) accept(e event) {
	n.totals.Accepted++
	if e.messageID == "" {
		n.totals.WithoutID++
	} else {
		n.ids[e.messageID]++
	}
	n.totals.Types[e.callType]++
	if e.callType != "track" {
		return
	}
	name := e.name
	if _, known := n.totals.Events[name]; !known && len(n.totals.Events) >= maxNames {
		name = otherNames
	}
	n.totals.Events[name]++
}

// waiter waits for want different messageIds; reached is closed when they are
// there.
type waiter struct {
	want    int
	reached chan struct{}
}

// await returns a channel that is closed once want different messageIds were
// accepted, and a function to call when nobody waits for it any more.
func (n *counters) await(want int) (reached <-chan struct{}, forget func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := waiter{want: want, reached: make(chan struct{})}
	n.waiting = append(n.waiting, w)
	n.wake()
	return w.reached, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.waiting = slices.DeleteFunc(n.waiting, func(other waiter) bool { return other == w })
	}
}

// wake ends the waiting of those who have what they wait for. mu is held.
func (n *counters) wake() {
	n.waiting = slices.DeleteFunc(n.waiting, func(w waiter) bool {
		enough := len(n.ids) >= w.want
		if enough {
			close(w.reached)
		}
		return enough
	})
}

// remember puts c in the ring. mu is held.
func (n *counters) remember(c *call, a answer) {
	e := entry{call: *c, answer: a}
	if len(c.body) > maxEventBytes {
		e.call.body = bytes.Clone(c.body[:maxEventBytes])
	}
	switch {
	case n.keep == 0:
	case len(n.ring) < n.keep:
		n.ring = append(n.ring, e)
	default:
		n.ring[n.next] = e
		n.next = (n.next + 1) % n.keep
	}
}

// received returns a copy of the totals.
func (n *counters) received() Received {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.totals
	r.Unique = uint64(len(n.ids))
	r.Duplicates = r.Accepted - r.WithoutID - r.Unique
	r.Statuses = maps.Clone(r.Statuses)
	r.Broken = maps.Clone(r.Broken)
	r.Types = maps.Clone(r.Types)
	r.Events = maps.Clone(r.Events)
	return r
}

// copyIDs returns a copy of the counts by messageId.
func (n *counters) copyIDs() map[string]uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.ids)
}

// recent returns at most so many calls, the latest first.
func (n *counters) recent(most int) []Call {
	var calls []Call
	for _, e := range n.latest(most) {
		calls = append(calls, e.show())
	}
	return calls
}

// latest copies at most so many entries, the latest first.
func (n *counters) latest(most int) []entry {
	n.mu.Lock()
	defer n.mu.Unlock()
	size := len(n.ring)
	var entries []entry
	for i := range min(most, size) {
		entries = append(entries, n.ring[(n.next+size-1-i)%size])
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
		Accepted: len(e.answer.accepted),
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
