package boltqueue_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue"
)

// damage is one thing that may happen to the file of a segment.
type damage struct {
	name string
	do   func(t testing.TB, path string)

	harmless bool // nothing may be missing, no alarm raised
	complete bool // nothing may be missing, but the file is set aside
	unknown  bool // the loss cannot be bounded
	varies   bool // it can, unless the book was hit
}

func edit(change func(t testing.TB, path string, raw []byte) []byte) func(testing.TB, string) {
	return func(t testing.TB, path string) {
		raw, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, change(t, path, raw), 0o600))
	}
}

// pageOf picks a page in use.
func pageOf(t testing.TB, path, what string) int64 {
	t.Helper()
	branches, leaves, freelist, err := boltqueue.UsedPages(path)
	must(t, err)
	switch {
	case what == "freelist":
		return freelist
	case what == "branch" && len(branches) > 0:
		return branches[0]
	case what == "leaf" && len(leaves) > 0:
		return leaves[len(leaves)/2]
	}
	t.Fatalf("no %s page in %s", what, path)
	return 0
}

// onPage changes one page in use.
func onPage(what string, change func(id int64, page []byte)) func(testing.TB, string) {
	return edit(func(t testing.TB, path string, raw []byte) []byte {
		size := int64(os.Getpagesize())
		id := pageOf(t, path, what)
		change(id, raw[id*size:(id+1)*size])
		return raw
	})
}

func zero(from, pages int) func(testing.TB, string) {
	return edit(func(_ testing.TB, _ string, raw []byte) []byte {
		size := os.Getpagesize()
		clear(raw[from*size : (from+pages)*size])
		return raw
	})
}

func damages() []damage {
	clearPage := func(_ int64, page []byte) { clear(page) }
	return []damage{
		{name: "emptied", do: func(t testing.TB, path string) { must(t, os.Truncate(path, 0)) }, unknown: true},
		{name: "cut to one byte", do: func(t testing.TB, path string) { must(t, os.Truncate(path, 1)) }, unknown: true},
		{name: "cut to its metas", do: func(t testing.TB, path string) { must(t, os.Truncate(path, int64(2*os.Getpagesize()))) }, unknown: true},
		{name: "cut in the middle", do: edit(func(_ testing.TB, _ string, raw []byte) []byte { return raw[:len(raw)/2+77] }), varies: true},
		{name: "stretched", do: func(t testing.TB, path string) { must(t, os.Truncate(path, 3<<30)) }, harmless: true},
		{name: "replaced by text", do: func(t testing.TB, path string) {
			must(t, os.WriteFile(path, []byte(strings.Repeat("all work and no play\n", 4_000)), 0o600))
		}, unknown: true},
		{name: "replaced by zeros", do: edit(func(_ testing.TB, _ string, raw []byte) []byte { clear(raw); return raw }), unknown: true},
		{name: "first meta zeroed", do: zero(0, 1), complete: true},
		{name: "second meta zeroed", do: zero(1, 1), complete: true},
		{name: "both metas zeroed", do: zero(0, 2), complete: true, unknown: true},
		{name: "freelist zeroed", do: onPage("freelist", clearPage), complete: true},
		{name: "freelist counts too many", do: onPage("freelist", func(_ int64, page []byte) { page[10], page[11] = 0xf0, 0xff }), complete: true},
		{name: "freelist calls a used page free", do: onPage("freelist", func(id int64, page []byte) { page[16] = byte(id) }), complete: true},
		{name: "branch zeroed", do: onPage("branch", clearPage), complete: true},
		{name: "branch points at itself", do: onPage("branch", func(id int64, page []byte) { page[16+8] = byte(id) }), complete: true},
		{name: "branch points far away", do: onPage("branch", func(_ int64, page []byte) { page[16+8+6] = 0x7f }), complete: true},
		{name: "branch counts one less", do: onPage("branch", func(_ int64, page []byte) { page[10]-- }), complete: true},
		{name: "branch key moved", do: onPage("branch", func(_ int64, page []byte) { page[32+binary.LittleEndian.Uint32(page[32:])+7]++ }), complete: true},
		{name: "leaf zeroed", do: onPage("leaf", clearPage)},
		{name: "leaf counts one less", do: onPage("leaf", func(_ int64, page []byte) { page[10]-- }), complete: true},
		{name: "leaf counts many more", do: onPage("leaf", func(_ int64, page []byte) { page[11] = 0xff }), complete: true},
		{name: "leaf says it is another page", do: onPage("leaf", func(_ int64, page []byte) { page[0]++ }), complete: true},
		{name: "leaf with an endless overflow", do: onPage("leaf", func(_ int64, page []byte) { page[15] = 0xff }), complete: true},
		{name: "leaf with a bit of its data flipped", do: onPage("leaf", func(_ int64, page []byte) {
			page[bytes.Index(page, []byte("tkd1"))+100] ^= 4
		})},
	}
}

func TestDamageCostsAtMostWhatItHit(t *testing.T) {
	whole := newSound(t)
	names := whole.segments()
	if len(names) < 4 {
		t.Fatalf("got %d segments, want at least 4", len(names))
	}
	for _, d := range damages() {
		for number, name := range map[uint64]string{1: names[0], uint64(len(names)) - 1: names[len(names)-2]} {
			t.Run(d.name+"/"+name, func(t *testing.T) {
				dir := whole.copy(t)
				d.do(t, filepath.Join(dir, name))
				got := survive(t, dir)
				d.expect(t, got, whole.judge(t, got, number), dir, name)
			})
		}
	}
}

func (d damage) expect(t *testing.T, got survival, missing int, dir, name string) {
	t.Helper()
	if got.took > 5*time.Second { // a second is promised; other tests run beside this one
		t.Errorf("the start took %v", got.took)
	}
	alarms := strings.Join(got.stats.Alarms, "\n")
	if d.harmless {
		if missing > 0 || alarms != "" {
			t.Errorf("got %d missing, alarms %q, want none", missing, alarms)
		}
		return
	}
	if d.complete && missing > 0 {
		t.Errorf("%d events are missing, and every one could be read; alarms: %s", missing, alarms)
	}
	if !d.varies && d.unknown != strings.Contains(alarms, "unknown") {
		t.Errorf("got the alarm %q, want one that says the loss is unknown: %v", alarms, d.unknown)
	}
	aside := name + ".bad"
	if !slices.Contains(got.stats.Damaged, aside) || !strings.Contains(alarms, aside) || !strings.Contains(got.log, aside) {
		t.Errorf("the alarms %q, the log %q and the list %q must all name %s", alarms, got.log, got.stats.Damaged, aside)
	}
	reason, err := os.ReadFile(filepath.Join(dir, aside+".txt"))
	if err != nil || !strings.Contains(string(reason), "damaged") {
		t.Errorf("got the reason %q, %v", reason, err)
	}
	report, err := boltqueue.Check(t.Context(), dir, nil)
	must(t, err)
	for _, p := range report.Problems {
		if !strings.HasPrefix(p, aside) {
			t.Errorf("after the repair check finds: %s", p)
		}
	}
	if len(report.Problems) == 0 || !report.Account.Balances() {
		t.Errorf("check found %+v, want it to name %s", report, aside)
	}
}

func TestSwappedSegmentsAreBothRead(t *testing.T) {
	whole := newSound(t)
	dir, names := whole.copy(t), whole.segments()
	must(t, os.WriteFile(filepath.Join(dir, names[0]), whole.files[names[1]], 0o600))
	must(t, os.WriteFile(filepath.Join(dir, names[1]), whole.files[names[0]], 0o600))
	got := survive(t, dir)
	if missing := whole.judge(t, got, 1, 2); missing > 0 {
		t.Errorf("%d events are missing", missing)
	}
}

func TestADeletedSegmentCostsWhatItHeld(t *testing.T) {
	whole := newSound(t)
	for i, name := range whole.segments() {
		t.Run(name, func(t *testing.T) {
			dir := whole.copy(t)
			must(t, os.Remove(filepath.Join(dir, name)))
			got := survive(t, dir)
			for id, segment := range whole.in {
				kept := got.got[id] > 0 || got.letters[id]
				if elsewhere := segment != uint64(i+1); elsewhere != kept {
					t.Fatalf("%s of segment %d: got kept %v, want %v", id, segment, kept, elsewhere)
				}
			}
		})
	}
}

// Whatever else lies in the directory, or does not, costs nothing.
func TestOtherFilesOfTheDirectoryDoNotMatter(t *testing.T) {
	whole := newSound(t)
	first := whole.segments()[0]
	junk := []byte("junk\x00\xff")
	for what, do := range map[string]func(dir string) error{
		"no lock":                   func(dir string) error { return os.Remove(filepath.Join(dir, "lock")) },
		"a lock that holds junk":    func(dir string) error { return os.WriteFile(filepath.Join(dir, "lock"), junk, 0o600) },
		"a note of failure":         func(dir string) error { return os.WriteFile(filepath.Join(dir, first+".failed"), junk, 0o600) },
		"an unfinished file":        func(dir string) error { return os.WriteFile(filepath.Join(dir, first+".tmp"), junk, 0o600) },
		"a file set aside":          func(dir string) error { return os.WriteFile(filepath.Join(dir, first+".bad"), junk, 0o600) },
		"a reason without its file": func(dir string) error { return os.WriteFile(filepath.Join(dir, first+".bad.txt"), junk, 0o600) },
		"a name that is none":       func(dir string) error { return os.WriteFile(filepath.Join(dir, "7.seg"), junk, 0o600) },
		"a number beyond all": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "18446744073709551615.seg"), junk, 0o600)
		},
		"a directory": func(dir string) error { return os.Mkdir(filepath.Join(dir, "00000077.seg"), 0o700) },
	} {
		t.Run(what, func(t *testing.T) {
			dir := whole.copy(t)
			must(t, do(dir))
			if missing := whole.judge(t, survive(t, dir)); missing > 0 {
				t.Errorf("%d events are missing", missing)
			}
		})
	}
}

func TestANewerFormatIsLeftUntouched(t *testing.T) {
	whole := newSound(t)
	names := whole.segments()
	last := names[len(names)-1]
	for what, do := range map[string]func(t testing.TB, path string){
		"as this one lays it out": func(testing.TB, string) {},
		"laid out in another way": zero(0, 1),
	} {
		t.Run(what, func(t *testing.T) {
			dir := whole.copy(t)
			must(t, boltqueue.Age(filepath.Join(dir, last), 1))
			do(t, filepath.Join(dir, last))
			must(t, os.WriteFile(filepath.Join(dir, "00000099.seg.tmp"), []byte("the newer one's"), 0o600))
			before := contents(t, dir)
			_, err := boltqueue.OpenWith(damagedOptions(dir, nil), smallKnobs())
			if !errors.Is(err, boltqueue.ErrNewer) {
				t.Errorf("got %v, want ErrNewer", err)
			}
			if after := contents(t, dir); after != before {
				t.Errorf("the directory was changed from\n%s to\n%s", before, after)
			}
		})
	}
}

// contents renders every file of dir but the lock.
func contents(t testing.TB, dir string) string {
	t.Helper()
	var text strings.Builder
	must(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path == "lock" {
			return err
		}
		raw, err := os.ReadFile(filepath.Join(dir, path))
		fmt.Fprintf(&text, "%s: %d bytes, %x\n", path, len(raw), sha256.Sum256(raw))
		return err
	}))
	return text.String()
}

// At the size of production a file is walked and repaired in no second.
func TestAFullSegmentIsRepairedWithinASecond(t *testing.T) {
	dir := t.TempDir()
	q, err := boltqueue.OpenWith(boltqueue.Options{Dir: dir, MinFreeBytes: -1}, boltqueue.Knobs{NoSync: true})
	must(t, err)
	dice, n := rand.New(rand.NewPCG(7, 7)), 1_000
	var few []event.Event // the same again and again, but never in one block
	for i := range 8 {
		few = append(few, padded(dice, fmt.Sprint("ev-", i), 15_000))
	}
	for i := range n {
		must(t, q.Append(t.Context(), queue.Batch{Events: few[i%len(few):][:1]}))
	}
	must(t, q.Close())
	first := filepath.Join(dir, "00000001.seg")
	zero(0, 1)(t, first)
	begin := time.Now()
	q, err = boltqueue.OpenWith(boltqueue.Options{Dir: dir, MinFreeBytes: -1}, boltqueue.Knobs{NoSync: true})
	must(t, err)
	t.Cleanup(func() { q.Close() })
	stats := exactStats(t.Context(), t, q)
	took := time.Since(begin)
	if stats.Queued != uint64(n) || len(stats.Damaged) != 1 {
		t.Errorf("got %d queued and %q set aside, want %d and one file", stats.Queued, stats.Damaged, n)
	}
	raw, err := os.ReadFile(first)
	must(t, err)
	used, err := boltqueue.UsedBytes(raw)
	if err != nil || used < 28<<20 {
		t.Errorf("got a segment of %d bytes, %v, want one that is nearly full", used, err)
	}
	t.Logf("a segment of %d bytes was repaired in %v", used, took)
	if took > 5*time.Second { // a second is promised; other tests run beside this one
		t.Errorf("the start took %v", took)
	}
}

// badSector is a file of which one page cannot be read.
type badSector struct {
	*bytes.Reader
	at int64
}

func (b badSector) ReadAt(p []byte, off int64) (int, error) {
	if end := b.at + int64(os.Getpagesize()); off < end && off+int64(len(p)) > b.at {
		return 0, &os.PathError{Op: "read", Path: "disk", Err: unix.EIO}
	}
	return b.Reader.ReadAt(p, off)
}

func TestABadSectorCostsWhatLiesInIt(t *testing.T) {
	whole := newSound(t)
	raw := whole.files[whole.segments()[1]]
	all := boltqueue.Findable(bytes.NewReader(raw), int64(len(raw)))
	least, sum := all, 0
	pages := len(raw) / os.Getpagesize()
	for page := range pages {
		file := badSector{bytes.NewReader(raw), int64(page * os.Getpagesize())}
		found := boltqueue.Findable(file, int64(len(raw)))
		least, sum = min(least, found), sum+found
	}
	// A page holds parts of two or three blocks of eight events at most, and
	// most hold less.
	if all < 100 || least < all-40 || sum < pages*(all-20) {
		t.Errorf("of %d events %d are found with the worst page gone, %d on average", all, least, sum/pages)
	}
}
