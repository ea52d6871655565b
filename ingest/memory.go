package ingest

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// What all clients together can make the server hold is bounded here, whatever
// they send: each kind of memory has a budget that is charged before the memory
// is made. Besides, a connection costs a few KiB: the first freeBytes of what a
// client sends, and of what it is told, are not charged.
const (
	freeBytes = 4 << 10

	// lineBytes bounds the large buffers of socket clients.
	lineBytes = 4 << 20

	// bodyBytes bounds the HTTP bodies of at most ordinaryBody, largeBodyBytes
	// those that are larger: a large one that waits is not in the way of others.
	bodyBytes      = 4 << 20
	largeBodyBytes = 8 << 20

	// workBytes bounds what parsing makes of lines and bodies, held until the
	// queue has it. It never waits for a client.
	workBytes = 8 << 20

	// replyBytes bounds what clients have not read of the reasons for rejections.
	// It is never waited for: what finds no place is not told.
	replyBytes = 2 << 20
)

// budgets are those of one server, in bytes.
type budgets struct {
	lines, bodies, largeBodies, work, replies *semaphore.Weighted
}

func newBudgets() budgets {
	return budgets{
		lines:       semaphore.NewWeighted(lineBytes),
		bodies:      semaphore.NewWeighted(bodyBytes),
		largeBodies: semaphore.NewWeighted(largeBodyBytes),
		work:        semaphore.NewWeighted(workBytes),
		replies:     semaphore.NewWeighted(replyBytes),
	}
}

// charge is what one holder has taken of one budget. Its owner keeps it.
type charge struct {
	budget *semaphore.Weighted
	bytes  int64
}

// raise waits until the charge can be bytes, unless it is as much already. The
// error is that of ctx.
func (c *charge) raise(ctx context.Context, bytes int64) error {
	if bytes <= c.bytes {
		return nil
	}
	if err := c.budget.Acquire(ctx, bytes-c.bytes); err != nil {
		return err
	}
	c.bytes = bytes
	return nil
}

// tryRaise is raise without waiting.
func (c *charge) tryRaise(bytes int64) bool {
	if bytes <= c.bytes {
		return true
	}
	if !c.budget.TryAcquire(bytes - c.bytes) {
		return false
	}
	c.bytes = bytes
	return true
}

// release gives all of it back.
func (c *charge) release() {
	if c.bytes > 0 {
		c.budget.Release(c.bytes)
		c.bytes = 0
	}
}
