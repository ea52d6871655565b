package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"trackd/event"
	"trackd/queue"
)

var _ queue.Queue = (*Memory)(nil)

// Options shapes a Memory. The zero value has no bounds.
type Options struct {
	MaxEvents      int   // queued at once; an Append beyond answers ErrFull. 0: no bound
	MaxBytes       int64 // queued and reserved at once, by queue.Cost; beyond: ErrFull. 0: no bound
	MaxRejectBytes int64 // bodies of rejects, samples apart; beyond: ErrRejectsFull. 0: no bound
}

// Memory is the contract of package queue with nothing behind it but slices:
// the model that explains a backend, and the fast queue for tests of ingest and
// the sender. "Disk" is a second field beside each event's state, which
// Settle leaves behind until Close, so that [Memory.Crash] can undo what was
// not flushed. It forgets nothing, holds every body for ever, starts no
// goroutine, and runs under testing/synctest.
type Memory struct {
	opts Options

	mu       sync.Mutex // owns everything below
	records  []*record  // every event ever taken, in order of address
	fresh    []*record  // queued, never leased since the start, in arrival order
	returned []*record  // queued, leased before, due before all others, in order of address
	again    []*record  // queued and due once more
	parked   []*record  // queued, due later, soonest first
	turn     bool       // whether the last lease of two kinds took from again
	reserved int64      // set aside by Reserve
	closed   bool
	changed  chan struct{} // closed and replaced when a waiting Lease must look again
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
	waiting  bool          // for a retry, be it due or not
	claimed  bool          // being replaced
	due      time.Time     // while parked
	evidence queue.Outcome // the last Retry; zero: none
	stored   queue.Outcome // of evidence, what a crash leaves: Strikes and FirstFailed
	storedAt time.Time     // zero: nothing of it was stored
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
	return &Memory{opts: opts, turn: true, changed: make(chan struct{})}
}

// Append takes the whole batch at once. A context that has ended stores
// nothing.
func (m *Memory) Append(ctx context.Context, batch queue.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return err
	}
	used, reserved := batch.Room.Draw(cost(batch.Events))
	if reserved {
		m.mu.Unlock() // giveUp takes it
		used()
		m.mu.Lock()
	} else if m.full(batch.Events) {
		return queue.ErrFull
	}
	for _, ev := range batch.Events {
		m.take(ev)
	}
	m.wake()
	return m.keepAll(batch.Rejects)
}

// full reports whether there is no room for events beside what is reserved.
func (m *Memory) full(events []event.Event) bool {
	return m.opts.MaxEvents > 0 && m.count(queued)+len(events) > m.opts.MaxEvents ||
		m.opts.MaxBytes > 0 && m.reserved+m.queuedBytes()+cost(events) > m.opts.MaxBytes
}

func cost(events []event.Event) (n int64) {
	for _, ev := range events {
		n += queue.Cost(ev)
	}
	return n
}

// queuedBytes is what queued events take of MaxBytes.
func (m *Memory) queuedBytes() (n int64) {
	for _, rec := range m.records {
		if rec.now == queued {
			n += queue.Cost(rec.event)
		}
	}
	return n
}

// Reserve sets room aside. Without MaxBytes there always is some.
func (m *Memory) Reserve(ctx context.Context, bytes int64) (*queue.Reservation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	if m.full(nil) || m.opts.MaxBytes > 0 && m.reserved+m.queuedBytes()+bytes > m.opts.MaxBytes {
		return nil, queue.ErrFull
	}
	m.reserved += bytes
	return queue.NewReservation(bytes, func(bytes int64) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.reserved -= bytes
	}), nil
}

// keepAll keeps the rejects and the samples of a batch, each kind whole or not
// at all.
func (m *Memory) keepAll(rejects []queue.Reject) error {
	var errs []error
	for _, samples := range []bool{false, true} {
		some := slices.DeleteFunc(slices.Clone(rejects), func(r queue.Reject) bool { return (r.Reason == queue.NotLifecycle) != samples })
		most, full := m.opts.MaxRejectBytes, queue.ErrRejectsFull
		if samples {
			most, full = queue.MaxSampleBytes, queue.ErrSamplesFull
		}
		if len(some) > 0 && most > 0 && m.rejectBytes(samples)+size(some) > most {
			errs = append(errs, full)
			continue
		}
		for _, rej := range some {
			m.keep(rej)
		}
	}
	return errors.Join(errs...)
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
		if rec == nil || !rec.leased && !(o.Verb == queue.Bury && m.unpark(rec)) {
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
		rec.forgive()
	case queue.Return:
		at, _ := slices.BinarySearchFunc(m.returned, rec.addr, func(r *record, addr queue.Address) int { return r.addr.Compare(addr) })
		m.returned = slices.Insert(m.returned, at, rec)
	case queue.Retry:
		rec.evidence = o
		if time.Since(rec.storedAt) >= time.Hour && (o.Strikes != 0 || !o.FirstFailed.IsZero()) {
			rec.stored, rec.storedAt = lasting(o), time.Now()
		}
		m.park(rec, o.Delay)
	case queue.Bury:
		rec.now = dead
		rec.forgive()
		rec.letter = queue.DeadLetter{
			Reason: o.Reason, Status: o.Status, Detail: o.Detail, Attempts: o.Attempts, Died: time.Now(),
		}
	default:
		return fmt.Errorf("settle %s: unknown verb %d", o.Address, o.Verb)
	}
	rec.leased = false
	return nil
}

// lasting is what of the evidence outlives the process.
func lasting(o queue.Outcome) queue.Outcome {
	return queue.Outcome{Strikes: o.Strikes, FirstFailed: o.FirstFailed}
}

// forgive forgets the evidence against rec.
func (rec *record) forgive() {
	rec.evidence, rec.stored, rec.storedAt = queue.Outcome{}, queue.Outcome{}, time.Time{}
}

// unpark takes rec out of those that wait for a retry, and reports whether it
// was there.
func (m *Memory) unpark(rec *record) bool {
	for _, list := range []*[]*record{&m.parked, &m.again} {
		if i := slices.Index(*list, rec); i >= 0 && rec.waiting {
			*list = slices.Delete(*list, i, i+1)
			rec.waiting = false
			return true
		}
	}
	return false
}

// Close makes every outcome durable and ends every waiting Lease.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	for _, rec := range m.records {
		rec.disk, rec.stored = rec.now, lasting(rec.evidence)
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
