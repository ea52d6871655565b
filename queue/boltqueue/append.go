package boltqueue

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"trackd/event"
	"trackd/queue"
)

// groupBytes bounds the raw input of one commit.
const groupBytes = 4 << 20

// group is what the next commit will hold: everything that callers brought
// while the last one was on its way to the disk. There is no timer.
type group struct {
	packing
	blocks  []*block
	rejects []queue.Reject
	bytes   int
	callers int
	expect  int           // bytes of the group before: so much may come again
	taken   chan struct{} // closed when the writer took it
	done    chan struct{} // closed when it is durable or failed
	err     error         // set before done is closed
}

func newGroup(p packing, expect int) *group {
	return &group{packing: p, expect: expect, taken: make(chan struct{}), done: make(chan struct{})}
}

func (g *group) empty() bool { return len(g.blocks) == 0 && len(g.rejects) == 0 }

// events counts what the commit will make durable.
func (g *group) events() int {
	n := len(g.rejects)
	for _, b := range g.blocks {
		n += b.count
	}
	return n
}

// addEvent returns the block that ev went to.
func (g *group) addEvent(ev event.Event, now time.Time, hint int) *block {
	size := recordSize(ev)
	if n := len(g.blocks); n == 0 || g.blocks[n-1].full() {
		g.blocks = append(g.blocks, newBlock(now, max(hint, size, g.expect), g.packing))
	}
	b := g.blocks[len(g.blocks)-1]
	b.add(ev)
	g.bytes += size
	return b
}

func (g *group) addReject(r queue.Reject) {
	r.Body = slices.Clone(r.Body)
	g.rejects = append(g.rejects, r)
	g.bytes += len(r.Body) + len(r.Detail)
}

// intake holds the open group.
type intake struct {
	mu     sync.Mutex
	group  *group
	closed bool
}

func (in *intake) init(p packing) { in.group = newGroup(p, 0) }

// seat is where a batch went.
type seat struct {
	group *group
	full  []*block // those the batch filled up, to be packed by its caller
}

// add puts a batch of size bytes into the open group and returns where it went,
// or, when there is no room, the channel that tells when to try again.
func (in *intake) add(b queue.Batch, size int, now time.Time) (s seat, again <-chan struct{}, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	g := in.group
	switch {
	case in.closed:
		return s, nil, queue.ErrClosed
	case g.bytes > 0 && g.bytes+size > groupBytes:
		return s, g.taken, nil
	}
	s.group = g
	g.callers++
	for _, ev := range b.Events {
		if b := g.addEvent(ev, now, size); b.full() {
			s.full = append(s.full, b)
		}
	}
	for _, r := range b.Rejects {
		g.addReject(r)
	}
	return s, nil, nil
}

// take hands the open group to the writer, or nil when it is empty. The next
// is made as p says.
func (in *intake) take(p packing) *group {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.group.empty() {
		return nil
	}
	g := in.group
	in.group = newGroup(p, g.bytes)
	close(g.taken)
	return g
}

// close refuses further batches; the writer still takes the open group.
func (in *intake) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
}

// Append implements [queue.Queue]. Batches of more than 4 MiB take several
// commits.
func (q *Queue) Append(ctx context.Context, b queue.Batch) error {
	rejectsErr := q.admitRejects(&b)
	parts := split(b)
	for i, part := range parts {
		if err := q.appendPart(ctx, part); err != nil {
			for _, rest := range parts[i+1:] {
				q.returnRejects(rest.Rejects)
			}
			if i > 0 {
				return fmt.Errorf("part of the batch was stored, then: %v", err)
			}
			return err
		}
	}
	return rejectsErr
}

// appendPart brings a batch that fits one commit and waits for it. The room
// its rejects were given is returned here if the writer never hears of them,
// else by the writer.
func (q *Queue) appendPart(ctx context.Context, b queue.Batch) error {
	if err := q.whyFull(); err != nil {
		q.returnRejects(b.Rejects)
		return err
	}
	size := batchSize(b)
	for {
		s, again, err := q.intake.add(b, size, time.Now())
		switch {
		case err != nil:
			q.returnRejects(b.Rejects)
			return err
		case s.group != nil:
			nudge(q.kick)
			for _, full := range s.full { // while the writer waits for the disk
				full.pack()
			}
			return await(ctx, s.group)
		}
		select {
		case <-again:
		case <-ctx.Done():
			q.returnRejects(b.Rejects)
			return ctx.Err()
		}
	}
}

func await(ctx context.Context, g *group) error {
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// whyFull returns ErrFull with the reason while there is no room.
func (q *Queue) whyFull() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.full == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", queue.ErrFull, q.full)
}

// admitRejects drops the rejects of b when they would pass their bound.
func (q *Queue) admitRejects(b *queue.Batch) error {
	size := rejectBytes(b.Rejects)
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(b.Rejects) == 0 {
		return nil
	}
	if q.rejects+size > q.opts.RejectBytes {
		n := len(b.Rejects)
		b.Rejects = nil
		return fmt.Errorf("%w: %d not kept, %d bytes of %d in use", queue.ErrRejectsFull, n, q.rejects, q.opts.RejectBytes)
	}
	q.rejects += size
	return nil
}

// returnRejects gives back room that was admitted and not used.
func (q *Queue) returnRejects(rejects []queue.Reject) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rejects -= rejectBytes(rejects)
}

func rejectBytes(rejects []queue.Reject) int64 {
	var n int64
	for _, r := range rejects {
		n += int64(len(r.Body))
	}
	return n
}

func batchSize(b queue.Batch) int {
	size := 0
	for _, ev := range b.Events {
		size += recordSize(ev)
	}
	for _, r := range b.Rejects {
		size += len(r.Body) + len(r.Detail)
	}
	return size
}

// split cuts a batch into parts that fit one commit each; most are one part.
func split(b queue.Batch) []queue.Batch {
	if batchSize(b) <= groupBytes {
		if len(b.Events)+len(b.Rejects) == 0 {
			return nil
		}
		return []queue.Batch{b}
	}
	if n := len(b.Events); n > 1 || n == 1 && len(b.Rejects) > 0 {
		first := queue.Batch{Events: b.Events[:(n+1)/2]}
		return append(split(first), split(queue.Batch{Events: b.Events[(n+1)/2:], Rejects: b.Rejects})...)
	}
	if n := len(b.Rejects); n > 1 {
		return append(split(queue.Batch{Rejects: b.Rejects[:n/2]}), split(queue.Batch{Rejects: b.Rejects[n/2:]})...)
	}
	return []queue.Batch{b} // one item beyond any limit of the doors: still one commit
}
