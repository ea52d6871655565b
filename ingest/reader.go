package ingest

import (
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
	errNoBuffer   = errors.New("no memory for a long line")
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
	if err := c.fitBuffer(); err != nil {
		return err
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

// fitBuffer lends the connection a large buffer after a read fills the small
// one. While there is none it goes on with the small one, unless that holds a
// line it is too small for: then it waits, as long as it would for the line.
func (c *conn) fitBuffer() error {
	if c.large != nil || !c.crowded {
		return nil
	}
	if !c.lines.tryRaise(largeRead) {
		if c.in.buffered() < len(c.small) {
			return nil
		}
		ctx, cancel := context.WithTimeout(c.reading, c.server.opts.LineTimeout)
		defer cancel()
		switch err := c.lines.raise(ctx, largeRead); {
		case err == nil:
		case errors.Is(context.Cause(c.reading), errQueueStopped):
			return errQueueStopped
		case c.reading.Err() != nil:
			return errStopping
		default:
			return errNoBuffer
		}
	}
	c.large = c.server.buffers.Get().(*[]byte)
	c.in.use(*c.large)
	return nil
}

// returnLarge gives the large buffer back, if there is one. It is no longer
// read into.
func (c *conn) returnLarge() {
	if c.large != nil {
		c.server.buffers.Put(c.large)
		c.large = nil
		c.lines.release()
	}
}

// passLines parses all complete lines and passes them on in batches. It returns
// errQueueStopped when the queue takes no more.
func (c *conn) passLines() error {
	for {
		b := c.server.newBatch(c.in.buffered())
		more := true
		for more && !b.full {
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
	for n := 0; n < parseChunk && !b.full; n++ {
		ln, ok := c.in.next()
		if !ok {
			return false
		}
		c.add(b, ln, parser, now)
	}
	return true
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
	var why *event.Error
	if ln.oversize {
		why = tooLong()
	} else {
		why = b.add(parser, ln.text, now)
	}
	if why != nil {
		c.server.excluded.note(why)
		b.reject(ln.text, why, true) // the buffer is read into again
		b.notes = append(b.notes, note{line: ln.number, why: why})
	}
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
	case errors.Is(end, errNoBuffer):
		c.giveUp(notice{Code: codeBusy, Message: fmt.Sprintf(
			"line %d is long, and too many clients send long lines; send it and those after it again later", c.in.current())})
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
	b := c.server.newBatch(len(ln.text))
	c.add(b, ln, c.server.rules.Load().Parser, time.Now())
	_ = c.pass(b) // an error is told by the committer
}

// giveUp refuses the line that was begun, if any, and tells the client why the
// connection ends.
func (c *conn) giveUp(why notice) {
	c.replies.end(why)
	if why.Code == codeUnfinished {
		c.server.bounced.note(why.Code, c.describe(why))
	}
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
