package boltqueue

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"trackd/event"
)

const (
	// blockEvents bounds the events of one block: an address has 16 bits for
	// the place in its block.
	blockEvents = 1 << 16
)

// block is a run of events taken at about the same time: the unit of storage.
//
//	record: type (uvarint), id, name (length-prefixed), number of persons
//	(uvarint) and their hashes (8 bytes each), body (length-prefixed)
type block struct {
	taken time.Time
	raw   []byte
	count int
	packing

	once   sync.Once // of pack
	packed []byte    // the frame but for its header; set by pack
	codec  uint8
}

// packing is how blocks are made: by whom, and with what in view.
type packing struct {
	packer *packer
	stay   stay
}

func newBlock(now time.Time, sizeHint int, p packing) *block {
	return &block{taken: now, raw: make([]byte, 0, min(sizeHint, p.stay.blockBytes()+event.MaxBytes/4)), packing: p}
}

// full reports whether the next event belongs in another block.
func (b *block) full() bool { return len(b.raw) >= b.stay.blockBytes() || b.count == blockEvents }

func (b *block) add(ev event.Event) {
	b.raw = binary.AppendUvarint(b.raw, uint64(ev.Type))
	b.raw = appendBytes(b.raw, ev.ID)
	b.raw = appendBytes(b.raw, ev.Name)
	persons := 0
	for persons < len(ev.Persons) && ev.Persons[persons] != 0 {
		persons++
	}
	b.raw = binary.AppendUvarint(b.raw, uint64(persons))
	for _, hash := range ev.Persons[:persons] {
		b.raw = binary.LittleEndian.AppendUint64(b.raw, hash)
	}
	b.raw = appendBytes(b.raw, ev.Body)
	b.count++
}

// recordSize bounds what add will append for ev.
func recordSize(ev event.Event) int {
	return 5*binary.MaxVarintLen32 + 8*len(ev.Persons) + len(ev.ID) + len(ev.Name) + len(ev.Body)
}

// pack compresses the block, once, leaving room for the header in front. No
// event may be added any more. Safe for concurrent use.
func (b *block) pack() {
	b.once.Do(func() { b.packed, b.codec = b.packer.pack(b.raw, b.stay.codec(len(b.raw))) })
}

// value is the block as stored under number in the segment named identity.
func (b *block) value(identity, number uint64) []byte {
	b.pack()
	f := frame{kind: kindBlock, codec: b.codec, identity: identity, number: number,
		stamp: stampOf(b.taken), count: uint32(b.count)}
	return f.seal(b.packed)
}

// decodeBlock takes raw records apart. The events alias raw.
func decodeBlock(raw []byte, count int) ([]event.Event, error) {
	events := make([]event.Event, 0, count)
	r := reader{buf: raw}
	for range count {
		ev := event.Event{Type: event.Type(r.uvarint()), ID: string(r.bytes()), Name: string(r.bytes())}
		persons := r.uvarint()
		if persons > uint64(len(ev.Persons)) || ev.Type > event.TypeAlias {
			return nil, fmt.Errorf("%w: an event of type %d with %d persons", errDamaged, ev.Type, persons)
		}
		for i := range persons {
			ev.Persons[i] = r.uint64()
		}
		ev.Body = r.bytes()
		events = append(events, ev)
	}
	if len(r.buf) != 0 {
		r.bad = true
	}
	return events, r.err("block")
}
