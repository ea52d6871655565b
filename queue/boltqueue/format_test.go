package boltqueue_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trackd/queue"
	"trackd/queue/boltqueue"
)

// What lies in testdata/format1, as the trackd that wrote it told.
const (
	oldTaken     = 139
	oldQueued    = 103
	oldDelivered = 24
	oldLetters   = 12 // of these, 4 are rejects
	oldSegments  = 5  // the last is a spare
	oldBytes     = 48 << 10
)

// oldQueue lays out the directory that a trackd of format 1 wrote.
func oldQueue(t testing.TB) (dir string) {
	t.Helper()
	if os.Getpagesize() != 4096 {
		t.Skip("the files in testdata have pages of 4096 bytes, this machine has other ones")
	}
	dir = t.TempDir()
	for i := range oldSegments {
		name := fmt.Sprintf("%08d.seg", i+1)
		file, err := os.Open(filepath.Join("testdata", "format1", name+".gz"))
		must(t, err)
		defer file.Close()
		zipped, err := gzip.NewReader(file)
		must(t, err)
		raw, err := io.ReadAll(zipped)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, name), raw, 0o600))
	}
	return dir
}

func openOld(t testing.TB, dir string) *boltqueue.Queue {
	t.Helper()
	q, err := boltqueue.OpenWith(boltqueue.Options{Dir: dir, MaxBytes: 64 << 20, MinFreeBytes: -1},
		boltqueue.Knobs{SegmentBytes: oldBytes, NoSync: true})
	must(t, err)
	t.Cleanup(func() { q.Close() })
	return q
}

func makeOf(t testing.TB, dir string, number int) boltqueue.Make {
	t.Helper()
	m, err := boltqueue.MakeOf(filepath.Join(dir, fmt.Sprintf("%08d.seg", number)))
	must(t, err)
	return m
}

func TestAQueueOfFormat1OpensDrainsAndBalances(t *testing.T) {
	dir := oldQueue(t)
	if m := makeOf(t, dir, 1); m.Format != 1 || m.Codecs[1] == 0 || m.Codecs[0] == 0 || m.Codecs[2] > 0 {
		t.Fatalf("got %+v, want a file of format 1 with blocks of both its codecs", m)
	}
	q := openOld(t, dir)
	stats := exactStats(t.Context(), t, q)
	want := queue.Account{Taken: oldTaken, Queued: oldQueued, Delivered: oldDelivered, Dead: oldLetters}
	if stats.Account != want || len(stats.Alarms) > 0 {
		t.Errorf("got %+v, alarms %q, want %+v", stats.Account, stats.Alarms, want)
	}
	got := survival{got: map[string]int{}}
	got.deliver(t.Context(), t, q)
	for id, times := range got.got {
		if times != 1 || !strings.HasPrefix(id, "ev-") {
			t.Errorf("%q was delivered %d times", id, times)
		}
	}
	letters := 0
	for l, err := range q.DeadLetters(t.Context(), queue.Filter{}) {
		must(t, err)
		letters++
		if l.Detail != "no user" && l.Detail != "no such user" || len(l.Event.Body) == 0 {
			t.Errorf("got the letter %+v, want what it was buried with", l)
		}
	}
	if len(got.got) != oldQueued || letters != oldLetters {
		t.Errorf("got %d events and %d letters, want %d and %d", len(got.got), letters, oldQueued, oldLetters)
	}
	n, err := q.Discard(t.Context(), queue.Filter{})
	must(t, err)
	must(t, q.Flush())
	if names := files(t, dir, "0000000[1-5].seg"); n != oldLetters || len(names) > 0 {
		t.Errorf("%d letters were discarded, of %d, and %q are left", n, oldLetters, names)
	}
}

func TestAFileOfFormat1GetsNoNewBlocks(t *testing.T) {
	dir := oldQueue(t)
	var before []int
	for number := 1; number < oldSegments; number++ {
		before = append(before, makeOf(t, dir, number).Blocks)
	}
	dice := rand.New(rand.NewPCG(9, 9))
	for range 3 { // starts
		q := openOld(t, dir)
		for range 4 {
			batch := queue.Batch{}
			for range 16 {
				batch.Events = append(batch.Events, realistic(dice))
			}
			must(t, q.Append(t.Context(), batch))
		}
		must(t, q.Close())
	}
	report, err := boltqueue.Check(t.Context(), dir, nil)
	must(t, err)
	if want := uint64(oldTaken + 3*4*16); len(report.Problems) > 0 || report.Account.Taken != want {
		t.Errorf("got %d taken, problems %q, want %d and none", report.Account.Taken, report.Problems, want)
	}
	zstd := 0
	for _, s := range report.Segments {
		var number int
		_, err := fmt.Sscanf(s.File, "%d.seg", &number)
		must(t, err)
		m := makeOf(t, dir, number)
		zstd += m.Codecs[2]
		switch {
		case number < oldSegments && (m.Format != 1 || m.Codecs[2] > 0 || m.Blocks != before[number-1]):
			t.Errorf("%s is now %+v, it had %d blocks", s.File, m, before[number-1])
		case number == oldSegments:
			t.Errorf("%s, the spare of format 1, is still there", s.File)
		case number > oldSegments && m.Format != 2:
			t.Errorf("%s is new and %+v", s.File, m)
		}
	}
	if zstd == 0 {
		t.Error("no block was packed with zstd")
	}
}

func TestAFileOfFormat1KeepsItsFormatWhenItIsRepaired(t *testing.T) {
	for name, do := range map[string]func(testing.TB, string){
		"its head is found": zero(0, 2),
		"its head is lost":  onHead,
	} {
		t.Run(name, func(t *testing.T) {
			dir := oldQueue(t)
			do(t, filepath.Join(dir, "00000002.seg"))
			q := openOld(t, dir)
			stats := exactStats(t.Context(), t, q)
			must(t, q.Close())
			want := uint64(1)
			if name == "its head is lost" {
				want = 2 // which allows everything that may be in it
			}
			if m := makeOf(t, dir, 2); m.Format != want || len(stats.Damaged) != 1 {
				t.Errorf("got %+v, %q set aside, want format %d and one file", m, stats.Damaged, want)
			}
		})
	}
}

// onHead spoils every head that a file shows.
func onHead(t testing.TB, path string) {
	edit(func(_ testing.TB, _ string, raw []byte) []byte {
		for i := 0; i+8 < len(raw); i++ {
			if string(raw[i:i+5]) == "tkd1\x01" {
				raw[i+44] ^= 0x40
			}
		}
		return raw
	})(t, path)
}

func TestAFileOfFormat1KeepsItsFormatWhenItIsThinned(t *testing.T) {
	dir := oldQueue(t)
	from := filepath.Join(dir, "00000001.seg")
	before := makeOf(t, dir, 1)
	to := filepath.Join(t.TempDir(), "00000001.seg")
	must(t, boltqueue.Rewrite(from, to))
	after, err := boltqueue.MakeOf(to)
	must(t, err)
	if after.Format != 1 || after.Blocks != before.Blocks {
		t.Errorf("got %+v, want %+v", after, before)
	}
}

func TestOnlyWhatWaitsIsPackedWithZstd(t *testing.T) {
	dir := t.TempDir()
	q, err := boltqueue.OpenWith(boltqueue.Options{Dir: dir, MaxBytes: 64 << 20, MinFreeBytes: -1},
		boltqueue.Knobs{SegmentBytes: 256 << 10, NoSync: true})
	must(t, err)
	t.Cleanup(func() { q.Close() })
	dice := rand.New(rand.NewPCG(2, 9))
	add := func() {
		batch := queue.Batch{}
		for range 32 {
			batch.Events = append(batch.Events, realistic(dice))
		}
		must(t, q.Append(t.Context(), batch))
	}
	pass := func(rounds int) {
		for range rounds {
			add()
			_, err := q.Lease(t.Context(), 32)
			must(t, err)
		}
	}
	pass(3) // the first before delivery has begun
	begun := makeOf(t, dir, 1)
	pass(10)
	flowing := makeOf(t, dir, 1)
	if flowing.Codecs[1] != begun.Codecs[1]+10 || flowing.Codecs[2] != begun.Codecs[2] {
		t.Errorf("while events pass through the codecs went from %v to %v, want 10 more of s2", begun.Codecs, flowing.Codecs)
	}
	for len(files(t, dir, "*.seg")) < 5 {
		add()
	}
	must(t, q.Close())
	backlog := makeOf(t, dir, 3)
	if backlog.Codecs[2] == 0 || backlog.Codecs[2] != backlog.Blocks {
		t.Errorf("in a backlog the codecs are %v of %d blocks, want zstd only", backlog.Codecs, backlog.Blocks)
	}
	report, err := boltqueue.Check(t.Context(), dir, nil)
	if err != nil || len(report.Problems) > 0 {
		t.Errorf("check found %q, %v", report.Problems, err)
	}
}
