package segment

import (
	"encoding/binary"
	"fmt"
)

// ReasonSlots is one more than there are reasons: codes begin at 1.
const ReasonSlots = 9

// Counters is the account of one segment: taken = live + delivered + dead +
// discarded + lost. It is written in the same transaction as every change it
// tells of.
type Counters struct {
	Taken, Live, Delivered, Dead, Discarded, Lost uint64

	NextBlock, NextReject, nextText uint64 // numbers not used yet; the first is 1
	Rejects                         uint64 // of dead, kept in the rejects bucket
	RejectBytes                     uint64 // what they cost on disk, samples not counted
	SampleBytes                     uint64 // what rejects of not_lifecycle cost on disk
	DeadBy                          [ReasonSlots]uint64
}

func newBook() Counters { return Counters{NextBlock: 1, NextReject: 1, nextText: 1} }

// Virgin reports whether nothing was ever written to the segment.
func (b Counters) Virgin() bool { return b == newBook() }

// Empty reports whether nothing in the segment is worth keeping.
func (b Counters) Empty() bool { return b.Live == 0 && b.Dead == 0 }

func (b Counters) Balances() bool {
	most := max(b.Live, b.Delivered, b.Dead, b.Discarded, b.Lost) // a sum that ran over is no balance
	return b.Taken >= most && b.Taken == b.Live+b.Delivered+b.Dead+b.Discarded+b.Lost
}

// Shift applies the change of a block from one tally to another.
func (b *Counters) Shift(from, to Tally) {
	b.Live += uint64(to.By[Live] - from.By[Live])
	b.Delivered += uint64(to.By[Delivered] - from.By[Delivered])
	b.Dead += uint64(to.By[Dead] - from.By[Dead])
	b.Discarded += uint64(to.By[Discarded] - from.By[Discarded])
	for i := range b.DeadBy {
		b.DeadBy[i] += uint64(to.DeadBy[i] - from.DeadBy[i])
	}
}

// Take accounts for blocks and rejects that were appended.
func (b *Counters) Take(blocks []*Block, rejects []Reject) {
	for _, blk := range blocks {
		b.Taken += uint64(blk.Count)
		b.Live += uint64(blk.Count)
		b.NextBlock++
	}
	for _, r := range rejects {
		b.Taken++
		b.Dead++
		b.DeadBy[r.Reason]++
		b.Rejects++
		*b.bytesOf(r.Reason) += uint64(r.Cost())
		b.NextReject++
	}
}

// dropReject accounts for a discarded reject.
func (b *Counters) dropReject(r Reject) {
	b.Dead--
	b.DeadBy[r.Reason]--
	b.Rejects--
	*b.bytesOf(r.Reason) -= uint64(r.Cost())
	b.Discarded++
}

// bytesOf is what a reject's cost is charged to.
func (b *Counters) bytesOf(reason uint8) *uint64 {
	if reason == ReasonSample {
		return &b.SampleBytes
	}
	return &b.RejectBytes
}

// fields lists the book in its stored order; new ones go to the end.
func (b *Counters) fields() []*uint64 {
	all := []*uint64{&b.Taken, &b.Live, &b.Delivered, &b.Dead, &b.Discarded, &b.Lost,
		&b.NextBlock, &b.NextReject, &b.nextText, &b.Rejects, &b.RejectBytes, &b.SampleBytes}
	for i := range b.DeadBy {
		all = append(all, &b.DeadBy[i])
	}
	return all
}

func (b Counters) encode() []byte {
	all := b.fields()
	buf := make([]byte, 0, 8*len(all))
	for _, f := range all {
		buf = binary.LittleEndian.AppendUint64(buf, *f)
	}
	return buf
}

func decodeCounters(payload []byte) (Counters, error) {
	var b Counters
	all := b.fields()
	if len(payload) != 8*len(all) {
		return b, fmt.Errorf("%w: book of %d bytes", ErrDamaged, len(payload))
	}
	for i, f := range all {
		*f = binary.LittleEndian.Uint64(payload[8*i:])
	}
	if !b.Balances() {
		return b, fmt.Errorf("%w: book does not balance: %+v", ErrDamaged, b)
	}
	return b, nil
}
