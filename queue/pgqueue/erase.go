package pgqueue

import (
	"context"
	"fmt"

	"trackd/queue"
)

// Erase implements [queue.Queue]. At a centre that does not deliver, every
// queued event erased counts as in flight while another does: it may have read
// it already.
func (q *Queue) Erase(ctx context.Context, filter queue.Filter, compactNow bool) (erased, inFlight int, err error) {
	limit := filter.Limit
	filter.Limit = 0
	var ids []int64
	for d, err := range q.Queued(ctx, filter) {
		if err != nil {
			return erased, inFlight, err
		}
		ids = append(ids, int64(d.Address.Lo))
		if limit > 0 && len(ids) == limit {
			break
		}
	}
	for len(ids) > 0 {
		chunk := ids[:min(chunkRows, len(ids))]
		ids = ids[len(chunk):]
		var found bool
		var gone []int64
		if err := q.hands.run(ctx, "erase", one(&found, &gone), chunk); err != nil {
			return erased, inFlight, err
		}
		erased += len(gone)
		inFlight += q.forget(gone)
	}
	if limit == 0 || erased < limit {
		filter.Limit = max(0, limit-erased)
		n, err := q.inChunks(ctx, filter, func(queue.DeadLetter) bool { return true }, func(ids []int64) (int, error) {
			return q.discard(ctx, ids)
		})
		erased += n
		if err != nil {
			return erased, inFlight, err
		}
	}
	if compactNow {
		err = q.compact(ctx)
	}
	return erased, inFlight, err
}

// forget drops erased events from the holder's memory and returns how many of
// them may be on their way to the destination.
func (q *Queue) forget(ids []int64) (inFlight int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.hold.epoch == 0 {
		return len(ids)
	}
	for _, id := range ids {
		it := q.held.items[id]
		if it == nil {
			continue
		}
		if it.stage == leased {
			inFlight++
		}
		q.held.remove(it)
	}
	return inFlight
}

// compact has the server rewrite the tables, which appends and deliveries wait
// for. The write-ahead log and backups keep what they hold until they are
// recycled.
func (q *Queue) compact(ctx context.Context) error {
	conn, err := q.hands.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("compact: %w", q.hands.explain(err))
	}
	defer func() {
		// The setting below must not outlive this call.
		_ = conn.Conn().Close(context.WithoutCancel(ctx))
		conn.Release()
	}()
	if _, err := conn.Exec(ctx, "SET statement_timeout = 0"); err != nil {
		return fmt.Errorf("compact: %w", q.hands.explain(err))
	}
	for _, table := range []string{"trackd.events", "trackd.dead_letters"} {
		if _, err := conn.Exec(ctx, "VACUUM (FULL) "+table); err != nil {
			return fmt.Errorf("compact %s, which its owner may: %w", table, q.hands.explain(err))
		}
	}
	return nil
}
