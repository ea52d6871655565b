package pgqueue

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"trackd/event"
	"trackd/queue"
)

const (
	// poll is how often an idle holder asks for what other centres have taken.
	poll = 50 * time.Millisecond

	// readAhead is how many events one statement fetches at most: 32 MB of the
	// largest, which nobody sends.
	readAhead = 1_000
)

// Lease implements [queue.Queue]. While another centre delivers, it waits.
func (q *Queue) Lease(ctx context.Context, most int) ([]queue.Delivery, error) {
	select {
	case q.lessee <- struct{}{}:
		defer func() { <-q.lessee }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-q.stop:
		return nil, queue.ErrClosed
	}
	for {
		if err := q.usable(ctx); err != nil {
			return nil, err
		}
		got, wait, err := q.leaseNow(most)
		if err != nil {
			q.report("deliveries", err.Error())
			wait = 4 * poll
		} else {
			q.report("deliveries", "")
		}
		if len(got) > 0 {
			return got, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-q.wake:
		case <-ctx.Done():
		case <-q.stop:
		}
		timer.Stop()
	}
}

// leaseNow leases what is due. When nothing is, it returns how long to wait
// unless woken.
func (q *Queue) leaseNow(most int) ([]queue.Delivery, time.Duration, error) {
	if !q.Clear() {
		return nil, q.opts.Lease, nil // adopt wakes
	}
	if err := q.fetch(most); err != nil {
		return nil, 0, err
	}

	q.mu.Lock()
	now := time.Now()
	if !q.clear(now) {
		q.mu.Unlock()
		return nil, 0, nil
	}
	epoch := q.hold.epoch
	var bodies []*item // of those whose body is in the database only
	picked := q.held.pick(most, now)
	for _, it := range picked {
		if it.event.Body == nil {
			bodies = append(bodies, it)
		}
	}
	wait := poll
	if len(q.held.parked) > 0 {
		wait = min(wait, q.held.parked[0].due.Sub(now))
	}
	q.mu.Unlock()

	events, err := q.readBodies(bodies)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.hold.epoch != epoch {
		return nil, 0, err // they are another holder's now
	}
	var deliveries []queue.Delivery
	for _, it := range picked {
		ev, again := it.event, events[it.id]
		it.event = event.Event{}
		switch {
		case ev.Body != nil:
			deliveries = append(deliveries, it.delivery(ev))
		case err != nil:
			q.held.give(it)
		case again.Body != nil:
			deliveries = append(deliveries, it.delivery(again))
		default:
			q.held.remove(it) // erased meanwhile, by whichever centre
		}
	}
	return deliveries, wait, err
}

// fetch reads ahead, so that most events of each kind are in memory if there
// are as many.
func (q *Queue) fetch(most int) error {
	most = min(most, readAhead)
	q.mu.Lock()
	epoch, cursor, replayCursor := q.hold.epoch, q.held.cursor, q.held.replayCursor
	beganAt, beganAtReplay := cursor, replayCursor
	wantFresh, wantReplays := len(q.held.fresh) < most, len(q.held.replays) < most
	q.mu.Unlock()
	if !wantFresh && !wantReplays {
		return nil
	}

	// Whatever has an id below nextID is visible now, because ids become visible
	// in order. Rejects have ids, too, and are not fetched.
	var nextID, nextReplay int64
	var found bool
	if err := q.own.run(q.alive, "next", one(&found, &nextID, &nextReplay)); err != nil {
		return err
	}
	var fresh, replays []*item
	if wantFresh && nextID-1 > cursor {
		err := q.own.run(q.alive, "fresh", func(rows pgx.Rows) error { return scanItem(rows, &fresh, nil) }, cursor, readAhead)
		if err != nil {
			return err
		}
		if len(fresh) < readAhead {
			cursor = nextID - 1
		}
		if len(fresh) > 0 {
			cursor = max(cursor, fresh[len(fresh)-1].id)
		}
	}
	if wantReplays && nextReplay-1 > replayCursor {
		err := q.own.run(q.alive, "replayed", func(rows pgx.Rows) error { return scanItem(rows, &replays, &replayCursor) }, replayCursor, readAhead)
		if err != nil {
			return err
		}
		if len(replays) < readAhead {
			replayCursor = max(replayCursor, nextReplay-1)
		}
	}

	q.mu.Lock()
	defer q.mu.Unlock()
	if q.hold.epoch != epoch || q.held.cursor != beganAt || q.held.replayCursor != beganAtReplay {
		return nil // another epoch, or the cursor went back, while this was read
	}
	q.held.add(&q.held.fresh, fresh)
	q.held.add(&q.held.replays, replays)
	q.held.cursor, q.held.replayCursor = cursor, replayCursor
	return nil
}

// scanItem reads one event of fresh.sql or, with the number of its replay, of
// replayed.sql.
func scanItem(rows pgx.Rows, to *[]*item, replay *int64) error {
	it := &item{replayed: replay != nil}
	dest, done := eventColumns(&it.id, &it.taken, &it.event)
	var firstFailed *time.Time
	dest = append(dest, &it.evidence.Strikes, &firstFailed)
	if replay != nil {
		dest = append(dest, replay)
	}
	if err := rows.Scan(dest...); err != nil {
		return err
	}
	done()
	if firstFailed != nil {
		it.evidence.FirstFailed = *firstFailed
	}
	it.strikes, it.firstFailed = it.evidence.Strikes, it.evidence.FirstFailed
	*to = append(*to, it)
	return nil
}

// eventColumns returns where to scan the columns that each listing begins with,
// and what to call then.
func eventColumns(id *int64, taken *time.Time, ev *event.Event) (dest []any, done func()) {
	var kind int16
	var name, messageID []byte
	var persons [3]int64
	return []any{id, taken, &kind, &name, &messageID, &persons[0], &persons[1], &persons[2], &ev.Body}, func() {
		ev.Type, ev.Name, ev.ID = event.Type(kind), string(name), string(messageID)
		for i, person := range persons {
			ev.Persons[i] = uint64(person)
		}
	}
}

// readBodies reads events that are due once more.
func (q *Queue) readBodies(items []*item) (map[int64]event.Event, error) {
	if len(items) == 0 {
		return nil, nil
	}
	var ids []int64
	var taken []time.Time
	for _, it := range items {
		ids, taken = append(ids, it.id), append(taken, it.taken)
	}
	events := map[int64]event.Event{}
	err := q.own.run(q.alive, "again", func(rows pgx.Rows) error {
		var id int64
		var at time.Time
		var ev event.Event
		dest, done := eventColumns(&id, &at, &ev)
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		done()
		events[id] = ev
		return nil
	}, ids, taken)
	return events, err
}
