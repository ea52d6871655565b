package ingest

import (
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/semaphore"

	"trackd/event"
)

const (
	// maxNotes bounds the notes that wait to be written to one client. A reject
	// past it is counted and kept, but not described.
	maxNotes = 1000

	// maxText is how much text of notes is written at once, and one note more.
	maxText = 4 << 10
)

// note says why one line was rejected. It becomes text only when a client
// reads it.
type note struct {
	line uint64 // of the stream, counted from 1
	why  *event.Error
}

// size returns about how many bytes n holds.
func (n note) size() int64 {
	size := int64(96)
	for _, p := range n.why.Problems {
		size += int64(48 + len(p.Field) + len(p.Found) + len(p.Allowed))
	}
	return size
}

// notice is how a note, the trouble that ends a connection, and an HTTP error
// are written.
type notice struct {
	Line    uint64 `json:"line,omitzero"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Meta    *meta  `json:"meta,omitzero"`
}

// meta lists every problem of one event, in the shape the destination uses.
type meta struct {
	Errors []string `json:"errors"`
}

// notice returns n as it is written.
func (n note) notice() notice {
	return notice{Line: n.line, Code: string(n.why.Code), Message: n.why.Error(), Meta: &meta{Errors: n.why.Texts()}}
}

// appendJSON appends v to dst. Messages may quote what a client sent; bytes that
// are not UTF-8 are replaced, which is all that could go wrong with a reply.
func appendJSON(dst []byte, v any) []byte {
	text, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic(fmt.Sprintf("encode a reply: %v", err))
	}
	return append(dst, text...)
}

// replies is what one client is still to be told. The committer adds to it and
// never waits; the writer takes what has gathered, as often as the client
// reads.
type replies struct {
	kick chan struct{} // capacity 1: there is something to take

	mu    sync.Mutex
	total counts  // cumulative; guarded by mu
	notes []note  // pending, at most maxNotes; guarded by mu
	held  int64   // bytes that notes hold, about; guarded by mu
	paid  charge  // for what of it is not free; guarded by mu
	last  *notice // why the connection ends, told before the final counts; guarded by mu
	stale bool    // total was not written yet; guarded by mu
	done  bool    // nothing will be added; guarded by mu
}

// newReplies returns replies with nothing to tell, whose notes are charged to
// budget.
func newReplies(budget *semaphore.Weighted) *replies {
	return &replies{kick: make(chan struct{}, 1), stale: true, paid: charge{budget: budget}}
}

// add tells the client of one commit: its counts and its rejects.
func (r *replies) add(c counts, notes []note) {
	r.mu.Lock()
	r.total = r.total.add(c)
	for _, n := range notes {
		size := n.size()
		if len(r.notes) == maxNotes || r.held+size > freeBytes && !r.paid.tryRaise(r.held+size) {
			break
		}
		r.notes = append(r.notes, n)
		r.held += size
	}
	r.stale = true
	r.mu.Unlock()
	r.wake()
}

// end tells the client why its connection ends, the first time it is called.
// It is written with the final counts.
func (r *replies) end(why notice) {
	r.mu.Lock()
	if r.last == nil {
		r.last = &why
	}
	r.mu.Unlock()
}

// finish says that nothing will be added.
func (r *replies) finish() {
	r.mu.Lock()
	r.done = true
	r.mu.Unlock()
	r.wake()
}

// wake makes the writer look.
func (r *replies) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// take appends to dst what is to be written now, counts last, and reports
// whether it is the final reply. If more notes wait it sees to being called
// again.
func (r *replies) take(dst []byte) (out []byte, final bool) {
	r.mu.Lock()
	n := 0
	for taken := int64(0); n < len(r.notes) && taken < maxText; n++ {
		taken += r.notes[n].size()
		r.held -= r.notes[n].size()
	}
	notes, total, stale := r.notes[:n:n], r.total, r.stale
	if r.notes, r.stale = r.notes[n:], false; len(r.notes) == 0 {
		r.notes = nil
		r.paid.release()
	}
	final = r.done && r.notes == nil
	more, last := r.notes != nil, r.last
	r.mu.Unlock()

	for _, n := range notes {
		dst = append(appendJSON(dst, n.notice()), '\n')
	}
	if final && last != nil {
		dst, stale = append(appendJSON(dst, *last), '\n'), true
	}
	if stale || n > 0 { // so that whatever was written last, the counts are the last line
		dst = appendCounts(dst, total)
	}
	if more {
		r.wake()
	}
	return dst, final
}

// drop gives up what was not told, once nobody adds or takes any more.
func (r *replies) drop() {
	r.notes = nil
	r.paid.release()
}

// appendCounts appends c as one line.
func appendCounts(dst []byte, c counts) []byte {
	dst = strconv.AppendUint(append(dst, `{"accepted":`...), c.accepted, 10)
	dst = strconv.AppendUint(append(dst, `,"rejected":`...), c.rejected, 10)
	dst = strconv.AppendUint(append(dst, `,"refused":`...), c.refused, 10)
	return append(dst, "}\n"...)
}

// writeTo writes replies to w until the final one or an error. What is added
// after an error gathers within its bounds and is never told.
func (r *replies) writeTo(w io.Writer) error {
	var buf []byte
	for range r.kick {
		out, final := r.take(buf[:0])
		if len(out) > 0 {
			if _, err := w.Write(out); err != nil {
				return err
			}
		}
		if final {
			return nil
		}
		if buf = out; cap(buf) > smallRead { // after notes: an idle client keeps no room for more
			buf = nil
		}
	}
	return nil
}

// brokenNotice tells why the queue did not take the lines from first on.
func brokenNotice(code string, first uint64) notice {
	message := "the queue is full; send line %d and those after it again later"
	if code == codeUnavailable {
		message = "the queue failed; line %d and those after it may or may not have been kept: send them again later, with the same messageId if they have one"
	}
	return notice{Code: code, Message: fmt.Sprintf(message, first)}
}
