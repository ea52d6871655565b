package segment

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"trackd/event"
)

func TestOnlyBlocksThatWaitAndAreWorthItArePackedWithZstd(t *testing.T) {
	for _, c := range []struct {
		stay Stay
		size int
		want uint8
	}{
		{Passing, 1, codecS2},
		{Passing, passingBytes, codecS2},
		{Waiting, 1, codecS2},
		{Waiting, denseBytes - 1, codecS2},
		{Waiting, denseBytes, codecZstd},
		{Waiting, waitingBytes, codecZstd},
	} {
		if got := c.stay.codec(c.size); got != c.want {
			t.Errorf("stay %d, %d bytes: got codec %d, want %d", c.stay, c.size, got, c.want)
		}
	}
}

func TestEveryCodecBringsBackWhatItPacked(t *testing.T) {
	p, dice := goldenPacker(t), rand.New(rand.NewPCG(3, 3))
	noise := make([]byte, 3_000)
	for i := range noise {
		noise[i] = byte(dice.Uint32())
	}
	type packed struct {
		raw, value []byte
		codec      uint8
	}
	var all []packed
	for _, codec := range []uint8{codecS2, codecZstd} {
		for _, raw := range [][]byte{{0}, noise, bytes.Repeat([]byte("event "), 100), bytes.Repeat(noise, 40)} {
			value, used := p.pack(raw, codec)
			all = append(all, packed{raw, value, used})
		}
	}
	used := map[uint8]int{}
	for i, c := range all { // after all were packed: none may lie in another's memory
		used[c.codec]++
		got, err := p.unpack(c.value[headerSize:], c.codec)
		if err != nil || !bytes.Equal(got, c.raw) {
			t.Errorf("%d: %d bytes, codec %d: got %d bytes, %v", i, len(c.raw), c.codec, len(got), err)
		}
		if most := headerSize + len(c.raw); len(c.value) > most || cap(c.value) > 2*most {
			t.Errorf("%d: %d bytes are packed into %d, of %d", i, len(c.raw), len(c.value), cap(c.value))
		}
	}
	if used[codecPlain] != 4 || used[codecS2] != 2 || used[codecZstd] != 2 {
		t.Errorf("got the codecs %v, want plain for what does not shrink", used)
	}
}

// packedEvents is the payload of a block as zstd packs it.
func packedEvents(t testing.TB, p *Packer, n int) (payload []byte, size int) {
	t.Helper()
	b := NewBlock(goldenTime(), 0, Packing{Packer: p, Stay: Waiting})
	for i := range n {
		b.Add(event.Event{ID: fmt.Sprint("m", i*i), Name: "Application Opened", Body: []byte(strings.Repeat(fmt.Sprint(i), 100))})
	}
	b.Pack()
	if b.codec != codecZstd {
		t.Fatalf("got codec %d", b.codec)
	}
	return b.packed[headerSize:], len(b.Raw)
}

func TestAZstdPayloadCutShortIsDamage(t *testing.T) {
	p := goldenPacker(t)
	payload, _ := packedEvents(t, p, 50)
	for n := range payload {
		if raw, err := p.unpack(payload[:n], codecZstd); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes of %d: got %d bytes, %v, want damage", n, len(payload), len(raw), err)
		}
	}
}

// The frame's checksum is what finds a flipped bit; where it should ever fail
// to, what follows must be harmless.
func TestAZstdPayloadWithABitFlippedDoesNoHarm(t *testing.T) {
	p := goldenPacker(t)
	payload, size := packedEvents(t, p, 50)
	named := 0
	for i := range 8 * len(payload) {
		payload[i/8] ^= 1 << (i % 8)
		raw, err := p.unpack(payload, codecZstd)
		if err == nil {
			_, err = DecodeBlock(raw, 50)
		}
		if err != nil && !errors.Is(err, ErrDamaged) || len(raw) > 64*size {
			t.Errorf("bit %d of byte %d: got %d bytes, %v, want damage", i%8, i/8, len(raw), err)
		}
		if err != nil {
			named++
		}
		payload[i/8] ^= 1 << (i % 8)
	}
	if named < 4*len(payload) {
		t.Errorf("of %d flipped bits %d were noticed", 8*len(payload), named)
	}
	if _, err := p.unpack(payload, codecZstd); err != nil {
		t.Errorf("what is whole again: %v", err)
	}
}

// bomb is a small payload of a great size.
func bomb(t testing.TB, size int, says bool) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if says {
		return w.EncodeAll(make([]byte, size), nil)
	}
	_, err = w.Write(make([]byte, size))
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWhatUnpacksToMoreThanAnyBlockIsNotUnpacked(t *testing.T) {
	for what, c := range map[string]struct {
		says bool
		most uint64 // of memory
	}{
		"a size that is told is not believed":    {true, 1 << 20},
		"a size that is not told is not awaited": {false, 6 * maxUnpacked}, // a slice that grows
	} {
		p, payload := goldenPacker(t), bomb(t, maxUnpacked+1, c.says)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		raw, err := p.unpack(payload, codecZstd)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: got %d bytes, %v, want damage", what, len(raw), err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > c.most {
			t.Errorf("%s: %d bytes allocated for a payload of %d", what, got, len(payload))
		}
	}
}

func TestACodecOfAnotherTimeIsDamage(t *testing.T) {
	if raw, err := goldenPacker(t).unpack([]byte("payload"), codecZstd+1); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %q, %v, want damage", raw, err)
	}
}

func TestABlockIsFullLaterWhenItWaits(t *testing.T) {
	for stay, want := range map[Stay]int{Passing: passingBytes, Waiting: waitingBytes} {
		b, ev := NewBlock(goldenTime(), 0, Packing{Stay: stay}), event.Event{ID: "m", Name: "n", Body: make([]byte, 1_000)}
		for !b.Full() {
			b.Add(ev)
		}
		if got := len(b.Raw); got < want || got > want+RecordSize(ev) {
			t.Errorf("stay %d: got a block of %d bytes, want about %d", stay, got, want)
		}
	}
}

// FuzzUnpack unpacks anything with any codec, and takes apart what comes out.
func FuzzUnpack(f *testing.F) {
	p := goldenPacker(f)
	payload, _ := packedEvents(f, p, 30)
	f.Add(payload, uint8(codecZstd), 30)
	f.Add(payload[:len(payload)/2], uint8(codecZstd), 30)
	f.Add(bomb(f, maxUnpacked+1, true), uint8(codecZstd), 1)
	small, _ := p.pack(bytes.Repeat([]byte("\x00\x01m\x01n\x01b"), 20), codecS2)
	f.Add(small[headerSize:], uint8(codecS2), 20)
	f.Add([]byte("\x00\x01m\x01n\x01b"), uint8(codecPlain), 1)
	f.Fuzz(func(t *testing.T, payload []byte, codec uint8, count int) {
		raw, err := p.unpack(payload, codec)
		if err == nil && len(raw) <= maxUnpacked {
			_, err = DecodeBlock(raw, min(max(count, 0), BlockEvents))
		}
		if err != nil && !errors.Is(err, ErrDamaged) || len(raw) > max(maxUnpacked, len(payload)) {
			t.Errorf("got %d bytes, %v, want damage", len(raw), err)
		}
	})
}
