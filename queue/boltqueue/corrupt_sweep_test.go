package boltqueue_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"trackd/queue/boltqueue"
)

// hurt changes raw, the bytes of a segment file, in one to four places, as
// disks, cables and other programs do.
func hurt(dice *rand.Rand, raw []byte) (result []byte, what string) {
	page := os.Getpagesize()
	for range 1 + dice.IntN(4) {
		at := dice.IntN(len(raw))
		if dice.IntN(2) == 0 { // where structure is
			at = at/page*page + min(dice.IntN(80), len(raw)-at/page*page-1)
		}
		n := min(1+dice.IntN(16), len(raw)-at)
		switch dice.IntN(8) {
		case 0, 1, 2:
			raw[at] ^= 1 << dice.IntN(8)
			what += fmt.Sprintf("a bit at %d; ", at)
		case 3, 4:
			raw[at] = byte(dice.Uint32())
			what += fmt.Sprintf("the byte at %d; ", at)
		case 5:
			for i := range n {
				raw[at+i] = byte(dice.Uint32())
			}
			what += fmt.Sprintf("%d bytes at %d; ", n, at)
		case 6:
			clear(raw[at/page*page : min(len(raw), at/page*page+page)])
			what += fmt.Sprintf("page %d zeroed; ", at/page)
		case 7: // a write that went astray
			copy(raw[at/page*page:], raw[dice.IntN(len(raw)/page)*page:][:page])
			what += fmt.Sprintf("page %d overwritten by another; ", at/page)
		}
	}
	if dice.IntN(12) == 0 {
		raw = raw[:dice.IntN(len(raw))]
		what += fmt.Sprintf("cut to %d bytes", len(raw))
	}
	return raw, what
}

// TestRandomDamageIsSurvived damages a random file of a sound directory, again
// and again. The bound on what is lost holds for all of it: no damage takes
// the newest book and leaves an older one in a place where it passes for it.
func TestRandomDamageIsSurvived(t *testing.T) {
	whole := newSound(t)
	names := whole.segments()
	for _, seed := range seeds(t, 30, 10_000) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 0))
			dir, which := whole.copy(t), dice.IntN(len(names)-1)
			path := filepath.Join(dir, names[which])
			raw, what := hurt(dice, append([]byte(nil), whole.files[names[which]]...))
			must(t, os.WriteFile(path, raw, 0o600))
			got := survive(t, dir)
			missing := whole.judge(t, got, uint64(which+1))
			if t.Failed() {
				t.Logf("%s: %s: %d missing; alarms %s", names[which], what, missing, strings.Join(got.stats.Alarms, "; "))
			}
		})
	}
}

// FuzzSegmentFile changes bytes of a segment file, each change five bytes of
// input: where, and what is added there. Checksums of meta pages are mended
// afterwards, so that damage behind them is reached too. Whatever the bytes,
// nothing panics or runs away, and what is allocated is in proportion.
func FuzzSegmentFile(f *testing.F) {
	whole := newSound(f)
	raw := whole.files[whole.segments()[0]]
	f.Add([]byte{}, false)
	f.Add([]byte{0, 0, 0, 48, 1}, true)          // more pages
	f.Add([]byte{0, 0, 16, 40, 9}, true)         // another freelist
	f.Add([]byte{0, 0, 48, 12, 255}, false)      // an overflow
	f.Add([]byte{0, 0, 0, 20, 0x80}, true)       // another root
	f.Add([]byte{0, 0, 48, 8, 3}, false)         // other flags
	f.Add([]byte{0, 1, 0, 10, 200, 9, 9}, false) // a count, and half a change
	f.Fuzz(func(t *testing.T, changes []byte, mend bool) {
		file := append([]byte(nil), raw...)
		for ; len(changes) >= 5; changes = changes[5:] {
			file[int(binary.BigEndian.Uint32(changes))%len(file)] += changes[4]
		}
		if mend {
			mendMetas(file)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := boltqueue.Examine(file)
		runtime.ReadMemStats(&after)
		if most, got := uint64(64*len(file)+16<<20), after.TotalAlloc-before.TotalAlloc; got > most {
			t.Errorf("%d bytes allocated for a file of %d", got, len(file))
		}
		if err == nil {
			if err := boltqueue.ReadAll(t.TempDir(), file); err != nil {
				t.Errorf("the walk passed what bbolt cannot read: %v", err)
			}
		} else if !errors.Is(err, boltqueue.ErrDamaged) {
			t.Errorf("got %v, want that the file is damaged", err)
		}
	})
}

// mendMetas gives both meta pages the checksum of what they hold.
func mendMetas(file []byte) {
	for _, at := range []int{16, os.Getpagesize() + 16} {
		sum := fnv.New64a()
		sum.Write(file[at : at+56])
		binary.LittleEndian.PutUint64(file[at+56:], sum.Sum64())
	}
}
