package queuetest

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"trackd/queue"
)

// Queued lists a snapshot.
func (m *Memory) Queued(ctx context.Context, filter queue.Filter) iter.Seq2[queue.Delivery, error] {
	return listing(ctx, m, filter, func(rec *record) (queue.Delivery, bool) {
		return rec.delivery(), rec.now == queued && filter.MatchEvent(rec.addr, rec.event, rec.taken)
	})
}

// DeadLetters lists a snapshot.
func (m *Memory) DeadLetters(ctx context.Context, filter queue.Filter) iter.Seq2[queue.DeadLetter, error] {
	return listing(ctx, m, filter, func(rec *record) (queue.DeadLetter, bool) {
		l := rec.deadLetter()
		return l, rec.now == dead && filter.MatchLetter(l)
	})
}

// listing yields what pick picks, from a copy made when the loop starts, so
// that the loop's body may call m.
func listing[T any](ctx context.Context, m *Memory, filter queue.Filter, pick func(*record) (T, bool)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		items, err := collect(ctx, m, filter, pick)
		if err != nil {
			yield(none, err)
			return
		}
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

func collect[T any](ctx context.Context, m *Memory, filter queue.Filter, pick func(*record) (T, bool)) ([]T, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	var items []T
	for _, rec := range m.records {
		if item, ok := pick(rec); ok {
			items = append(items, item)
		}
		if filter.Limit > 0 && len(items) == filter.Limit {
			break
		}
	}
	return items, nil
}

// deadLetter completes what the letter says with what the record knows.
func (rec *record) deadLetter() queue.DeadLetter {
	l := rec.letter
	l.Address, l.Event, l.AtDoor, l.Taken = rec.addr, rec.event, rec.atDoor, rec.taken
	l.Event.Body = bytes.Clone(l.Event.Body)
	return l
}

// Replay keeps the address of an event that had been accepted. One that the
// door rejected is taken anew, now, under a new address.
func (m *Memory) Replay(ctx context.Context, filter queue.Filter) (int, error) {
	return m.judge(ctx, filter, func(rec *record) bool {
		if rec.atDoor {
			ev, err := m.opts.Parse(rec.event.Body, rec.taken)
			if err != nil {
				return false
			}
			m.take(ev)
			rec.fix(discarded)
			return true
		}
		rec.fix(queued)
		rec.evidence = queue.Outcome{}
		m.again = append(m.again, rec)
		return true
	})
}

// Discard forgets nothing: the record stays, counted as discarded.
func (m *Memory) Discard(ctx context.Context, filter queue.Filter) (int, error) {
	return m.judge(ctx, filter, func(rec *record) bool {
		rec.fix(discarded)
		return true
	})
}

// judge hands each letter that matches to act, until Limit of them were acted
// on, and returns how many were.
func (m *Memory) judge(ctx context.Context, filter queue.Filter, act func(*record) bool) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return 0, err
	}
	n := 0
	for _, rec := range m.records {
		if rec.now == dead && filter.MatchLetter(rec.deadLetter()) && act(rec) {
			n++
		}
		if filter.Limit > 0 && n == filter.Limit {
			break
		}
	}
	m.wake()
	return n, nil
}

// fix moves rec durably.
func (rec *record) fix(to state) { rec.now, rec.disk = to, to }

// Stats counts everything anew.
func (m *Memory) Stats(ctx context.Context) (queue.Stats, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return queue.Stats{}, err
	}
	m.promote()
	s := queue.Stats{
		Account: queue.Account{
			Taken: uint64(len(m.records)), Queued: uint64(m.count(queued)), Delivered: uint64(m.count(delivered)),
			Dead: uint64(m.count(dead)), Discarded: uint64(m.count(discarded)),
		},
		Exact: true, Parked: len(m.parked), RejectBytes: m.rejectBytes(), DeadByReason: map[queue.Reason]uint64{},
	}
	for _, rec := range m.records {
		switch {
		case rec.now == dead:
			s.DeadByReason[rec.letter.Reason]++
		case rec.now == queued && s.Oldest.IsZero():
			s.Oldest = rec.taken
		}
		if rec.leased {
			s.Leased++
		}
	}
	if m.opts.MaxEvents > 0 && m.count(queued) >= m.opts.MaxEvents {
		s.Full = fmt.Sprintf("%d events are queued", m.opts.MaxEvents)
	}
	return s, nil
}

// count is how many records are in state now.
func (m *Memory) count(now state) (n int) {
	for _, rec := range m.records {
		if rec.now == now {
			n++
		}
	}
	return n
}

// rejectBytes is what letters from the door take of MaxRejectBytes.
func (m *Memory) rejectBytes() (n int64) {
	for _, rec := range m.records {
		if rec.now == dead && rec.atDoor {
			n += int64(len(rec.event.Body))
		}
	}
	return n
}
