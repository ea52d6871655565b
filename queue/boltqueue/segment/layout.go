package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// The on-disk format. This file is the only one that knows it.
//
//	dir/lock             flock, held by the process that owns the queue
//	dir/00000001.seg     a bbolt file: segment N of the line
//	dir/N.seg.tmp        a segment being born or rewritten, removed at start
//	dir/N.seg.failed     a write to that segment failed: it is not appended to
//	dir/N.seg.bad        a damaged file set aside, with the reason in .bad.txt
//
//	bucket   key            value (every one a frame, see below)
//	segment  "head"         format version, segment number
//	segment  "book"         the account of this segment, see book
//	blocks   number (BE64)  events as they were taken, compressed
//	marks    number (BE64)  what became of the events of that block
//	rejects  number (BE64)  one input that a door refused to send but keeps
//	texts    number (BE64)  what a far side said, stored once per segment
//
// A frame can be recognised and checked wherever it lies, even outside a
// readable bbolt page: bbolt itself checksums only its two meta pages.
//
//	offset size
//	     0    4  magic "tkd1"
//	     4    1  kind
//	     5    1  codec: 0 as is, 1 s2, 2 zstd
//	     6    2  zero
//	     8    8  identity of the segment
//	    16    8  number: the key, 0 for head and book
//	    24    8  stamp: blocks and rejects, when taken (Unix milliseconds);
//	             the others, which commit of the segment wrote them: newest wins
//	    32    4  count of events in a block, else 0
//	    36    4  length of the payload
//	    40    4  CRC-32C of bytes 0 to 39 and the payload
//	    44       payload
//
// All integers are little endian, but for keys. Numbers are never reused.
//
// A directory of another format is refused untouched: 1 and 2 were those of
// development, without types, persons and evidence.
const (
	formatVersion = 3
	magic         = "tkd1"
	headerSize    = 44
)

type kind uint8

const (
	KindHead kind = iota + 1
	kindBook
	KindBlock
	kindMarks
	KindReject
	kindText
)

const (
	codecPlain = 0
	codecS2    = 1
	codecZstd  = 2
)

// A bucket or key name is a constant; bbolt wants bytes.
const (
	BucketSegment = "segment"
	BucketBlocks  = "blocks"
	bucketMarks   = "marks"
	bucketRejects = "rejects"
	bucketTexts   = "texts"
	KeyHead       = "head"
	keyBook       = "book"
)

// BucketNames lists the buckets of a segment.
func BucketNames() []string {
	return []string{BucketSegment, BucketBlocks, bucketMarks, bucketRejects, bucketTexts}
}

// numberKey is the key of a numbered frame: big endian, so that bbolt lists
// them in order.
func numberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// KeyNumber is the inverse of numberKey; 0, which numbers nothing, for a key of
// another kind.
func KeyNumber(key []byte) uint64 {
	if len(key) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(key)
}

// frame is one stored value, decoded.
type frame struct {
	kind     kind
	Codec    uint8
	identity uint64
	number   uint64
	stamp    uint64
	Count    uint32
	Payload  []byte
}

// seal writes the header of f into buf, whose first headerSize bytes are free
// and whose rest already is the payload.
func (f frame) seal(buf []byte) []byte {
	le := binary.LittleEndian
	copy(buf, magic)
	buf[4], buf[5], buf[6], buf[7] = byte(f.kind), f.Codec, 0, 0
	le.PutUint64(buf[8:], f.identity)
	le.PutUint64(buf[16:], f.number)
	le.PutUint64(buf[24:], f.stamp)
	le.PutUint32(buf[32:], f.Count)
	le.PutUint32(buf[36:], uint32(len(buf)-headerSize))
	le.PutUint32(buf[40:], frameSum(buf))
	return buf
}

// Encode returns f as a value of its own memory.
func (f frame) Encode() []byte {
	buf := make([]byte, headerSize+len(f.Payload))
	copy(buf[headerSize:], f.Payload)
	return f.seal(buf)
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func frameSum(buf []byte) uint32 {
	table := castagnoli()
	return crc32.Update(crc32.Checksum(buf[:40], table), table, buf[headerSize:])
}

// ErrDamaged is what every failed check of a stored value wraps.
var ErrDamaged = errors.New("damaged")

// ParseFrame checks value and returns it decoded; the payload aliases value.
func ParseFrame(value []byte, want kind, identity, number uint64) (frame, error) {
	if len(value) < headerSize || string(value[:4]) != magic {
		return frame{}, fmt.Errorf("%w: no frame", ErrDamaged)
	}
	le := binary.LittleEndian
	f := frame{
		kind: kind(value[4]), Codec: value[5],
		identity: le.Uint64(value[8:]), number: le.Uint64(value[16:]),
		stamp: le.Uint64(value[24:]), Count: le.Uint32(value[32:]),
		Payload: value[headerSize:],
	}
	switch {
	case int(le.Uint32(value[36:])) != len(f.Payload):
		return frame{}, fmt.Errorf("%w: frame of %d bytes says %d", ErrDamaged, len(f.Payload), le.Uint32(value[36:]))
	case le.Uint32(value[40:]) != frameSum(value):
		return frame{}, fmt.Errorf("%w: checksum", ErrDamaged)
	case f.kind != want || f.number != number || identity != 0 && f.identity != identity:
		return frame{}, fmt.Errorf("%w: a frame of another place (kind %d, number %d)", ErrDamaged, f.kind, f.number)
	case f.Count > BlockEvents:
		return frame{}, fmt.Errorf("%w: a block of %d events", ErrDamaged, f.Count)
	}
	return f, nil
}

// maxUnpacked bounds what a damaged length can make a codec allocate. A block
// is about 64 KiB, one event beyond any limit of the doors aside.
const maxUnpacked = 64 << 20

// Unpack returns the payload uncompressed, in its own memory when it was
// compressed.
func (f frame) Unpack(p *Packer) ([]byte, error) { return p.unpack(f.Payload, f.Codec) }

func stampOf(t time.Time) uint64    { return uint64(max(t.UnixMilli(), 0)) }
func timeOf(stamp uint64) time.Time { return time.UnixMilli(int64(stamp)) }

// Reader takes a payload apart. The first short or overlong field sets bad,
// and everything after it reads as zero.
type Reader struct {
	Buf []byte
	bad bool
}

func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.Buf)
	if n <= 0 {
		r.bad, r.Buf = true, nil
		return 0
	}
	r.Buf = r.Buf[n:]
	return v
}

func (r *Reader) uint64() uint64 {
	if len(r.Buf) < 8 {
		r.bad, r.Buf = true, nil
		return 0
	}
	v := binary.LittleEndian.Uint64(r.Buf)
	r.Buf = r.Buf[8:]
	return v
}

func (r *Reader) bytes() []byte {
	n := r.Uvarint()
	if n > uint64(len(r.Buf)) {
		r.bad, r.Buf = true, nil
		return nil
	}
	b := r.Buf[:n:n]
	r.Buf = r.Buf[n:]
	return b
}

func (r *Reader) err(what string) error {
	if r.bad {
		return fmt.Errorf("%w: %s is cut short", ErrDamaged, what)
	}
	return nil
}

func appendBytes[B []byte | string](dst []byte, b B) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}
