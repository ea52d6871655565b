package segment

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

const (
	// passingBytes and waitingBytes are how much raw event a block holds before
	// the next is begun. bbolt puts two blocks on a leaf page and rewrites the
	// neighbours of what changes, so middling blocks are cheaper than large ones;
	// but the end of each leaf page is empty, half a page on average, and blocks
	// that wait pack to half the size.
	passingBytes = 40 << 10
	waitingBytes = 64 << 10

	// denseBytes is the least raw event for which zstd's fixed cost, about 14 µs
	// a block, is worth what it saves: some 200 bytes at this size.
	denseBytes = 2 << 10

	// denseWindow is how far back zstd looks for repetitions: a block, and the
	// event that fills it. In one piece is also quicker than in two.
	denseWindow = 2 * waitingBytes
)

// Stay is how long what is being appended will lie on disk.
type Stay uint8

const (
	Passing Stay = iota // delivery is close behind: deleted a moment later
	Waiting             // a backlog comes first
)

// BlockBytes is where a block is full.
func (s Stay) BlockBytes() int {
	if s == Waiting {
		return waitingBytes
	}
	return passingBytes
}

// codec is how a block of size raw bytes is compressed: what passes through
// must be quick, what waits should be small.
func (s Stay) codec(size int) uint8 {
	if s == Waiting && size >= denseBytes {
		return codecZstd
	}
	return codecS2
}

// Packer compresses blocks and brings them back, for any number of goroutines.
// Its memory is that of one encoder, one decoder, and a buffer for each block
// being packed at the same time.
type Packer struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
	scratch sync.Pool // of *[]byte, in use during one pack
}

func NewPacker() (*Packer, error) {
	// Frames have a checksum of their own.
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(denseWindow),
		zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		return nil, err
	}
	return &Packer{encoder: encoder, decoder: decoder, scratch: sync.Pool{New: func() any { return new([]byte) }}}, nil
}

// pack compresses raw, which is left as it is when that makes it no smaller.
// The result lies behind headerSize free bytes in memory of its own.
func (p *Packer) pack(raw []byte, codec uint8) (packed []byte, used uint8) {
	scratch := p.scratch.Get().(*[]byte)
	defer p.scratch.Put(scratch)
	switch codec {
	case codecZstd:
		*scratch = p.encoder.EncodeAll(raw, (*scratch)[:0])
	default:
		*scratch = s2.Encode((*scratch)[:cap(*scratch)], raw)
	}
	small := *scratch
	if len(small) >= len(raw) {
		small, codec = raw, codecPlain
	}
	packed = make([]byte, headerSize+len(small))
	copy(packed[headerSize:], small)
	return packed, codec
}

// unpack brings the payload of a frame back, in its own memory when it was
// compressed. What a damaged length can make it allocate is bounded.
func (p *Packer) unpack(payload []byte, codec uint8) (raw []byte, err error) {
	switch codec {
	case codecPlain:
		return payload, nil
	case codecS2:
		var n int
		if n, err = s2.DecodedLen(payload); err == nil && n > maxUnpacked {
			err = fmt.Errorf("%d bytes that unpack to %d", len(payload), n)
		}
		if err == nil {
			raw, err = s2.Decode(nil, payload)
		}
	case codecZstd:
		if len(payload) == 0 {
			err = errors.New("nothing to unpack") // which zstd takes for nothing packed
			break
		}
		raw, err = p.decoder.DecodeAll(payload, nil)
	default:
		err = fmt.Errorf("codec %d is none of ours", codec)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return raw, nil
}
