package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"trackd/event"
)

const (
	// ordinaryBody is the longest body that is charged to the budget of ordinary
	// ones. It holds any event.
	ordinaryBody = event.MaxInputBytes + 1

	// bodyWait is how long a body waits for memory.
	bodyWait = 5 * time.Second

	// inflaterBytes is what reading gzip takes.
	inflaterBytes = 64 << 10
)

// post is the body of one request, with memory that is used again.
type post struct {
	raw      rawBody // as it arrives
	free     []byte  // the first buffer of a body
	body     []byte
	inflater *gzip.Reader

	ordinary charge // for the body and the inflater
	large    charge // for a body that is larger
	replies  charge // for the faults
}

// newPost returns a post that holds only what is free.
func (s *Server) newPost() *post {
	free := make([]byte, 0, freeBytes)
	return &post{
		free: free, body: free,
		ordinary: charge{budget: s.budgets.bodies},
		large:    charge{budget: s.budgets.largeBodies},
		replies:  charge{budget: s.budgets.replies},
	}
}

// putPost gives p back, empty.
func (s *Server) putPost(p *post) {
	if p.inflater != nil {
		s.inflaters.Put(p.inflater)
		p.inflater = nil
	}
	p.raw = rawBody{}
	p.body = p.free
	p.ordinary.release()
	p.large.release()
	p.replies.release()
	s.posts.Put(p)
}

// readBody reads the body of r into p: at most limit bytes, both as they arrive
// and after inflation. It returns nil when the body is there and whoever sent it
// may. Of one that is too large, limit bytes are there.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, p *post, limit int) *answer {
	a := s.receive(w, r, p, limit)
	rules := s.rules.Load()
	switch {
	case rules.admit(r):
		return a
	case a == nil && !rules.isKey(event.WriteKey(p.body)):
		return unauthorized()
	case a != nil: // a body without a key is nobody's dead letter
		p.body = p.body[:0]
	}
	return a
}

// receive is readBody, whoever sent it.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, p *post, limit int) *answer {
	if r.ContentLength > int64(limit) && r.Header.Get("Expect") != "" { // it asks first: spare it the body
		return bodyTooLarge(limit)
	}
	p.raw = rawBody{Reader: http.MaxBytesReader(w, r.Body, int64(limit))}
	var from io.Reader = &p.raw
	switch encoding := r.Header.Get("Content-Encoding"); strings.ToLower(encoding) {
	case "", "identity":
	case "gzip", "x-gzip":
		if !s.await(&p.ordinary, inflaterBytes) {
			return noMemory()
		}
		p.inflater = s.inflaters.Get().(*gzip.Reader)
		if err := p.inflater.Reset(from); err != nil {
			return s.unreadable(err, &p.raw, limit)
		}
		from = p.inflater
	default:
		return unknownEncoding(encoding)
	}
	for {
		if len(p.body) == cap(p.body) && !s.growBody(p, limit) {
			return noMemory()
		}
		n, err := from.Read(p.body[len(p.body):cap(p.body)])
		p.body = p.body[:len(p.body)+n]
		switch {
		case len(p.body) > limit:
			p.body = p.body[:limit]
			return bodyTooLarge(limit)
		case err == io.EOF:
			return nil
		case err != nil:
			return s.unreadable(err, &p.raw, limit)
		}
	}
}

// growBody doubles the body's buffer, up to one byte more than limit, to see
// whether there is more. It reports whether there was memory for it in time.
func (s *Server) growBody(p *post, limit int) bool {
	size := min(2*cap(p.body), limit+1)
	paid := &p.large
	if cap(p.body) < ordinaryBody {
		size = min(size, ordinaryBody)
		paid = &p.ordinary
	}
	want := int64(size)
	if p.inflater != nil && paid == &p.ordinary {
		want += inflaterBytes
	}
	if !s.await(paid, want) {
		return false
	}
	p.body = append(make([]byte, 0, size), p.body...)
	return true
}

// await raises c to bytes and reports whether that could be done in time.
func (s *Server) await(c *charge, bytes int64) bool {
	if c.tryRaise(bytes) {
		return true
	}
	ctx, cancel := context.WithTimeout(s.cut, bodyWait)
	defer cancel()
	return c.raise(ctx, bytes) == nil
}

// unreadable returns the answer for a body that broke off with err.
func (s *Server) unreadable(err error, raw *rawBody, limit int) *answer {
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return bodyTooLarge(limit)
	}
	a := &answer{hangUp: true}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		a.status, a.code = http.StatusRequestTimeout, codeUnfinished
		a.message = fmt.Sprintf("the rest of the body did not come within %v", s.opts.RequestTimeout)
	case raw.hungUp(): // whatever gzip makes of that
		a.status, a.code = http.StatusRequestTimeout, codeUnfinished
		a.message = "the client hung up before the end of the body"
	default:
		a.status, a.code = http.StatusBadRequest, string(event.Malformed)
		a.message = fmt.Sprintf("the body cannot be read: %v", err)
	}
	return a
}
