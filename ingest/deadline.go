package ingest

import (
	"context"
	"errors"
	"time"
)

const (
	// stopReadWait is how long a stopping server waits for bytes that are on their way
	// through the kernel.
	// For one client that must make room for another it is evictReadWait: the
	// next newcomers wait for that.
	stopReadWait  = 20 * time.Millisecond
	evictReadWait = 2 * time.Millisecond

	// maxLastWait bounds those waits for one client in all, which may send a
	// byte now and then, and maxLastBytes what is still read from it, which may
	// never fall silent. No socket buffers as much by default.
	maxLastWait  = 500 * time.Millisecond
	maxLastBytes = 1 << 20

	// idleAfter is how long a client must be silent to lose its large buffer. Were it
	// lost after every burst, the next would begin with a read, and a commit, of
	// a few lines only.
	idleAfter = 100 * time.Millisecond

	// maxLastReply bounds how long a stopping server waits for a client to take
	// its last reply, and evictedReply how long one that must make room for
	// another may take. One that listens does so at once.
	maxLastReply = 2 * time.Second
	evictedReply = 250 * time.Millisecond
)

// longAgo is a deadline that wakes a read at once.
func longAgo() time.Time { return time.Unix(1, 0) }

// readDeadline says how long a reader still waits. Only the waiting uses it up: a
// client does not pay for a slow disk. It is owned by the reader.
type readDeadline struct {
	armed    bool          // a read deadline is set
	begun    uint64        // the unfinished line that is waited for
	lineLeft time.Duration // of Options.LineTimeout, for that line

	stopping  bool          // only what was already sent is still read
	lastLeft  time.Duration // of maxLastWait
	lastBytes int           // of maxLastBytes
}

// arm sets the deadline of the next read and returns the time that the read
// uses up: nil for an idle client, which may stay, else what is left for its
// line or, once reading should end, for what it has sent before. Its error says
// that reading must end now.
func (c *conn) arm() (left *time.Duration, err error) {
	if c.reading.Err() == nil {
		switch {
		case c.in.unfinished(): // the rest of the line must come in time
			if c.begun != c.in.current() {
				c.begun, c.lineLeft = c.in.current(), c.server.opts.LineTimeout
			}
			c.net.SetReadDeadline(time.Now().Add(c.lineLeft))
			c.armed, left = true, &c.lineLeft
		case c.large != nil: // to notice that it has become idle
			c.net.SetReadDeadline(time.Now().Add(idleAfter))
			c.armed = true
		case c.armed:
			c.net.SetReadDeadline(time.Time{})
			c.armed = false
		}
		// Asked again: had reading been ended meanwhile, the wake-up that comes
		// with it would be undone by the deadline just set.
		if c.reading.Err() == nil {
			return left, nil
		}
	}

	// Reading should end. What the client has already sent is still read, within
	// bounds, unless the queue would not take it.
	if errors.Is(context.Cause(c.reading), errQueueStopped) {
		return nil, errQueueStopped
	}
	if !c.stopping {
		<-c.woken // else that wake-up would undo the deadline below
		c.stopping, c.lastLeft, c.lastBytes = true, maxLastWait, maxLastBytes
	}
	if c.lastBytes <= 0 {
		return nil, errStopping
	}
	wait := stopReadWait
	if errors.Is(context.Cause(c.reading), errEvicted) {
		wait = evictReadWait
	}
	c.net.SetReadDeadline(time.Now().Add(min(wait, c.lastLeft))) // in the past once nothing is left
	return &c.lastLeft, nil
}
