package queuetest

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"

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

// Replay keeps the address of the event.
func (m *Memory) Replay(ctx context.Context, filter queue.Filter) (int, error) {
	return m.amend(ctx, filter, func(rec *record) bool {
		if rec.atDoor {
			return false
		}
		rec.fix(queued)
		rec.forgive()
		m.again = append(m.again, rec)
		return true
	})
}

// Discard forgets nothing: the record stays, counted as discarded.
func (m *Memory) Discard(ctx context.Context, filter queue.Filter) (int, error) {
	return m.amend(ctx, filter, func(rec *record) bool {
		rec.fix(discarded)
		return true
	})
}

// amend hands each dead letter that matches and is not claimed to act, until
// Limit of them were acted on, and returns how many were.
func (m *Memory) amend(ctx context.Context, filter queue.Filter, act func(*record) bool) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return 0, err
	}
	n := 0
	for _, rec := range m.records {
		if rec.now == dead && !rec.claimed && filter.MatchLetter(rec.deadLetter()) && act(rec) {
			n++
		}
		if filter.Limit > 0 && n == filter.Limit {
			break
		}
	}
	m.wake()
	return n, nil
}

// replaceChunk is how many dead letters one call of put gets.
const replaceChunk = 100

// Replace hands over chunks of replaceChunk letters.
func (m *Memory) Replace(ctx context.Context, filter queue.Filter,
	put func(context.Context, []queue.DeadLetter) ([]queue.Address, error)) (n int, err error) {
	var all []*record
	_, err = m.amend(ctx, filter, func(rec *record) bool { all = append(all, rec); return true })
	for chunk := range slices.Chunk(all, replaceChunk) {
		if err != nil {
			return n, err
		}
		var letters []queue.DeadLetter
		m.mu.Lock()
		for _, rec := range chunk {
			if rec.now == dead && !rec.claimed {
				rec.claimed = true
				letters = append(letters, rec.deadLetter())
			}
		}
		m.mu.Unlock()
		if len(letters) == 0 {
			continue
		}
		var at []queue.Address
		at, err = put(ctx, letters)
		m.mu.Lock()
		for _, l := range letters {
			rec := m.find(l.Address)
			if rec.claimed = false; slices.Contains(at, l.Address) {
				rec.fix(discarded)
				n++
			}
		}
		m.mu.Unlock()
	}
	return n, err
}

// Erase has nothing to compact: no listing shows a discarded record.
func (m *Memory) Erase(ctx context.Context, filter queue.Filter, _ bool) (erased, inFlight int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return 0, 0, err
	}
	gone := func(rec *record) bool { return rec.now == discarded }
	for _, rec := range m.records {
		switch {
		case filter.Limit > 0 && erased == filter.Limit,
			rec.now == queued && !filter.MatchEvent(rec.addr, rec.event, rec.taken),
			rec.now == dead && (rec.claimed || !filter.MatchLetter(rec.deadLetter())),
			rec.now == delivered, rec.now == discarded:
			continue
		}
		if erased++; rec.leased {
			inFlight++
		}
		rec.leased = false
		rec.fix(discarded)
	}
	for _, list := range []*[]*record{&m.fresh, &m.returned, &m.again, &m.parked} {
		*list = slices.DeleteFunc(*list, gone)
	}
	return erased, inFlight, nil
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
		Exact: true, ParkedMax: queue.MaxParked, RejectBytes: m.rejectBytes(false), SampleBytes: m.rejectBytes(true), DeadByReason: map[queue.Reason]uint64{},
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
		if rec.waiting {
			s.Parked++
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

// rejectBytes is what rejects take of their bound: samples of not_lifecycle, or
// the others.
func (m *Memory) rejectBytes(samples bool) (n int64) {
	for _, rec := range m.records {
		if rec.now == dead && rec.atDoor && (rec.letter.Reason == queue.NotLifecycle) == samples {
			n += int64(len(rec.event.Body))
		}
	}
	return n
}
