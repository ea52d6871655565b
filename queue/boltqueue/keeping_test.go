package boltqueue_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"trackd/queue"
	"trackd/queue/boltqueue"
)

// Rubbish costs what it takes of the disk, and stops at its bound.
func TestRejectsStayWithinTheirBoundOnDisk(t *testing.T) {
	const bound = 8 << 20
	for _, size := range []int{1, 300, 1_500, 3_000, 60_000} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			dir := t.TempDir()
			q := open(t, boltqueue.Options{Dir: dir, RejectBytes: bound, MaxBytes: 256 << 20},
				boltqueue.Knobs{NoSync: true, SegmentBytes: 4 << 20})
			dice, kept := rand.New(rand.NewPCG(6, 6)), 0
			for {
				var b queue.Batch
				for range max(1, 100_000/(size+200)) {
					body := make([]byte, size)
					for i := range body {
						body[i] = byte(dice.Uint32())
					}
					b.Rejects = append(b.Rejects, queue.Reject{Body: body, Reason: queue.Malformed, Detail: strings.Repeat("why ", 30)})
				}
				b.Events = batch(fmt.Sprint("with-", kept), 1)
				err := q.Append(t.Context(), b)
				if errors.Is(err, queue.ErrRejectsFull) {
					break
				}
				must(t, err)
				kept += len(b.Rejects)
			}
			if s := mustStats(t, q); s.RejectBytes > bound || s.RejectBytes < bound*9/10 {
				t.Errorf("charged %d bytes of %d", s.RejectBytes, bound)
			}
			must(t, q.Flush())
			used := usedBytes(t, dir)
			if used > bound+2<<20 || used < bound*6/10 {
				t.Errorf("%d rejects take %d bytes of disk, want at most the %d they are charged, events, and pages free for the next commit", kept, used, bound)
			}
			for range 100 { // good events are taken as ever
				must(t, q.Append(t.Context(), queue.Batch{Events: batch("good", 10), Rejects: nil}))
			}
		})
	}
}

// usedBytes is what bbolt uses of all segments.
func usedBytes(t testing.TB, dir string) (sum int64) {
	t.Helper()
	for _, name := range files(t, dir, "*.seg") {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		n, err := boltqueue.UsedBytes(raw)
		must(t, err)
		sum += n
	}
	return sum
}

func TestDiscardingRejectsGivesDiskBack(t *testing.T) {
	dir := t.TempDir()
	q := open(t, boltqueue.Options{Dir: dir, MaxBytes: 1 << 30}, boltqueue.Knobs{NoSync: true, SegmentBytes: 4 << 20})
	for i := 0; len(files(t, dir, "*.seg")) < 5; i++ {
		var b queue.Batch
		for j := range 20 {
			reason := queue.Invalid
			if i%50 == 0 && j == 0 {
				reason = queue.Malformed
			}
			b.Rejects = append(b.Rejects, queue.Reject{Body: []byte(strings.Repeat("y", 2_000)), Reason: reason, Detail: "x"})
		}
		must(t, q.Append(t.Context(), b))
	}
	before := mustStats(t, q).Bytes
	_, err := q.Discard(t.Context(), queue.Filter{Reasons: []queue.Reason{queue.Invalid}})
	must(t, err)
	waitFor(t, "disk is given back", func() bool { return mustStats(t, q).Bytes < before/2 })
}

// A file moved here from a machine with other pages is sound.
func TestAFileOfAnotherPageSizeIsSound(t *testing.T) {
	dir := t.TempDir()
	q := open(t, boltqueue.Options{Dir: dir}, boltqueue.Knobs{NoSync: true})
	must(t, q.Append(t.Context(), queue.Batch{Events: batch("ev", 2_000)}))
	for _, d := range leaseIDs(t, q, 100) {
		must(t, q.Settle(t.Context(), queue.Outcome{Address: d.Address, Verb: queue.Delivered}))
	}
	must(t, q.Close())
	first, other := filepath.Join(dir, "00000001.seg"), filepath.Join(dir, "other")
	from, err := bolt.Open(first, 0o600, &bolt.Options{ReadOnly: true})
	must(t, err)
	to, err := bolt.Open(other, 0o600, &bolt.Options{PageSize: 4 * os.Getpagesize()})
	must(t, err)
	must(t, from.View(func(a *bolt.Tx) error {
		return to.Update(func(b *bolt.Tx) error {
			return a.ForEach(func(name []byte, old *bolt.Bucket) error {
				bucket, err := b.CreateBucket(name)
				if err != nil {
					return err
				}
				return old.ForEach(bucket.Put)
			})
		})
	}))
	must(t, errors.Join(from.Close(), to.Close(), os.Rename(other, first)))
	q = open(t, boltqueue.Options{Dir: dir}, boltqueue.Knobs{NoSync: true})
	if s := exactStats(t.Context(), t, q); s.Queued != 1_900 || len(s.Damaged) > 0 || len(s.Alarms) > 0 {
		t.Errorf("got %d queued, %q set aside, alarms %q", s.Queued, s.Damaged, s.Alarms)
	}
	if got := leaseIDs(t, q, 1_900); len(got) == 0 {
		t.Error("nothing is leased")
	}
}

// Details of letters are stored once each, and not kept for ever.
func TestDetailsOfLettersDoNotStayInMemory(t *testing.T) {
	dir := t.TempDir()
	q := small(t, dir)
	before := heap()
	long := strings.Repeat("z", 4_000)
	buryAll(t, q, 6_000, 200, 500, func(i int) string { return fmt.Sprint(i, long) })
	must(t, q.Flush())
	if grown := heap() - before; grown > 24<<20 {
		t.Errorf("24 MB of details hold %d MiB", grown>>20)
	}
}

func TestAnUnknownReasonIsRefused(t *testing.T) {
	q := open(t, boltqueue.Options{Dir: t.TempDir()}, boltqueue.Knobs{NoSync: true})
	must(t, q.Append(t.Context(), queue.Batch{Events: batch("ev", 1)}))
	held := leaseIDs(t, q, 1)
	if err := q.Settle(t.Context(), queue.Outcome{Address: held[0].Address, Verb: queue.Bury, Reason: "unknown"}); err == nil {
		t.Error("settle: got no error")
	}
	if err := q.Append(t.Context(), queue.Batch{Rejects: []queue.Reject{{Body: []byte("x"), Reason: "unknown"}}}); err == nil {
		t.Error("append: got no error")
	}
	if s := mustStats(t, q); s.Leased != 1 || s.Dead != 0 {
		t.Errorf("got %d leased and %d dead, want it as it was", s.Leased, s.Dead)
	}
}
