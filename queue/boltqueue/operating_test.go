package boltqueue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue"
)

// buryAll appends n events of pad incompressible bytes, per at a time, and
// buries each with the detail that detail makes.
func buryAll(t testing.TB, q *boltqueue.Queue, n, per, pad int, detail func(int) string) {
	t.Helper()
	dice := rand.New(rand.NewPCG(3, 4))
	for done := 0; done < n; {
		var b queue.Batch
		for i := range min(per, n-done) {
			b.Events = append(b.Events, padded(dice, fmt.Sprintf("dead-%07d", done+i), pad))
		}
		must(t, q.Append(t.Context(), b))
		for left := len(b.Events); left > 0; {
			held, err := q.Lease(t.Context(), left)
			must(t, err)
			for _, d := range held {
				must(t, q.Settle(t.Context(), queue.Outcome{Address: d.Address, Verb: queue.Bury, Reason: queue.Rejected, Status: 400, Detail: detail(done)}))
				done++
			}
			left -= len(held)
		}
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// small is a queue of segments of 1 MiB.
func small(t testing.TB, dir string) *boltqueue.Queue {
	t.Helper()
	return open(t, boltqueue.Options{Dir: dir, MaxBytes: 1 << 30}, boltqueue.Knobs{NoSync: true, SegmentBytes: 1 << 20})
}

// fillSegments appends until there are n segment files.
func fillSegments(t testing.TB, q *boltqueue.Queue, dir string, n int) (events int) {
	t.Helper()
	dice := rand.New(rand.NewPCG(8, 8))
	for len(files(t, dir, "*.seg")) < n {
		var b queue.Batch
		for i := range 20 {
			b.Events = append(b.Events, padded(dice, fmt.Sprintf("ev-%06d", events+i), 2_000))
		}
		must(t, q.Append(t.Context(), b))
		events += 20
	}
	return events
}

// An event settled during each commit once kept a listing's flush going until
// the whole queue was drained, and every append with it.
func TestAListingHoldsUpNoAppend(t *testing.T) {
	var on atomic.Bool
	var commits atomic.Int64
	var q *boltqueue.Queue
	settleOne := func() {
		ctx, stop := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer stop()
		if held, err := q.Lease(ctx, 1); err == nil {
			_ = q.Settle(ctx, queue.Outcome{Address: held[0].Address, Verb: queue.Delivered})
		}
	}
	q = open(t, boltqueue.Options{Dir: t.TempDir()}, boltqueue.Knobs{NoSync: true, Fault: func(point string, after bool) error {
		if on.Load() && !after && point == "marks.commit" {
			commits.Add(1)
			settleOne()
		}
		return nil
	}})
	must(t, q.Append(t.Context(), queue.Batch{Events: batch("ev", 3_000)}))
	settleOne()
	on.Store(true)
	listed := make(chan struct{})
	go func() {
		defer close(listed)
		for range q.DeadLetters(t.Context(), queue.Filter{}) {
		}
	}()
	settleOne()
	before := commits.Load()
	must(t, q.Append(t.Context(), queue.Batch{Events: batch("late", 1)}))
	if n := commits.Load() - before; n > 8 {
		t.Errorf("one append waited for %d commits of marks", n)
	}
	on.Store(false)
	<-listed
}

// The writer turns to callers between the slices of an operator's edit.
func TestAnEditHoldsUpAnAppendForFewCommits(t *testing.T) {
	var editing atomic.Int64
	q := open(t, boltqueue.Options{Dir: t.TempDir()}, boltqueue.Knobs{NoSync: true, Fault: func(point string, after bool) error {
		if !after && point == "discard.commit" {
			editing.Add(1)
		}
		return nil
	}})
	buryAll(t, q, 2_000, 1, 10, func(int) string { return "no" }) // as many blocks
	discarded := make(chan error, 1)
	go func() {
		_, err := q.Discard(context.Background(), queue.Filter{})
		discarded <- err
	}()
	waitFor(t, "the discard is at work", func() bool { return editing.Load() > 0 })

	// The best of a few: on a busy machine an append may be late to begin.
	least := int64(1 << 20)
	for i := range 3 {
		before := editing.Load()
		must(t, q.Append(t.Context(), queue.Batch{Events: batch(fmt.Sprint("late", i), 1)}))
		least = min(least, editing.Load()-before)
	}
	if least > 4 {
		t.Errorf("one append waited for %d commits of a discard", least)
	}
	must(t, <-discarded)
}

// What a replay makes due again is found on disk, not kept in memory.
func TestAReplayHoldsNoMemory(t *testing.T) {
	const n = 100_000
	q := open(t, boltqueue.Options{Dir: t.TempDir()}, boltqueue.Knobs{NoSync: true})
	buryAll(t, q, n, 1_000, 20, func(int) string { return "no" })
	must(t, q.Flush())
	before := heap()
	replayed, err := q.Replay(t.Context(), queue.Filter{})
	must(t, err)
	if grown := heap() - before; replayed != n || grown > 4<<20 {
		t.Errorf("a replay of %d letters holds %d KiB", replayed, grown>>10)
	}
	must(t, q.Append(t.Context(), queue.Batch{Events: batch("fresh", 1)}))
	for i := range 3 {
		held, err := q.Lease(t.Context(), 1)
		must(t, err)
		if strings.HasPrefix(held[0].Event.ID, "fresh") {
			return
		}
		if i == 2 {
			t.Error("the fresh event is not among the first three")
		}
	}
}

// A letter is a small part of its block, which must not live as long.
func TestAListingOfSparseLettersHoldsLittle(t *testing.T) {
	const blocks, per = 300, 100
	q := open(t, boltqueue.Options{Dir: t.TempDir()}, boltqueue.Knobs{NoSync: true})
	dice := rand.New(rand.NewPCG(1, 9))
	for i := range blocks {
		var b queue.Batch
		for j := range per {
			b.Events = append(b.Events, padded(dice, fmt.Sprintf("ev-%d-%d", i, j), 300))
		}
		must(t, q.Append(t.Context(), b))
		first := true
		for left := per; left > 0; {
			held, err := q.Lease(t.Context(), left)
			must(t, err)
			left -= len(held)
			for _, d := range held {
				o := queue.Outcome{Address: d.Address, Verb: queue.Delivered}
				if first {
					o.Verb, o.Reason = queue.Bury, queue.Rejected
				}
				first = false
				must(t, q.Settle(t.Context(), o))
			}
		}
	}
	must(t, q.Flush())
	before, n := heap(), 0
	var kept []queue.DeadLetter
	for l, err := range q.DeadLetters(t.Context(), queue.Filter{}) {
		must(t, err)
		kept = append(kept, l)
		n++
	}
	if grown := heap() - before; n != blocks || grown > 4<<20 {
		t.Errorf("%d letters hold %d KiB", n, grown>>10)
	}
	runtime.KeepAlive(kept)
}

func TestAListingLeavesFewFilesOpen(t *testing.T) {
	dir := t.TempDir()
	q := small(t, dir)
	fillSegments(t, q, dir, 40)
	n, most := 0, 0
	for _, err := range q.Queued(t.Context(), queue.Filter{}) {
		must(t, err)
		if n++; n%200 == 0 {
			most = max(most, openFiles(t, dir))
		}
	}
	if most > 24 || openFiles(t, dir) > 24 {
		t.Errorf("%d files open amid a listing, %d after it, want 16 and those in use", most, openFiles(t, dir))
	}
}

// openFiles counts this process's open files below dir.
func openFiles(t testing.TB, dir string) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("counts open files in /proc: ", err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, dir) {
			n++
		}
	}
	return n
}

// Health, status and metrics ask for statistics: no file may be in the way.
func TestStatisticsNeedNoSegmentFile(t *testing.T) {
	for how, do := range map[string]func(path string) error{
		"cut":     func(path string) error { return os.Truncate(path, 40_000) },
		"removed": os.Remove,
		"locked": func(path string) error {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			t.Cleanup(func() { f.Close() })
			return unix.Flock(int(f.Fd()), unix.LOCK_EX)
		},
	} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			q := small(t, dir)
			fillSegments(t, q, dir, 4)
			must(t, q.Close())
			q = small(t, dir)
			before := exactStats(t.Context(), t, q)
			must(t, do(filepath.Join(dir, "00000001.seg")))
			got, err := q.Stats(t.Context())
			if err != nil || got.Account != before.Account || !got.Oldest.Equal(before.Oldest) || got.Oldest.IsZero() {
				t.Errorf("got %+v, oldest %v, %v, want %+v, %v", got.Account, got.Oldest, err, before.Account, before.Oldest)
			}
			must(t, q.Append(t.Context(), queue.Batch{Events: batch("late", 1)}))
		})
	}
}

// Somebody looks at a file, as a tool for bbolt does, and lets go of it.
func TestALockedFileIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	q := small(t, dir)
	want := fillSegments(t, q, dir, 3)
	must(t, q.Close())
	q = small(t, dir)
	exactStats(t.Context(), t, q)
	f, err := os.Open(filepath.Join(dir, "00000001.seg"))
	must(t, err)
	defer f.Close()
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	if held, err := q.Lease(ctx, 1); len(held) > 0 {
		t.Errorf("leased %s while the first file is locked (%v)", held[0].Event.ID, err)
	}
	stop()
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_UN))
	for got := 0; got < want; {
		held, err := q.Lease(t.Context(), 100)
		must(t, err)
		got += len(held)
		for _, d := range held {
			must(t, q.Settle(t.Context(), queue.Outcome{Address: d.Address, Verb: queue.Delivered}))
		}
	}
	waitFor(t, "the alarm ends", func() bool { return len(mustStats(t, q).Alarms) == 0 })
	if s := mustStats(t, q); s.Queued != 0 || len(s.Damaged) > 0 {
		t.Errorf("got %d queued and %q set aside, want none", s.Queued, s.Damaged)
	}
}

// With few file descriptors a start loses sight of nothing.
func TestALackOfFileDescriptorsIsWaitedOut(t *testing.T) {
	dir := t.TempDir()
	q := small(t, dir)
	fillSegments(t, q, dir, 6)
	want := mustStats(t, q)
	must(t, q.Close())
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	defer func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
	for few := uint64(8); ; few++ { // until a start just succeeds
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: few, Max: limit.Max}))
		q, err := boltqueue.OpenWith(boltqueue.Options{Dir: dir, MaxBytes: 1 << 30}, boltqueue.Knobs{NoSync: true, SegmentBytes: 1 << 20})
		if err == nil {
			<-time.After(50 * time.Millisecond) // it fails to read on
		}
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
		if err != nil {
			continue
		}
		defer q.Close()
		got := exactStats(t.Context(), t, q)
		if got.Taken != want.Taken || got.Queued != want.Queued || len(got.Damaged) > 0 {
			t.Errorf("with %d descriptors: got %+v, %q set aside, want %+v", few, got.Account, got.Damaged, want.Account)
		}
		waitFor(t, "the alarm ends", func() bool { return len(mustStats(t, q).Alarms) == 0 })
		return
	}
}

// A segment that takes no changes would keep the letter that was replaced, and
// the next replay would append it once more.
func TestNothingIsReplacedInAFailedSegment(t *testing.T) {
	var bad atomic.Bool
	q := open(t, boltqueue.Options{Dir: t.TempDir()}, boltqueue.Knobs{NoSync: true, Fault: func(point string, after bool) error {
		if bad.Load() && point == "append.commit" && !after {
			return unix.EIO
		}
		return nil
	}})
	must(t, q.Append(t.Context(), queue.Batch{Rejects: []queue.Reject{{Body: []byte(`{}`), Reason: queue.Invalid, Detail: "x"}}}))
	bad.Store(true)
	if q.Append(t.Context(), queue.Batch{Events: batch("lost", 1)}) == nil {
		t.Fatal("the append succeeded")
	}
	bad.Store(false)
	for range 3 {
		n, err := q.Replace(t.Context(), queue.Filter{}, func(context.Context, []queue.DeadLetter) ([]queue.Address, error) {
			t.Error("a letter was handed over")
			return nil, nil
		})
		if n != 0 || err == nil {
			t.Errorf("got %d, %v, want none and why", n, err)
		}
	}
}

// Each start begins a segment. Those that short lives leave must not pile up.
func TestAThousandRestartsTakeLittleDisk(t *testing.T) {
	lives := 100
	if everything() {
		lives = 1_000
	}
	dir := t.TempDir()
	var q *boltqueue.Queue
	for i := range lives {
		q = open(t, boltqueue.Options{Dir: dir}, boltqueue.Knobs{NoSync: true})
		must(t, q.Append(t.Context(), queue.Batch{Events: batch(fmt.Sprint("life-", i), 3)}))
		if i%2 == 0 { // the others are killed
			must(t, q.Close())
		} else {
			q.Abandon()
		}
	}
	begin := time.Now()
	q = open(t, boltqueue.Options{Dir: dir}, boltqueue.Knobs{NoSync: true})
	started := time.Since(begin)
	s := exactStats(t.Context(), t, q)
	waitFor(t, "what was reserved is given back", func() bool { return mustStats(t, q).Bytes < int64(lives)*(512<<10)+(100<<20) })
	t.Logf("%d lives of 3 events: %d files, %d MiB, start in %v", lives, len(files(t, dir, "*.seg")), mustStats(t, q).Bytes>>20, started)
	if s.Queued != uint64(3*lives) {
		t.Errorf("got %d queued, want %d", s.Queued, 3*lives)
	}
	for range 10 { // without an event between them, restarts leave nothing
		must(t, q.Close())
		q = open(t, boltqueue.Options{Dir: dir}, boltqueue.Knobs{NoSync: true})
	}
	if n := len(files(t, dir, "*.seg")); n > lives+2 {
		t.Errorf("%d files after %d lives with events", n, lives)
	}
}

// Reads happen while others want the file, and a queue that is closed opens
// nothing again.
func TestAListingDoesNotOutliveTheQueue(t *testing.T) {
	dir := t.TempDir()
	q := small(t, dir)
	fillSegments(t, q, dir, 3)
	must(t, q.Close())
	q = small(t, dir)
	n := 0
	var last error
	for _, err := range q.Queued(t.Context(), queue.Filter{}) {
		if n++; n == 1 {
			must(t, q.Close())
		}
		last = err
	}
	if !errors.Is(last, queue.ErrClosed) {
		t.Errorf("the listing ended after %d items with %v, want ErrClosed", n, last)
	}
	if got := openFiles(t, dir); got > 0 {
		t.Errorf("%d files are open after Close", got)
	}
}

// The bytes of what was erased are gone from the files.
func TestAnErasureCanRewriteTheFiles(t *testing.T) {
	dir := t.TempDir()
	q := open(t, boltqueue.Options{Dir: dir}, boltqueue.Knobs{NoSync: true})
	secret := event.Event{ID: "secret", Name: "Application Opened", Body: []byte(`{"userId":"ann-the-secret-user"}`)}
	must(t, q.Append(t.Context(), queue.Batch{Events: append(batch("ev", 3), secret)}))
	must(t, q.Append(t.Context(), queue.Batch{Rejects: []queue.Reject{{Body: []byte(`{"userId":"ann-the-secret-user"}`), Reason: queue.Malformed, Detail: "x"}}}))
	erased, inFlight, err := q.Erase(t.Context(), queue.Filter{User: "ann-the-secret-user"}, true)
	if erased != 2 || inFlight != 0 || err != nil {
		t.Errorf("got %d erased, %d in flight, %v", erased, inFlight, err)
	}
	for _, name := range files(t, dir, "*.seg") {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		if strings.Contains(string(raw), "ann-the-secret-user") {
			t.Errorf("%s still holds the bytes", name)
		}
	}
	if got := listed(t, q); len(got) != 3 {
		t.Errorf("got %v queued, want the three others", got)
	}
	must(t, q.Close())
	report, err := boltqueue.Check(t.Context(), dir, nil)
	if err != nil || len(report.Problems) > 0 || report.Account.Discarded != 2 {
		t.Errorf("check: %+v, %v", report, err)
	}
}
