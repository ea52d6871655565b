package segment

import (
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
	"time"

	"trackd/event"
)

// What these tests hold is on people's disks. A change that fails one needs a
// new formatVersion and a way to read the old one.

const goldenIdentity = 0x1122334455667788

func goldenTime() time.Time { return time.UnixMilli(1_790_000_000_123) }

// golden checks that got is written as want says: hexadecimal, with blanks
// where it reads better.
func golden(t *testing.T, got []byte, want string) {
	t.Helper()
	if text := hex.EncodeToString(got); text != strings.Join(strings.Fields(want), "") {
		t.Errorf("got  %s\nwant %s", text, strings.Join(strings.Fields(want), ""))
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestNamesAndNumbersOfTheFormatStay(t *testing.T) {
	if formatVersion != 3 || magic != "tkd1" || headerSize != 44 || BlockEvents != 1<<16 {
		t.Error("a constant of the format changed")
	}
	if got := strings.Join(BucketNames(), " ") + " " + KeyHead + " " + keyBook; got != "segment blocks marks rejects texts head book" {
		t.Errorf("got the names %s", got)
	}
	kinds := []kind{KindHead, kindBook, KindBlock, kindMarks, KindReject, kindText}
	for i, k := range kinds {
		if int(k) != i+1 {
			t.Errorf("kind %d is now %d", i+1, k)
		}
	}
	if Live != 0 || Delivered != 1 || Dead != 2 || Discarded != 3 {
		t.Error("the states changed")
	}
	golden(t, numberKey(0x0102), "0000000000000102")
	if got := SegmentPath("dir", 7); got != "dir/00000007.seg" {
		t.Errorf("got the name %s", got)
	}
}

func TestAFrameIsWrittenAsEver(t *testing.T) {
	f := frame{kind: kindText, identity: goldenIdentity, number: 3, stamp: 9, Payload: []byte("no such user")}
	stored := f.Encode()
	golden(t, stored, `
		746b643106000000887766554433221103000000000000000900000000000000000000000c000000
		da04ae666e6f20737563682075736572`)
	got, err := ParseFrame(stored, kindText, goldenIdentity, 3)
	if err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("got %+v, %v, want %+v", got, err, f)
	}
}

func TestABookIsWrittenAsEver(t *testing.T) {
	b := Counters{Taken: 21, Live: 1, Delivered: 2, Dead: 5, Discarded: 6, Lost: 7, NextBlock: 8, NextReject: 9, nextText: 10,
		Rejects: 3, RejectBytes: 4, SampleBytes: 1, DeadBy: [ReasonSlots]uint64{0, 1, 2, 0, 0, 2}}
	golden(t, b.encode(), `
		15000000000000000100000000000000020000000000000005000000000000000600000000000000
		0700000000000000080000000000000009000000000000000a000000000000000300000000000000
		04000000000000000100000000000000000000000000000001000000000000000200000000000000
		00000000000000000000000000000000020000000000000000000000000000000000000000000000
		0000000000000000`)
	if got, err := decodeCounters(b.encode()); err != nil || got != b {
		t.Errorf("got %+v, %v, want %+v", got, err, b)
	}
}

func TestMarksAreWrittenAsEver(t *testing.T) {
	st := []State{Live, Delivered, Dead, Discarded, Dead}
	letters := []DeadEvent{
		{Index: 2, Reason: 5, Status: 400, Attempts: 1, Died: goldenTime(), Text: 3},
		{Index: 4, Reason: 7, Status: 503, Attempts: 20, Died: goldenTime()},
	}
	m := Marks{States: st, Letters: letters, Evidence: map[int]*Evidence{0: {Strikes: 1.5, FirstFailed: goldenTime()}}}
	stored := m.encode()
	golden(t, stored, `
		05e4020205900301fbd8c1a28c34030407f70314fbd8c1a28c34000100fbd8c1a28c340000000000
		00f83f`)
	if got, err := decodeMarks(stored, len(st)); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("got %+v, %v, want %+v", got, err, m)
	}
}

func goldenEvents() []event.Event {
	return []event.Event{
		{ID: "m1", Name: "Application Opened", Persons: event.Persons{7, 8}, Body: []byte(`{"messageId":"m1"}`)},
		{Type: event.TypeScreen, ID: "m2", Name: "Application Crashed", Body: []byte(`{}`)},
	}
}

func goldenPacker(t testing.TB) *Packer {
	t.Helper()
	p, err := NewPacker()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestABlockIsWrittenAsEver(t *testing.T) {
	b := NewBlock(goldenTime(), 0, Packing{Packer: goldenPacker(t)})
	for _, ev := range goldenEvents() {
		b.Add(ev)
	}
	stored := b.Value(goldenIdentity, 5)
	golden(t, stored, `
		746b643103000000887766554433221105000000000000007b6c50c4a00100000200000057000000
		04869d0800026d31124170706c69636174696f6e204f70656e656402070000000000000008000000
		00000000127b226d6573736167654964223a226d31227d03026d32134170706c69636174696f6e20
		4372617368656400027b7d`)
	readsAs(t, stored, 5, goldenEvents())
}

// How a block is compressed may change with the library; that what is there
// can be read may not.
func TestACompressedBlockIsReadAsEver(t *testing.T) {
	ev := event.Event{ID: "m1", Name: "Application Opened", Persons: event.Persons{7, 8}, Body: []byte(strings.Repeat("a", 200))}
	readsAs(t, unhex(t, `
		746b643103010000887766554433221106000000000000007b6c50c4a00100000200000034000000
		8f716500e4036400026d31124170706c69636174696f6e204f70656e656402070009010008010514
		000000c8016111011500b711f21500e2`), 6, []event.Event{ev, ev})
}

func TestAZstdBlockIsReadAsEver(t *testing.T) {
	ev := event.Event{ID: "m1", Name: "Application Opened", Persons: event.Persons{7, 8}, Body: []byte(strings.Repeat("a", 200))}
	readsAs(t, unhex(t, `
		746b643103020000887766554433221106000000000000007b6c50c4a0010000020000003a000000
		611eaf7728b52ffd4000e4007d0100f40100026d31124170706c69636174696f6e204f70656e6564
		0207000800c801610400efbaa100114749655c19dc18`), 6, []event.Event{ev, ev})
}

func readsAs(t *testing.T, stored []byte, number uint64, want []event.Event) {
	t.Helper()
	f, err := ParseFrame(stored, KindBlock, goldenIdentity, number)
	if err != nil || int(f.Count) != len(want) || !timeOf(f.stamp).Equal(goldenTime()) {
		t.Fatalf("got %+v, %v, want %d events taken at %v", f, err, len(want), goldenTime())
	}
	raw, err := f.Unpack(goldenPacker(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeBlock(raw, int(f.Count)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestARejectIsWrittenAsEver(t *testing.T) {
	r := Reject{Body: []byte(`{"event":`), Reason: 1, Detail: "cut off"}
	stored := r.encode(goldenIdentity, 7, goldenTime())
	golden(t, stored, `
		746b643105000000887766554433221107000000000000007b6c50c4a00100000000000012000000
		d56a69a10107637574206f66667b226576656e74223a`)
	f, err := ParseFrame(stored, KindReject, goldenIdentity, 7)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeReject(f); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("got %+v, %v, want %+v", got, err, r)
	}
}

// A frame with any one bit changed is not taken for one.
func TestEveryBitOfAFrameIsChecked(t *testing.T) {
	stored := frame{kind: kindText, identity: goldenIdentity, number: 3, stamp: 9, Payload: []byte("text")}.Encode()
	for i := range 8 * len(stored) {
		stored[i/8] ^= 1 << (i % 8)
		if got, err := ParseFrame(stored, kindText, goldenIdentity, 3); err == nil {
			t.Errorf("bit %d of byte %d: got %+v, want an error", i%8, i/8, got)
		}
		stored[i/8] ^= 1 << (i % 8)
	}
}
