package segment

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"trackd/event"
)

const (
	// BlockEvents bounds the events of one block: an address has 16 bits for
	// the place in its block.
	BlockEvents = 1 << 16
)

// Block is a run of events taken at about the same time: the unit of storage.
//
//	record: type (uvarint), id, name (length-prefixed), number of persons
//	(uvarint) and their hashes (8 bytes each), body (length-prefixed)
type Block struct {
	Taken time.Time
	Raw   []byte
	Count int
	Packing

	once   sync.Once // of pack
	packed []byte    // the frame but for its header; set by pack
	codec  uint8
}

// Packing is how blocks are made: by whom, and with what in view.
type Packing struct {
	Packer *Packer
	Stay   Stay
}

func NewBlock(now time.Time, sizeHint int, p Packing) *Block {
	return &Block{Taken: now, Raw: make([]byte, 0, min(sizeHint, p.Stay.BlockBytes()+event.MaxBytes/4)), Packing: p}
}

// Full reports whether the next event belongs in another block.
func (b *Block) Full() bool { return len(b.Raw) >= b.Stay.BlockBytes() || b.Count == BlockEvents }

func (b *Block) Add(ev event.Event) {
	b.Raw = binary.AppendUvarint(b.Raw, uint64(ev.Type))
	b.Raw = appendBytes(b.Raw, ev.ID)
	b.Raw = appendBytes(b.Raw, ev.Name)
	persons := 0
	for persons < len(ev.Persons) && ev.Persons[persons] != 0 {
		persons++
	}
	b.Raw = binary.AppendUvarint(b.Raw, uint64(persons))
	for _, hash := range ev.Persons[:persons] {
		b.Raw = binary.LittleEndian.AppendUint64(b.Raw, hash)
	}
	b.Raw = appendBytes(b.Raw, ev.Body)
	b.Count++
}

// RecordSize bounds what add will append for ev.
func RecordSize(ev event.Event) int {
	return 5*binary.MaxVarintLen32 + 8*len(ev.Persons) + len(ev.ID) + len(ev.Name) + len(ev.Body)
}

// Pack compresses the block, once, leaving room for the header in front. No
// event may be added any more. Safe for concurrent use.
func (b *Block) Pack() {
	b.once.Do(func() { b.packed, b.codec = b.Packer.pack(b.Raw, b.Stay.codec(len(b.Raw))) })
}

// Value is the block as stored under number in the segment named identity.
func (b *Block) Value(identity, number uint64) []byte {
	b.Pack()
	f := frame{kind: KindBlock, Codec: b.codec, identity: identity, number: number,
		stamp: stampOf(b.Taken), Count: uint32(b.Count)}
	return f.seal(b.packed)
}

// DecodeBlock takes raw records apart. The events alias raw.
func DecodeBlock(raw []byte, count int) ([]event.Event, error) {
	events := make([]event.Event, 0, count)
	r := Reader{Buf: raw}
	for range count {
		ev := event.Event{Type: event.Type(r.Uvarint()), ID: string(r.bytes()), Name: string(r.bytes())}
		persons := r.Uvarint()
		if persons > uint64(len(ev.Persons)) || ev.Type > event.TypeAlias {
			return nil, fmt.Errorf("%w: an event of type %d with %d persons", ErrDamaged, ev.Type, persons)
		}
		for i := range persons {
			ev.Persons[i] = r.uint64()
		}
		ev.Body = r.bytes()
		events = append(events, ev)
	}
	if len(r.Buf) != 0 {
		r.bad = true
	}
	return events, r.err("block")
}
