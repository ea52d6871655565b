package boltqueue_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue"
)

// remains lists what a queue holds, with where it lies and what is known of it.
func remains(t testing.TB, q queue.Queue) (all []string) {
	t.Helper()
	for d, err := range q.Queued(t.Context(), queue.Filter{}) {
		must(t, err)
		all = append(all, fmt.Sprintf("%s queued %s %s %d", d.Address, d.Event.ID, d.Event.Body, d.Taken.UnixMilli()))
	}
	for l, err := range q.DeadLetters(t.Context(), queue.Filter{}) {
		must(t, err)
		all = append(all, fmt.Sprintf("%s dead %s %s %s %d %d %q %d %d", l.Address, l.Event.ID, l.Event.Body, l.Reason,
			l.Status, l.Attempts, l.Detail, l.Taken.UnixMilli(), l.Died.UnixMilli()))
	}
	return all
}

// waitFor waits for the queue's own goroutines to come round to something, which
// they do in real time, for the files and the disk are real.
func waitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	for begin := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > resumePatience {
			t.Fatalf("waited %v in vain: %s", time.Since(begin), what)
		}
	}
}

func TestStragglersAndLettersDoNotKeepTheirSegmentLarge(t *testing.T) {
	dir := t.TempDir()
	c := openCrowd(t, crowd{dir: dir, most: 1 << 30, large: true})
	for len(files(t, dir, "*.seg")) < 4 {
		must(t, c.append(t))
	}
	first := filepath.Join(dir, "00000001.seg")
	full := blocks(t, first)
	c.settleBut(t, map[string]queue.Verb{"ev-000100": queue.Retry, "ev-000101": queue.Bury, "ev-000700": queue.Bury, "ev-000900": queue.Return})
	waitFor(t, "the first segment stays large", func() bool { return blocks(t, first) <= full/4 })
	kept := remains(t, c.Queue)
	if len(kept) < 4 {
		t.Fatalf("got %q, want what was kept", kept)
	}
	must(t, c.Close())
	report, err := boltqueue.Check(t.Context(), dir, nil)
	if err != nil || len(report.Problems) > 0 {
		t.Errorf("check found %q, %v in what was made small", report.Problems, err)
	}
	c.open(t)
	if again := remains(t, c.Queue); !slices.Equal(again, kept) {
		t.Errorf("after a restart\ngot  %q\nwant %q", again, kept)
	}
	c.goesOnInSmall(t, dir)
}

// settleBut delivers all but a few events; the others meet the fate they are
// given.
func (c *crowd) settleBut(t *testing.T, fates map[string]queue.Verb) {
	t.Helper()
	for left := mustStats(t, c.Queue).Queued; left > 0; {
		got, err := c.Lease(t.Context(), 100)
		must(t, err)
		left -= uint64(len(got))
		for _, d := range got {
			o := queue.Outcome{Address: d.Address, Verb: queue.Delivered}
			if fate, is := fates[d.Event.ID]; is {
				o = queue.Outcome{Address: d.Address, Verb: fate, Delay: time.Hour, Attempts: 3, Reason: queue.Rejected,
					Status: 422, Detail: "no such user " + d.Event.ID}
				if fate == queue.Return {
					o.Verb = queue.Retry // or it would be due at once
				}
			}
			must(t, c.Settle(t.Context(), o))
		}
	}
}

// goesOnInSmall replays, delivers and discards what lies in a segment that was
// made small, after which nothing of it is left.
func (c *crowd) goesOnInSmall(t *testing.T, dir string) {
	t.Helper()
	n, err := c.Replay(t.Context(), queue.Filter{ID: "ev-000101"})
	if err != nil || n != 1 {
		t.Errorf("replay: got %d, %v, want 1", n, err)
	}
	var came []string
	for mustStats(t, c.Queue).Queued > 0 {
		got, err := c.Lease(t.Context(), 10)
		must(t, err)
		for _, d := range got {
			came = append(came, d.Event.ID)
			must(t, c.Settle(t.Context(), queue.Outcome{Address: d.Address, Verb: queue.Delivered}))
		}
	}
	slices.Sort(came)
	if want := []string{"ev-000100", "ev-000101", "ev-000900"}; !slices.Equal(came, want) {
		t.Errorf("got %q, want %q", came, want)
	}
	c.discard(t)
	c.onlyLine(t)
	if names := files(t, dir, "00000001.seg"); len(names) > 0 {
		t.Errorf("nothing is left in %q", names)
	}
}

func TestADrainedQueueTakesNoMoreDiskThanAnEmptyOne(t *testing.T) {
	dir := t.TempDir()
	c := newCrowd(t, dir, 1<<30)
	waitFor(t, "there is no spare", func() bool { return len(files(t, dir, "*.seg")) == 2 })
	empty := mustStats(t, c.Queue).Bytes
	for len(files(t, dir, "*.seg")) < 6 {
		must(t, c.append(t))
	}
	if backlog := mustStats(t, c.Queue).Bytes; backlog < 2*empty {
		t.Fatalf("got %d bytes for a backlog, %d for an empty queue", backlog, empty)
	}
	c.drain(t)
	c.discard(t)
	waitFor(t, "the disk is not given back", func() bool { return mustStats(t, c.Queue).Bytes <= empty })
	must(t, c.Append(t.Context(), queue.Batch{Events: []event.Event{noisy(c.dice, "ev-afterwards")}}))
}
