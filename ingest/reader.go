package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"trackd/event"
)

// Reasons for which reading ends, besides errQueueStopped and the end of the
// stream.
var (
	errUnfinished = errors.New("line left unfinished")
	errStopping   = errors.New("server is stopping")
)

// readAll passes on batches until the client, its time or the server ends. An
// error of the connection, say ECONNRESET after the last byte, is an end like
// any other: what came before it counts.
func (c *conn) readAll() {
	for {
		end := c.fill()
		if err := c.passLines(); err != nil {
			end = err
		}
		if end != nil {
			c.finish(end)
			break
		}
	}
	c.server.opts.Log.Debug("socket client ends", "lines", c.in.taken)
	c.returnLarge()
}

// fill waits for more bytes. Its error is the reason why there will be none.
func (c *conn) fill() error {
	// After a read that filled the small buffer, more is probably there.
	if c.large == nil && c.crowded {
		c.large = c.server.buffers.Get().(*[]byte)
		c.in.use(*c.large)
	}
	for {
		left, err := c.arm()
		if err != nil {
			return err
		}
		n, err := c.read(left)
		switch {
		case n > 0, err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case err == nil: // a reader may return nothing
		case c.stopping:
			return errStopping
		case c.reading.Err() != nil: // what is buffered is still read
		case c.in.unfinished():
			return errUnfinished
		default: // idle
			c.in.use(c.small)
			c.returnLarge()
		}
	}
}

// read reads once and takes the time it took off left, if that is given. A
// client that owes no rest of a line is idle meanwhile, and may be closed to
// make room for another.
func (c *conn) read(left *time.Duration) (int, error) {
	if !c.in.unfinished() {
		c.net.Idle()
		defer c.net.Busy()
	}
	space := c.in.space()
	var began time.Time
	if left != nil {
		began = time.Now()
	}
	n, err := c.net.Read(space)
	if left != nil {
		*left -= time.Since(began)
	}
	c.in.filled(n)
	c.crowded = n == len(space)
	if c.stopping {
		c.lastBytes -= n
	}
	return n, err
}

// returnLarge gives the large buffer back, if there is one. It is no longer
// read into.
func (c *conn) returnLarge() {
	if c.large != nil {
		c.server.buffers.Put(c.large)
		c.large = nil
	}
}

// passLines parses all complete lines and passes them on in batches. It returns
// errQueueStopped when the queue takes no more.
func (c *conn) passLines() error {
	for {
		b := c.newBatch()
		more := true
		for more && b.size() < maxBatch {
			more = c.parseSome(b)
		}
		if err := c.pass(b); err != nil || !more {
			return err
		}
	}
}

// parseSome adds some complete lines to b and reports whether there may be more.
// While delivery is busy, clients share the parse semaphore.
func (c *conn) parseSome(b *batch) (more bool) {
	if c.server.opts.Backpressure() {
		c.server.parsing <- struct{}{}
		defer func() { <-c.server.parsing }()
	}
	parser, now := c.server.rules.Load().Parser, time.Now()
	for n := 0; n < parseChunk && b.size() < maxBatch; n++ {
		ln, ok := c.in.next()
		if !ok {
			return false
		}
		c.add(b, ln, parser, now)
	}
	return true
}

// newBatch returns an empty batch with room for what is buffered.
func (c *conn) newBatch() *batch {
	b := c.server.batches.Get().(*batch)
	b.arena.reserve(c.in.buffered())
	return b
}

// pass gives b to the committer, when that is done with the one before. It
// returns errQueueStopped when the queue takes no more.
func (c *conn) pass(b *batch) error {
	if b.size() == 0 {
		c.server.putBatch(b)
		return nil
	}
	c.ready <- b // the committer takes whatever comes, until readAll has returned
	if errors.Is(context.Cause(c.reading), errQueueStopped) {
		return errQueueStopped
	}
	return nil
}

// add judges ln and adds it to b.
func (c *conn) add(b *batch, ln line, parser event.Parser, now time.Time) {
	if blank(ln.text) && !ln.oversize {
		return
	}
	if b.size() == 0 {
		b.first = ln.number
	}
	ev, refusal := b.parse(parser, ln, now)
	if refusal == nil {
		b.Events = append(b.Events, ev)
		return
	}
	c.server.excluded.note(refusal)
	b.Rejects = append(b.Rejects, reject(bytes.Clone(ln.text), refusal)) // the buffer is read into again
	b.notes = append(b.notes, note{line: ln.number, why: refusal})
}

// parse judges ln.
func (b *batch) parse(parser event.Parser, ln line, now time.Time) (event.Event, *event.Error) {
	if ln.oversize {
		return event.Event{}, tooLong()
	}
	ev, err := b.arena.parse(parser, ln.text, now)
	if err != nil {
		return event.Event{}, asRejection(err)
	}
	return ev, nil
}

// finish deals with what is left when reading has ended because of end.
func (c *conn) finish(end error) {
	switch {
	case errors.Is(end, errQueueStopped): // told by the committer
	case errors.Is(end, errUnfinished):
		c.giveUp(notice{Code: codeUnfinished, Message: fmt.Sprintf(
			"the rest of line %d did not come within %v", c.in.current(), c.server.opts.LineTimeout)})
	case errors.Is(end, errStopping) && errors.Is(context.Cause(c.reading), errEvicted):
		c.giveUp(notice{Code: codeIdleClosed, Message: fmt.Sprintf(
			"every place was taken and this connection had been idle longest: it is closed, and line %d and those after it were not read; connect again", c.in.current())})
	case errors.Is(end, errStopping):
		c.giveUp(notice{Code: codeStopping, Message: fmt.Sprintf(
			"trackd is stopping and did not read line %d and those after it", c.in.current())})
	default:
		c.passRest()
	}
}

// passRest passes on the last line of a stream that ended without a newline.
func (c *conn) passRest() {
	ln, ok := c.in.rest()
	if !ok {
		return
	}
	b := c.newBatch()
	c.add(b, ln, c.server.rules.Load().Parser, time.Now())
	_ = c.pass(b) // an error is told by the committer
}

// giveUp refuses the line that was begun, if any, and tells the client why the
// connection ends.
func (c *conn) giveUp(why notice) {
	c.replies.end(why)
	if ln, ok := c.in.rest(); ok && !blank(ln.text) {
		c.refuse(1, codeUnfinished)
	}
}

// tooLong returns the refusal of a line that was not even read to its end.
func tooLong() *event.Error {
	return &event.Error{Code: event.Oversize, Problems: []event.Problem{{
		Found:   fmt.Sprintf("a line of more than %d bytes", maxLine),
		Allowed: fmt.Sprintf("at most %d bytes", maxLine),
	}}}
}
