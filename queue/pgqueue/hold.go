package pgqueue

import (
	"context"
	"time"
)

// hold is the lease on delivering, as this centre knows it.
type hold struct {
	epoch   int64  // 0: another centre holds it, or nobody
	history string // of the server that granted it

	// The lease counts from the start of the last renewal that was answered, by
	// the monotonic clock and by the wall clock: the first stands still while the
	// machine is suspended, the second may be set.
	renewed time.Time
	wall    time.Time
}

// Clear reports whether this centre may deliver now: it holds the lease, and at
// least a quarter of it is left. The sender asks before each request.
func (q *Queue) Clear() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.clear(time.Now())
}

// clear is Clear for callers that hold mu.
func (q *Queue) clear(now time.Time) bool {
	most := q.opts.Lease * 3 / 4
	return q.hold.epoch != 0 && now.Sub(q.hold.renewed) < most && now.Round(0).Sub(q.hold.wall) < most
}

// keepHold is the goroutine that renews the lease every third of it, or asks
// for it when its holder should have renewed.
func (q *Queue) keepHold() {
	for {
		wait := q.renew()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-q.stop:
			timer.Stop()
			return
		}
	}
}

// renew renews the lease or takes it, and returns how long to wait before the
// next time.
func (q *Queue) renew() time.Duration {
	third := q.opts.Lease / 3
	q.mu.Lock()
	epoch, low, highest := q.hold.epoch, q.held.lowMark(), max(q.highest, q.held.cursor)
	q.mu.Unlock()

	var ours, found bool
	var answered hold
	var mark, given int64
	var left float64 // seconds
	start := time.Now()
	ctx, cancel := context.WithTimeout(q.alive, min(q.opts.Timeout, q.opts.Lease))
	defer cancel()
	err := q.own.run(ctx, "hold", one(&found, &ours, &answered.epoch, &mark, &left, &given, &answered.history),
		q.owner, epoch, q.opts.Lease.Seconds(), low)
	if err != nil {
		q.report("the lease", err.Error())
		return min(third, 500*time.Millisecond)
	}
	q.report("the lease", "")
	if given < highest {
		if err := q.countLost(highest); err != nil {
			q.report("the lease", err.Error())
		}
	}
	if !ours {
		q.lose()
		// Its holder may give it up before it ends.
		return min(third, time.Second, time.Duration(left*float64(time.Second))+5*time.Millisecond)
	}
	answered.renewed, answered.wall = start, start.Round(0)
	q.adopt(answered, mark)
	return third - min(third, time.Since(start))
}

// adopt begins or continues to deliver. A new epoch begins at the low mark with
// nothing in memory. After a failover within an epoch what is leased stays
// leased, and the cursor goes back: events may have been given ids that it
// passed.
func (q *Queue) adopt(now hold, lowMark int64) {
	q.mu.Lock()
	before := q.hold
	q.hold = now
	switch {
	case before.epoch != now.epoch:
		q.held = newHolding()
		q.held.goBack(lowMark)
		q.outcomes.drop()
	case before.history != now.history:
		q.held.goBack(lowMark)
	}
	q.mu.Unlock()
	switch {
	case before.epoch != now.epoch:
		q.log.Info("this centre delivers now", "epoch", now.epoch)
	case before.history != now.history:
		q.log.Info("the database has failed over, delivering goes on", "epoch", now.epoch)
	}
	nudge(q.wake)
}

// lose forgets what was leased: another centre delivers it.
func (q *Queue) lose() {
	q.mu.Lock()
	before := q.hold
	q.hold = hold{}
	if before.epoch != 0 {
		q.held = newHolding()
		q.outcomes.drop()
	}
	q.mu.Unlock()
	if before.epoch != 0 {
		q.log.Warn("another centre delivers now", "epoch_lost", before.epoch)
	}
}

// release gives the lease up at the end.
func (q *Queue) release() error {
	q.mu.Lock()
	epoch, low := q.hold.epoch, q.held.lowMark()
	q.hold = hold{}
	q.mu.Unlock()
	if epoch == 0 {
		return nil
	}
	return q.own.run(q.alive, "release", nil, q.owner, epoch, low)
}
