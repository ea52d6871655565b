package ingest

import (
	"context"
	"errors"
	"sync"
	"time"

	"trackd/internal/listen"
)

// Causes for which the reading of one client ends while the server goes on.
var (
	errQueueStopped = errors.New("queue does not take events") // it did not take this client's
	errEvicted      = errors.New("place is needed for another client")
)

// parseChunk is how many lines a client may have parsed at a time, some 100 µs.
// Delivery is a chain of short steps that must not wait long for a CPU.
const parseChunk = 32

// conn is one client of the socket. Three goroutines serve it: the reader
// parses, the committer waits for the queue, the writer for the client. At most
// two batches exist at a time, one being parsed and one being committed: the
// channel between them holds none.
type conn struct {
	server  *Server
	net     *listen.Conn
	ready   chan *batch
	replies *replies

	// reading ends when the reader should: because the server stops, or for one
	// of the causes above.
	reading context.Context
	halt    context.CancelCauseFunc
	woken   chan struct{} // closed once a read that waited then was woken

	// The rest is owned by the reader.
	in      lines
	small   []byte  // the buffer while idle
	large   *[]byte // the one from Server.buffers, while it is in use
	lines   charge  // for large
	crowded bool    // the last read filled the buffer: more is probably there
	readDeadline
}

// newConn returns a conn that nobody serves yet.
func newConn(s *Server, nc *listen.Conn) *conn {
	c := &conn{
		server:  s,
		net:     nc,
		ready:   make(chan *batch),
		replies: newReplies(s.budgets.replies),
		woken:   make(chan struct{}),
		small:   make([]byte, smallRead),
	}
	c.in.buf = c.small
	c.lines.budget = s.budgets.lines
	return c
}

// serveConn reads nc to its end, answers and closes it. It returns when all
// that it started is gone.
func (s *Server) serveConn(stopping context.Context, nc *listen.Conn) {
	c := newConn(s, nc)
	c.reading, c.halt = context.WithCancelCause(stopping)
	nc.OnEvict(func() { c.halt(errEvicted) })
	defer c.halt(nil) // after the next two are undone: it wakes nobody, it only frees
	defer context.AfterFunc(c.reading, func() {
		nc.SetReadDeadline(longAgo())
		close(c.woken)
	})()
	defer context.AfterFunc(s.cut, func() { nc.Close() })()

	var committer, writer sync.WaitGroup
	committer.Go(c.commitAll)
	writer.Go(func() {
		// A client that does not read its replies is still read from.
		if err := c.replies.writeTo(nc); err != nil {
			s.opts.Log.Debug("socket client did not take its replies", "error", err)
		}
	})
	c.readAll()
	close(c.ready)
	committer.Wait()

	// The last reply gets less time where somebody waits for the end.
	replyTime := s.opts.ReplyTimeout
	switch {
	case errors.Is(context.Cause(c.reading), errEvicted):
		replyTime = min(replyTime, evictedReply)
	case c.stopping:
		replyTime = min(replyTime, maxLastReply)
	}
	nc.SetWriteDeadline(time.Now().Add(replyTime))
	c.replies.finish()
	writer.Wait()
	c.replies.drop()
	nc.Close()
}

// commitAll commits batches until there are no more. Once the queue has not
// taken one the rest are refused, so that what was kept is a prefix of what was
// sent.
func (c *conn) commitAll() {
	code := ""
	for b := range c.ready {
		switch {
		case code != "":
			c.refuse(b.size(), code)
		default:
			res := c.server.commit(c.server.cut, sourceSocket, b)
			if code = res.code; code != "" {
				clear(b.notes)
				b.notes = b.notes[:0] // these lines are to be sent again
				why := brokenNotice(code, b.first)
				c.replies.end(why)
				c.server.bounced.note(code, c.describe(why))
				c.halt(errQueueStopped)
			}
			c.replies.add(res.counts, b.notes)
		}
		c.server.putBatch(b)
	}
}

// refuse counts n events as refused and tells the client.
func (c *conn) refuse(n int, reason string) {
	res := result{counts: counts{refused: uint64(n)}, reason: reason}
	c.server.metrics.count(sourceSocket, res)
	c.replies.add(res.counts, nil)
}

// describe says for the operator who the client is, and why its stream ends.
func (c *conn) describe(why notice) func() (client, sample string) {
	return func() (string, string) { return c.net.Peer(), why.Message }
}
