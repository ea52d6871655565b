package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"trackd/event"
	"trackd/queue"
)

const (
	// groupEvents and groupBytes bound what one statement appends, unless a
	// single batch is larger.
	groupEvents = 1_000
	groupBytes  = 4 << 20
)

// appending is one call of Append.
type appending struct {
	batch   queue.Batch
	cost    int64      // of its events
	drawn   bool       // from its reservation: not asked for room again
	used    func()     // gives the drawn bytes back
	keeps   []keptKind // of its rejects that there is room for
	refused error      // rejects that were not kept
	done    chan error // capacity 1
}

// keptKind says which of two kinds of rejects: samples have a bound of their own.
type keptKind bool

const (
	samples      keptKind = true
	otherRejects keptKind = false
)

func kindOf(rej queue.Reject) keptKind { return rej.Reason == queue.NotLifecycle }

// rejectCost is what a reject is charged.
func rejectCost(rej queue.Reject) int64 {
	return queue.Cost(event.Event{Body: rej.Body}) + int64(len(rej.Detail))
}

// Append implements [queue.Queue].
func (q *Queue) Append(ctx context.Context, batch queue.Batch) error {
	if err := q.usable(ctx); err != nil {
		return err
	}
	if len(batch.Events)+len(batch.Rejects) == 0 {
		return nil
	}
	a := &appending{batch: batch, done: make(chan error, 1)}
	for _, ev := range batch.Events {
		a.cost += queue.Cost(ev)
	}
	if a.used, a.drawn = batch.Room.Draw(a.cost); a.drawn {
		defer a.used()
	}
	q.mu.Lock()
	q.intake = append(q.intake, a)
	q.mu.Unlock()
	nudge(q.toAppend)
	select {
	case err := <-a.done:
		return err
	case <-ctx.Done():
	}
	if q.withdraw(a) {
		return ctx.Err()
	}
	return <-a.done // its statement runs and reads the caller's memory
}

// withdraw takes a out of the intake, if its statement has not begun.
func (q *Queue) withdraw(a *appending) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, other := range q.intake {
		if other == a {
			q.intake = append(q.intake[:i], q.intake[i+1:]...)
			return true
		}
	}
	return false
}

// appendGroups is the goroutine that appends what callers brought while the
// commit before was under way.
func (q *Queue) appendGroups() {
	for {
		<-q.toAppend
		for group := q.nextGroup(); len(group) > 0; group = q.nextGroup() {
			if q.isClosed() {
				finish(group, queue.ErrClosed)
				continue
			}
			q.appendGroup(group)
		}
		if q.isClosed() {
			return
		}
	}
}

// nextGroup takes as many calls from the intake as one statement holds.
func (q *Queue) nextGroup() []*appending {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, events, bytes := 0, 0, int64(0)
	for ; n < len(q.intake); n++ {
		a := q.intake[n]
		events += len(a.batch.Events) + len(a.batch.Rejects)
		bytes += a.cost
		if n > 0 && (events > groupEvents || bytes > groupBytes) {
			break
		}
	}
	group := q.intake[:n:n]
	q.intake = q.intake[n:]
	return group
}

func finish(group []*appending, err error) {
	for _, a := range group {
		a.done <- errors.Join(err, a.refused)
	}
}

// appendGroup appends a group, or of a full queue as much as has room, and
// answers each call.
func (q *Queue) appendGroup(group []*appending) {
	if err := q.chooseRejects(group); err != nil {
		finish(group, err)
		return
	}
	for len(group) > 0 {
		begin := time.Now()
		stored, n, err := q.insert(group)
		if err != nil || stored {
			q.opts.OnCommit(Commit{Duration: time.Since(begin), Events: n, Err: err})
			if err != nil {
				q.report("appends", err.Error())
				err = fmt.Errorf("append %d events: whether they are stored is unknown: %w", n, err)
			} else {
				q.report("appends", "")
				nudge(q.wake)
			}
			finish(group, err)
			return
		}
		// Nothing was stored: there is no room, or the database forgot ids.
		if err := q.refresh(); err != nil {
			finish(group, fmt.Errorf("append %d events: none is stored: %w", n, err))
			return
		}
		group = q.admit(group)
	}
}

// admit answers the calls for which there is no room, and returns the others.
func (q *Queue) admit(group []*appending) (admitted []*appending) {
	q.mu.Lock()
	free := q.opts.MaxBytes - q.known.bytes - q.reserved
	q.mu.Unlock()
	for _, a := range group {
		switch {
		case a.drawn || len(a.batch.Events) == 0:
			admitted = append(admitted, a)
		case a.cost > free:
			a.done <- queue.ErrFull
		default:
			free -= a.cost
			admitted = append(admitted, a)
		}
	}
	return admitted
}

// chooseRejects decides which rejects of the group are kept. Other centres may
// fill the same bound at the same time: each sees of it what its last statement
// said.
func (q *Queue) chooseRejects(group []*appending) error {
	for fresh := false; ; fresh = true {
		q.mu.Lock()
		left := map[keptKind]int64{
			samples: queue.MaxSampleBytes - q.known.sampleBytes, otherRejects: q.opts.RejectBytes - q.known.rejectBytes,
		}
		q.mu.Unlock()
		full := false
		for _, a := range group {
			a.keeps, a.refused = nil, nil
			for kind, refusal := range map[keptKind]error{samples: queue.ErrSamplesFull, otherRejects: queue.ErrRejectsFull} {
				cost, any := int64(0), false
				for _, rej := range a.batch.Rejects {
					if kindOf(rej) == kind {
						cost, any = cost+rejectCost(rej), true
					}
				}
				switch {
				case !any:
				case cost > left[kind]:
					a.refused, full = errors.Join(a.refused, refusal), true
				default:
					a.keeps = append(a.keeps, kind)
					left[kind] -= cost
				}
			}
		}
		if !full || fresh {
			return nil
		}
		if err := q.refresh(); err != nil {
			return fmt.Errorf("append: none is stored: %w", err)
		}
	}
}

// insert runs the statement for a group and returns whether it was stored, and
// of how many events and rejects it speaks.
func (q *Queue) insert(group []*appending) (stored bool, n int, err error) {
	var c columns
	asked := int64(0) // room that is not reserved
	for _, a := range group {
		if !a.drawn {
			asked += a.cost
		}
		for _, ev := range a.batch.Events {
			c.addEvent(ev)
		}
		for _, kind := range a.keeps {
			for _, rej := range a.batch.Rejects {
				if kindOf(rej) == kind {
					c.addReject(rej)
				}
			}
		}
	}
	if n = len(c.bodies) + len(c.rejectBodies); n == 0 {
		return true, 0, nil
	}
	q.mu.Lock()
	highest := q.highest
	var bound *int64 // on all bytes after this; nil: nothing has to be asked for
	if asked > 0 {
		most := q.opts.MaxBytes - q.reserved + c.bytes - asked
		bound = &most
	}
	q.mu.Unlock()
	var first int64
	var now figures
	taken := time.Now()
	err = q.own.run(q.alive, "append", one(&stored, &first, &now.bytes, &now.rejectBytes, &now.sampleBytes),
		len(c.bodies), len(c.rejectBodies), c.bytes, c.rejectBytes, c.sampleBytes, bound, highest, taken,
		c.types, c.names, c.ids, c.person1, c.person2, c.person3, c.bodies,
		c.reasons, c.details, c.rejectBodies, c.rejectCosts, c.costs)
	if err != nil || !stored {
		return false, n, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now.nextID = first + int64(n)
	q.known, q.highest = now, max(q.highest, now.nextID-1)
	return true, n, nil
}

// columns are the parameters of a statement: one slice a column.
type columns struct {
	types                     []int16
	names, ids, bodies        [][]byte
	person1, person2, person3 []int64
	costs                     []int32
	bytes                     int64

	reasons                  []string
	details, rejectBodies    [][]byte
	rejectCosts              []int32
	rejectBytes, sampleBytes int64
}

func (c *columns) addEvent(ev event.Event) {
	cost := queue.Cost(ev)
	c.types = append(c.types, int16(ev.Type))
	c.names, c.ids, c.bodies = append(c.names, []byte(ev.Name)), append(c.ids, []byte(ev.ID)), append(c.bodies, notNil(ev.Body))
	c.person1, c.person2, c.person3 = append(c.person1, int64(ev.Persons[0])), append(c.person2, int64(ev.Persons[1])), append(c.person3, int64(ev.Persons[2]))
	c.costs, c.bytes = append(c.costs, int32(cost)), c.bytes+cost
}

func (c *columns) addReject(rej queue.Reject) {
	cost := rejectCost(rej)
	c.reasons, c.details = append(c.reasons, string(rej.Reason)), append(c.details, []byte(rej.Detail))
	c.rejectBodies, c.rejectCosts = append(c.rejectBodies, notNil(rej.Body)), append(c.rejectCosts, int32(cost))
	if kindOf(rej) == samples {
		c.sampleBytes += cost
	} else {
		c.rejectBytes += cost
	}
}

// notNil tells an empty column from a null one.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
