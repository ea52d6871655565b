package queuetest

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"trackd/queue"
)

// Lease takes due retries and fresh events in turn.
func (m *Memory) Lease(ctx context.Context, max int) ([]queue.Delivery, error) {
	for {
		deliveries, changed, next, err := m.tryLease(ctx, max)
		if err != nil || len(deliveries) > 0 {
			return deliveries, err
		}
		wait(ctx, changed, next)
	}
}

// tryLease takes what is due. When nothing is, it returns what to wait for: a
// change, or the moment the first parked event is due (zero: there is none).
func (m *Memory) tryLease(ctx context.Context, max int) ([]queue.Delivery, <-chan struct{}, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, nil, time.Time{}, err
	}
	m.promote()
	var deliveries []queue.Delivery
	for len(deliveries) < max {
		rec := m.next()
		if rec == nil {
			break
		}
		rec.leased = true
		deliveries = append(deliveries, rec.delivery())
	}
	var next time.Time
	if len(m.parked) > 0 {
		next = m.parked[0].due
	}
	return deliveries, m.changed, next, nil
}

// next removes the event to lease now: a returned one if there is any, else
// again and fresh alternate, so that neither starves the other.
func (m *Memory) next() *record {
	from := &m.fresh
	switch {
	case len(m.returned) > 0:
		from = &m.returned
	case len(m.fresh) == 0:
		from = &m.again
	case len(m.again) > 0:
		if m.turn = !m.turn; m.turn {
			from = &m.again
		}
	}
	if len(*from) == 0 {
		return nil
	}
	rec := (*from)[0]
	*from = (*from)[1:]
	rec.waiting = false
	return rec
}

// park makes rec due again after delay, on the monotonic clock.
func (m *Memory) park(rec *record, delay time.Duration) {
	rec.due, rec.waiting = time.Now().Add(delay), true
	at, _ := slices.BinarySearchFunc(m.parked, rec.due, func(r *record, due time.Time) int {
		return cmp.Or(r.due.Compare(due), -1) // behind those due at the same moment
	})
	m.parked = slices.Insert(m.parked, at, rec)
}

// promote moves parked events that have come due to again.
func (m *Memory) promote() {
	n := 0
	for now := time.Now(); n < len(m.parked) && !m.parked[n].due.After(now); n++ {
		m.again = append(m.again, m.parked[n])
	}
	m.parked = m.parked[n:]
}

// wake lets every waiting Lease look again.
func (m *Memory) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// wait returns at a change, at next unless it is zero, or when ctx ends.
func wait(ctx context.Context, changed <-chan struct{}, next time.Time) {
	var due <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(time.Until(next))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-changed:
	case <-due:
	}
}

// delivery copies rec for a holder who owns the memory.
func (rec *record) delivery() queue.Delivery {
	ev := rec.event
	ev.Body = bytes.Clone(ev.Body)
	e := rec.evidence
	return queue.Delivery{
		Address: rec.addr, Event: ev, Taken: rec.taken,
		Attempts: e.Attempts, Strikes: e.Strikes, FirstFailed: e.FirstFailed,
		LastStatus: e.Status, LastDetail: e.Detail, Successes: e.Successes,
	}
}
