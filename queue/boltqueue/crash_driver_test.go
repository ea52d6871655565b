package boltqueue_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue"
	"trackd/queue/queuetest"
)

const (
	never    = 1000 * time.Hour // a Delay that no test lives to see
	patience = 10 * time.Second // for what must happen
)

// driver uses a queue as the doors, the sender and an operator do, one call at
// a time, and tells of all of it.
type driver struct {
	told
	dir   string
	knobs boltqueue.Knobs
	dice  *rand.Rand
	name  string // begins every messageId
	made  int    // events and rejects so far
	held  []queue.Delivery
	tried map[string]bool // rejects that were replayed: a crash may leave both, so not twice
	sick  atomic.Bool     // a fault struck since the last open: nothing is promised to be flushed
}

func newDriver(dir, name string, seed uint64, knobs boltqueue.Knobs, tell func(note)) *driver {
	d := &driver{dir: dir, name: name, knobs: knobs, tried: map[string]bool{}, dice: rand.New(rand.NewPCG(seed, 1))}
	d.tell = tell
	if strike := knobs.Fault; strike != nil {
		d.knobs.Fault = func(point string, after bool) error {
			err := strike(point, after)
			if err != nil {
				d.sick.Store(true)
			}
			return err
		}
	}
	return d
}

// open opens the queue, again if a fault kept it from opening.
func (d *driver) open() error {
	d.held = nil
	d.sick.Store(false)
	var err error
	for range 3 {
		d.Queue, err = boltqueue.OpenWith(boltqueue.Options{Dir: d.dir, MinFreeBytes: -1}, d.knobs)
		if err == nil {
			d.tell(note{Op: opOpen, Answered: true})
			return nil
		}
	}
	return err
}

// close closes the queue; what is told only counts as a clean end if nothing
// was in the way of the outcomes.
func (d *driver) close() {
	_ = d.call(note{Op: opClose}, func(*note) error {
		err := d.Close()
		if d.sick.Load() {
			err = errors.Join(err, errors.New("a fault struck"))
		}
		return err
	})
}

// event makes one whose body grows by pad bytes that do not compress.
func (d *driver) event(pad int) event.Event {
	d.made++
	raw := make([]byte, pad)
	for i := range raw {
		raw[i] = byte(d.dice.Uint32())
	}
	id := fmt.Sprintf("%s-%05d", d.name, d.made)
	body := fmt.Sprintf(`{"messageId":%q,"event":"Application Opened","properties":{"pad":%q}}`, id, hex.EncodeToString(raw))
	return event.Event{ID: id, Name: "Application Opened", Body: []byte(body)}
}

// append takes n events, and rejects of which every other would pass now.
func (d *driver) append(n, pad, rejects int) {
	var b queue.Batch
	for range n {
		b.Events = append(b.Events, d.event(pad))
	}
	for i := range rejects {
		body := d.event(8).Body
		if i%2 == 1 {
			body = body[:len(body)-1]
		}
		b.Rejects = append(b.Rejects, queue.Reject{Body: body, Reason: queue.Invalid, Detail: "event: found 7"})
	}
	_ = d.call(note{Op: opAppend, Batch: noteBatch{b.Events, b.Rejects}}, func(*note) error {
		return d.Append(context.Background(), b)
	})
}

// lease borrows up to n events if some are due.
func (d *driver) lease(n int) {
	s, err := d.Stats(context.Background())
	if err != nil || s.Exact && s.Queued <= uint64(s.Leased+s.Parked) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_ = d.call(note{Op: opLease}, func(n2 *note) (err error) {
		n2.Got, err = d.Lease(ctx, n)
		d.held = append(d.held, n2.Got...)
		return err
	})
}

// settle settles the first n of what is held.
func (d *driver) settle(n int, decide func(queue.Delivery) queue.Outcome) {
	n = min(n, len(d.held))
	if n == 0 {
		return
	}
	outcomes := make([]queue.Outcome, n)
	for i, delivery := range d.held[:n] {
		outcomes[i] = decide(delivery)
		outcomes[i].Address = delivery.Address
	}
	d.held = d.held[n:]
	_ = d.call(note{Op: opSettle, Outcomes: outcomes}, func(*note) error {
		return d.Settle(context.Background(), outcomes...)
	})
}

func deliver(queue.Delivery) queue.Outcome { return queue.Outcome{Verb: queue.Delivered} }

func (d *driver) bury(queue.Delivery) queue.Outcome {
	return queue.Outcome{Verb: queue.Bury, Reason: queue.Rejected, Status: 400 + d.dice.IntN(20), Attempts: 1,
		Detail: fmt.Sprintf("no such thing as %d", d.dice.IntN(5))}
}

func hold(queue.Delivery) queue.Outcome {
	return queue.Outcome{Verb: queue.Retry, Delay: never, Attempts: 1}
}

// any is what a destination in a mood might make of an event.
func (d *driver) any(delivery queue.Delivery) queue.Outcome {
	switch d.dice.IntN(10) {
	case 0:
		return queue.Outcome{Verb: queue.Return}
	case 1:
		return queue.Outcome{Verb: queue.Retry, Attempts: delivery.Attempts + 1, Strikes: delivery.Strikes + 1}
	case 2:
		return hold(delivery)
	case 3, 4:
		return d.bury(delivery)
	}
	return deliver(delivery)
}

// letters lists up to n letters that match, and counts as a flush.
func (d *driver) letters(n int, match func(queue.DeadLetter) bool) (found []queue.DeadLetter) {
	for l, err := range d.DeadLetters(context.Background(), queue.Filter{}) {
		if err != nil {
			return nil
		}
		if match(l) && len(found) < n {
			found = append(found, l)
		}
	}
	return found
}

// replay makes up to n dead letters queued again.
func (d *driver) replay(n int) {
	d.amend(opReplay, d.letters(n, func(l queue.DeadLetter) bool { return !l.AtDoor }), d.Replay)
}

// replace has up to n rejects that pass now taken anew.
func (d *driver) replace(n int) {
	letters := d.letters(n, func(l queue.DeadLetter) bool {
		_, err := queuetest.Parse(l.Event.Body, time.Time{})
		return err == nil && l.AtDoor && !d.tried[string(l.Event.Body)]
	})
	for _, l := range letters {
		d.tried[string(l.Event.Body)] = true
	}
	d.amend(opReplace, letters, func(ctx context.Context, f queue.Filter) (int, error) {
		return d.Replace(ctx, f, func(ctx context.Context, letters []queue.DeadLetter) (at []queue.Address, err error) {
			var b queue.Batch
			for _, l := range letters {
				ev, err := queuetest.Parse(l.Event.Body, l.Taken)
				if err != nil {
					return nil, err
				}
				b.Events, at = append(b.Events, ev), append(at, l.Address)
			}
			return at, d.Append(ctx, b)
		})
	})
}

// discard throws up to n letters away.
func (d *driver) discard(n int) {
	d.amend(opDiscard, d.letters(n, func(queue.DeadLetter) bool { return true }), d.Discard)
}

func (d *driver) amend(op string, letters []queue.DeadLetter, act func(context.Context, queue.Filter) (int, error)) {
	if len(letters) == 0 {
		return
	}
	var at []queue.Address
	for _, l := range letters {
		at = append(at, l.Address)
	}
	_ = d.call(note{Op: op, Letters: letters}, func(*note) error {
		n, err := act(context.Background(), queue.Filter{At: at})
		if err == nil && n != len(letters) {
			d.tell(note{Op: opWrong, Answered: true, Err: fmt.Sprintf("%s of %d letters says it did %d", op, len(letters), n)})
		}
		return err
	})
}

// flush makes all outcomes durable, if nothing is in the way.
func (d *driver) flush() {
	if d.sick.Load() {
		return
	}
	_ = d.call(note{Op: opFlush}, func(*note) error {
		err := d.Flush()
		if d.sick.Load() {
			err = errors.Join(err, errors.New("a fault struck"))
		}
		return err
	})
}

// wander makes one random call.
func (d *driver) wander() {
	switch d.dice.IntN(16) {
	case 0, 1, 2, 3, 4:
		d.append(d.dice.IntN(10), d.dice.IntN(800), max(0, d.dice.IntN(8)-5))
	case 5, 6, 7, 8:
		d.lease(1 + d.dice.IntN(30))
	case 9, 10, 11:
		d.settle(1+d.dice.IntN(30), d.any)
	case 12:
		d.settle(len(d.held), deliver)
	case 13:
		d.replay(1 + d.dice.IntN(4))
		d.replace(1 + d.dice.IntN(2))
	case 14:
		d.discard(1 + d.dice.IntN(4))
	case 15:
		d.flush()
	}
}

// drain delivers everything and reports what stays.
func (d *driver) drain() error {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		s, err := d.Stats(context.Background())
		if err != nil {
			return err
		}
		if s.Exact && s.Queued == 0 {
			return nil
		}
		d.lease(500)
		d.settle(len(d.held), deliver)
	}
	s, err := d.Stats(context.Background())
	return fmt.Errorf("not drained after %v: %+v, %w", patience, s, err)
}
