package segment

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
	"unique"
)

// State is what became of one event of a block.
type State uint8

const (
	Live State = iota
	Delivered
	Dead
	Discarded
	states // how many there are
)

// DeadEvent is what a block remembers of one of its dead.
type DeadEvent struct {
	Index    int
	Reason   uint8
	Status   int
	Attempts int
	Died     time.Time
	Text     uint64 // number of the detail in the segment's texts; 0: not stored yet
	Detail   string // set until it has a number, and after it was looked up
}

// Tally counts the events of a block by state, and its dead by reason.
type Tally struct {
	By     [states]int
	DeadBy [ReasonSlots]int
}

func TallyOf(st []State, letters []DeadEvent) Tally {
	var t Tally
	for _, s := range st {
		t.By[s]++
	}
	for _, l := range letters {
		t.DeadBy[l.Reason]++
	}
	return t
}

// Evidence is what a Retry outcome said of an event that is still queued.
// Strikes and firstFailed are stored, the others end with the process.
type Evidence struct {
	Strikes     float64
	FirstFailed time.Time
	Attempts    int
	Status      int
	Detail      unique.Handle[string] // most failures say the same
	Successes   uint64
	Stored      time.Time // when it was last on its way to the disk; zero: never by this process
}

// Marks is what became of the events of one block.
type Marks struct {
	States   []State
	Letters  []DeadEvent       // of the dead, by index
	Evidence map[int]*Evidence // of the live, by index
}

// encode lays out the states, two bits each, the dead in index order, and the
// evidence.
//
//	count, packed states, then per dead: index, reason, status, attempts,
//	died (Unix milliseconds), text number; then the number of events with
//	evidence, and for each: index, first failure (Unix milliseconds) (all
//	uvarint), strikes (float64, 8 bytes)
func (m Marks) encode() []byte {
	buf := binary.AppendUvarint(nil, uint64(len(m.States)))
	packed := make([]byte, (len(m.States)+3)/4)
	for i, s := range m.States {
		packed[i/4] |= byte(s) << (i % 4 * 2)
	}
	buf = append(buf, packed...)
	for _, l := range m.Letters {
		for _, v := range []uint64{uint64(l.Index), uint64(l.Reason), uint64(l.Status),
			uint64(l.Attempts), stampOf(l.Died), l.Text} {
			buf = binary.AppendUvarint(buf, v)
		}
	}
	buf = binary.AppendUvarint(buf, uint64(len(m.Evidence)))
	for _, i := range slices.Sorted(maps.Keys(m.Evidence)) {
		e := m.Evidence[i]
		buf = binary.AppendUvarint(buf, uint64(i))
		buf = binary.AppendUvarint(buf, stampOf(e.FirstFailed))
		buf = binary.LittleEndian.AppendUint64(buf, math.Float64bits(e.Strikes))
	}
	return buf
}

// decodeMarks is the inverse of encode for a block of count events.
func decodeMarks(payload []byte, count int) (m Marks, err error) {
	r := Reader{Buf: payload}
	if n := r.Uvarint(); n != uint64(count) || len(r.Buf) < (count+3)/4 {
		return m, fmt.Errorf("%w: marks for %d events on a block of %d", ErrDamaged, n, count)
	}
	m.States = make([]State, count)
	nDead := 0
	for i := range m.States {
		m.States[i] = State(r.Buf[i/4] >> (i % 4 * 2) & 3)
		if m.States[i] == Dead {
			nDead++
		}
	}
	r.Buf = r.Buf[(count+3)/4:]
	m.Letters = make([]DeadEvent, 0, nDead)
	for last := -1; len(m.Letters) < nDead; {
		l := DeadEvent{Index: int(r.Uvarint()), Reason: uint8(r.Uvarint()), Status: int(r.Uvarint()),
			Attempts: int(r.Uvarint()), Died: timeOf(r.Uvarint()), Text: r.Uvarint()}
		if l.Index >= count || l.Index <= last || m.States[l.Index] != Dead || l.Reason == 0 || l.Reason >= ReasonSlots {
			return m, fmt.Errorf("%w: marks name a dead letter that is none", ErrDamaged)
		}
		m.Letters, last = append(m.Letters, l), l.Index
	}
	for range r.Uvarint() {
		i, first, strikes := r.Uvarint(), r.Uvarint(), math.Float64frombits(r.uint64())
		if r.bad || i >= uint64(count) || m.States[i] != Live {
			return m, fmt.Errorf("%w: marks tell of an event that is not queued", ErrDamaged)
		}
		e := &Evidence{Strikes: strikes}
		if first > 0 {
			e.FirstFailed = timeOf(first)
		}
		m.Note(int(i), e)
	}
	return m, r.err("marks")
}

// Note keeps the evidence against an event, or forgets it if e is nil.
func (m *Marks) Note(index int, e *Evidence) {
	if e == nil {
		delete(m.Evidence, index)
		return
	}
	if m.Evidence == nil {
		m.Evidence = map[int]*Evidence{}
	}
	m.Evidence[index] = e
}

// blockMarks reads the marks of one block, given their stored value; nil means
// that nothing was settled yet.
func blockMarks(value []byte, identity, number uint64, count int) (Marks, error) {
	if value == nil {
		return Marks{States: make([]State, count)}, nil
	}
	f, err := ParseFrame(value, kindMarks, identity, number)
	if err != nil {
		return Marks{}, err
	}
	return decodeMarks(f.Payload, count)
}
