package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"trackd/event"
	"trackd/queue"
)

const (
	// pageRows bounds a page of a listing, and with it the memory it takes.
	pageRows = 200

	// chunkRows is how many events or dead letters one statement changes.
	chunkRows = 1_000
)

// Queued implements [queue.Queue].
func (q *Queue) Queued(ctx context.Context, filter queue.Filter) iter.Seq2[queue.Delivery, error] {
	return listing(ctx, q, filter, q.queuedPage)
}

// DeadLetters implements [queue.Queue].
func (q *Queue) DeadLetters(ctx context.Context, filter queue.Filter) iter.Seq2[queue.DeadLetter, error] {
	return listing(ctx, q, filter, q.deadPage)
}

// page is a part of a listing: the rows that match, and where to go on.
type page[T any] struct {
	rows []T
	last int64
	more bool
}

// listing yields page after page. No connection is held while the loop's body
// runs.
func listing[T any](ctx context.Context, q *Queue, filter queue.Filter, next func(context.Context, queue.Filter) (page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if err := q.settled(ctx); err != nil {
			yield(none, err)
			return
		}
		for n := 0; ; {
			if err := q.usable(ctx); err != nil {
				yield(none, err)
				return
			}
			p, err := next(ctx, filter)
			if err != nil {
				yield(none, err)
				return
			}
			for _, row := range p.rows {
				if !yield(row, nil) {
					return
				}
				if n++; n == filter.Limit {
					return
				}
			}
			if !p.more {
				return
			}
			filter.After = queue.Address{Lo: uint64(p.last)}
		}
	}
}

// settled waits until the outcomes settled so far are in the database, so that a
// caller sees there what it has settled.
func (q *Queue) settled(ctx context.Context) error {
	if err := q.usable(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, q.opts.Timeout)
	defer cancel()
	return q.awaitFlush(ctx, 0)
}

// queuedPage reads one page of queued events.
func (q *Queue) queuedPage(ctx context.Context, filter queue.Filter) (p page[queue.Delivery], err error) {
	if filter.After.Hi != 0 {
		return p, nil
	}
	read := 0
	err = q.hands.run(ctx, "queued", func(rows pgx.Rows) error {
		read++
		it := &item{}
		dest, done := eventColumns(&it.id, &it.taken, &it.event)
		var firstFailed *time.Time
		if err := rows.Scan(append(dest, &it.evidence.Strikes, &firstFailed)...); err != nil {
			return err
		}
		done()
		if firstFailed != nil {
			it.evidence.FirstFailed = *firstFailed
		}
		p.last = it.id
		if filter.MatchEvent(it.address(), it.event, it.taken) {
			p.rows = append(p.rows, q.remembered(it).delivery(it.event))
		}
		return nil
	}, eventFilter(filter)...)
	p.more = read == pageRows
	return p, err
}

// remembered returns the holder's item of the same event, which knows of
// attempts, or it.
func (q *Queue) remembered(it *item) *item {
	q.mu.Lock()
	defer q.mu.Unlock()
	if known := q.held.items[it.id]; known != nil && known.taken.Equal(it.taken) {
		copied := *known
		return &copied
	}
	return it
}

// deadPage reads one page of dead letters.
func (q *Queue) deadPage(ctx context.Context, filter queue.Filter) (p page[queue.DeadLetter], err error) {
	if filter.After.Hi != 0 {
		return p, nil
	}
	var reasons []string
	for _, reason := range filter.Reasons {
		reasons = append(reasons, string(reason))
	}
	read := 0
	err = q.hands.run(ctx, "dead", func(rows pgx.Rows) error {
		read++
		var l queue.DeadLetter
		var reason string
		var detail []byte
		dest, done := eventColumns(&p.last, &l.Taken, &l.Event)
		if err := rows.Scan(append(dest, &l.AtDoor, &reason, &l.Status, &detail, &l.Attempts, &l.Died)...); err != nil {
			return err
		}
		done()
		l.Address, l.Reason, l.Detail = queue.Address{Lo: uint64(p.last)}, queue.Reason(reason), string(detail)
		if filter.MatchLetter(l) {
			p.rows = append(p.rows, l)
		}
		return nil
	}, append(eventFilter(filter), reasons, filter.Statuses, orNull(filter.DiedBefore))...)
	p.more = read == pageRows
	return p, err
}

// eventFilter are the parameters that queued.sql and dead.sql share.
func eventFilter(f queue.Filter) []any {
	var ids []int64
	for _, addr := range f.At {
		if addr.Hi == 0 {
			ids = append(ids, int64(addr.Lo))
		}
	}
	if len(f.At) > 0 && ids == nil {
		ids = []int64{} // none of them is an address of this backend
	}
	var types []int16
	for _, t := range f.Types {
		types = append(types, int16(t))
	}
	var name, id []byte
	if f.Event != "" {
		name = []byte(f.Event)
	}
	if f.ID != "" {
		id = []byte(f.ID)
	}
	var person *int64
	if f.User != "" {
		hash := int64(event.PersonHash([]byte(f.User)))
		person = &hash
	}
	return []any{int64(f.After.Lo), ids, types, name, id, person, orNull(f.TakenAfter), orNull(f.TakenBefore), pageRows}
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Replay implements [queue.Queue].
func (q *Queue) Replay(ctx context.Context, filter queue.Filter) (int, error) {
	n, err := q.inChunks(ctx, filter, func(l queue.DeadLetter) bool { return !l.AtDoor }, func(ids []int64) (n int, err error) {
		var found bool
		err = q.hands.run(ctx, "replay", one(&found, &n), ids)
		return n, err
	})
	nudge(q.wake)
	return n, err
}

// Discard implements [queue.Queue].
func (q *Queue) Discard(ctx context.Context, filter queue.Filter) (int, error) {
	return q.inChunks(ctx, filter, func(queue.DeadLetter) bool { return true }, func(ids []int64) (int, error) {
		return q.discard(ctx, ids)
	})
}

func (q *Queue) discard(ctx context.Context, ids []int64) (n int, err error) {
	var found bool
	err = q.hands.run(ctx, "discard", one(&found, &n), ids)
	return n, err
}

// inChunks collects the ids of dead letters that match and may go, and lets act
// change them, until filter.Limit of them were.
func (q *Queue) inChunks(ctx context.Context, filter queue.Filter, mayGo func(queue.DeadLetter) bool, act func([]int64) (int, error)) (int, error) {
	limit := filter.Limit
	filter.Limit = 0
	var ids []int64
	total := 0
	change := func() error {
		n, err := act(ids)
		total, ids = total+n, ids[:0]
		return err
	}
	for l, err := range q.DeadLetters(ctx, filter) {
		if err != nil {
			return total, err
		}
		if !mayGo(l) {
			continue
		}
		ids = append(ids, int64(l.Address.Lo))
		if len(ids) == chunkRows || limit > 0 && total+len(ids) == limit {
			if err := change(); err != nil {
				return total, err
			}
		}
		if limit > 0 && total >= limit {
			return total, nil
		}
	}
	if len(ids) == 0 {
		return total, nil
	}
	return total, change()
}

// Replace implements [queue.Queue]. What is with put is claimed by the locks of
// a transaction, which end with the process or its connection.
func (q *Queue) Replace(ctx context.Context, filter queue.Filter, put func(context.Context, []queue.DeadLetter) ([]queue.Address, error)) (int, error) {
	limit := filter.Limit
	filter.Limit = 0
	total := 0
	if err := q.settled(ctx); err != nil {
		return 0, err
	}
	for {
		if err := q.usable(ctx); err != nil {
			return total, err
		}
		p, err := q.deadPage(ctx, filter)
		if err != nil {
			return total, err
		}
		letters := p.rows
		if limit > 0 && len(letters) > limit-total {
			letters, p.more = letters[:limit-total], true
			p.last = int64(letters[len(letters)-1].Address.Lo)
		}
		n, err := q.replacePage(ctx, letters, put)
		total += n
		if err != nil || !p.more || limit > 0 && total >= limit {
			return total, err
		}
		filter.After = queue.Address{Lo: uint64(p.last)}
	}
}

// replacePage claims those letters of a page that nobody else works on, and
// discards those that put replaced.
func (q *Queue) replacePage(ctx context.Context, letters []queue.DeadLetter, put func(context.Context, []queue.DeadLetter) ([]queue.Address, error)) (n int, err error) {
	if len(letters) == 0 {
		return 0, nil
	}
	var ids []int64
	byID := map[int64]queue.DeadLetter{}
	for _, l := range letters {
		ids, byID[int64(l.Address.Lo)] = append(ids, int64(l.Address.Lo)), l
	}
	var putFailed error
	err = pgx.BeginFunc(ctx, q.hands.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, statement("claim"), ids)
		if err != nil {
			return err
		}
		claimed, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil || len(claimed) == 0 {
			return err
		}
		chunk := make([]queue.DeadLetter, len(claimed))
		for i, id := range claimed {
			chunk[i] = byID[id]
		}
		replaced, err := put(ctx, chunk)
		putFailed = err
		var gone []int64
		for _, addr := range replaced {
			gone = append(gone, int64(addr.Lo))
		}
		// What put appended stands, so what it replaced goes, whatever else it says.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.opts.Timeout)
		defer cancel()
		return tx.QueryRow(ctx, statement("discard"), gone).Scan(&n)
	})
	if err != nil {
		err = fmt.Errorf("replace dead letters: what was appended for them may be sent a second time: %w", q.hands.explain(err))
	}
	return n, errors.Join(err, putFailed)
}
