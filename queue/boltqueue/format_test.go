package boltqueue_test

import (
	"compress/gzip"
	"errors"
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

// TestAQueueOfAnOlderFormatIsRefusedUntouched opens what a trackd of format 1
// wrote: five segments, 103 queued events.
func TestAQueueOfAnOlderFormatIsRefusedUntouched(t *testing.T) {
	if os.Getpagesize() != 4096 {
		t.Skip("the files in testdata have pages of 4096 bytes, this machine has other ones")
	}
	dir, before := t.TempDir(), map[string]string{}
	zipped, err := filepath.Glob(filepath.Join("testdata", "format1", "*.gz"))
	must(t, err)
	for _, path := range zipped {
		file, err := os.Open(path)
		must(t, err)
		defer file.Close()
		plain, err := gzip.NewReader(file)
		must(t, err)
		raw, err := io.ReadAll(plain)
		must(t, err)
		name := strings.TrimSuffix(filepath.Base(path), ".gz")
		must(t, os.WriteFile(filepath.Join(dir, name), raw, 0o600))
		before[name] = string(raw)
	}
	_, err = boltqueue.Open(boltqueue.Options{Dir: dir, MaxBytes: 1 << 30, MinFreeBytes: -1})
	if !errors.Is(err, boltqueue.ErrOlder) || !strings.Contains(err.Error(), "queue.dir") {
		t.Errorf("got %v, want ErrOlder with the step to take", err)
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		if e.Name() != "lock" && string(raw) != before[e.Name()] {
			t.Errorf("%s is new or not what it was", e.Name())
		}
	}
	if len(entries) != len(before)+1 || len(before) != 5 {
		t.Errorf("%d files became %d, want one more, the lock", len(before), len(entries))
	}
}

// makeOf tells how a segment is made.
func makeOf(t testing.TB, dir string, number int) boltqueue.Make {
	t.Helper()
	m, err := boltqueue.MakeOf(filepath.Join(dir, fmt.Sprintf("%08d.seg", number)))
	must(t, err)
	return m
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
