package boltqueue

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"trackd/queue"
)

// state is what became of one event of a block.
type state uint8

const (
	live state = iota
	delivered
	dead
	discarded
	states // how many there are
)

// reasonCode is the stored form of a queue.Reason: its place in
// queue.Reasons, from 1. The order of that list is therefore part of the
// format.
func reasonCode(r queue.Reason) uint8 { return uint8(slices.Index(queue.Reasons(), r) + 1) }

func reasonOf(code uint8) queue.Reason {
	if all := queue.Reasons(); code >= 1 && int(code) <= len(all) {
		return all[code-1]
	}
	return ""
}

// letter is what a block remembers of one of its dead.
type letter struct {
	index    int
	reason   uint8
	status   int
	attempts int
	died     time.Time
	text     uint64 // number of the detail in the segment's texts; 0: not stored yet
	detail   string // set until it has a number, and after it was looked up
}

// tally counts the events of a block by state, and its dead by reason.
type tally struct {
	by     [states]int
	deadBy [reasonSlots]int
}

func tallyOf(st []state, letters []letter) tally {
	var t tally
	for _, s := range st {
		t.by[s]++
	}
	for _, l := range letters {
		t.deadBy[l.reason]++
	}
	return t
}

// encodeMarks lays out states, two bits each, and the dead in index order.
//
//	count, packed states, then per dead: index, reason, status, attempts,
//	died (Unix milliseconds), text number (all uvarint)
func encodeMarks(st []state, letters []letter) []byte {
	buf := binary.AppendUvarint(nil, uint64(len(st)))
	packed := make([]byte, (len(st)+3)/4)
	for i, s := range st {
		packed[i/4] |= byte(s) << (i % 4 * 2)
	}
	buf = append(buf, packed...)
	for _, l := range letters {
		for _, v := range []uint64{uint64(l.index), uint64(l.reason), uint64(l.status),
			uint64(l.attempts), stampOf(l.died), l.text} {
			buf = binary.AppendUvarint(buf, v)
		}
	}
	return buf
}

// decodeMarks is the inverse of encodeMarks for a block of count events.
func decodeMarks(payload []byte, count int) ([]state, []letter, error) {
	r := reader{buf: payload}
	if n := r.uvarint(); n != uint64(count) || len(r.buf) < (count+3)/4 {
		return nil, nil, fmt.Errorf("%w: marks for %d events on a block of %d", errDamaged, n, count)
	}
	st := make([]state, count)
	nDead := 0
	for i := range st {
		st[i] = state(r.buf[i/4] >> (i % 4 * 2) & 3)
		if st[i] == dead {
			nDead++
		}
	}
	r.buf = r.buf[(count+3)/4:]
	letters := make([]letter, 0, nDead)
	for range nDead {
		l := letter{index: int(r.uvarint()), reason: uint8(r.uvarint()), status: int(r.uvarint()),
			attempts: int(r.uvarint()), died: timeOf(r.uvarint()), text: r.uvarint()}
		if l.index >= count || st[l.index] != dead || reasonOf(l.reason) == "" {
			return nil, nil, fmt.Errorf("%w: marks name a letter that is none", errDamaged)
		}
		letters = append(letters, l)
	}
	return st, letters, r.err("marks")
}

// blockMarks reads the marks of one block, given their stored value; nil means
// that nothing was settled yet.
func blockMarks(value []byte, identity, number uint64, count int) ([]state, []letter, error) {
	if value == nil {
		return make([]state, count), nil, nil
	}
	f, err := parseFrame(value, kindMarks, identity, number)
	if err != nil {
		return nil, nil, err
	}
	return decodeMarks(f.payload, count)
}
