package queuetest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"trackd/event"
	"trackd/queue"
)

var _ queue.Queue = (*Memory)(nil)

// Options shapes a Memory. The zero value has no bounds.
type Options struct {
	MaxEvents      int   // queued at once; an Append beyond answers ErrFull. 0: no bound
	MaxRejectBytes int64 // bodies of letters from the door; beyond: ErrRejectsFull. 0: no bound

	// Parse judges a letter from the door anew when it is replayed; taken is when
	// the door took it. Nil means [Parse].
	Parse func(body []byte, taken time.Time) (event.Event, error)
}

// Memory is the contract of package queue with nothing behind it but slices:
// the model that explains a backend, and the fast queue for tests of the doors
// and the sender. "Disk" is a second field beside each event's state, which
// Settle leaves behind until Close, so that [Memory.Crash] can undo what was
// not flushed. It forgets nothing, holds every body for ever, starts no
// goroutine, and runs under testing/synctest.
type Memory struct {
	opts Options

	mu      sync.Mutex // owns everything below
	records []*record  // every event ever taken, in order of address
	fresh   []*record  // queued, never leased since the start, in arrival order
	again   []*record  // queued and due once more
	parked  []*record  // queued, due later, soonest first
	turn    bool       // whether a lease looks at again before fresh
	closed  bool
	changed chan struct{} // closed and replaced when a waiting Lease must look again
}

// record is one event or letter, wherever it is now.
type record struct {
	addr   queue.Address
	taken  time.Time
	event  event.Event
	atDoor bool

	now    state            // what callers see
	disk   state            // what a crash leaves of it
	letter queue.DeadLetter // set while now is dead

	leased   bool
	due      time.Time     // while parked
	evidence queue.Outcome // the last Retry of this process; zero: none
}

// state is the term of the account that a record is counted in.
type state uint8

const (
	queued state = iota
	delivered
	dead
	discarded
)

// NewMemory returns an empty queue.
func NewMemory(opts Options) *Memory {
	if opts.Parse == nil {
		opts.Parse = Parse
	}
	return &Memory{opts: opts, changed: make(chan struct{})}
}

// Append takes the whole batch at once. A context that has ended stores
// nothing.
func (m *Memory) Append(ctx context.Context, batch queue.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return err
	}
	if m.opts.MaxEvents > 0 && m.count(queued)+len(batch.Events) > m.opts.MaxEvents {
		return queue.ErrFull
	}
	for _, ev := range batch.Events {
		m.take(ev)
	}
	m.wake()
	if m.opts.MaxRejectBytes > 0 && m.rejectBytes()+size(batch.Rejects) > m.opts.MaxRejectBytes {
		return queue.ErrRejectsFull
	}
	for _, rej := range batch.Rejects {
		m.keep(rej)
	}
	return nil
}

// take adds an event to be delivered.
func (m *Memory) take(ev event.Event) {
	m.fresh = append(m.fresh, m.add(ev))
}

// keep adds a reject, a letter from the start.
func (m *Memory) keep(rej queue.Reject) {
	rec := m.add(event.Event{Body: rej.Body})
	rec.atDoor = true
	rec.now, rec.disk = dead, dead
	rec.letter = queue.DeadLetter{Reason: rej.Reason, Detail: rej.Detail, Died: rec.taken}
}

// add appends a record under the next address. No address is ever used twice.
func (m *Memory) add(ev event.Event) *record {
	ev.Body = bytes.Clone(ev.Body)
	rec := &record{addr: queue.Address{Lo: uint64(len(m.records) + 1)}, taken: time.Now(), event: ev}
	m.records = append(m.records, rec)
	return rec
}

// Settle changes what callers see; the disk learns of it at Close.
func (m *Memory) Settle(ctx context.Context, outcomes ...queue.Outcome) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return err
	}
	for _, o := range outcomes {
		rec := m.find(o.Address)
		if rec == nil || !rec.leased {
			continue
		}
		if err := m.settle(rec, o); err != nil {
			return err
		}
	}
	m.wake()
	return nil
}

func (m *Memory) settle(rec *record, o queue.Outcome) error {
	switch o.Verb {
	case queue.Delivered:
		rec.now = delivered
	case queue.Return:
		m.again = append(m.again, rec)
	case queue.Retry:
		rec.evidence = o
		m.park(rec, o.Delay)
	case queue.Bury:
		rec.now = dead
		rec.letter = queue.DeadLetter{
			Reason: o.Reason, Status: o.Status, Detail: o.Detail, Attempts: o.Attempts, Died: time.Now(),
		}
	default:
		return fmt.Errorf("settle %s: unknown verb %d", o.Address, o.Verb)
	}
	rec.leased = false
	return nil
}

// Close makes every outcome durable and ends every waiting Lease.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	for _, rec := range m.records {
		rec.disk = rec.now
	}
	m.closed = true
	m.wake()
	return nil
}

// usable says why nothing can be done, if so.
func (m *Memory) usable(ctx context.Context) error {
	if m.closed {
		return queue.ErrClosed
	}
	return ctx.Err()
}

// find returns the record at addr, or nil.
func (m *Memory) find(addr queue.Address) *record {
	if addr.Hi != 0 || addr.Lo == 0 || addr.Lo > uint64(len(m.records)) {
		return nil
	}
	return m.records[addr.Lo-1]
}

// size is what rejects take of MaxRejectBytes.
func size(rejects []queue.Reject) (n int64) {
	for _, rej := range rejects {
		n += int64(len(rej.Body))
	}
	return n
}
