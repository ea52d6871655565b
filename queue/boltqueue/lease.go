package boltqueue

import (
	"container/heap"
	"context"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"trackd/event"
	"trackd/queue"
)

const (
	// maxParked is how many retries may wait before fresh events wait too.
	maxParked = 10_000

	// maxDirty is how many blocks may await their marks before fresh events
	// wait: a disk that is slower than the destination sets the pace.
	maxDirty = 4_096
)

// blockKey names a block in memory.
type blockKey struct {
	seg    *segment
	number uint64
}

func (k blockKey) address(index int) queue.Address {
	return queue.Address{Hi: k.seg.number, Lo: k.number<<16 | uint64(index)}
}

// rejectFlag in the low half of an address says that it names a reject.
const rejectFlag = 1 << 63

// openBlock is what memory knows of a block that is being delivered: what
// became of its events, ahead of the disk. Guarded by Queue.mu.
type openBlock struct {
	blockKey
	taken   time.Time
	states  []state
	letters []letter  // of the dead, by index
	now     tally     // of states and letters
	stored  tally     // what the file says
	since   time.Time // when it began to differ from the file; zero: it does not
	flushed bool      // being written at this moment
}

// settled reports whether nothing in the block is worth keeping.
func (b *openBlock) settled() bool { return b.now.by[live] == 0 && b.now.by[dead] == 0 }

// loan is a leased event.
type loan struct {
	block    *openBlock
	index    int
	evidence queue.Outcome // the last Retry; zero: none in this process
}

// parkedEvent is an event that waits in memory for a later attempt: its
// address, not its body.
type parkedEvent struct {
	loan
	due time.Time // monotonic
}

func (p *parkedEvent) address() queue.Address { return p.block.address(p.index) }

// parkedHeap has the next due first, then the lower address, so that events
// of one block come together.
type parkedHeap []*parkedEvent

func (h parkedHeap) Len() int { return len(h) }
func (h parkedHeap) Less(i, j int) bool {
	if !h[i].due.Equal(h[j].due) {
		return h[i].due.Before(h[j].due)
	}
	return h[i].address().Compare(h[j].address()) < 0
}
func (h parkedHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *parkedHeap) Push(x any)   { *h = append(*h, x.(*parkedEvent)) }
func (h *parkedHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
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

// leaseNow hands out what is due now: half from the retries, the rest fresh,
// and more of either when the other has less. wait is the time until the next
// retry is due, 0 when there is none.
func (q *Queue) leaseNow(most int) (got []queue.Delivery, wait time.Duration) {
	q.turn = 1 - q.turn // who gets the odd one
	due := q.takeDue((most + q.turn) / 2)
	for len(got) < most-len(due) {
		fresh, more := q.takeFresh(most - len(due) - len(got))
		got = append(got, fresh...)
		if !more {
			break
		}
	}
	due = append(due, q.takeDue(most-len(due)-len(got))...)
	got = append(got, q.recall(due)...)
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.parked) > 0 {
		wait = max(time.Until(q.parked[0].due), time.Microsecond)
	}
	return got, wait
}

// takeDue leases up to n parked events whose time has come.
func (q *Queue) takeDue(n int) []*parkedEvent {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	var due []*parkedEvent
	for len(due) < n && len(q.parked) > 0 && !q.parked[0].due.After(now) {
		p := heap.Pop(&q.parked).(*parkedEvent)
		q.loans[p.address()] = p.loan
		due = append(due, p)
	}
	return due
}

// recall reads the bodies of parked events. One whose block cannot be read
// any more stays queued on disk and is not sent; the alarm names the file.
func (q *Queue) recall(due []*parkedEvent) []queue.Delivery {
	var got []queue.Delivery
	var events []event.Event
	var at blockKey
	for _, p := range due {
		if p.block.blockKey != at {
			at = p.block.blockKey
			var err error
			if events, err = q.readEvents(at, len(p.block.states)); err != nil {
				q.spoiled(at.seg, err)
				events = nil
			}
		}
		if p.index < len(events) {
			got = append(got, delivery(p.loan, events[p.index]))
		} else {
			q.strand(p)
		}
	}
	return got
}

// strand gives up a loan whose event cannot be read.
func (q *Queue) strand(p *parkedEvent) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.loans, p.address())
}

func delivery(l loan, ev event.Event) queue.Delivery {
	e := l.evidence
	return queue.Delivery{Address: l.block.address(l.index), Event: ev, Taken: l.block.taken,
		Attempts: e.Attempts, Strikes: e.Strikes, FirstFailed: e.FirstFailed,
		LastStatus: e.Status, LastDetail: e.Detail, Successes: e.Successes}
}

// readEvents brings the events of one block back from the disk.
func (q *Queue) readEvents(k blockKey, count int) (events []event.Event, err error) {
	var raw []byte
	err = k.seg.view(func(tx *bolt.Tx) error {
		f, err := parseFrame(tx.Bucket([]byte(bucketBlocks)).Get(numberKey(k.number)), kindBlock, k.seg.identity, k.number)
		if err != nil {
			return err
		}
		raw, err = f.unpack(k.seg.packer)
		if f.codec == codecPlain {
			raw = slices.Clone(raw)
		}
		return err
	})
	if err == nil {
		events, err = decodeBlock(raw, count)
	}
	return events, err
}
