package main

import (
	"context"
	"sync/atomic"

	"trackd/event"
	"trackd/queue"
)

// drop is a queue that keeps nothing.
type drop struct{ events atomic.Int64 }

func (q *drop) Append(_ context.Context, batch queue.Batch) error {
	q.events.Add(int64(len(batch.Events)))
	return nil
}

// spring is a queue from which most events flow. dry is closed once all of them
// are settled.
type spring struct {
	bodies       tape
	most         uint64
	out, settled atomic.Uint64
	dry          chan struct{}
}

func (q *spring) Lease(ctx context.Context, max int) ([]queue.Delivery, error) {
	before := q.out.Load() // only one goroutine of a sender leases
	n := min(uint64(max), q.most-before)
	if n == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	held := make([]queue.Delivery, n)
	for i := range held {
		body, _ := q.bodies.pieces(before+uint64(i), 1)
		held[i] = queue.Delivery{Address: queue.Address{Lo: before + uint64(i) + 1}, Event: event.Event{Body: body}}
	}
	q.out.Add(n)
	return held, nil
}

func (q *spring) Settle(_ context.Context, outcomes ...queue.Outcome) error {
	delivered := uint64(0)
	for _, o := range outcomes {
		if o.Verb == queue.Delivered {
			delivered++
		}
	}
	if delivered > 0 && q.settled.Add(delivered) == q.most {
		close(q.dry)
	}
	return nil
}
