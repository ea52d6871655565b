package pgqueue

import (
	"context"
	"fmt"

	"trackd/queue"
)

// Reserve implements [queue.Queue]. Reservations are this centre's: others see
// the bytes when they are appended, so the bound may be passed by what is
// reserved at other centres at the same moment.
func (q *Queue) Reserve(ctx context.Context, bytes int64) (*queue.Reservation, error) {
	if err := q.usable(ctx); err != nil {
		return nil, err
	}
	if !q.setAside(bytes) {
		if err := q.refresh(); err != nil {
			return nil, fmt.Errorf("reserve %d bytes: %w", bytes, err)
		}
		if !q.setAside(bytes) {
			return nil, queue.ErrFull
		}
	}
	return queue.NewReservation(bytes, func(bytes int64) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.reserved -= bytes
	}), nil
}

// setAside reserves bytes if the last statement's figures leave room for them.
func (q *Queue) setAside(bytes int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.known.bytes+q.reserved+bytes > q.opts.MaxBytes {
		return false
	}
	q.reserved += bytes
	return true
}

// refresh learns what the account says now, and counts as lost what this centre
// knows to be acknowledged and the database does not.
func (q *Queue) refresh() error {
	s, err := q.readStats(q.alive, q.own)
	if err != nil {
		return err
	}
	q.mu.Lock()
	highest := q.highest
	q.mu.Unlock()
	if s.nextID > highest {
		return nil
	}
	return q.countLost(highest)
}

// countLost tells the database of ids that it gave and does not know any more.
func (q *Queue) countLost(highest int64) error {
	var lost int64
	var found bool
	if err := q.own.run(q.alive, "lost", one(&found, &lost), highest); err != nil {
		return err
	}
	if found {
		q.log.Error("the database forgot acknowledged events: a standby that was behind has been promoted",
			"highest_id_acknowledged", highest, "lost_at_most", lost)
	}
	return nil
}
