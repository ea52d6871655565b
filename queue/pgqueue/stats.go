package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"trackd/event"
	"trackd/queue"
)

// Shared is what a database says of a queue and of those who share it.
type Shared struct {
	queue.Account
	Drainer string        // who delivers, or did last
	Epoch   int64         // of its lease
	Since   time.Time     // when it took over
	Left    time.Duration // of its lease; 0: nobody delivers
	Alarms  []string      // what an operator must know, in words
}

// Inspect reads what a database says of the queue in it, and changes nothing.
func Inspect(ctx context.Context, url string) (Shared, error) {
	o := Options{URL: url, Name: "inspection"}.withDefaults()
	q := &Queue{opts: o, log: o.Log, held: newHolding(), stop: make(chan struct{})}
	q.alive, q.end = context.WithCancel(ctx)
	defer q.disconnect()
	var err error
	if q.hands, err = connect(ctx, o); err != nil {
		return Shared{}, fmt.Errorf("inspect queue: %w", err)
	}
	if err := checkMigrations(ctx, q.hands.pool); err != nil {
		return Shared{}, fmt.Errorf("inspect queue: %w", err)
	}
	read, err := q.readStats(ctx, q.hands)
	if err != nil {
		return Shared{}, fmt.Errorf("inspect queue: %w", err)
	}
	s := Shared{Account: read.Account}
	var left float64
	var found bool
	if err := q.hands.run(ctx, "drainer", one(&found, &s.Drainer, &s.Epoch, &s.Since, &left)); err != nil {
		return Shared{}, fmt.Errorf("inspect queue: %w", err)
	}
	s.Drainer, _, _ = strings.Cut(s.Drainer, " ")
	s.Left = time.Duration(left * float64(time.Second))
	standby, err := q.checkStandby(ctx)
	if err != nil {
		return Shared{}, fmt.Errorf("inspect queue: %w", err)
	}
	s.Alarms = alarms(s.Lost, standby)
	return s, nil
}

// alarms tells what is wrong with the database.
func alarms(lost uint64, standby string) (all []string) {
	if lost > 0 {
		all = append(all, fmt.Sprintf("the database forgot up to %d acknowledged events: a standby that was behind has been promoted", lost))
	}
	if standby != "" {
		all = append(all, standby)
	}
	return all
}

// maxEventCost is what the largest event is charged.
const maxEventCost = event.MaxBytes*9/8 + 1_024

// Stats implements [queue.Queue]. Leased, Parked and Held are what this centre
// has in memory: zero while another delivers.
func (q *Queue) Stats(ctx context.Context) (queue.Stats, error) {
	// While outcomes cannot be written they are told as held, so a failure to
	// wait for them is not one of Stats.
	if err := q.settled(ctx); errors.Is(err, queue.ErrClosed) || ctx.Err() != nil {
		return queue.Stats{}, err
	}
	read, err := q.readStats(ctx, q.hands)
	if err != nil {
		return queue.Stats{}, fmt.Errorf("stats: %w", err)
	}
	standby, err := q.checkStandby(ctx)
	if err != nil {
		return queue.Stats{}, fmt.Errorf("stats: %w", err)
	}
	s := read.Stats
	q.mu.Lock()
	defer q.mu.Unlock()
	s.Exact = true
	s.Leased, s.Parked, s.ParkedMax = q.held.leased, q.held.waiting(time.Now()), queue.MaxParked
	if q.outcomes.failing {
		s.Held = int(q.outcomes.given - q.outcomes.done)
	}
	s.Bytes, s.MaxBytes = s.Bytes+q.reserved, q.opts.MaxBytes
	s.FreeBytes = max(0, s.MaxBytes-s.Bytes) // what the server has left on its disk is not to be seen from here
	if read.bytes+q.reserved+maxEventCost > q.opts.MaxBytes {
		s.Full = fmt.Sprintf("events in the database cost %d bytes of %d allowed", read.bytes+q.reserved, q.opts.MaxBytes)
	}
	s.Alarms = slices.Sorted(maps.Values(q.trouble))
	s.Alarms = append(s.Alarms, alarms(s.Lost, standby)...)
	return s, nil
}

// account is what stats.sql says.
type account struct {
	queue.Stats
	figures
}

// readStats reads the account.
func (q *Queue) readStats(ctx context.Context, db database) (account, error) {
	var a account
	dead := make([]uint64, len(queue.Reasons()))
	var oldest *time.Time
	var found bool
	dest := []any{&a.Taken, &a.Queued, &a.Delivered, &a.Discarded, &a.Lost}
	for i := range dead { // the columns have the order of queue.Reasons
		dest = append(dest, &dead[i])
	}
	dest = append(dest, &a.bytes, &a.rejectBytes, &a.sampleBytes, &a.nextID, &oldest)
	q.mu.Lock()
	low := int64(0)
	if q.hold.epoch != 0 {
		low = q.held.lowMark()
	}
	q.mu.Unlock()
	if err := db.run(ctx, "stats", one(&found, dest...), low); err != nil {
		return account{}, err
	}
	a.DeadByReason = map[queue.Reason]uint64{}
	for i, reason := range queue.Reasons() {
		if a.Dead += dead[i]; dead[i] > 0 {
			a.DeadByReason[reason] = dead[i]
		}
	}
	a.RejectBytes, a.SampleBytes, a.Bytes = a.rejectBytes, a.sampleBytes, a.bytes+a.rejectBytes+a.sampleBytes
	if oldest != nil {
		a.Oldest = *oldest
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.known = a.figures
	q.highest = max(q.highest, a.nextID-1)
	return a, nil
}

// checkStandby says why an acknowledged event may be lost with the primary's
// disk, or nothing.
func (q *Queue) checkStandby(ctx context.Context) (string, error) {
	var names, commit, fsync string
	var attached int
	var found bool
	if err := q.hands.run(ctx, "standby", one(&found, &names, &commit, &fsync, &attached)); err != nil {
		return "", err
	}
	var said []string
	if fsync != "on" {
		said = append(said, "the database runs with fsync off: a power cut loses what was acknowledged")
	}
	switch {
	case commit == "off" || commit == "local":
		said = append(said, fmt.Sprintf("synchronous_commit is %q for this role: a commit is not replicated when it is acknowledged", commit))
	case names == "":
		said = append(said, "the database has no synchronous standby: what was acknowledged may die with its disk")
	case attached == 0:
		said = append(said, "no synchronous standby is connected: commits wait")
	}
	return strings.Join(said, "; "), nil
}
