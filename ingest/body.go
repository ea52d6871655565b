package ingest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"trackd/event"
	"trackd/queue"
)

const (
	// ordinaryBody is the most that a body may hold without a slot. A body
	// gets to be larger only while there is one, so the memory of HTTP bodies
	// is at most Options.HTTPConns × ordinaryBody + maxLargeBodies × MaxBatchBytes.
	ordinaryBody = event.MaxInputBytes + 1

	// maxLargeBodies is the number of slots.
	maxLargeBodies = 64

	// slotWait is how long a large body waits for a slot.
	slotWait = 5 * time.Second
)

// post is one request being worked on, with room that is used again. The queue
// keeps nothing of it.
type post struct {
	body  []byte
	batch queue.Batch
	arena arena // of the event's body
	large bool  // holds a slot for large bodies
	gzip  gzip.Reader
}

// putPost gives p back, empty.
func (s *Server) putPost(p *post) {
	if p.large {
		<-s.largeSlots
		p.large = false
	}
	p.arena.empty()
	clear(p.batch.Events)
	clear(p.batch.Rejects)
	p.body, p.batch.Events, p.batch.Rejects = p.body[:0], p.batch.Events[:0], p.batch.Rejects[:0]
	s.posts.Put(p)
}

// readBody reads the body of r into p: at most limit bytes, both as they arrive
// and after inflation. It returns nil when the body is there.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, p *post, limit int) *answer {
	if r.ContentLength > int64(limit) {
		return bodyTooLarge(limit)
	}
	var from io.Reader = http.MaxBytesReader(w, r.Body, int64(limit))
	switch encoding := r.Header.Get("Content-Encoding"); strings.ToLower(encoding) {
	case "", "identity":
	case "gzip", "x-gzip":
		if err := p.gzip.Reset(from); err != nil {
			return s.unreadable(err, limit)
		}
		from = &p.gzip
	default:
		return unknownEncoding(encoding)
	}
	for {
		if a := s.makeRoom(p, limit); a != nil {
			return a
		}
		n, err := from.Read(p.body[len(p.body):min(cap(p.body), p.bound(limit))])
		p.body = p.body[:len(p.body)+n]
		switch {
		case len(p.body) > limit:
			return bodyTooLarge(limit)
		case err == io.EOF:
			return nil
		case err != nil:
			return s.unreadable(err, limit)
		}
	}
}

// bound returns how long the body may get before makeRoom is asked again. It
// is one byte more than limit allows, to see whether there is more.
func (p *post) bound(limit int) int {
	if p.large {
		return limit + 1
	}
	return min(limit+1, ordinaryBody)
}

// makeRoom sees to it that at least one more byte may be read into p, after
// waiting for a slot if the body is about to be a large one.
func (s *Server) makeRoom(p *post, limit int) *answer {
	if len(p.body) == ordinaryBody && !p.large {
		select {
		case s.largeSlots <- struct{}{}:
			p.large = true
		case <-time.After(slotWait):
			return noSlot()
		}
	}
	if len(p.body) == cap(p.body) {
		more := min(2*cap(p.body), p.bound(limit)) - len(p.body)
		p.body = slices.Grow(p.body, more)
	}
	return nil
}

// unreadable returns the answer for a body that broke off with err.
func (s *Server) unreadable(err error, limit int) *answer {
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return bodyTooLarge(limit)
	}
	a := &answer{status: http.StatusBadRequest, code: string(event.Malformed), refuses: true, hangUp: true}
	a.message = fmt.Sprintf("the body cannot be read: %v", err)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		a.status, a.code = http.StatusRequestTimeout, codeUnfinished
		a.message = fmt.Sprintf("the rest of the body did not come within %v", s.opts.RequestTimeout)
	}
	return a
}
