package pgqueue

import (
	"time"

	"github.com/jackc/pgx/v5"

	"trackd/event"
	"trackd/queue"
)

// Abandon ends q as a killed process would: nothing is flushed, the lease is
// not given up, and the connections are gone.
func (q *Queue) Abandon() {
	q.closing.Do(func() {
		q.end()
		close(q.stop)
		nudge(q.toAppend)
		q.workers.Wait()
		q.disconnect()
	})
}

// Epoch returns the epoch that q holds, 0 if none.
func (q *Queue) Epoch() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.hold.epoch
}

// DeliveredIn settles an event as delivered as the holder of an epoch would,
// and reports whether that changed anything.
func (q *Queue) DeliveredIn(epoch int64, d queue.Delivery) (changed bool, err error) {
	it := &item{id: int64(d.Address.Lo), taken: d.Taken}
	var side string
	err = q.own.run(q.alive, "settle", one(&changed, &side),
		settleArgs(epoch, []final{{it, queue.Outcome{Verb: queue.Delivered}, time.Now()}}, nil)...)
	return changed, err
}

// Statement is statement, for the benchmark beside bare pgx.
func Statement(name string) string { return statement(name) }

// AppendArgs returns the parameters of append.sql for events.
func AppendArgs(events []event.Event) []any {
	var c columns
	for _, ev := range events {
		c.addEvent(ev)
	}
	return []any{len(c.bodies), 0, c.bytes, 0, 0, DefaultMaxBytes, 0, time.Now(),
		c.types, c.names, c.ids, c.person1, c.person2, c.person3, c.bodies,
		c.reasons, c.details, c.rejectBodies, c.rejectCosts, c.costs}
}

// FetchArgs reads the rows of fresh.sql and returns the parameters of settle.sql
// that deliver them, how many there are, and the last id.
func FetchArgs(epoch int64, rows pgx.Rows) (args []any, n int, last int64, err error) {
	var items []*item
	for rows.Next() {
		if err := scanItem(rows, &items, nil); err != nil {
			return nil, 0, 0, err
		}
	}
	var finals []final
	for _, it := range items {
		finals, last = append(finals, final{it, queue.Outcome{Verb: queue.Delivered}, time.Now()}), it.id
	}
	return settleArgs(epoch, finals, nil), len(items), last, rows.Err()
}
