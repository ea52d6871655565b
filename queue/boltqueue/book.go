package boltqueue

import (
	"encoding/binary"
	"fmt"
)

// reasonSlots is one more than there are reasons: codes begin at 1.
const reasonSlots = 9

// book is the account of one segment: taken = live + delivered + dead +
// discarded + lost. It is written in the same transaction as every change it
// tells of.
type book struct {
	taken, live, delivered, dead, discarded, lost uint64

	nextBlock, nextReject, nextText uint64 // numbers not used yet; the first is 1
	rejects                         uint64 // of dead, kept in the rejects bucket
	rejectBytes                     uint64 // what they cost on disk, samples not counted
	sampleBytes                     uint64 // what rejects of not_lifecycle cost on disk
	deadBy                          [reasonSlots]uint64
}

func newBook() book { return book{nextBlock: 1, nextReject: 1, nextText: 1} }

// virgin reports whether nothing was ever written to the segment.
func (b book) virgin() bool { return b == newBook() }

// empty reports whether nothing in the segment is worth keeping.
func (b book) empty() bool { return b.live == 0 && b.dead == 0 }

func (b book) balances() bool {
	most := max(b.live, b.delivered, b.dead, b.discarded, b.lost) // a sum that ran over is no balance
	return b.taken >= most && b.taken == b.live+b.delivered+b.dead+b.discarded+b.lost
}

// shift applies the change of a block from one tally to another.
func (b *book) shift(from, to tally) {
	b.live += uint64(to.by[live] - from.by[live])
	b.delivered += uint64(to.by[delivered] - from.by[delivered])
	b.dead += uint64(to.by[dead] - from.by[dead])
	b.discarded += uint64(to.by[discarded] - from.by[discarded])
	for i := range b.deadBy {
		b.deadBy[i] += uint64(to.deadBy[i] - from.deadBy[i])
	}
}

// take accounts for blocks and rejects that were appended.
func (b *book) take(blocks []*block, rejects []reject) {
	for _, blk := range blocks {
		b.taken += uint64(blk.count)
		b.live += uint64(blk.count)
		b.nextBlock++
	}
	for _, r := range rejects {
		b.taken++
		b.dead++
		b.deadBy[r.reason]++
		b.rejects++
		*b.bytesOf(r.reason) += uint64(r.cost())
		b.nextReject++
	}
}

// dropReject accounts for a discarded reject.
func (b *book) dropReject(r reject) {
	b.dead--
	b.deadBy[r.reason]--
	b.rejects--
	*b.bytesOf(r.reason) -= uint64(r.cost())
	b.discarded++
}

// bytesOf is what a reject's cost is charged to.
func (b *book) bytesOf(reason uint8) *uint64 {
	if reason == reasonSample {
		return &b.sampleBytes
	}
	return &b.rejectBytes
}

// fields lists the book in its stored order; new ones go to the end.
func (b *book) fields() []*uint64 {
	all := []*uint64{&b.taken, &b.live, &b.delivered, &b.dead, &b.discarded, &b.lost,
		&b.nextBlock, &b.nextReject, &b.nextText, &b.rejects, &b.rejectBytes, &b.sampleBytes}
	for i := range b.deadBy {
		all = append(all, &b.deadBy[i])
	}
	return all
}

func (b book) encode() []byte {
	all := b.fields()
	buf := make([]byte, 0, 8*len(all))
	for _, f := range all {
		buf = binary.LittleEndian.AppendUint64(buf, *f)
	}
	return buf
}

func decodeBook(payload []byte) (book, error) {
	var b book
	all := b.fields()
	if len(payload) != 8*len(all) {
		return b, fmt.Errorf("%w: book of %d bytes", errDamaged, len(payload))
	}
	for i, f := range all {
		*f = binary.LittleEndian.Uint64(payload[8*i:])
	}
	if !b.balances() {
		return b, fmt.Errorf("%w: book does not balance: %+v", errDamaged, b)
	}
	return b, nil
}
