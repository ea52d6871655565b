package boltqueue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

// groupBytes bounds the raw input of one commit, for which a segment that is
// all but full must still have room.
func (o Options) groupBytes() int { return min(4<<20, int(o.segmentBytes/4)) }

// group is what the next commit will hold: everything that callers brought
// while the last one was on its way to the disk. There is no timer.
type group struct {
	segment.Packing
	blocks                 []*segment.Block
	rejects                []segment.Reject
	rejectCost, sampleCost int64
	bytes                  int
	callers                int
	expect                 int           // bytes of the group before: so much may come again
	taken                  chan struct{} // closed when the writer took it
	done                   chan struct{} // closed when it is durable or failed
	err                    error         // set before done is closed
}

func newGroup(p segment.Packing, expect int) *group {
	return &group{Packing: p, expect: expect, taken: make(chan struct{}), done: make(chan struct{})}
}

func (g *group) empty() bool { return len(g.blocks) == 0 && len(g.rejects) == 0 }

// events counts what the commit will make durable.
func (g *group) events() int {
	n := len(g.rejects)
	for _, b := range g.blocks {
		n += b.Count
	}
	return n
}

// addEvent returns the block that ev went to.
func (g *group) addEvent(ev event.Event, now time.Time, hint int) *segment.Block {
	size := segment.RecordSize(ev)
	if n := len(g.blocks); n == 0 || g.blocks[n-1].Full() {
		g.blocks = append(g.blocks, segment.NewBlock(now, max(hint, size, g.expect), g.Packing))
	}
	b := g.blocks[len(g.blocks)-1]
	b.Add(ev)
	g.bytes += size
	return b
}

func (g *group) addReject(r queue.Reject) {
	stored := rejectOf(r).Own()
	g.rejects = append(g.rejects, stored)
	if stored.Reason == segment.ReasonSample {
		g.sampleCost += stored.Cost()
	} else {
		g.rejectCost += stored.Cost()
	}
	g.bytes += len(r.Body) + len(r.Detail)
}

// intake holds the open group.
type intake struct {
	mu     sync.Mutex
	most   int // bytes of a group
	group  *group
	closed bool
}

func (in *intake) init(p segment.Packing, most int) { in.group, in.most = newGroup(p, 0), most }

// seat is where a batch went.
type seat struct {
	group *group
	full  []*segment.Block // those the batch filled up, to be packed by its caller
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
	case g.bytes > 0 && g.bytes+size > in.most:
		return s, g.taken, nil
	}
	s.group = g
	g.callers++
	for _, ev := range b.Events {
		if b := g.addEvent(ev, now, size); b.Full() {
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
func (in *intake) take(p segment.Packing) *group {
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
// commits, for which room is reserved first: they are refused whole, too.
func (q *Queue) Append(ctx context.Context, b queue.Batch) error {
	for _, r := range b.Rejects {
		if reasonCode(r.Reason) == 0 { // it would be taken for damage
			return fmt.Errorf("append a reject with reason %q, which is none of queue.Reasons", r.Reason)
		}
	}
	parts := split(b, q.opts.groupBytes())
	if len(parts) > 1 && b.Room == nil {
		room, err := q.Reserve(ctx, costOf(b.Events))
		if err != nil {
			return err
		}
		defer room.Release()
		b.Room = room
	}
	adm, rejectsErr, err := q.admit(&b)
	if err != nil {
		return err
	}
	defer q.leave(adm)
	if rejectsErr != nil {
		parts = split(b, q.opts.groupBytes()) // without those
	}
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
				full.Pack()
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

// admission is the room of an append in progress.
type admission struct {
	bytes int64  // counted in Queue.entering
	used  func() // of the reservation it was drawn from; nil: none
}

// admit judges whether there is room for b. It drops the rejects that would
// pass their bounds, which rejectsErr tells; err refuses all of b.
func (q *Queue) admit(b *queue.Batch) (adm admission, rejectsErr, err error) {
	cost := costOf(b.Events)
	used, reserved := b.Room.Draw(cost)
	q.mu.Lock()
	defer q.mu.Unlock()
	left := q.capacity() - q.reserved - q.entering
	switch {
	case reserved: // it was set aside then
		adm.used = used
	case q.full != "":
		return adm, nil, fmt.Errorf("%w: %s", queue.ErrFull, q.full)
	case q.reserved > 0 && left < cost:
		return adm, nil, fmt.Errorf("%w: what is left is reserved for batches on their way", queue.ErrFull)
	default:
		left -= cost
		adm.bytes = cost
		q.entering += cost
	}
	if len(b.Rejects) == 0 {
		return adm, nil, nil
	}
	rejects, samples := rejectBytes(b.Rejects)
	noRoom := q.full != "" || q.reserved > 0 && left < rejects+samples
	if rejects > 0 && (noRoom || q.rejects+rejects > q.opts.RejectBytes) {
		rejectsErr = fmt.Errorf("%w: %d bytes of %d in use", queue.ErrRejectsFull, q.rejects, q.opts.RejectBytes)
		b.Rejects, rejects = keepRejects(b.Rejects, true), 0
	}
	if samples > 0 && (noRoom || q.samples+samples > queue.MaxSampleBytes) {
		rejectsErr = errors.Join(rejectsErr, fmt.Errorf("%w: %d bytes of %d in use", queue.ErrSamplesFull, q.samples, queue.MaxSampleBytes))
		b.Rejects, samples = keepRejects(b.Rejects, false), 0
	}
	q.rejects += rejects
	q.samples += samples
	return adm, rejectsErr, nil
}

// leave ends an append, stored or not.
func (q *Queue) leave(adm admission) {
	if adm.used != nil {
		adm.used()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.entering -= adm.bytes
}

func costOf(events []event.Event) (cost int64) {
	for _, ev := range events {
		cost += queue.Cost(ev)
	}
	return cost
}

// keepRejects returns the samples of not_lifecycle among rejects, or the others.
func keepRejects(rejects []queue.Reject, samples bool) (kept []queue.Reject) {
	for _, r := range rejects {
		if (r.Reason == queue.NotLifecycle) == samples {
			kept = append(kept, r)
		}
	}
	return kept
}

// giveUp ends the reservation of room.
func (q *Queue) giveUp(bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reserved -= bytes
}

// capacity is how many bytes of events fit for sure: into the tail, the segment
// made ahead, and those that the bounds still allow. The caller holds mu.
func (q *Queue) capacity() int64 {
	n := q.ahead * q.opts.segmentBytes
	if q.tail != nil {
		n += max(q.opts.segmentBytes-q.tailSize, 0)
	}
	if q.hasSpare {
		n += q.opts.segmentBytes
	}
	return n
}

// Reserve implements [queue.Queue].
func (q *Queue) Reserve(ctx context.Context, bytes int64) (*queue.Reservation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if q.isClosed() {
		return nil, queue.ErrClosed
	}
	if err := q.countAhead(); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.full != "" {
		return nil, fmt.Errorf("%w: %s", queue.ErrFull, q.full)
	}
	if left := q.capacity() - q.reserved - q.entering; left < bytes {
		return nil, fmt.Errorf("%w: %d bytes are wanted and %d are left", queue.ErrFull, bytes, max(left, 0))
	}
	q.reserved += bytes
	return queue.NewReservation(bytes, q.giveUp), nil
}

// countAhead notes how many segments the bounds still allow to be made.
func (q *Queue) countAhead() error {
	u, err := segment.DiskUsage(q.opts.Dir)
	if err != nil {
		return err
	}
	left := min(q.opts.MaxBytes-u.Bytes, u.Free-max(q.opts.MinFreeBytes, 0))
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ahead = max(left/q.opts.reservation()-1, 0)
	return nil
}

// returnRejects gives back room that was admitted and not used.
func (q *Queue) returnRejects(all []queue.Reject) { q.returnCost(rejectBytes(all)) }

func (q *Queue) returnCost(rejects, samples int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rejects -= rejects
	q.samples -= samples
}

// rejectBytes is what rejects cost on disk, samples of not_lifecycle apart.
func rejectBytes(all []queue.Reject) (rejects, samples int64) {
	for _, r := range all {
		if cost := rejectOf(r).Cost(); r.Reason == queue.NotLifecycle {
			samples += cost
		} else {
			rejects += cost
		}
	}
	return rejects, samples
}

func batchSize(b queue.Batch) int {
	size := 0
	for _, ev := range b.Events {
		size += segment.RecordSize(ev)
	}
	for _, r := range b.Rejects {
		size += len(r.Body) + len(r.Detail)
	}
	return size
}

// split cuts a batch into parts that fit one commit each; most are one part.
func split(b queue.Batch, most int) []queue.Batch {
	if batchSize(b) <= most {
		if len(b.Events)+len(b.Rejects) == 0 {
			return nil
		}
		return []queue.Batch{b}
	}
	if n := len(b.Events); n > 1 || n == 1 && len(b.Rejects) > 0 {
		first := queue.Batch{Events: b.Events[:(n+1)/2]}
		return append(split(first, most), split(queue.Batch{Events: b.Events[(n+1)/2:], Rejects: b.Rejects}, most)...)
	}
	if n := len(b.Rejects); n > 1 {
		return append(split(queue.Batch{Rejects: b.Rejects[:n/2]}, most), split(queue.Batch{Rejects: b.Rejects[n/2:]}, most)...)
	}
	return []queue.Batch{b} // one item beyond any limit of the doors: still one commit
}
