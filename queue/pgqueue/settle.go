package pgqueue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"trackd/queue"
)

const (
	// flushMost is how many outcomes one statement settles.
	flushMost = 1_000

	// unflushedMost is how many may await their statement before Settle waits:
	// a database slower than the destination sets the rate.
	unflushedMost = 10_000

	// strikesEvery is how often the strikes of one event are written.
	strikesEvery = time.Hour
)

// outcomes are what the sender said and the database does not know yet. It is
// guarded by Queue.mu.
type outcomes struct {
	final   []final       // in the order of Settle
	strikes []*item       // to be written
	given   uint64        // how many were ever put into final
	done    uint64        // how many of those are flushed or void
	failing bool          // the last flush failed
	flushed chan struct{} // closed and replaced when done grows
}

// final is an outcome that takes an event out of the queue.
type final struct {
	item    *item
	outcome queue.Outcome
	at      time.Time
}

// drop voids everything: it belongs to an epoch that is over.
func (o *outcomes) drop() {
	o.final, o.strikes = nil, nil
	o.finish(o.given)
}

// write has the strikes of an item written.
func (o *outcomes) write(it *item, now time.Time) {
	it.strikes, it.firstFailed, it.writtenAt = it.evidence.Strikes, it.evidence.FirstFailed, now
	o.strikes = append(o.strikes, it)
}

func (o *outcomes) finish(done uint64) {
	o.done, o.failing = done, false
	close(o.flushed)
	o.flushed = make(chan struct{})
}

// Settle implements [queue.Queue].
func (q *Queue) Settle(ctx context.Context, given ...queue.Outcome) error {
	if err := q.usable(ctx); err != nil {
		return err
	}
	if err := q.awaitFlush(ctx, unflushedMost); err != nil {
		return err
	}
	now := time.Now()
	q.mu.Lock()
	var err error
	returnedSome := false
	for _, o := range given {
		it := q.held.items[int64(o.Address.Lo)]
		if o.Address.Hi != 0 || it == nil || it.stage != leased && (it.stage != parked || o.Verb != queue.Bury) {
			continue
		}
		switch o.Verb {
		case queue.Delivered, queue.Bury:
			if o.Verb == queue.Bury && !slices.Contains(queue.Reasons(), o.Reason) {
				err = fmt.Errorf("settle %s: unknown reason %q", o.Address, o.Reason)
				continue // the table would refuse it, and all that is written with it
			}
			q.held.settle(it)
			q.outcomes.final = append(q.outcomes.final, final{it, o, now})
			q.outcomes.given++
		case queue.Retry:
			it.evidence = o
			if it.unwritten() && now.Sub(it.writtenAt) >= strikesEvery {
				q.outcomes.write(it, now)
			}
			q.held.park(it, now.Add(o.Delay))
			returnedSome = true
		case queue.Return:
			q.held.give(it)
			returnedSome = true
		default:
			err = fmt.Errorf("settle %s: unknown verb %d", o.Address, o.Verb)
		}
	}
	q.mu.Unlock()
	nudge(q.toFlush)
	if returnedSome {
		nudge(q.wake)
	}
	return err
}

// settle marks an item as one whose outcome has to be flushed.
func (h *holding) settle(it *item) {
	h.remove(it)
	h.items[it.id] = it // so that it is not fetched again before it is flushed
}

// awaitFlush waits until at most so many outcomes, of those given so far, are
// not flushed.
func (q *Queue) awaitFlush(ctx context.Context, most uint64) error {
	q.mu.Lock()
	given := q.outcomes.given
	q.mu.Unlock()
	for {
		q.mu.Lock()
		flushed, left := q.outcomes.flushed, given-min(given, q.outcomes.done)
		q.mu.Unlock()
		if left <= most {
			return nil
		}
		select {
		case <-flushed:
		case <-ctx.Done():
			return fmt.Errorf("%d outcomes are not yet in the database: %w", left, ctx.Err())
		case <-q.stop:
			return queue.ErrClosed
		}
	}
}

// flushOutcomes is the goroutine that writes what became of events. It tries
// again what failed for as long as this centre delivers: to write an outcome
// twice changes nothing.
func (q *Queue) flushOutcomes() {
	for {
		select {
		case <-q.toFlush:
		case <-q.stop:
			return
		}
		for more := true; more && !q.isClosed(); {
			var err error
			if more, err = q.flush(); err == nil {
				q.report("outcomes", "")
				continue
			}
			q.report("outcomes", err.Error())
			timer := time.NewTimer(200 * time.Millisecond)
			select {
			case <-timer.C:
			case <-q.stop:
			}
			timer.Stop()
			more = true
		}
	}
}

// flushRest writes the outcomes that are left at the end, and the strikes that
// were not due to be written yet.
func (q *Queue) flushRest() error {
	q.mu.Lock()
	now := time.Now()
	for _, it := range q.held.items {
		if it.stage != settling && it.unwritten() {
			q.outcomes.write(it, now)
		}
	}
	q.mu.Unlock()
	for {
		if more, err := q.flush(); err != nil || !more {
			return err
		}
	}
}

// flush writes some of the outcomes and returns whether there were any.
func (q *Queue) flush() (more bool, err error) {
	q.mu.Lock()
	epoch := q.hold.epoch
	finals := q.outcomes.final[:min(flushMost, len(q.outcomes.final))]
	strikes := q.outcomes.strikes[:min(flushMost, len(q.outcomes.strikes))]
	upTo := q.outcomes.given - uint64(len(q.outcomes.final)-len(finals))
	args := settleArgs(epoch, finals, strikes)
	q.mu.Unlock()
	if len(finals)+len(strikes) == 0 {
		return false, nil
	}
	var found bool
	var side string
	err = q.own.run(q.alive, "settle", one(&found, &side), args...)

	q.mu.Lock()
	if q.hold.epoch != epoch {
		q.mu.Unlock()
		return true, nil // dropped meanwhile
	}
	if err != nil {
		q.outcomes.failing = true
		q.mu.Unlock()
		return true, err
	}
	if !found {
		q.mu.Unlock()
		q.lose() // another centre has taken over: nothing was changed
		return true, nil
	}
	q.outcomes.final = q.outcomes.final[len(finals):]
	q.outcomes.strikes = q.outcomes.strikes[len(strikes):]
	for _, f := range finals {
		if q.held.items[f.item.id] == f.item {
			delete(q.held.items, f.item.id)
		}
	}
	q.outcomes.finish(upTo)
	q.mu.Unlock()
	return true, nil
}

// settleArgs are the parameters of settle.sql.
func settleArgs(epoch int64, finals []final, strikes []*item) []any {
	var delivered, buried, struck []int64
	var deliveredTaken, buriedTaken, struckTaken, died []time.Time
	var firstFailed []*time.Time
	var reasons []string
	var status, attempts []int32
	var details [][]byte
	var weights []float64
	for _, f := range finals {
		if f.outcome.Verb == queue.Delivered {
			delivered, deliveredTaken = append(delivered, f.item.id), append(deliveredTaken, f.item.taken)
			continue
		}
		buried, buriedTaken, died = append(buried, f.item.id), append(buriedTaken, f.item.taken), append(died, f.at)
		reasons, details = append(reasons, string(f.outcome.Reason)), append(details, []byte(f.outcome.Detail))
		status, attempts = append(status, int32(f.outcome.Status)), append(attempts, int32(f.outcome.Attempts))
	}
	for _, it := range strikes {
		struck, struckTaken = append(struck, it.id), append(struckTaken, it.taken)
		weights, firstFailed = append(weights, it.strikes), append(firstFailed, orNull(it.firstFailed))
	}
	return []any{epoch, delivered, deliveredTaken, buried, buriedTaken, reasons, status, details, attempts, died,
		struck, struckTaken, weights, firstFailed}
}
