package queuetest

import (
	"slices"

	"trackd/queue"
)

// Reopen closes m and returns what the next process finds: everything queued
// is due, attempts are zero, nothing settled is back.
func (m *Memory) Reopen() *Memory {
	_ = m.Close() // it has nothing that could fail
	return m.restart(nil)
}

// Unflushed returns the addresses of events whose last outcome has not reached
// the disk: those that may come back after a crash.
func (m *Memory) Unflushed() []queue.Address {
	m.mu.Lock()
	defer m.mu.Unlock()
	var addrs []queue.Address
	for _, rec := range m.records {
		if rec.now != rec.disk {
			addrs = append(addrs, rec.addr)
		}
	}
	return addrs
}

// Crash returns what the next process finds if this one is killed now: every
// unflushed event is queued again, except those at the flushed addresses, whose
// outcomes are taken to have reached the disk just in time. m is closed.
func (m *Memory) Crash(flushed ...queue.Address) *Memory {
	return m.restart(flushed)
}

// restart takes the records over as the disk shows them.
func (m *Memory) restart(flushed []queue.Address) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.wake()
	after := NewMemory(m.opts)
	for _, old := range m.records {
		rec := &record{addr: old.addr, taken: old.taken, event: old.event, atDoor: old.atDoor, now: old.disk,
			evidence: old.stored, stored: old.stored, storedAt: old.storedAt}
		if slices.Contains(flushed, old.addr) {
			rec.now = old.now
		}
		rec.disk = rec.now
		switch rec.now {
		case dead:
			rec.letter = old.letter
		case queued:
			after.fresh = append(after.fresh, rec)
		}
		after.records = append(after.records, rec)
	}
	return after
}
