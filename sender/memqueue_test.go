package sender_test

import (
	"container/heap"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"trackd/event"
	"trackd/queue"
)

// memQueue is the smallest queue that keeps the contract of Lease and Settle.
type memQueue struct {
	mu     sync.Mutex
	back   []queue.Delivery // returned: before ready
	ready  []queue.Delivery
	parked parkedEvents
	leased map[queue.Address]queue.Delivery
	seq    uint64
	closed bool
	change chan struct{} // closed and replaced whenever something came

	delivered map[string]int
	dead      map[string]queue.Outcome
	returned  int
	batches   []int
}

type parkedEvent struct {
	queue.Delivery
	due time.Time
}

// parkedEvents is a heap, the soonest due first.
type parkedEvents []*parkedEvent

func (p parkedEvents) Len() int           { return len(p) }
func (p parkedEvents) Less(i, j int) bool { return p[i].due.Before(p[j].due) }
func (p parkedEvents) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *parkedEvents) Push(x any)        { *p = append(*p, x.(*parkedEvent)) }
func (p *parkedEvents) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

func newMemQueue() *memQueue {
	return &memQueue{
		leased: map[queue.Address]queue.Delivery{}, change: make(chan struct{}),
		delivered: map[string]int{}, dead: map[string]queue.Outcome{},
	}
}

// add queues one event per id.
func (q *memQueue) add(ids ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		q.take(id, event.Persons{})
	}
	q.stir()
}

// addOf queues one event of these persons.
func (q *memQueue) addOf(id string, persons event.Persons) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.take(id, persons)
	q.stir()
}

func (q *memQueue) take(id string, persons event.Persons) {
	q.seq++
	q.ready = append(q.ready, queue.Delivery{
		Address: queue.Address{Lo: q.seq},
		Event:   event.Event{ID: id, Name: "Application Opened", Persons: persons, Body: fmt.Appendf(nil, `{"messageId":%q}`, id)},
		Taken:   time.Now(),
	})
}

func (q *memQueue) stir() {
	close(q.change)
	q.change = make(chan struct{})
}

func (q *memQueue) Lease(ctx context.Context, max int) ([]queue.Delivery, error) {
	for {
		ds, wait, change, err := q.due(max)
		if err != nil || len(ds) > 0 {
			return ds, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-change:
		case <-time.After(wait):
		}
	}
}

// due interleaves one due retry with each fresh event.
func (q *memQueue) due(max int) (ds []queue.Delivery, wait time.Duration, change chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, 0, nil, queue.ErrClosed
	}
	now := time.Now()
	for len(ds) < max {
		before := len(ds)
		if len(q.parked) > 0 && !q.parked[0].due.After(now) {
			ds = append(ds, heap.Pop(&q.parked).(*parkedEvent).Delivery)
		}
		if len(ds) < max {
			if d, ok := q.next(); ok {
				ds = append(ds, d)
			}
		}
		if len(ds) == before {
			break
		}
	}
	for _, d := range ds {
		q.leased[d.Address] = d
	}
	wait = time.Hour
	if len(q.parked) > 0 {
		wait = q.parked[0].due.Sub(now)
	}
	return ds, wait, q.change, nil
}

func (q *memQueue) Settle(_ context.Context, outcomes ...queue.Outcome) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return queue.ErrClosed
	}
	q.batches = append(q.batches, len(outcomes))
	var back []queue.Delivery
	for _, o := range outcomes {
		d, ok := q.leased[o.Address]
		if !ok {
			if i := slices.IndexFunc(q.parked, func(p *parkedEvent) bool { return p.Address == o.Address }); i >= 0 && o.Verb == queue.Bury {
				q.dead[q.parked[i].Event.ID] = o
				heap.Remove(&q.parked, i)
			}
			continue
		}
		delete(q.leased, o.Address)
		switch o.Verb {
		case queue.Delivered:
			q.delivered[d.Event.ID]++
		case queue.Return:
			q.returned++
			back = append(back, d)
		case queue.Retry:
			d.Attempts, d.Strikes, d.Successes, d.FirstFailed = o.Attempts, o.Strikes, o.Successes, o.FirstFailed
			d.LastStatus, d.LastDetail = o.Status, o.Detail
			heap.Push(&q.parked, &parkedEvent{d, time.Now().Add(o.Delay)})
		case queue.Bury:
			q.dead[d.Event.ID] = o
		}
	}
	q.back = append(back, q.back...)
	slices.SortFunc(q.back, func(a, b queue.Delivery) int { return a.Address.Compare(b.Address) })
	q.stir()
	return nil
}

// next takes the first event that nobody tried yet.
func (q *memQueue) next() (d queue.Delivery, ok bool) {
	from := &q.ready
	if len(q.back) > 0 {
		from = &q.back
	}
	if len(*from) == 0 {
		return d, false
	}
	d, *from = (*from)[0], (*from)[1:]
	return d, true
}

func (q *memQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.stir()
}

// account returns how many events are where.
func (q *memQueue) account() (delivered, queued, leased, dead int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.delivered), len(q.back) + len(q.ready) + len(q.parked), len(q.leased), len(q.dead)
}

func (q *memQueue) letter(id string) (queue.Outcome, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	o, ok := q.dead[id]
	return o, ok
}

// wantAccount fails unless all events are delivered or dead, and none twice.
func wantAccount(t testing.TB, q *memQueue, delivered, dead int) {
	t.Helper()
	gotDelivered, queued, leased, gotDead := q.account()
	if gotDelivered != delivered || queued != 0 || leased != 0 || gotDead != dead {
		t.Errorf("delivered %d, queued %d, leased %d, dead %d; want %d, 0, 0, %d",
			gotDelivered, queued, leased, gotDead, delivered, dead)
	}
}

// restart makes q what the next process finds: everything is due, and of the
// evidence only strikes and first failure are left.
func (q *memQueue) restart() {
	q.mu.Lock()
	defer q.mu.Unlock()
	var left []queue.Delivery
	for _, p := range q.parked {
		left = append(left, p.Delivery)
	}
	left = append(append(left, q.back...), q.ready...)
	for _, d := range q.leased { // of a process that was killed
		left = append(left, d)
	}
	clear(q.leased)
	slices.SortFunc(left, func(a, b queue.Delivery) int { return a.Address.Compare(b.Address) })
	for i := range left {
		d := &left[i]
		d.Attempts, d.LastStatus, d.LastDetail, d.Successes = 0, 0, "", 0
	}
	q.ready, q.back, q.parked = left, nil, nil
}
