package boltqueue

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
	"unique"
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

// evidence is what a Retry outcome said of an event that is still queued.
// Strikes and firstFailed are stored, the others end with the process.
type evidence struct {
	strikes     float64
	firstFailed time.Time
	attempts    int
	status      int
	detail      unique.Handle[string] // most failures say the same
	successes   uint64
	stored      time.Time // when it was last on its way to the disk; zero: never by this process
}

// marks is what became of the events of one block.
type marks struct {
	states   []state
	letters  []letter          // of the dead, by index
	evidence map[int]*evidence // of the live, by index
}

// encode lays out the states, two bits each, the dead in index order, and the
// evidence.
//
//	count, packed states, then per dead: index, reason, status, attempts,
//	died (Unix milliseconds), text number; then the number of events with
//	evidence, and for each: index, first failure (Unix milliseconds) (all
//	uvarint), strikes (float64, 8 bytes)
func (m marks) encode() []byte {
	buf := binary.AppendUvarint(nil, uint64(len(m.states)))
	packed := make([]byte, (len(m.states)+3)/4)
	for i, s := range m.states {
		packed[i/4] |= byte(s) << (i % 4 * 2)
	}
	buf = append(buf, packed...)
	for _, l := range m.letters {
		for _, v := range []uint64{uint64(l.index), uint64(l.reason), uint64(l.status),
			uint64(l.attempts), stampOf(l.died), l.text} {
			buf = binary.AppendUvarint(buf, v)
		}
	}
	buf = binary.AppendUvarint(buf, uint64(len(m.evidence)))
	for _, i := range slices.Sorted(maps.Keys(m.evidence)) {
		e := m.evidence[i]
		buf = binary.AppendUvarint(buf, uint64(i))
		buf = binary.AppendUvarint(buf, stampOf(e.firstFailed))
		buf = binary.LittleEndian.AppendUint64(buf, math.Float64bits(e.strikes))
	}
	return buf
}

// decodeMarks is the inverse of encode for a block of count events.
func decodeMarks(payload []byte, count int) (m marks, err error) {
	r := reader{buf: payload}
	if n := r.uvarint(); n != uint64(count) || len(r.buf) < (count+3)/4 {
		return m, fmt.Errorf("%w: marks for %d events on a block of %d", errDamaged, n, count)
	}
	m.states = make([]state, count)
	nDead := 0
	for i := range m.states {
		m.states[i] = state(r.buf[i/4] >> (i % 4 * 2) & 3)
		if m.states[i] == dead {
			nDead++
		}
	}
	r.buf = r.buf[(count+3)/4:]
	m.letters = make([]letter, 0, nDead)
	for last := -1; len(m.letters) < nDead; {
		l := letter{index: int(r.uvarint()), reason: uint8(r.uvarint()), status: int(r.uvarint()),
			attempts: int(r.uvarint()), died: timeOf(r.uvarint()), text: r.uvarint()}
		if l.index >= count || l.index <= last || m.states[l.index] != dead || l.reason == 0 || l.reason >= reasonSlots {
			return m, fmt.Errorf("%w: marks name a dead letter that is none", errDamaged)
		}
		m.letters, last = append(m.letters, l), l.index
	}
	for range r.uvarint() {
		i, first, strikes := r.uvarint(), r.uvarint(), math.Float64frombits(r.uint64())
		if r.bad || i >= uint64(count) || m.states[i] != live {
			return m, fmt.Errorf("%w: marks tell of an event that is not queued", errDamaged)
		}
		e := &evidence{strikes: strikes}
		if first > 0 {
			e.firstFailed = timeOf(first)
		}
		m.note(int(i), e)
	}
	return m, r.err("marks")
}

// note keeps the evidence against an event, or forgets it if e is nil.
func (m *marks) note(index int, e *evidence) {
	if e == nil {
		delete(m.evidence, index)
		return
	}
	if m.evidence == nil {
		m.evidence = map[int]*evidence{}
	}
	m.evidence[index] = e
}

// blockMarks reads the marks of one block, given their stored value; nil means
// that nothing was settled yet.
func blockMarks(value []byte, identity, number uint64, count int) (marks, error) {
	if value == nil {
		return marks{states: make([]state, count)}, nil
	}
	f, err := parseFrame(value, kindMarks, identity, number)
	if err != nil {
		return marks{}, err
	}
	return decodeMarks(f.payload, count)
}
