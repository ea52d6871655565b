package boltqueue

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"slices"
	"time"
	"unique"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

const (
	// maxDirty is how many blocks may await their marks before fresh events
	// wait: a disk that is slower than the destination sets the pace.
	maxDirty = 4_096

	// rereadAfter is how long an event waits whose block could not be read for a
	// reason that passes, such as a lack of file descriptors.
	rereadAfter = time.Second
)

// blockKey names a block in memory.
type blockKey struct {
	seg    *segmentState
	number uint64
}

func (k blockKey) address(index int) queue.Address {
	return queue.Address{Hi: k.seg.Number, Lo: k.number<<16 | uint64(index)}
}

// rejectFlag in the low half of an address says that it names a reject.
const rejectFlag = 1 << 63

// openBlock is what memory knows of a block that is being delivered: what
// became of its events, ahead of the disk. Guarded by Queue.mu.
type openBlock struct {
	blockKey
	segment.Marks
	taken   time.Time
	held    []bool        // by index: in Queue.held
	nHeld   int           // how many are
	now     segment.Tally // of states and letters
	stored  segment.Tally // what the file says
	since   time.Time     // when it began to differ from the file; zero: it does not
	flushed bool          // being written at this moment
}

// settled reports whether nothing in the block is worth keeping.
func (b *openBlock) settled() bool { return b.now.By[segment.Live] == 0 && b.now.By[segment.Dead] == 0 }

// whereabouts says where a held event is.
type whereabouts uint8

const (
	leased   whereabouts = iota // with the sender
	returned                    // due at once, before any fresh one
	parked                      // due later, or due and not leased yet
)

// heldEvent is a queued event that was leased and is not settled: its address,
// not its body.
type heldEvent struct {
	block *openBlock
	index int
	where whereabouts
	due   time.Time // of a parked one, monotonic
	pos   int       // in its heap, unless leased
}

func (h *heldEvent) address() queue.Address { return h.block.address(h.index) }

// heldHeap has the next due first, then the lower address, so that events of
// one block come together.
type heldHeap []*heldEvent

func (h heldHeap) Len() int { return len(h) }
func (h heldHeap) Less(i, j int) bool {
	return cmp.Or(h[i].due.Compare(h[j].due), h[i].address().Compare(h[j].address())) < 0
}
func (h heldHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}
func (h *heldHeap) Push(x any) {
	e := x.(*heldEvent)
	e.pos = len(*h)
	*h = append(*h, e)
}
func (h *heldHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

// lend notes that an event is leased. The caller holds mu.
func (q *Queue) lend(e *heldEvent) {
	e.where = leased
	q.held[e.address()] = e
	e.block.held[e.index] = true
	e.block.nHeld++
}

// letGo forgets a held event, wherever it is. The caller holds mu.
func (q *Queue) letGo(e *heldEvent) {
	switch e.where {
	case returned:
		heap.Remove(&q.returned, e.pos)
	case parked:
		heap.Remove(&q.parked, e.pos)
	}
	delete(q.held, e.address())
	e.block.held[e.index] = false
	e.block.nHeld--
}

// park lets a leased event wait until due. The caller holds mu.
func (q *Queue) park(e *heldEvent, due time.Time) {
	e.where, e.due = parked, due
	heap.Push(&q.parked, e)
}

// Lease implements [queue.Queue].
func (q *Queue) Lease(ctx context.Context, max int) ([]queue.Delivery, error) {
	select {
	case q.lessee <- struct{}{}:
		defer func() { <-q.lessee }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-q.stop:
		return nil, queue.ErrClosed
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if q.isClosed() {
			return nil, queue.ErrClosed
		}
		got, wait := q.leaseNow(max)
		if len(got) > 0 {
			return got, nil
		}
		if err := q.awaitWork(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// awaitWork waits for a change that may have made something due, at most for
// wait unless that is zero.
func (q *Queue) awaitWork(ctx context.Context, wait time.Duration) error {
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-q.wake:
		return nil
	case <-due:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-q.stop:
		return queue.ErrClosed
	}
}

// leaseNow hands out what is due now: first what was returned, then fresh
// events in turn with due retries and replayed ones, and more of either when
// the other has less. wait is the time until something may be due, 0 when only
// a change can make it so.
func (q *Queue) leaseNow(most int) (got []queue.Delivery, wait time.Duration) {
	got = q.recall(q.takeReturned(most))
	rest := most - len(got)
	share := othersShare(rest, q.othersLast)
	others := q.takeOthers(share)
	var fresh []queue.Delivery
	for len(fresh) < rest-len(others) {
		some, more := q.takeFresh(rest - len(others) - len(fresh))
		fresh = append(fresh, some...)
		if !more {
			break
		}
	}
	if left := rest - len(others) - len(fresh); left > 0 && len(others) == share {
		others = append(others, q.takeOthers(left)...)
	}
	if rest > 0 {
		q.othersLast = len(others) > len(fresh) || q.othersLast && len(others) == len(fresh)
	}
	got = append(append(got, fresh...), others...)
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.parked) > 0 {
		wait = max(time.Until(q.parked[0].due), time.Microsecond)
	}
	if until := time.Until(q.rereadAt); until > 0 && (wait == 0 || until < wait) {
		wait = until
	}
	return got, wait
}

// othersShare is how many of n events to lease may be retries or replayed ones
// while fresh events wait, too: at most every second, counted over leases. last
// says that they had one more than the fresh when they last shared.
func othersShare(n int, last bool) int {
	if last {
		return n / 2
	}
	return (n + 1) / 2
}

// takeReturned leases up to n returned events.
func (q *Queue) takeReturned(n int) (got []*heldEvent) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(got) < n && len(q.returned) > 0 {
		e := heap.Pop(&q.returned).(*heldEvent)
		e.where = leased
		got = append(got, e)
	}
	return got
}

// takeOthers leases up to n events that are due again: retries and replayed
// ones, half and half if there are enough of both.
func (q *Queue) takeOthers(n int) []queue.Delivery {
	if n == 0 {
		return nil
	}
	q.replayFirst = !q.replayFirst
	half := n / 2
	if q.replayFirst {
		half = (n + 1) / 2
	}
	got := q.takeReplayed(half)
	got = append(got, q.recall(q.takeDue(n-len(got)))...)
	return append(got, q.takeReplayed(n-len(got))...)
}

// takeDue leases up to n parked events whose time has come.
func (q *Queue) takeDue(n int) (got []*heldEvent) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for len(got) < n && len(q.parked) > 0 && !q.parked[0].due.After(now) {
		e := heap.Pop(&q.parked).(*heldEvent)
		e.where = leased
		got = append(got, e)
	}
	return got
}

// recall reads the bodies of events that are due again. One whose block is
// damaged stays queued on disk and is not sent; the alarm names the file. What
// cannot be read for another reason is tried again.
func (q *Queue) recall(due []*heldEvent) []queue.Delivery {
	slices.SortFunc(due, func(a, b *heldEvent) int { return a.address().Compare(b.address()) })
	var got []queue.Delivery
	var events []event.Event
	var err error
	var at blockKey
	for _, e := range due {
		if e.block.blockKey != at {
			at = e.block.blockKey
			if events, err = q.readEvents(at); err != nil {
				q.spoiled(at.seg, err)
			}
		}
		q.mu.Lock()
		switch {
		case err == nil && e.index < len(events):
			got = append(got, e.block.delivery(e.index, events[e.index]))
		case passes(err):
			q.park(e, time.Now().Add(rereadAfter))
		default:
			q.letGo(e)
		}
		q.mu.Unlock()
	}
	return got
}

// passes reports whether an error may be gone at the next try: anything but
// damage, a segment that is gone, and the end of the queue.
func passes(err error) bool {
	return err != nil && !errors.Is(err, segment.ErrDamaged) && !errors.Is(err, errGone) && !errors.Is(err, queue.ErrClosed)
}

// delivery is an event of b with the evidence against it. The caller holds
// Queue.mu.
func (b *openBlock) delivery(index int, ev event.Event) queue.Delivery {
	d := queue.Delivery{Address: b.address(index), Event: ev, Taken: b.taken}
	addEvidence(&d, b.Evidence[index])
	return d
}

func addEvidence(d *queue.Delivery, e *segment.Evidence) {
	if e == nil {
		return
	}
	d.Attempts, d.Strikes, d.FirstFailed, d.LastStatus, d.Successes = e.Attempts, e.Strikes, e.FirstFailed, e.Status, e.Successes
	if e.Attempts > 0 || e.Detail != (unique.Handle[string]{}) {
		d.LastDetail = e.Detail.Value()
	}
}

// readEvents brings the events of one block back from the disk; none when the
// block is gone.
func (q *Queue) readEvents(k blockKey) ([]event.Event, error) {
	blocks, err := k.seg.ReadBlocks(k.number, k.number+1, nil)
	if err == nil && len(blocks) > 0 {
		err = blocks[0].Damage
	}
	if err != nil || len(blocks) == 0 {
		return nil, err
	}
	return segment.DecodeBlock(blocks[0].Raw, blocks[0].Count)
}
