package boltqueue_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue"
)

// failing is a disk that fails once when told to.
type failing struct {
	point string
	after bool
	armed atomic.Bool
}

func (f *failing) fault(point string, after bool) error {
	if point == f.point && after == f.after && f.armed.CompareAndSwap(true, false) {
		return unix.EIO
	}
	return nil
}

// failures are the ways in which a commit fails: before anything of it can be
// seen, as when its pages cannot be synced, and after all of it can be seen, as
// when its meta page cannot be synced.
func failures() map[string]*failing {
	all := map[string]*failing{}
	points := []string{"append.commit"}
	if hookBolt != nil {
		points = append(points, boltPoints()[1:]...) // a commit need not lengthen the file
	}
	for _, point := range points {
		all[point+" before"] = &failing{point: point}
		all[point+" after"] = &failing{point: point, after: true}
	}
	return all
}

// TestAFailedFsyncEndsWritingToItsFile holds the queue to what it does about
// an fsync error: nothing more is acknowledged from that file, in this process
// and the next, and nothing else suffers.
func TestAFailedFsyncEndsWritingToItsFile(t *testing.T) {
	for name, f := range failures() {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "queue")
			if hookBolt != nil {
				hookBolt(f.fault)
			}
			q := open(t, boltqueue.Options{Dir: dir}, boltqueue.Knobs{Fault: f.fault})
			before, lost, later := batch("before", 6), batch("lost", 3), batch("later", 4)
			must(t, q.Append(t.Context(), queue.Batch{Events: before}))
			buried := leaseIDs(t, q, 1)
			must(t, q.Settle(t.Context(), queue.Outcome{Address: buried[0].Address, Verb: queue.Bury, Reason: queue.Poison}))
			must(t, q.Flush())

			f.armed.Store(true)
			err := q.Append(t.Context(), queue.Batch{Events: lost})
			if err == nil || errors.Is(err, queue.ErrFull) {
				t.Fatalf("append to a failing disk: got %v", err)
			}
			must(t, q.Append(t.Context(), queue.Batch{Events: later}))
			f.saidSo(t, q)
			f.holdsLetters(t, q, buried[0].Address)

			want := ids(before[1:], later)
			if got := listed(t, q); !slices.Equal(got, want) {
				t.Errorf("listed: got %v, want %v", got, want)
			}
			var got []string
			for len(got) < len(want) {
				for _, d := range leaseIDs(t, q, 100) {
					got = append(got, d.Event.ID)
					if d.Event.ID != before[5].ID { // which stays, so that the file does
						must(t, q.Settle(t.Context(), queue.Outcome{Address: d.Address, Verb: queue.Delivered}))
					}
				}
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("leased: got %v, want %v", got, want)
			}
			q.Abandon()
			nextProcessLeavesTheFile(t, dir, before[5:], before[1:5], lost, later)
		})
	}
}

// saidSo checks that an operator can know.
func (f *failing) saidSo(t *testing.T, q *boltqueue.Queue) {
	t.Helper()
	s, err := q.Stats(t.Context())
	must(t, err)
	if len(s.Alarms) != 1 || !strings.Contains(s.Alarms[0], "00000001.seg failed: ") || !strings.Contains(s.Alarms[0], unix.EIO.Error()) {
		t.Errorf("alarms: got %q, want one that names the file and the error", s.Alarms)
	}
}

// holdsLetters checks that an operator is not told that a letter of the failed
// file was replayed or discarded, for that could not be made durable.
func (f *failing) holdsLetters(t *testing.T, q *boltqueue.Queue, at queue.Address) {
	t.Helper()
	for what, act := range map[string]func(context.Context, queue.Filter) (int, error){"replay": q.Replay, "discard": q.Discard} {
		if n, err := act(t.Context(), queue.Filter{At: []queue.Address{at}}); n != 0 || !errors.Is(err, unix.EIO) {
			t.Errorf("%s: got %d, %v, want the error of the disk", what, n, err)
		}
	}
}

// nextProcessLeavesTheFile checks what the next process does: it does not append
// to the file, has what was kept, and of the rest only what it may have: what
// was not acknowledged, and outcomes that were not flushed may be undone.
func nextProcessLeavesTheFile(t *testing.T, dir string, kept []event.Event, may ...[]event.Event) {
	t.Helper()
	was := takenIn(t, dir)
	q := open(t, boltqueue.Options{Dir: dir}, boltqueue.Knobs{})
	more := batch("more", 2)
	must(t, q.Append(t.Context(), queue.Batch{Events: more}))
	found := listed(t, q)
	for _, id := range ids(more, kept) {
		if !slices.Contains(found, id) {
			t.Errorf("the next process does not have %s", id)
		}
	}
	allowed := ids(append(may, kept, more)...)
	for _, id := range found {
		if !slices.Contains(allowed, id) {
			t.Errorf("the next process has %s", id)
		}
	}
	must(t, q.Close())
	if now := takenIn(t, dir); now["00000001.seg"] != was["00000001.seg"] {
		t.Errorf("the failed file took more: %v, then %v", was, now)
	}
	checkFiles(t, dir, "after the next process", false)
}

// TestTheNextProcessBeginsANewFileAfterAFailedOne ends the process at once, so
// that the failed file is the newest there is.
func TestTheNextProcessBeginsANewFileAfterAFailedOne(t *testing.T) {
	for name, f := range failures() {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "queue")
			if hookBolt != nil {
				hookBolt(f.fault)
			}
			q := open(t, boltqueue.Options{Dir: dir}, boltqueue.Knobs{Fault: f.fault})
			before, lost := batch("before", 6), batch("lost", 3)
			must(t, q.Append(t.Context(), queue.Batch{Events: before}))
			f.armed.Store(true)
			if err := q.Append(t.Context(), queue.Batch{Events: lost}); err == nil {
				t.Fatal("an append to a failing disk was acknowledged")
			}
			q.Abandon()
			nextProcessLeavesTheFile(t, dir, before, lost)
		})
	}
}

// TestOutcomesOfAFailedFileWaitInMemory fails the commit of marks: what was
// settled stays settled in this process, and the count of what the disk does
// not know is told.
func TestOutcomesOfAFailedFileWaitInMemory(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprint("after ", after), func(t *testing.T) {
			f := &failing{point: "marks.commit", after: after}
			q := open(t, boltqueue.Options{Dir: filepath.Join(t.TempDir(), "queue")}, boltqueue.Knobs{Fault: f.fault})
			must(t, q.Append(t.Context(), queue.Batch{Events: batch("event", 5)}))
			f.armed.Store(true)
			for _, d := range leaseIDs(t, q, 3) {
				must(t, q.Settle(t.Context(), queue.Outcome{Address: d.Address, Verb: queue.Delivered}))
			}
			must(t, q.Flush())
			s, err := q.Stats(t.Context())
			must(t, err)
			if s.Held != 3 || s.Queued != 2 || len(s.Alarms) != 1 {
				t.Errorf("got %d held, %d queued and alarms %q, want 3, 2 and one", s.Held, s.Queued, s.Alarms)
			}
			if got, want := listed(t, q), []string{"event-3", "event-4"}; !slices.Equal(got, want) {
				t.Errorf("listed: got %v, want %v", got, want)
			}
			must(t, q.Append(t.Context(), queue.Batch{Events: batch("later", 1)}))
			for left := 3; left > 0; { // the other 2 of the old file, and 1 of the new
				left -= len(leaseIDs(t, q, 9))
			}
		})
	}
}

// TestWithoutANewFileEventsAreRefusedAndTheOthersSent fails every birth as
// well: there is nowhere to append to, and sending goes on.
func TestWithoutANewFileEventsAreRefusedAndTheOthersSent(t *testing.T) {
	var broken atomic.Bool
	fault := func(point string, after bool) error {
		if broken.Load() && !after && (point == "append.commit" || strings.HasPrefix(point, "create.")) {
			return unix.EIO
		}
		return nil
	}
	q := open(t, boltqueue.Options{Dir: filepath.Join(t.TempDir(), "queue")}, boltqueue.Knobs{Fault: fault})
	must(t, q.Append(t.Context(), queue.Batch{Events: batch("event", 5)}))
	broken.Store(true)
	for range 4 { // the tail, the spare, and none after it
		if err := q.Append(t.Context(), queue.Batch{Events: batch("lost", 1)}); err == nil {
			t.Fatal("an append to a broken disk was acknowledged")
		}
	}
	if got := leaseIDs(t, q, 9); len(got) != 5 {
		t.Errorf("leased %d, want 5", len(got))
	}
	broken.Store(false)
	must(t, q.Append(t.Context(), queue.Batch{Events: batch("well", 1)}))
}

func batch(prefix string, n int) (events []event.Event) {
	for i := range n {
		id := fmt.Sprintf("%s-%d", prefix, i)
		events = append(events, event.Event{ID: id, Name: "Application Opened", Body: fmt.Appendf(nil, `{"messageId":%q,"event":"Application Opened"}`, id)})
	}
	return events
}

// ids lists the ids of events, sorted.
func ids(batches ...[]event.Event) (all []string) {
	for _, ev := range slices.Concat(batches...) {
		all = append(all, ev.ID)
	}
	slices.Sort(all)
	return all
}

func listed(t testing.TB, q queue.Queue) (all []string) {
	t.Helper()
	for d, err := range q.Queued(t.Context(), queue.Filter{}) {
		must(t, err)
		all = append(all, d.Event.ID)
	}
	slices.Sort(all)
	return all
}

func leaseIDs(t testing.TB, q queue.Queue, n int) []queue.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := q.Lease(ctx, n)
	must(t, err)
	return got
}

func files(t testing.TB, dir, pattern string) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	must(t, err)
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	return names
}

// takenIn returns how many events each file of a queue at rest took.
func takenIn(t testing.TB, dir string) map[string]uint64 {
	t.Helper()
	report, err := boltqueue.Check(t.Context(), dir, nil)
	must(t, err)
	taken := map[string]uint64{}
	for _, s := range report.Segments {
		taken[s.File] = s.Account.Taken
	}
	return taken
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
