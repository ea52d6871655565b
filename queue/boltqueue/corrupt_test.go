package boltqueue_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue"
)

// sound is a directory with a few segments that hold a bit of everything, and
// what is known of them. Tests damage copies of it.
type sound struct {
	files map[string][]byte // by name
	in    map[string]uint64 // the segment that each live or dead event lies in, by id
	dead  map[string]bool   // of these, by id
	done  map[string]bool   // delivered, by id
}

// smallKnobs make the line roll early.
func smallKnobs() boltqueue.Knobs { return boltqueue.Knobs{SegmentBytes: 96 << 10, NoSync: true} }

// damagedOptions open a queue whose files are small.
func damagedOptions(dir string, log *slog.Logger) boltqueue.Options {
	return boltqueue.Options{Dir: dir, MaxBytes: 64 << 20, MinFreeBytes: -1, Log: log}
}

// newSound makes a queue of four segments or more: one with letters, the
// others as they were filled, the last with room.
func newSound(t testing.TB) *sound {
	t.Helper()
	dir := t.TempDir()
	q, err := boltqueue.OpenWith(damagedOptions(dir, nil), smallKnobs())
	must(t, err)
	s := &sound{files: map[string][]byte{}, in: map[string]uint64{}, dead: map[string]bool{}, done: map[string]bool{}}
	dice := rand.New(rand.NewPCG(4, 6))
	for i := range 60 {
		batch := queue.Batch{}
		for j := range 8 {
			batch.Events = append(batch.Events, noisy(dice, fmt.Sprintf("ev-%02d-%d", i, j)))
		}
		if i%5 == 0 {
			batch.Rejects = []queue.Reject{{Body: []byte(fmt.Sprintf(`{"reject":"re-%02d"}`, i)), Reason: queue.Invalid, Detail: "no user"}}
		}
		must(t, q.Append(t.Context(), batch))
	}
	held, err := q.Lease(t.Context(), 150)
	must(t, err)
	for i, d := range held {
		o := queue.Outcome{Address: d.Address, Verb: queue.Delivered}
		switch i % 6 {
		case 0:
			o.Verb, o.Reason, o.Status, o.Detail = queue.Bury, queue.Rejected, 400, fmt.Sprintf("no good: %d", i%4)
		case 1:
			o.Verb = queue.Return
		default:
			s.done[d.Event.ID] = true
		}
		must(t, q.Settle(t.Context(), o))
	}
	must(t, q.Flush())
	s.know(t, q)
	must(t, q.Close())
	s.read(t, dir)
	return s
}

// noisy is an event that does not compress much.
func noisy(dice *rand.Rand, id string) event.Event {
	pad := make([]byte, 150)
	for i := range pad {
		pad[i] = byte(dice.Uint32())
	}
	return event.Event{ID: id, Name: "Application Opened", Body: fmt.Appendf(nil,
		`{"type":"track","event":"Application Opened","messageId":%q,"userId":"u","properties":{"pad":%q}}`, id, hex.EncodeToString(pad))}
}

// letterID names a letter: that of its event, or what a reject says it is.
func letterID(l queue.DeadLetter) string {
	if l.AtDoor {
		return strings.Trim(strings.TrimPrefix(string(l.Event.Body), `{"reject":`), `"}`)
	}
	return l.Event.ID
}

func (s *sound) know(t testing.TB, q queue.Queue) {
	t.Helper()
	for d, err := range q.Queued(t.Context(), queue.Filter{}) {
		must(t, err)
		s.in[d.Event.ID] = d.Address.Hi
	}
	for l, err := range q.DeadLetters(t.Context(), queue.Filter{}) {
		must(t, err)
		s.in[letterID(l)], s.dead[letterID(l)] = l.Address.Hi, true
	}
}

func (s *sound) read(t testing.TB, dir string) {
	t.Helper()
	for _, name := range files(t, dir, "*") {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		if strings.HasSuffix(name, ".seg") {
			used, err := boltqueue.UsedBytes(raw)
			must(t, err)
			raw = raw[:used] // bbolt lengthens files in large steps
		}
		s.files[name] = raw
	}
}

// copy lays the files out in a new directory.
func (s *sound) copy(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, raw := range s.files {
		must(t, os.WriteFile(filepath.Join(dir, name), raw, 0o600))
	}
	return dir
}

// segments lists the names of the segment files, oldest first.
func (s *sound) segments() (names []string) {
	for name := range s.files {
		if strings.HasSuffix(name, ".seg") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// survival is what a queue made of a damaged directory.
type survival struct {
	stats   queue.Stats     // before anything was delivered
	log     string          // what was logged
	got     map[string]int  // deliveries, by id
	letters map[string]bool // by id
	took    time.Duration   // Open
}

const survivalPatience = 20 * time.Second

// survive opens a damaged directory and does with it what must work whatever
// the damage: start, read all books, list, deliver everything, take more.
func survive(t testing.TB, dir string) (s survival) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), survivalPatience)
	defer cancel()
	var log bytes.Buffer
	begin := time.Now()
	q, err := boltqueue.OpenWith(damagedOptions(dir, slog.New(slog.NewTextHandler(&log, nil))), smallKnobs())
	if err != nil {
		t.Fatalf("the damage kept the queue from starting: %v", err)
	}
	defer func() {
		must(t, q.Close())
		s.log = log.String()
	}()
	s.took, s.got, s.letters = time.Since(begin), map[string]int{}, map[string]bool{}
	s.stats = exactStats(ctx, t, q)
	for l, err := range q.DeadLetters(ctx, queue.Filter{}) {
		must(t, err)
		s.letters[letterID(l)] = true
	}
	s.deliver(ctx, t, q)
	must(t, q.Append(ctx, queue.Batch{Events: []event.Event{noisy(rand.New(rand.NewPCG(1, 1)), "afterwards")}}))
	s.deliver(ctx, t, q)
	if s.got["afterwards"] != 1 {
		t.Errorf("an event taken after the damage was delivered %d times, want once", s.got["afterwards"])
	}
	delete(s.got, "afterwards")
	return s
}

// exactStats waits until every book was read.
func exactStats(ctx context.Context, t testing.TB, q queue.Queue) queue.Stats {
	t.Helper()
	for {
		stats, err := q.Stats(ctx)
		must(t, err)
		if !stats.Balances() {
			t.Fatalf("the account does not balance: %+v", stats.Account)
		}
		if stats.Exact {
			return stats
		}
	}
}

// deliver leases and settles until nothing is queued.
func (s *survival) deliver(ctx context.Context, t testing.TB, q queue.Queue) {
	t.Helper()
	for {
		stats, err := q.Stats(ctx)
		must(t, err)
		if stats.Queued == 0 {
			return
		}
		got, err := q.Lease(ctx, 64)
		if err != nil {
			t.Fatalf("with %d queued: lease: %v; alarms %q", stats.Queued, err, stats.Alarms)
		}
		for _, d := range got {
			s.got[d.Event.ID]++
			must(t, q.Settle(ctx, queue.Outcome{Address: d.Address, Verb: queue.Delivered}))
		}
	}
}

// judge holds what came out against what had been acknowledged, for damage to
// certain segments, and returns how many events are missing.
func (s *sound) judge(t testing.TB, got survival, damaged ...uint64) (missing int) {
	t.Helper()
	for id, times := range got.got {
		_, known := s.in[id]
		if !known && !s.done[id] {
			t.Errorf("%s was delivered, and never taken", id)
		}
		if times > 1 {
			t.Errorf("%s was delivered %d times by one process", id, times)
		}
	}
	for id, segment := range s.in {
		if got.got[id] > 0 || s.dead[id] && got.letters[id] {
			continue
		}
		missing++
		if !slices.Contains(damaged, segment) {
			t.Errorf("%s is missing, and its segment %d was sound", id, segment)
		}
	}
	alarms := strings.Join(got.stats.Alarms, "\n")
	if missing > int(got.stats.Lost) && !strings.Contains(alarms, "unknown") {
		t.Errorf("%d events are missing, %d are told to be lost at most; alarms: %s", missing, got.stats.Lost, alarms)
	}
	if missing > 0 && alarms == "" {
		t.Errorf("%d events are missing, and no alarm", missing)
	}
	return missing
}

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
		{name: "leaf with a bit of its data flipped", do: onPage("leaf", func(_ int64, page []byte) { page[len(page)-200] ^= 4 })},
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
